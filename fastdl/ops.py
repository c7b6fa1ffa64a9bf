"""The ops as functions of tensors: what a layer's ``call`` is written in.

``ops.dense(x, weight, bias)`` stands for the table's ``dense_forward``, ``ops.relu(x)`` for
``relu_forward``, and so on for every op that a network can contain. Their gradients come from the
table, so a layer made of ops needs none of its own.

>>> from fastdl import Input, ops
>>> x = Input((4,))
>>> ops.relu(x).shape
(None, 4)
"""

from __future__ import annotations

from typing import Any

from fastdl._names import nearest
from fastdl.kernels.table import ACTIVATIONS, OPS
from fastdl.tensor import Tensor, apply, reshape

__all__ = ["activation", "reshape"]


def activation(x: Tensor, name: str) -> Tensor:
    """One of the activations by name; "linear" gives x itself."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return x if name == "linear" else apply(f"{name}_forward", x=x)


def _function(op_name: str, name: str) -> Any:
    op = OPS[op_name]
    order = [a.name for a in op.inputs]

    def function(*tensors: Any, **arguments: Any) -> Any:
        if len(tensors) > len(order):
            raise TypeError(f"{name}: takes at most {len(order)} tensors, got {len(tensors)}")
        for key, tensor in zip(order, tensors, strict=False):
            if key in arguments:
                raise TypeError(f"{name}: argument {key!r} was given twice")
            arguments[key] = tensor
        return apply(op_name, **arguments)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = op.doc
    return function


def __getattr__(name: str) -> Any:
    """For names that are no ops; type checkers learn here that there are others."""
    raise AttributeError(f"fastdl.ops has no {name!r}{nearest(name, __all__)}")


for _name, _op in OPS.items():
    _internal = _name.endswith(("_backward", "_update")) or _name.startswith("matmul")
    if not _internal and _name != "accumulate":
        _public = _name.removesuffix("_forward")
        globals()[_public] = _function(_name, _public)
        __all__.append(_public)
