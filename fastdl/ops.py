"""The ops as functions of tensors: what a layer's ``call`` is written in.

``ops.dense(x, weight, bias)`` stands for the table's ``dense_forward``, ``ops.relu(x)`` for
``relu_forward``, and so on for every op that a network can contain. Arithmetic, reductions and what
moves elements about have NumPy's names and broadcast as there. Gradients come from the table, so a
layer made of ops needs none of its own.

Shapes that do not fit together, and an axis that does not exist or is the batch where that may not
be, are a ValueError that names the op and the shapes; what is no tensor, array or number is a
TypeError.

>>> from fastdl import Input, ops
>>> x = Input((4,))
>>> ops.relu(x).shape
(None, 4)
>>> ops.sum(x * x, axis=-1, keepdims=True).shape
(None, 1)
"""

from __future__ import annotations

from typing import Any

from fastdl._names import nearest
from fastdl.arithmetic import (
    add,
    broadcast_to,
    clip,
    divide,
    equal,
    greater,
    greater_equal,
    less,
    less_equal,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    multiply,
    negative,
    not_equal,
    power,
    std,
    subtract,
    sum,
    var,
    where,
)
from fastdl.kernels.eager import Caller
from fastdl.kernels.table import ACTIVATIONS, OPS
from fastdl.shaping import (
    concatenate,
    expand_dims,
    interpolate,
    one_hot,
    pad,
    repeat,
    split,
    squeeze,
    stack,
    swapaxes,
    take,
    transpose,
)
from fastdl.tensor import Tensor, apply
from fastdl.trace import reshape

__all__ = [
    "activation", "add", "broadcast_to", "clip", "concatenate", "divide", "equal", "expand_dims",
    "greater", "greater_equal", "interpolate", "less", "less_equal", "matmul", "max", "maximum",
    "mean", "min", "minimum", "multiply", "negative", "not_equal", "one_hot", "pad", "power",
    "repeat", "reshape", "split", "squeeze", "stack", "std", "subtract", "sum", "swapaxes",
    "take", "transpose", "var", "where",
]  # fmt: skip

#: Forms that the functions here choose between.
_FORMS = (
    "scalar", "vector", "middle", "sum_rows", "broadcast", "slice", "batch_matmul", "matmul",
    "accumulate", "assign", "fill",
)  # fmt: skip


def activation(x: Tensor, name: str) -> Tensor:
    """One of the activations by name; "linear" gives x itself."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return x if name == "linear" else apply(f"{name}_forward", x=x)


def __getattr__(name: str) -> Any:
    """For names that are no ops; type checkers learn here that there are others."""
    raise AttributeError(f"fastdl.ops has no {name!r}{nearest(name, __all__)}")


for _name, _op in OPS.items():
    _public = _name.removesuffix("_forward")
    _internal = "_backward" in _name or _name.endswith("_update") or _name.startswith(_FORMS)
    if not _internal and _public not in __all__:
        globals()[_public] = Caller(_name, _public)
        __all__.append(_public)
