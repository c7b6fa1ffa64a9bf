"""Blocks of memory, and variables side by side in them.

Variables of a model lie in one `Arena`, and so does each kind of optimizer state, at the same
offsets: one update op then covers a whole range of weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastdl.kernels import runner
from fastdl.tensor import Variable

__all__ = ["LINE", "Arena", "aligned", "consolidate", "is_small", "padded", "parallel"]

#: Variables and buffers begin at multiples of a cache line, counted in elements and in bytes.
_ELEMENTS, LINE = 16, 64

#: Elements that are updated in less time than it takes to begin.
_SMALL = 1024


def aligned(count: int, dtype: Any) -> np.ndarray:
    """Zeros whose first byte stands at the beginning of a cache line."""
    bytes_ = count * np.dtype(dtype).itemsize
    raw = np.zeros(bytes_ + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + bytes_].view(dtype)


def padded(size: int, unit: int = _ELEMENTS) -> int:
    """The room for so many elements (or bytes, with LINE) up to where the next block begins."""
    return -(-size // unit) * unit


class Arena:
    """One block of memory for many variables.

    Attributes
    ----------
    flat : array, shape (elements,)
    """

    def __init__(self, elements: int, dtype: Any) -> None:
        self.flat = aligned(elements, dtype)

    def adopt(self, variable: Variable, offset: int) -> None:
        """Moves a variable's value to this offset."""
        value = variable.value
        self.flat[offset : offset + value.size] = value.reshape(-1)
        variable.move(self, offset)

    def __getstate__(self) -> np.ndarray:
        runner.bring_weights_home()
        return np.array(self.flat)

    def __setstate__(self, state: np.ndarray) -> None:
        self.flat = aligned(state.size, state.dtype)
        self.flat[:] = state


def is_small(variable: Variable) -> bool:
    """Whether an update of this variable is better done together with others than by itself."""
    return variable.value.size <= _SMALL


def consolidate(variables: Iterable[Variable]) -> None:
    """Moves those variables that have no arena yet into a new one: those to be trained first, and
    large matrices before all else.

    Updates of large matrices are fused into the products that compute their gradients; all others
    then form one range, or all of them do where nothing is fused.
    """
    loose = [v for v in variables if v.arena is None]
    for dtype in {v.value.dtype for v in loose}:
        group = [v for v in loose if v.value.dtype == dtype]
        group.sort(key=lambda v: (not v.trainable, v.value.ndim < 2 or is_small(v)))
        arena = Arena(sum(padded(v.value.size) for v in group), dtype)
        offset = 0
        for variable in group:
            arena.adopt(variable, offset)
            offset += padded(variable.value.size)


def parallel(variables: Sequence[Variable], name: str, value: float) -> dict[Variable, Variable]:
    """One more variable for each, filled with ``value``, in arenas with the same offsets."""
    arenas: dict[int, Arena] = {}
    result = {}
    for variable in variables:
        arena = arenas.get(id(variable.arena))
        if arena is None:
            arena = arenas[id(variable.arena)] = Arena(
                variable.arena.flat.size, variable.arena.flat.dtype
            )
        twin = Variable(np.full_like(variable.value, value), f"{variable.name}/{name}", False)
        arena.adopt(twin, variable.offset)
        result[variable] = twin
    return result
