"""NumPy's functions on tensors: ``np.exp(x)`` is ``ops.exp(x)``, and is recorded like it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["call", "call_function"]

#: A ufunc's name, and that of the function of `fastdl.ops` which computes the same.
_OPS = {
    name: name
    for name in (
        "add", "divide", "equal", "exp", "greater", "greater_equal", "less", "less_equal", "log",
        "matmul", "maximum", "minimum", "multiply", "negative", "not_equal", "power", "sign",
        "sqrt", "square", "subtract", "tanh",
    )
} | {"absolute": "abs"}  # fmt: skip

#: What ``reduce`` of a ufunc makes of a tensor.
_REDUCTIONS = {"add": "sum", "maximum": "max", "minimum": "min"}


def _reduction(name: str) -> Callable[..., Any]:
    def reduce(ops: Any, a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return getattr(ops, name)(a, axis, keepdims)

    return reduce


def _reshape(ops: Any, a: Any, shape: Any) -> Any:
    return ops.reshape(a, (shape,) if isinstance(shape, int) else tuple(shape))


#: The functions of NumPy that are no ufuncs and have an op, with NumPy's arguments.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "broadcast_to": lambda ops, array, shape: ops.broadcast_to(array, shape),
    "clip": lambda ops, a, a_min=None, a_max=None: ops.clip(a, a_min, a_max),
    "concatenate": lambda ops, arrays, axis=0: ops.concatenate(arrays, axis),
    "ndim": lambda ops, a: len(a.shape),
    "shape": lambda ops, a: a.shape,
    "expand_dims": lambda ops, a, axis: ops.expand_dims(a, axis),
    "reshape": _reshape,
    "split": lambda ops, ary, sections, axis=0: ops.split(ary, sections, axis),
    "squeeze": lambda ops, a, axis=None: ops.squeeze(a, axis),
    "stack": lambda ops, arrays, axis=0: ops.stack(arrays, axis),
    "swapaxes": lambda ops, a, axis1, axis2: ops.swapaxes(a, axis1, axis2),
    "transpose": lambda ops, a, axes=None: ops.transpose(a, axes),
    "where": lambda ops, condition, x, y: ops.where(condition, x, y),
    **{name: _reduction(name) for name in ("sum", "mean", "max", "min", "var", "std")},
    **{f"a{name}": _reduction(name) for name in ("max", "min")},
}


def call_function(function: Any, arguments: Any, options: dict[str, Any]) -> Any:
    """The tensor that an op makes; of a function that no op computes, what NumPy makes of the
    values, which no tape follows.

    Raises
    ------
    TypeError
        If an option of NumPy's is asked for that the op does not have.
    """
    from fastdl import ops

    name = function.__name__
    known = _FUNCTIONS.get(name)
    if known is None or getattr(np, name, None) is not function:
        return function(*_values(arguments), **_values(options))
    try:
        inspect.signature(known).bind(ops, *arguments, **options)
    except TypeError as error:
        raise TypeError(
            f"np.{name} of a tensor: {error}; tensor.numpy() is an array for all of NumPy"
        ) from None
    return known(ops, *arguments, **options)


def _values(value: Any) -> Any:
    """The same with arrays for tensors."""
    from fastdl.tensor import Tensor

    if isinstance(value, Tensor):
        return value.value
    if isinstance(value, dict):
        return {key: _values(each) for key, each in value.items()}
    return type(value)(map(_values, value)) if type(value) in (list, tuple) else value


def call(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The tensor that an op makes of these tensors, arrays and numbers.

    Raises
    ------
    TypeError
        If no op computes it, or an option of NumPy's is asked for that ops do not have.
    """
    from fastdl import ops

    given = {name: value for name, value in options.items() if value is not None}
    if method == "__call__" and ufunc.__name__ in _OPS and not given:
        return getattr(ops, _OPS[ufunc.__name__])(*inputs)
    reduction = _REDUCTIONS.get(ufunc.__name__) if method == "reduce" else None
    if reduction is not None and given.keys() <= {"axis", "keepdims"}:
        axis = options.get("axis", 0)  # where np.sum itself says None
        keepdims = bool(options.get("keepdims"))
        return getattr(ops, reduction)(*inputs, axis=axis, keepdims=keepdims)
    what = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    also = f" with {', '.join(sorted(given))}" if given else ""
    raise TypeError(
        f"np.{what}{also} of a tensor: no op computes it. Tensors know "
        f"{', '.join(sorted(_OPS))}; tensor.numpy() is an array for all of NumPy"
    )
