"""Where and how everything runs: the backend, the number of threads, the float type, the seed."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import warnings
from collections.abc import Iterator

import numpy as np

from fastdl import kernels
from fastdl.kernels import dispatch, runner

__all__ = [
    "backend",
    "floatx",
    "get_backend",
    "get_num_threads",
    "set_backend",
    "set_floatx",
    "set_num_threads",
    "set_seed",
    "show_config",
]

_BACKENDS = ("cpu", "gpu")
_noted_eager_call = False

set_num_threads = runner.set_num_threads
get_num_threads = runner.get_num_threads


# --- backend ------------------------------------------------------------------------------------


def set_backend(name: str) -> None:
    """Chooses what all later work runs on.

    Parameters
    ----------
    name : {"cpu", "gpu"}

    Raises
    ------
    ValueError
        If the name is another one.
    RuntimeError
        If it is "gpu" and there is no CuPy or no usable device; the message says what to do.
    """
    from fastdl.tensor import changes

    global _backend
    _backend = check_backend(name)
    changes.note()  # what models know by heart is of the other backend


def get_backend() -> str:
    """The backend in use: "cpu" or "gpu"."""
    return _backend


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Uses a backend inside a ``with`` block.

    >>> import fastdl
    >>> with fastdl.backend("cpu"):
    ...     fastdl.get_backend()
    'cpu'
    """
    before = get_backend()
    set_backend(name)
    try:
        yield
    finally:
        set_backend(before)


def check_backend(name: str) -> str:
    """The name, if that backend can be used here; see `set_backend`."""
    if name not in _BACKENDS:
        raise ValueError(f"backend must be 'cpu' or 'gpu', got {name!r}")
    if name == "gpu":
        _require_gpu()
    return name


def note_eager_call(name: str) -> None:
    """Says once that calls of a model compute on the CPU, though its backend is another one."""
    global _noted_eager_call
    if not _noted_eager_call:
        _noted_eager_call = True
        warnings.warn(
            f"{name}: calls and tapes compute on the CPU; fastdl.compiled_step around the step, or "
            f"predict, runs on the backend 'gpu'",
            stacklevel=4,
        )


def _require_gpu() -> None:
    from fastdl.gpu import device

    try:
        device.driver()
    except ImportError as error:
        raise RuntimeError(str(error)) from error


# --- float type ---------------------------------------------------------------------------------


def set_floatx(dtype: str) -> None:
    """Sets the float type of models that are built from now on: "float32" or "float64"."""
    global _floatx
    name = np.dtype(dtype).name if not isinstance(dtype, str) else dtype
    if name not in ("float32", "float64"):
        raise ValueError(f"floatx must be 'float32' or 'float64', got {dtype!r}")
    _floatx = name


def floatx() -> str:
    """The float type of new models: "float32" unless `set_floatx` said otherwise."""
    return _floatx


# --- random numbers -----------------------------------------------------------------------------


def set_seed(seed: int) -> None:
    """Starts all random numbers anew: initial weights, shuffling, dropout.

    Parameters
    ----------
    seed : int, 0 ... 2**63 - 1
    """
    global _rng
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise ValueError(f"set_seed: seed must be a whole number from 0 to 2**63 - 1, got {seed!r}")
    _rng = np.random.default_rng(int(seed))


def rng() -> np.random.Generator:
    """The generator that initial weights are drawn from."""
    global _rng
    if _rng is None:  # not at import: numpy.random takes a fifth of the time of importing fastdl
        _rng = np.random.default_rng()
    return _rng


def draw_seed() -> int:
    """A seed for a model's own counter-based random numbers."""
    return int(rng().integers(2**62))


# --- what runs ----------------------------------------------------------------------------------


def _version() -> str:
    from fastdl import __version__

    return __version__


def config() -> dict[str, str]:
    """What `show_config` prints, as a dictionary."""
    return {
        "fastdl": _version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.machine()} {_processor()}".strip(),
        "instruction set": f"{dispatch.isa()} (available: {', '.join(dispatch.available())})",
        "OpenMP": "yes" if runner.has_openmp() else "no: one thread only",
        "threads": str(get_num_threads()),
        "compiler": dispatch.compiler(),
        "float type": floatx(),
        "backend": get_backend(),
        "ops": str(len(kernels.OPS)),
    }


def show_config() -> None:
    """Prints what runs: version, processor, instruction set, OpenMP, threads, compiler, backend."""
    rows = config()
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"{key:<{width}}  {value}", file=sys.stdout)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


_floatx = "float32"
_rng: np.random.Generator | None = None
_backend = "cpu"
if os.environ.get("FASTDL_BACKEND"):
    _backend = os.environ["FASTDL_BACKEND"]
    if _backend not in _BACKENDS:
        raise ValueError(f"FASTDL_BACKEND must be 'cpu' or 'gpu', got {_backend!r}")
