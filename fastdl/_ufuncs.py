"""NumPy's functions on tensors: ``np.exp(x)`` is ``ops.exp(x)``, and is recorded like it."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["call"]

#: A ufunc's name, and that of the function of `fastdl.ops` which computes the same.
_OPS = {
    name: name
    for name in (
        "add", "divide", "equal", "exp", "greater", "greater_equal", "less", "less_equal", "log",
        "matmul", "maximum", "minimum", "multiply", "negative", "not_equal", "power", "sign",
        "sqrt", "square", "subtract", "tanh",
    )
} | {"absolute": "abs"}  # fmt: skip

#: What ``np.sum``, ``np.max`` and ``np.min`` make of a tensor.
_REDUCTIONS = {"add": "sum", "maximum": "max", "minimum": "min"}


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
        axis = options.get("axis", 0)  # as a ufunc's; np.sum itself says None
        keepdims = bool(options.get("keepdims"))
        return getattr(ops, reduction)(*inputs, axis=axis, keepdims=keepdims)
    what = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    also = f" with {', '.join(sorted(given))}" if given else ""
    raise TypeError(
        f"np.{what}{also} of a tensor: no op computes it. Tensors know "
        f"{', '.join(sorted(_OPS))}; tensor.numpy() is an array for all of NumPy"
    )
