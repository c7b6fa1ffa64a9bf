"""The GPU by way of CuPy: arrays, compiled kernels, launches, and what to say without one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastdl import _optional
from fastdl.gpu import blas, cudnn, sources
from fastdl.kernels import door

__all__ = ["CupyDriver", "CupyLibrary", "driver", "memory_errors", "use"]

_PURPOSE = 'the backend "gpu"'

_current: Any = None


def driver() -> Any:
    """The driver of this process's calls; CuPy's, made when it is first asked for.

    Raises
    ------
    ImportError
        If CuPy is not installed.
    RuntimeError
        If there is no GPU that it can use.
    """
    global _current
    if _current is None:
        _current = CupyDriver()
    return _current


def use(other: Any) -> Any:
    """Makes another driver the one of all calls, and returns the one before; None: CuPy's."""
    global _current
    before, _current = _current, other
    return before


class CupyLibrary(door.Library):
    """Arrays of CuPy, and those of others that can be had without a copy or by one."""

    kind = "CuPy array"

    def __init__(self, cupy: Any) -> None:
        self.xp = cupy
        self.array_type = cupy.ndarray

    def as_array(self, value: Any) -> Any:
        if isinstance(value, self.array_type):
            return value
        if hasattr(value, "__cuda_array_interface__"):
            return self.xp.asarray(value)
        if hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray):
            return self.xp.from_dlpack(value)
        return np.asarray(value)

    def convert(self, array: Any, dtype: np.dtype) -> Any:
        if isinstance(array, np.ndarray):  # which CuPy's ascontiguousarray does not take
            array = self.xp.asarray(np.asarray(array, dtype))
        return self.xp.ascontiguousarray(array, dtype)

    def is_writeable(self, array: Any) -> bool:
        return True

    def is_usable(self, array: Any) -> bool:
        return bool(array.flags.c_contiguous)

    def same(self, a: Any, b: Any) -> bool:
        return bool(a.nbytes == b.nbytes and a.data.ptr == b.data.ptr)

    def stand_in(self, array: Any) -> Any:
        return self.xp.array(array, order="C")


class CupyDriver:
    """Kernels compiled by NVRTC when they are first launched; CuPy keeps them on disk."""

    multiplies = True

    def __init__(self) -> None:
        self.xp = _cupy()
        self.library = CupyLibrary(self.xp)
        self.blas = blas.from_environment(self)
        self.cudnn = cudnn.from_environment(self)
        self._modules: dict[tuple[int, str, int], Any] = {}
        self._kernels: dict[tuple[int, str, int, str], Any] = {}
        #: by device: streams that are not in use; CuPy keeps memory that was freed for its stream
        self._streams: dict[int, list[Any]] = {}

    def kernel(self, family: str, bits: int, name: str) -> Any:
        here = self.xp.cuda.runtime.getDevice()
        found = self._kernels.get((here, family, bits, name))
        if found is None:
            found = self.module(family, bits).get_function(name)
            self._kernels[here, family, bits, name] = found
        return found

    def module(self, family: str, bits: int) -> Any:
        """The kernels of ``family``.cu, compiled when one is asked for."""
        here = self.xp.cuda.runtime.getDevice()
        found = self._modules.get((here, family, bits))
        if found is None:
            options = (f"-DREAL_BITS={bits}", "--std=c++17")
            found = self.xp.RawModule(code=sources.text(family), options=options)
            self._modules[here, family, bits] = found
        return found

    def launch(self, kernel: Any, grid: Any, block: Any, arguments: Any) -> None:
        null = np.uint64(0)
        kernel(grid, block, tuple([null if a is None else a for a in arguments]))

    def upload(self, array: Any) -> Any:
        """The array on the device, contiguous; itself where it is so already."""
        return self.xp.ascontiguousarray(self.xp.asarray(array))

    def download(self, array: Any) -> np.ndarray:
        return self.xp.asnumpy(array)

    def write(self, there: Any, here: np.ndarray) -> None:
        """Copies to an array of the device."""
        there.set(np.ascontiguousarray(here))

    def read(self, here: np.ndarray, there: Any) -> None:
        """Copies from an array of the device."""
        here[...] = self.xp.asnumpy(there).reshape(here.shape)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self.xp.empty(shape, dtype)

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    def is_host(self, array: Any) -> bool:
        return isinstance(array, np.ndarray)

    def current_stream(self) -> int:
        """Where launches go now, as a number."""
        return int(self.xp.cuda.get_current_stream().ptr)

    def stream(self) -> Any:
        """A stream; work goes there inside of ``with``. It waits for no other by itself: one that
        waits for the default stream could not be recorded while another thread uses that."""
        unused = self._streams.setdefault(self.xp.cuda.runtime.getDevice(), [])
        return unused.pop() if unused else self.xp.cuda.Stream(non_blocking=True)

    def release(self, stream: Any) -> None:
        """Takes a stream back that nobody works on any more."""
        self._streams[stream.device_id].append(stream)

    def follow(self, stream: Any) -> None:
        """Has the stream wait for all that the current one has been given."""
        stream.wait_event(self.xp.cuda.get_current_stream().record())

    def record(self, launches: Callable[[], None], stream: Any) -> Callable[[], None]:
        """What launches the same again: a CUDA graph. Nothing runs yet.

        CuPy's mode of capture lets the garbage collector free what it finds meanwhile.
        """
        runtime = self.xp.cuda.runtime
        stream.begin_capture()
        try:
            launches()
        except BaseException:
            with contextlib.suppress(runtime.CUDARuntimeError):
                stream.end_capture()
            raise
        graph = stream.end_capture()
        return lambda: graph.launch(stream)


@contextlib.contextmanager
def memory_errors(
    advice: str = "use a smaller batch_size, or float32 for float64",
) -> Iterator[None]:
    """Says what to do where the device has not enough memory."""
    try:
        yield
    except MemoryError as error:
        raise MemoryError(f"the GPU has not enough memory: {error}; {advice}") from error


def _cupy() -> Any:
    """CuPy, with a GPU that it can use."""
    cupy = _optional.require("cupy", "cuda12", _PURPOSE)
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise RuntimeError(_no_device(runtime, error)) from error
    if count == 0:
        raise RuntimeError(_no_device(runtime, None))
    return cupy


def _no_device(runtime: Any, error: Any) -> str:
    try:
        supported = runtime.driverGetVersion()
    except runtime.CUDARuntimeError:
        supported = 0
    if error is not None and "cudaErrorInsufficientDriver" in str(error) and supported:
        wanted = runtime.runtimeGetVersion()
        return (
            f"{_PURPOSE}: the NVIDIA driver supports CUDA {_version(supported)} and CuPy was made "
            f"for {_version(wanted)}: install a newer driver, or pip install 'fastdl[cuda12]' in "
            f"place of cuda13"
        )
    return (
        f"{_PURPOSE} needs an NVIDIA GPU and its driver, and CUDA finds none"
        f"{f' ({error})' if error else ''}: install the driver (nvidia-smi shows whether it works) "
        f"or use the backend 'cpu'"
    )


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
