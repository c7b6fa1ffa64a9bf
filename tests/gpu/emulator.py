"""A driver that runs the CUDA kernels on the host, on NumPy arrays: see emulator.h."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import numpy as np

from fastdl.gpu import sources
from fastdl.kernels import door

__all__ = ["COMPILER", "ORDERS", "Emulator", "build"]

ORDERS = ("forward", "reverse", "random")

COMPILER = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")

_HEADER = Path(__file__).with_name("emulator.h")
_CACHE = Path(tempfile.gettempdir()) / f"fastdl-emulator-{os.getuid()}"
_FLAGS = ["-std=c++17", "-O2", "-fPIC", "-shared", "-ffp-contract=off", "-w"]
_MARK = "EMULATED_KERNEL"


def build(source: str, bits: int) -> tuple[ctypes.CDLL, dict[str, int]]:
    """A library of a family's source, and the index of each kernel in it; compiled only once."""
    text = _HEADER.read_text()
    key = hashlib.sha256("\0".join([text, source, str(bits), *_FLAGS]).encode()).hexdigest()[:24]
    library, names = _CACHE / f"{key}.so", _CACHE / f"{key}.names"
    if not library.exists():
        _CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as folder:
            unit = Path(folder, "unit.cpp")
            body = f"#define REAL_BITS {bits}\n#define __global__ {_MARK}\n{source}"
            unit.write_text(body)
            expanded = _compile(["-E", "-P", str(unit)])
            kernels = re.findall(rf"{_MARK}\s+void\s+(\w+)\s*\(", expanded)
            cases = "\n".join(
                f"case {i}: return emulated::run({name}, count, words, order);"
                for i, name in enumerate(kernels)
            )
            unit.write_text(
                f'#include "{_HEADER}"\n#define REAL_BITS {bits}\n#define __global__\n{source}\n'
                'extern "C" int emulate(int kernel, const unsigned *sizes, int count,\n'
                "                       const uint64_t *words, int order) {\n"
                "emulated::grid = {sizes[0], sizes[1], sizes[2]};\n"
                "emulated::block = {sizes[3], sizes[4], sizes[5]};\n"
                f"switch (kernel) {{\n{cases}\n}}\nreturn -1000;\n}}\n"
            )
            made = Path(folder, "unit.so")
            _compile([*_FLAGS, str(unit), "-o", str(made)])
            names.write_text("\n".join(kernels))
            made.replace(library)
    listed = names.read_text().split()
    return ctypes.CDLL(str(library)), {name: i for i, name in enumerate(listed)}


def _compile(arguments: list[str]) -> str:
    done = subprocess.run([str(COMPILER), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{COMPILER} {' '.join(arguments)}:\n{done.stderr[-4000:]}")
    return done.stdout


#: The emulator's state is global.
_ONE_AT_A_TIME = threading.Lock()


class DeviceArray(np.ndarray):
    """An array of the user's that lies on the device."""

    @property
    def __cuda_array_interface__(self):
        return self.__array_interface__


class Library(door.Library):
    def as_array(self, value):
        return np.asanyarray(value)


class Emulator:
    """Runs kernels in one order of threads; arrays are NumPy's."""

    xp = np
    multiplies = False
    blas = cudnn = None
    library = Library()

    def __init__(self, order: str = "forward", change=lambda source: source) -> None:
        self.order = ORDERS.index(order)
        self.change = change
        self.launched: list[str] = []
        self._families: dict[tuple[str, int], tuple[ctypes.CDLL, dict[str, int]]] = {}

    def kernel(self, family: str, bits: int, name: str):
        if (family, bits) not in self._families:
            self._families[family, bits] = build(self.change(sources.text(family)), bits)
        library, index = self._families[family, bits]
        return library.emulate, index[name], name

    def launch(self, kernel, grid, block, arguments) -> None:
        run, index, name = kernel
        assert 0 < np.prod(block) <= 1024, f"{name}: a block of {block}"
        assert grid[0] < 2**31 and grid[1] < 2**16 and grid[2] < 2**16, f"{name}: a grid of {grid}"
        words = np.zeros(max(len(arguments), 1), np.uint64)
        for i, argument in enumerate(arguments):
            if isinstance(argument, np.ndarray):
                assert argument.flags.c_contiguous, f"{name}: argument {i} is not contiguous"
                words[i] = argument.ctypes.data
            elif isinstance(argument, float):
                words[i : i + 1].view(np.float64)[0] = argument
            elif argument is not None:
                words[i : i + 1].view(np.int64)[0] = argument
        sizes = (ctypes.c_uint * 6)(*grid, *block)
        self.launched.append(name)
        with _ONE_AT_A_TIME:
            result = run(
                index, sizes, len(arguments), ctypes.c_void_p(words.ctypes.data), self.order
            )
        if result == 1:
            raise RuntimeError(f"{name}: threads wait for others that will not come")
        assert result == 0, f"{name}: takes {-result - 1} arguments, was given {len(arguments)}"

    def upload(self, array: np.ndarray) -> np.ndarray:
        if isinstance(array, DeviceArray):
            return np.ascontiguousarray(array)
        return np.array(array, order="C")

    def download(self, array: np.ndarray) -> np.ndarray:
        return np.array(array, subok=False)

    def write(self, there: np.ndarray, here: np.ndarray) -> None:
        there[...] = here

    def read(self, here: np.ndarray, there: np.ndarray) -> None:
        here[...] = there

    def address(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def empty(self, shape, dtype) -> np.ndarray:
        return np.empty(shape, dtype).view(DeviceArray)

    def is_host(self, array: np.ndarray) -> bool:
        return not isinstance(array, DeviceArray)

    def current_stream(self) -> int:
        return 0

    def stream(self):
        return Stream()

    def release(self, stream):
        pass

    def follow(self, stream):
        pass

    def record(self, launches, stream):
        return launches


class Stream(contextlib.nullcontext):
    """Everything is done when it is launched."""

    def synchronize(self) -> None:
        pass
