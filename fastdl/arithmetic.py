"""Arithmetic on tensors as in NumPy: broadcasting, comparisons, reductions, products.

Everything is brought to the few forms of `fastdl.kernels.table.tensors`: neighbouring axes that are
treated alike become one, and an operand that is repeated is read again and again, not copied.
`fastdl.ops` hands these functions on, and the operators of `fastdl.Tensor` are they.
"""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdl import runtime
from fastdl.tensor import Shape, Tensor, apply, constant
from fastdl.trace import reshape

__all__ = [
    "add", "broadcast_to", "clip", "divide", "equal", "greater", "greater_equal", "less",
    "less_equal", "matmul", "max", "maximum", "mean", "min", "minimum", "multiply", "negative",
    "not_equal", "power", "std", "subtract", "sum", "var", "where",
]  # fmt: skip

Axis = int | Sequence[int] | None


def as_tensor(name: str, x: Any) -> Tensor:
    """A tensor of x: itself, or a constant of the default float type."""
    if isinstance(x, Tensor):
        return x
    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: wants tensors, arrays or numbers, got {type(x).__name__}")
    return constant(array, runtime.floatx())


def _number(x: Any) -> float | None:
    """A plain number as such; None for what is none."""
    return float(x) if isinstance(x, (int, float, np.number, np.bool_)) else None


def axis_of(name: str, axis: Any, ndim: int) -> int:
    """An axis counted from the front, or an error that names the op."""
    try:
        index = operator.index(axis)
    except TypeError:
        raise TypeError(f"{name}: axis must be a whole number, got {axis!r}") from None
    if not -ndim <= index < ndim:
        raise ValueError(f"{name}: axis {axis} does not exist in a tensor of {ndim} axes")
    return index % ndim


def size_of(shape: Sequence[int | None]) -> int:
    """The number of elements of axes of which none is the batch."""
    return math.prod(n for n in shape if n is not None)


def leading(shape: Shape, count: int) -> Shape:
    """The first axes; one of length 1 where these are none, as B is at least one axis."""
    return shape[:count] or (1,)


# --- broadcasting -------------------------------------------------------------------------------


def broadcast_shape(name: str, *shapes: Shape) -> Shape:
    """The shape that these make together, as in NumPy.

    Raises
    ------
    ValueError
        If an axis has two lengths of which neither is 1; all shapes are named.
    """
    ndim = builtins.max(map(len, shapes))
    padded = [(1,) * (ndim - len(s)) + s for s in shapes]
    result = []
    for lengths in zip(*padded, strict=True):
        known = {n for n in lengths if n != 1}
        if len(known) > 1:
            listed = " and ".join(str(s) for s in shapes)
            raise ValueError(f"{name}: shapes {listed} do not fit together")
        result.append(known.pop() if known else 1)
    return tuple(result)


def _repeated(shape: Shape, full: Shape) -> list[tuple[int, int]]:
    """The stretches of axes along which a tensor of this shape, as long as full, is repeated."""
    runs: list[tuple[int, int]] = []
    last = -1  # the last axis that is no repetition, other than of length 1 in both
    for i, (own, wanted) in enumerate(zip(shape, full, strict=True)):
        if own == wanted:
            last = i if own != 1 else last
        elif runs and last < runs[-1][0]:
            runs[-1] = runs[-1][0], i + 1
        else:
            runs.append((i, i + 1))
    return runs


def _expand(x: Tensor, full: Shape, run: tuple[int, int]) -> Tensor:
    """x, of as many axes as full, repeated along one stretch; not along the batch."""
    i, j = run
    inner = size_of(x.shape[j:])
    rows = reshape(x, (*leading(x.shape, i), inner))
    out = apply("broadcast_forward", x=rows, repeats=size_of(full[i:j]))
    return reshape(out, (*x.shape[:i], *full[i:j], *x.shape[j:]))


def broadcast_to(x: Any, shape: Shape, like: Tensor | None = None) -> Tensor:
    """x repeated to a shape that it fits, as in NumPy.

    Parameters
    ----------
    x : Tensor or array
    shape : tuple
        With None in front for the batch.
    like : Tensor, optional
        One that has the batch, where x has none.
    """
    x = as_tensor("broadcast_to", x)
    shape = tuple(shape)
    if len(x.shape) > len(shape) or broadcast_shape("broadcast_to", x.shape, shape) != shape:
        raise ValueError(f"broadcast_to: a tensor of shape {x.shape} does not fit {shape}")
    x = _padded(x, len(shape))
    for i, j in _repeated(x.shape, shape)[::-1]:
        first = i + 1 if shape[i] is None else i
        if first < j:
            x = _expand(x, shape, (first, j))
        if first > i:
            if like is None:
                raise ValueError(f"broadcast_to: nothing says how long the batch of {shape} is")
            rows = reshape(like, (*like.shape[:1], size_of(like.shape[1:])))
            flat = reshape(x, (size_of(x.shape),))
            x = reshape(apply("broadcast_rows_forward", x=flat, like=rows), shape)
    return x


def _padded(x: Tensor, ndim: int) -> Tensor:
    return x if len(x.shape) == ndim else reshape(x, (1,) * (ndim - len(x.shape)) + x.shape)


def _binary(name: str, a: Any, b: Any, kind: str = "forward") -> Tensor:
    """name(a, b), where ``kind`` says which of the ops for broadcasting are meant."""
    first, second = _number(a), _number(b)
    if second is not None:
        return apply(f"scalar_{kind}", x=as_tensor(name, a), value=second, function=name)
    if first is not None:
        x = as_tensor(name, b)
        return apply(f"scalar_{kind}", x=x, value=first, function=name, swapped=True)
    a, b = as_tensor(name, a), as_tensor(name, b)
    if a.shape == b.shape:
        return apply(name, a=a, b=b)
    full = broadcast_shape(name, a.shape, b.shape)
    swapped = a.shape != full and (b.shape == full or _larger(b, a))
    x, y = (b, a) if swapped else (a, b)
    x, y = broadcast_to(x, full), _padded(y, len(full))
    runs = _repeated(y.shape, full)
    while len(runs) > 1:
        y = _expand(y, full, runs.pop())
    i, j = runs[0]
    inner = size_of(full[j:])
    options = {"function": name, "swapped": swapped}
    if size_of(y.shape[:i]) == 1 and None not in y.shape[:i]:  # the same for all that is before
        rows, vector = reshape(x, (*full[:j], inner)), reshape(y, (inner,))
        out = apply(f"vector_{kind}", x=rows, y=vector, **options)
    else:
        lead = full[:i]
        matrices = reshape(x, (*lead, size_of(full[i:j]), inner))
        out = apply(f"middle_{kind}", x=matrices, y=reshape(y, (*lead, inner)), **options)
    return reshape(out, full)


def _larger(a: Tensor, b: Tensor) -> bool:
    """Whether it is a that should be repeated to the whole shape: it has the batch, or more."""
    if (None in a.shape) != (None in b.shape):
        return None in a.shape
    return size_of(a.shape) > size_of(b.shape)


def add(a: Any, b: Any) -> Tensor:
    """a + b."""
    return _binary("add", a, b)


def subtract(a: Any, b: Any) -> Tensor:
    """a - b."""
    return _binary("subtract", a, b)


def multiply(a: Any, b: Any) -> Tensor:
    """a * b, for each element."""
    for x, factor in ((a, _number(b)), (b, _number(a))):
        if factor is not None:
            return apply("scale", x=as_tensor("multiply", x), factor=factor)
    return _binary("multiply", a, b)


def divide(a: Any, b: Any) -> Tensor:
    """a / b, for each element."""
    return _binary("divide", a, b)


def negative(x: Any) -> Tensor:
    """-x."""
    return multiply(x, -1.0)


def power(a: Any, b: Any) -> Tensor:
    """a ** b, for each element."""
    exponent = _number(b)
    if exponent == 2:
        return apply("square_forward", x=as_tensor("power", a))
    if exponent == 0.5:
        return apply("sqrt_forward", x=as_tensor("power", a))
    if exponent == -1:
        return divide(1.0, a)
    return _binary("power", a, b)


def maximum(a: Any, b: Any) -> Tensor:
    """The larger of a and b, for each element; where both are equal they share the gradient."""
    return _binary("maximum", a, b)


def minimum(a: Any, b: Any) -> Tensor:
    """The smaller of a and b, for each element; where both are equal they share the gradient."""
    return _binary("minimum", a, b)


def less(a: Any, b: Any) -> Tensor:
    """1 where a < b, else 0; no gradient flows through comparisons."""
    return _binary("less", a, b, "compare")


def less_equal(a: Any, b: Any) -> Tensor:
    """1 where a <= b, else 0."""
    return _binary("less_equal", a, b, "compare")


def greater(a: Any, b: Any) -> Tensor:
    """1 where a > b, else 0."""
    return _binary("less", b, a, "compare")


def greater_equal(a: Any, b: Any) -> Tensor:
    """1 where a >= b, else 0."""
    return _binary("less_equal", b, a, "compare")


def equal(a: Any, b: Any) -> Tensor:
    """1 where a == b, else 0. (The operator ``==`` asks whether two tensors are the same one.)"""
    return _binary("equal", a, b, "compare")


def not_equal(a: Any, b: Any) -> Tensor:
    """1 where a != b, else 0."""
    return _binary("not_equal", a, b, "compare")


def clip(x: Any, low: float | None = None, high: float | None = None) -> Tensor:
    """x, no less than low and no more than high; None is no bound.

    Raises
    ------
    ValueError
        If low > high.
    """
    if low is None or high is None:
        x = as_tensor("clip", x) if low is None else maximum(x, low)
        return x if high is None else minimum(x, high)
    if low > high:
        raise ValueError(f"clip: low must be at most high, got {low} and {high}")
    return apply("clip_forward", x=as_tensor("clip", x), low=float(low), high=float(high))


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """a where condition is not 0, else b; the three are broadcast."""
    values = {"a_value": _number(a), "b_value": _number(b)}
    tensors = {"condition": as_tensor("where", condition)}
    tensors |= {k: as_tensor("where", x) for k, x in (("a", a), ("b", b))
                if values[f"{k}_value"] is None}  # fmt: skip
    full = broadcast_shape("where", *(t.shape for t in tensors.values()))
    like = next((t for t in tensors.values() if None in t.shape), None)
    tensors = {k: broadcast_to(t, full, like) for k, t in tensors.items()}
    given = {k: v for k, v in values.items() if v is not None}
    return apply("where_forward", **tensors, **given)


# --- reductions ---------------------------------------------------------------------------------


def _stretches(name: str, axis: Axis, ndim: int) -> list[tuple[int, int]]:
    """The axes as stretches of neighbours, the last one first."""
    if axis is None:
        axes = list(range(ndim))
    else:
        given = axis if isinstance(axis, (tuple, list)) else [axis]
        axes = sorted(axis_of(name, a, ndim) for a in given)
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: axis {axis} names an axis twice")
    runs: list[tuple[int, int]] = []
    for i in axes:
        if runs and runs[-1][1] == i:
            runs[-1] = runs[-1][0], i + 1
        else:
            runs.append((i, i + 1))
    return runs[::-1]


def _reduce(name: str, x: Any, axis: Axis, keepdims: bool, **options: Any) -> Tensor:
    x = as_tensor(name, x)
    before = x.shape
    runs = _stretches(name, axis, len(before))
    for i, j in runs:
        shape = x.shape
        over_batch = shape[i] is None
        if over_batch and name in ("max", "min"):
            raise ValueError(f"{name}: over the batch axis of {before} there are only sum and mean")
        first = i + 1 if over_batch else i
        if first < j:
            inner = size_of(shape[j:])
            matrices = reshape(x, (*leading(shape, first), size_of(shape[first:j]), inner))
            if name in ("max", "min") and 0 in matrices.shape[-2:-1]:
                raise ValueError(f"{name}: of no elements, in a tensor of shape {before}")
            x = reshape(apply(f"{name}_forward", x=matrices, **options), shape[:first] + shape[j:])
        if over_batch:
            rows = reshape(x, (None, size_of(x.shape[1:])))
            x = reshape(apply(f"{name}_rows_forward", x=rows, **options), x.shape[1:])
    if keepdims:
        reduced = {k for i, j in runs for k in range(i, j)}
        x = reshape(x, tuple(1 if k in reduced else n for k, n in enumerate(before)))
    return x


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over one axis, several, or all.

    Parameters
    ----------
    x : Tensor or array
    axis : int or tuple of int, optional
        All axes by default. The batch axis, 0, may be among them.
    keepdims : bool, default False
        Keep the axes, of length 1.
    """
    return _reduce("sum", x, axis, keepdims)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over axes, as `sum`; of nothing it is 0."""
    return _reduce("sum", x, axis, keepdims, mean=True)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest over axes, as `sum`, but not over the batch. Equal ones share the gradient."""
    return _reduce("max", x, axis, keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest over axes, as `max`."""
    return _reduce("min", x, axis, keepdims)


def var(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean square of the distance from the mean over axes, as `mean`."""
    x = as_tensor("var", x)
    distance = subtract(x, mean(x, axis, keepdims=True))
    return mean(apply("square_forward", x=distance), axis, keepdims)


def std(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The square root of `var`."""
    return apply("sqrt_forward", x=var(x, axis, keepdims))


# --- products -----------------------------------------------------------------------------------


def matmul(a: Any, b: Any) -> Tensor:
    """The matrix product over the last axis of a and the last but one of b, as in NumPy.

    Leading axes are broadcast; a vector on the left is a row, one on the right a column, and its
    axis is dropped from the result.
    """
    a, b = as_tensor("matmul", a), as_tensor("matmul", b)
    row, column = len(a.shape) == 1, len(b.shape) == 1
    if not a.shape or not b.shape:
        raise ValueError(f"matmul: wants vectors or matrices, got {a.shape} and {b.shape}")
    if row:
        a = reshape(a, (1, *a.shape))
    if column:
        b = reshape(b, (*b.shape, 1))
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit together")
    if len(b.shape) == 2:
        out = apply("dense_forward", x=a, weight=b)
    else:
        lead = broadcast_shape("matmul", a.shape[:-2], b.shape[:-2])
        like = a if None in a.shape else b
        a = broadcast_to(a, (*lead, *a.shape[-2:]), like)
        b = broadcast_to(b, (*lead, *b.shape[-2:]), like)
        out = apply("batch_matmul_forward", a=a, b=b)
    if row:
        out = reshape(out, (*out.shape[:-2], *out.shape[-1:]))
    return reshape(out, out.shape[:-1]) if column else out
