"""Memory of the device, by the host's addresses.

A Program's arrays are laid out on the host, where they take no memory as long as nobody writes to
them. Each of their blocks has a twin on the device, of the same size and layout; so an array's
place there follows from its place here.

A block of weights is shared by all programs of its model. While one of them has hold of it, the
device's copy is the one that counts. When the last one lets go, the host has it back, and may
write. The program of a compiled step lets go when a variable's value is asked for, or the host's
kernels are, and no sooner.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from fastdl.arena import LINE
from fastdl.kernels import runner

__all__ = ["Memory", "Weights", "stay"]


def _block(array: np.ndarray) -> np.ndarray:
    """The bytes of the block that an array is in, from the first of its whole cache lines."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    if owner.dtype != np.uint8:
        return owner.reshape(-1).view(np.uint8)
    return owner[-owner.ctypes.data % LINE :]


class Weights:
    """A block of weights, or of an optimizer's state, in both places."""

    _lock = threading.Lock()
    _known: ClassVar[weakref.WeakValueDictionary[tuple[int, int], Weights]] = (
        weakref.WeakValueDictionary()
    )

    def __init__(self, driver: Any, host: np.ndarray) -> None:
        self.driver, self.host = driver, host
        self.device = driver.xp.zeros(host.size, np.uint8)
        self.held, self.changed = 0, False

    @classmethod
    def of(cls, driver: Any, host: np.ndarray) -> Weights:
        """The one of this block."""
        key = id(driver), host.ctypes.data
        with cls._lock:
            found = cls._known.get(key)
            if found is None or found.host.size != host.size:
                found = cls._known[key] = cls(driver, host)
            return found

    def hold(self) -> None:
        """From now on the device's copy counts."""
        with self._lock:
            if not self.held:
                self.driver.write(self.device, self.host)
            self.held += 1

    def let_go(self) -> None:
        """Gives the host what the device has made, unless another holds it still."""
        with self._lock:
            self.held -= 1
            if self.changed and not self.held:
                self.driver.read(self.host, self.device)
                self.changed = False


#: Programs that have hold of their weights from one call to the next.
_staying: dict[Any, None] = {}
_noting, _bringing = threading.Lock(), threading.Lock()


def stay(program: Any) -> None:
    """The program will have hold of its weights until somebody wants them on the host."""
    with _noting:
        _staying[program] = None
        runner.set_away(_bring_home)


def _bring_home() -> None:
    with _bringing:
        for program in list(_staying):
            with _noting:
                del _staying[program]
            try:
                program.give_back()
            except BaseException:
                stay(program)
                raise
        with _noting:
            if not _staying:
                runner.set_away(None)


class Memory:
    """Where a Program's arrays are on the device.

    Parameters
    ----------
    weights : arrays
        In the blocks that are shared.
    """

    def __init__(self, driver: Any, weights: Iterable[np.ndarray]) -> None:
        self.driver = driver
        self.weights: dict[int, Weights] = {}
        self._own: dict[int, tuple[np.ndarray, Any]] = {}
        for array in weights:
            host = _block(array)
            self.weights[host.ctypes.data] = Weights.of(driver, host)

    def device(self, array: np.ndarray) -> Any:
        """The array on the device."""
        return self.part(array, 0, array)

    def part(self, array: np.ndarray, start: int, like: np.ndarray) -> Any:
        """What lies ``start`` bytes behind the beginning of an array, with another one's shape."""
        host = _block(array)
        at = host.ctypes.data
        if at in self.weights:
            block = self.weights[at].device
        else:
            if at not in self._own:
                self._own[at] = host, self.driver.xp.zeros(host.size, np.uint8)
            block = self._own[at][1]
        start += array.ctypes.data - at
        return block[start : start + like.nbytes].view(like.dtype).reshape(like.shape)

    def known(self, array: np.ndarray) -> Any:
        """The array on the device, or None if none of its block has been asked for there."""
        at = _block(array).ctypes.data
        return self.device(array) if at in self.weights or at in self._own else None

    def is_same(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two arrays have the same place."""
        return a.ctypes.data == b.ctypes.data and a.nbytes == b.nbytes

    def upload_constants(self, written: Iterable[np.ndarray]) -> None:
        """Copies the blocks of which no op writes anything."""
        changing = {_block(array).ctypes.data for array in written}
        for at, (host, device) in self._own.items():
            if at not in changing:
                self.driver.write(device, host)

    def changed(self, written: Iterable[np.ndarray]) -> list[Weights]:
        """The shared blocks that these arrays are in."""
        changing = {_block(array).ctypes.data for array in written}
        return [weights for at, weights in self.weights.items() if at in changing]
