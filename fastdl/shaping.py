"""Moving the elements of tensors about: transpositions, joining, slicing, lengthening, labels."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdl.arithmetic import as_tensor, axis_of, leading, size_of
from fastdl.tensor import Shape, Tensor, Variable, apply
from fastdl.trace import reshape, root

__all__ = [
    "concatenate", "expand_dims", "getitem", "interpolate", "one_hot", "pad", "repeat", "split",
    "squeeze", "stack", "swapaxes", "take", "transpose",
]  # fmt: skip


def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """x with its axes in another order.

    Parameters
    ----------
    x : Tensor or array
    axes : sequence of int, optional
        Which axis of x comes first, second, ...; by default they are reversed. The batch axis stays
        in front.
    """
    x = as_tensor("transpose", x)
    ndim = len(x.shape)
    wanted = (
        list(range(ndim))[::-1] if axes is None else [axis_of("transpose", a, ndim) for a in axes]
    )
    if sorted(wanted) != list(range(ndim)):
        raise ValueError(f"transpose: axes {axes} are not each of the axes of {x.shape} once")
    if x.shape[:1] == (None,) and wanted[0] != 0:
        raise ValueError(f"transpose: the batch axis of {x.shape} stays in front, got axes {axes}")
    order = list(range(ndim))
    for i in range(ndim):
        j = order.index(wanted[i])
        if j == i:
            continue
        k = j + 1
        while k < ndim and order[k] == wanted[i + k - j]:
            k += 1
        x = _exchange(x, i, j, k)
        order = order[:i] + order[j:k] + order[i:j] + order[k:]
    return x


def _exchange(x: Tensor, i: int, j: int, k: int) -> Tensor:
    """x with axes i ... j - 1 behind axes j ... k - 1."""
    shape = x.shape
    result = (*shape[:i], *shape[j:k], *shape[i:j], *shape[k:])
    first, second = size_of(shape[i:j]), size_of(shape[j:k])
    if first != 1 and second != 1:
        four: Shape = (*leading(shape, i), first, second, size_of(shape[k:]))
        source = root(x).node
        if source is not None and source.name == "transpose_forward" and root(x).shape == four:
            x = source.inputs["x"]  # the way back, as of a layer with its channels first
        else:
            x = apply("transpose_forward", x=reshape(x, four))
    return reshape(x, result)


def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """x with two axes exchanged."""
    x = as_tensor("swapaxes", x)
    axes = list(range(len(x.shape)))
    a, b = axis_of("swapaxes", axis1, len(axes)), axis_of("swapaxes", axis2, len(axes))
    axes[a], axes[b] = axes[b], axes[a]
    return transpose(x, axes)


def expand_dims(x: Any, axis: int) -> Tensor:
    """x with a new axis of length 1, which is number ``axis`` of the result."""
    x = as_tensor("expand_dims", x)
    at = axis_of("expand_dims", axis, len(x.shape) + 1)
    return reshape(x, _behind_batch("expand_dims", x.shape, at))


def _behind_batch(name: str, shape: Shape, at: int) -> Shape:
    if at == 0 and shape[:1] == (None,):
        raise ValueError(f"{name}: the batch axis of {shape} stays in front")
    return (*shape[:at], 1, *shape[at:])


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """x without axes of length 1: those named, or all."""
    x = as_tensor("squeeze", x)
    if axis is None:
        axes = {i for i, n in enumerate(x.shape) if n == 1}
    else:
        given = axis if isinstance(axis, (tuple, list)) else [axis]
        axes = {axis_of("squeeze", a, len(x.shape)) for a in given}
    for i in axes:
        if x.shape[i] != 1:
            raise ValueError(f"squeeze: axis {i} of {x.shape} is not of length 1")
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


# --- joining ------------------------------------------------------------------------------------


def concatenate(tensors: Sequence[Any], axis: int = -1) -> Tensor:
    """Tensors one behind the other along an axis.

    Parameters
    ----------
    tensors : sequence of Tensor or array
        Their other axes agree.
    axis : int, default -1
        Any but the batch axis.
    """
    if not isinstance(tensors, (list, tuple)) or not tensors:
        raise TypeError("concatenate: wants a list of tensors")
    parts = [as_tensor("concatenate", t) for t in tensors]
    shapes = [t.shape for t in parts]
    at = axis_of("concatenate", axis, len(shapes[0]))
    before, behind = shapes[0][:at], shapes[0][at + 1 :]
    if any(len(s) != len(shapes[0]) or s[:at] != before or s[at + 1 :] != behind for s in shapes):
        listed = ", ".join(map(str, shapes))
        raise ValueError(f"concatenate: cannot join {listed} along axis {axis}")
    if shapes[0][at] is None:
        raise ValueError("concatenate: cannot join along the batch axis")
    inner = size_of(behind)
    rows = [reshape(t, (*leading(t.shape, at), (t.shape[at] or 0) * inner)) for t in parts]
    while len(rows) > 1:  # in pairs, so that each element is copied few times
        pairs = [
            apply("concatenate", a=a, b=b) for a, b in zip(rows[::2], rows[1::2], strict=False)
        ]
        rows = pairs + rows[2 * len(pairs) :]
    total = sum(s[at] or 0 for s in shapes)
    return reshape(rows[0], (*before, total, *behind))


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors of one shape along a new axis, which is number ``axis`` of the result."""
    if not isinstance(tensors, (list, tuple)) or not tensors:
        raise TypeError("stack: wants a list of tensors")
    parts = [as_tensor("stack", t) for t in tensors]
    if any(t.shape != parts[0].shape for t in parts):
        raise ValueError(f"stack: shapes differ: {', '.join(str(t.shape) for t in parts)}")
    at = axis_of("stack", axis, len(parts[0].shape) + 1)
    return concatenate([reshape(t, _behind_batch("stack", t.shape, at)) for t in parts], at)


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """x cut along an axis.

    Parameters
    ----------
    x : Tensor or array
    indices_or_sections : int, or sequence of int
        Into how many equal parts; or where parts begin, from the second on.
    axis : int, default 0
        Any but the batch axis.
    """
    x = as_tensor("split", x)
    at = axis_of("split", axis, len(x.shape))
    length = _length("split", x.shape, at)
    if isinstance(indices_or_sections, (list, tuple, np.ndarray)):
        starts = [operator.index(i) for i in indices_or_sections]
    else:
        parts = operator.index(indices_or_sections)  # type: ignore[arg-type]
        if parts < 1 or length % parts:
            raise ValueError(f"split: axis {axis} of {x.shape} is not {parts} equal parts")
        starts = [length // parts * i for i in range(1, parts)]
    edges = [0, *starts, length]
    return [_slice(x, at, range(length)[low:high]) for low, high in itertools.pairwise(edges)]


def _length(name: str, shape: Shape, axis: int) -> int:
    length = shape[axis]
    if length is None:
        raise ValueError(f"{name}: the batch axis of {shape} is not cut")
    return length


# --- parts --------------------------------------------------------------------------------------


def _slice(x: Tensor, axis: int, places: range) -> Tensor:
    """The places of one axis."""
    shape = x.shape
    if places == range(shape[axis] or 0):
        return x
    matrices = reshape(x, (*leading(shape, axis), shape[axis], size_of(shape[axis + 1 :])))
    start, stride = (places.start, places.step) if len(places) else (0, 1)
    out = apply("slice_forward", x=matrices, start=start, stride=stride, length=len(places))
    return reshape(out, (*shape[:axis], len(places), *shape[axis + 1 :]))


def getitem(x: Any, key: Any) -> Tensor:
    """x[key]: whole numbers, slices with steps, ``...`` and None, as in NumPy.

    The batch axis can only be taken whole. For rows by labels there is `take`.
    """
    x = as_tensor("getitem", x)
    keys = list(key) if isinstance(key, tuple) else [key]
    if sum(k is Ellipsis for k in keys) > 1:
        raise IndexError("x[...]: more than one '...'")
    count = sum(k is not None and k is not Ellipsis for k in keys)
    if count > len(x.shape):
        raise IndexError(f"x[...]: {count} indices for a tensor of shape {x.shape}")
    at = next((i for i, k in enumerate(keys) if k is Ellipsis), len(keys))
    keys[at : at + 1] = [slice(None)] * (len(x.shape) - count)
    result: list[int | None] = []
    axis = 0
    for k in keys:
        if k is None:
            result.append(1)
            continue
        if isinstance(k, slice):
            if k != slice(None):
                x = _slice(x, axis, range(_length("x[...]", x.shape, axis))[k])
            result.append(x.shape[axis])
        else:
            x = _slice(x, axis, _place(k, _length("x[...]", x.shape, axis), axis))
        axis += 1
    return reshape(x, tuple(result))


def _place(key: Any, length: int, axis: int) -> range:
    try:
        index = operator.index(key)
    except TypeError:
        raise TypeError(
            f"x[...]: wants whole numbers, slices, '...' and None, got {type(key).__name__}; for "
            f"rows by labels there is fastdl.ops.take"
        ) from None
    if not -length <= index < length:
        raise IndexError(f"x[...]: index {index} is not within axis {axis} of length {length}")
    return range(index % length, index % length + 1)


# --- lengthening --------------------------------------------------------------------------------


def _along(name: str, x: Any, axis: int) -> tuple[Tensor, int, Shape]:
    """The tensor, the number of the axis, and the shape with what stands behind it as one."""
    x = as_tensor(name, x)
    at = axis_of(name, axis, len(x.shape))
    length = _length(name, x.shape, at)
    return x, at, (*leading(x.shape, at), length, size_of(x.shape[at + 1 :]))


def _longer(x: Tensor, at: int, out: Tensor, length: int) -> Tensor:
    """What an op made of one axis, in the shape of all."""
    new: Shape = (*x.shape[:at], length, *x.shape[at + 1 :])
    if size_of(new[1:]) >= 2**31:
        raise ValueError(f"the result {new} of {x.shape} would have more than 2**31 elements a row")
    return reshape(out, new)


def pad(x: Any, pad_width: Sequence[tuple[int, int]]) -> Tensor:
    """x with zeros before and after it, as NumPy's ``pad``.

    Parameters
    ----------
    x : Tensor or array
    pad_width : sequence of (before, after)
        For each axis, numbers of at least 0; the batch axis is not padded.
    """
    x = as_tensor("pad", x)
    widths = [tuple(both) for both in pad_width]
    if len(widths) != len(x.shape) or any(len(both) != 2 for both in widths):
        raise ValueError(
            f"pad: wants (before, after) for each axis of {x.shape}, got {[*pad_width]}"
        )
    for axis in reversed(range(len(widths))):  # the shorter copies first
        before, after = map(operator.index, widths[axis])
        if before or after:
            x, at, matrices = _along("pad", x, axis)
            length = (x.shape[at] or 0) + before + after
            out = apply("pad_forward", x=reshape(x, matrices), before=before, after=after)
            x = _longer(x, at, out, length)
    return x


def repeat(x: Any, repeats: int, axis: int) -> Tensor:
    """x with each of its parts along an axis ``repeats`` times, one behind the other."""
    x, at, (*lead, length, inner) = _along("repeat", x, axis)
    times = operator.index(repeats)
    out = apply("broadcast_forward", x=reshape(x, (*lead, length, inner)), repeats=times)
    return _longer(x, at, out, (length or 0) * times)


def interpolate(x: Any, size: int, axis: int) -> Tensor:
    """x with ``size`` points for each along an axis, on the lines between neighbours.

    Point p lies at place (p + 1/2)/size - 1/2; beyond the first and last, x goes on as it is.
    """
    x, at, matrices = _along("interpolate", x, axis)
    out = apply("interpolate_forward", x=reshape(x, matrices), size=operator.index(size))
    return _longer(x, at, out, out.shape[-2] or 0)


# --- labels -------------------------------------------------------------------------------------


def as_labels(name: str, x: Any) -> Any:
    """A tensor of labels: an input of a model that is used so takes whole numbers from then on.

    Raises
    ------
    TypeError
        If the tensor holds computed real numbers.
    """
    if not isinstance(x, Tensor) or x.dtype == "label":
        return x
    chain = [x]
    while chain[-1].node is not None and chain[-1].node.op is None:
        chain.append(chain[-1].node.inputs["x"])
    if chain[-1].node is not None or isinstance(chain[-1], Variable):
        raise TypeError(f"{name}: wants whole numbers from an input, got {x!r}")
    for tensor in chain:
        tensor.dtype = "label"
    return x


def take(x: Any, indices: Any) -> Tensor:
    """The rows of x that whole numbers name; its gradient adds up the rows that are named often.

    Parameters
    ----------
    x : Tensor, shape (rows, ...)
        Without a batch.
    indices : Tensor of labels
        From 0 to rows - 1.
    """
    x = as_tensor("take", x)
    if not x.shape or x.shape[0] is None:
        raise ValueError(f"take: wants rows without a batch, got shape {x.shape}")
    indices = as_labels("take", indices)
    rows = reshape(x, (x.shape[0], size_of(x.shape[1:])))
    out = apply("take_forward", labels=indices, weight=rows)
    return reshape(out, (*out.shape[:-1], *x.shape[1:]))


def one_hot(labels: Any, classes: int) -> Tensor:
    """1 at the place that each label names, 0 elsewhere; the new axis is the last one."""
    return apply("one_hot", labels=as_labels("one_hot", labels), classes=classes)
