"""Pooling of images: the largest or the mean of each window, or the largest when normalised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastdl.kernels.table.vocabulary import choice, declare, in_, integer, number, out

_WINDOW = (
    integer("pool_height", low=1, high=2**24),
    integer("pool_width", low=1, high=2**24),
    integer("stride_height", low=1, high=2**31),
    integer("stride_width", low=1, high=2**31),
    choice("padding", ("valid", "same"), "valid"),
)

#: index counts places in a window, and float32 holds whole numbers up to this.
_PLACES = 2**24


def window_count(length: int, size: int, stride: int, padding: str) -> int:
    """How many windows there are along an axis: those that lie inside, or one for each stride.

    Raises
    ------
    ValueError
        If the axis is shorter than the window, and it is not padded.
    """
    if padding == "same":
        return -(-length // stride)
    if length < size:
        raise ValueError(f"a window of {size} is longer than its axis of {length}")
    return (length - size) // stride + 1


def _pooled(lengths: dict[str, int], options: Mapping[str, Any]) -> dict[str, int]:
    places = options["pool_height"] * options["pool_width"]
    if places > _PLACES:
        raise ValueError(f"a window may have {_PLACES} places, got {places}")
    return {
        pooled: window_count(
            lengths[whole], options[f"pool_{axis}"], options[f"stride_{axis}"], options["padding"]
        )
        for whole, pooled, axis in (("H", "P", "height"), ("W", "Q", "width"))
        if whole in lengths
    }


declare(
    "max_pool_forward",
    "out = the largest element of each window, NaN where there is one; index = its place in the "
    "window, row by row, the first of several. Windows begin ``stride`` apart; with padding same "
    "there are ceil(H/stride_height) of them, centred, and what lies outside does not count.",
    out("out", "B P Q C"),
    out("index", "B P Q C", optional=True),
    in_("x", "B H W C"),
    *_WINDOW,
    geometry=_pooled,
    runs_tails=True,
    backward=("max_pool_backward",),
    by_rows=True,
)
declare(
    "max_pool_backward",
    "Gradient of max_pool_forward: grad_out goes where ``index`` says.",
    out("grad_x", "B H W C"),
    in_("grad_out", "B P Q C"),
    in_("index", "B P Q C"),
    *_WINDOW,
    geometry=_pooled,
    by_rows=True,
)
declare(
    "average_pool_forward",
    "out = the mean of each window; windows as in max_pool_forward, and what lies outside does "
    "not count.",
    out("out", "B P Q C"),
    in_("x", "B H W C"),
    *_WINDOW,
    geometry=_pooled,
    runs_tails=True,
    backward=("average_pool_backward",),
    by_rows=True,
)
declare(
    "average_pool_backward",
    "Gradient of average_pool_forward: equal parts of grad_out for the elements of its window.",
    out("grad_x", "B H W C"),
    in_("grad_out", "B P Q C"),
    *_WINDOW,
    geometry=_pooled,
    by_rows=True,
)

_EPSILON = number("epsilon", 1e-3, 0.0)

declare(
    "batchnorm_max_pool_forward",
    "out = max_pool_forward(batchnorm_forward(x)); picked = the elements of x that it comes from, "
    "of a window the largest where gamma is positive, the smallest where it is negative, the first "
    "where it is 0; index = their places.",
    out("out", "B P Q C"),
    out("picked", "B P Q C"),
    out("index", "B P Q C"),
    in_("x", "B H W C"),
    in_("mean", "C"),
    in_("variance", "C"),
    in_("gamma", "C", optional=True),
    in_("beta", "C", optional=True),
    *_WINDOW,
    _EPSILON,
    geometry=_pooled,
    runs_tails=True,
    backward=("batchnorm_max_pool_backward",),
    by_rows=True,
    early=("gamma",),
    late=("out", "mean", "variance", "beta"),
)
declare(
    "batchnorm_max_pool_backward",
    "Gradients of batchnorm_max_pool_forward, through the statistics of x.",
    out("grad_x", "B H W C"),
    out("grad_gamma", "C"),
    out("grad_beta", "C"),
    in_("grad_out", "B P Q C"),
    in_("picked", "B P Q C"),
    in_("index", "B P Q C"),
    in_("x", "B H W C"),
    in_("mean", "C"),
    in_("variance", "C"),
    in_("gamma", "C", optional=True),
    *_WINDOW,
    _EPSILON,
    geometry=_pooled,
    by_rows=True,
    early=("grad_gamma", "grad_beta", "grad_out", "picked", "mean", "variance", "gamma"),
)
