"""The GPU backend: the functions of ``fastdl.kernels`` on CuPy arrays, name for name.

Importing it imports no CuPy and looks for no GPU; the first call does. The CUDA sources stand in
``kernels/cuda``, and its README says how an op is added.

Examples
--------
>>> from fastdl import gpu
>>> y = gpu.dense_forward(x, weight, bias, activation="relu")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

from fastdl.gpu import (  # noqa: F401  (importing a family registers its ops)
    activations,
    arithmetic,
    attention,
    augmentation,
    convolution,
    functions,
    losses,
    metrics,
    moves,
    norms,
    pooling,
    products,
    random,
    recurrence,
    reductions,
    sums,
    updates,
)
from fastdl.gpu.call import Function
from fastdl.gpu.core import HOSTS
from fastdl.kernels.table import OPS

_FUNCTIONS = {name: Function(OPS[name]) for name in HOSTS}

__all__ = list(_FUNCTIONS)


def __getattr__(name: str) -> Any:
    try:
        return _FUNCTIONS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *_FUNCTIONS})
