"""Convolutions in two dimensions, and their transposes.

Letters: images are H x W with C channels, what a convolution makes of them is P x Q with O
channels, the kernel is R x S. A transposed convolution is a convolution's gradient used as a
network's layer: it takes (P, Q, O) to (H, W, C), so its letters keep their meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastdl.kernels.table.activations import ACTIVATIONS
from fastdl.kernels.table.vocabulary import choice, declare, in_, integer, out

#: Elements that one image may have.
_MOST = 2**31

#: (length before, length after, length of the kernel, name of the axis, padding before and after)
_AXES = (("H", "P", "R", "height", "top", "bottom"), ("W", "Q", "S", "width", "left", "right"))

_OPTIONS = (
    integer("stride_height", 1, 1, _MOST),
    integer("stride_width", 1, 1, _MOST),
    integer("dilation_height", 1, 1, _MOST, doc="distance of the kernel's rows"),
    integer("dilation_width", 1, 1, _MOST),
    integer("top", 0, 0, _MOST, doc="rows of zeros above each image"),
    integer("bottom", 0, -_MOST, _MOST, doc="below it; a negative number leaves out rows"),
    integer("left", 0, 0, _MOST, doc="columns of zeros"),
    integer("right", 0, -_MOST, _MOST, doc="columns of zeros; a negative number leaves out some"),
    integer("groups", 1, 1, _MOST, doc="parts into which the channels are divided, each by itself"),
)


def _geometry(lengths: dict[str, int], options: Mapping[str, Any]) -> dict[str, int]:
    """P and Q from H and W, or the least H and W that give P and Q; I from C and the groups."""
    derived = {}
    for before, after, kernel, name, start, end in _AXES:
        if kernel not in lengths:
            continue
        stride, padding = options[f"stride_{name}"], options[start] + options[end]
        if lengths[kernel] < 1:
            raise ValueError(f"the kernel's {name} must be at least 1, got {lengths[kernel]}")
        reach = (lengths[kernel] - 1) * options[f"dilation_{name}"] + 1
        if before in lengths:
            room = lengths[before] + padding - reach
            if room < 0:
                raise ValueError(
                    f"the kernel reaches over a {name} of {reach}, but the padded input has only "
                    f"{max(lengths[before] + padding, 0)}"
                )
            derived[after] = room // stride + 1
        elif after in lengths:
            derived[before] = max(lengths[after] - 1, 0) * stride + reach - padding
            if derived[before] < 1 or lengths[after] < 1:
                raise ValueError(
                    f"a {name} of {lengths[after]} comes from no image: with this kernel, stride "
                    f"and padding the image's would be {derived[before]}"
                )
    groups = options["groups"]
    if "C" in lengths:
        if lengths["C"] % groups:
            raise ValueError(f"{lengths['C']} channels cannot be divided into {groups} groups")
        derived["I"] = lengths["C"] // groups
    elif "I" in lengths:
        derived["C"] = lengths["I"] * groups
    if lengths.get("O", 0) % groups:
        raise ValueError(f"{lengths['O']} filters cannot be divided into {groups} groups")
    both = lengths | derived
    for letters in ("HWC", "PQO", "RSIO"):
        size = 1
        for letter in letters:
            size *= both.get(letter, 1)
        if size > _MOST:
            raise ValueError(
                f"{' x '.join(str(both.get(x, '?')) for x in letters)} is more than 2**31 elements"
            )
    return derived


_TAIL = choice("activation", ACTIVATIONS, "linear", doc="applied to what is finished, in the cache")

declare(
    "conv2d_forward",
    "out = activation(x correlated with weight, + bias).",
    out("out", "B P Q O"),
    in_("x", "B H W C"),
    in_("weight", "R S I O", doc="I is C divided by the groups"),
    in_("bias", "O", optional=True),
    *_OPTIONS,
    geometry=_geometry,
    backward=("conv2d_backward_input", "conv2d_backward_weight", "dense_backward_bias"),
    tail=_TAIL,
    runs_tails=True,
    by_rows=True,
    early=("weight",),
)
declare(
    "conv2d_statistics_forward",
    "conv2d_forward and batchnorm_statistics of what it makes: mean and biased variance of each "
    "channel, formed block by block and merged in a fixed order.",
    out("out", "B P Q O"),
    out("mean", "O"),
    out("variance", "O"),
    in_("x", "B H W C"),
    in_("weight", "R S I O", doc="I is C divided by the groups"),
    in_("bias", "O", optional=True),
    *_OPTIONS,
    geometry=_geometry,
    backward=("conv2d_backward_input", "conv2d_backward_weight", "dense_backward_bias"),
    by_rows=True,
    early=("weight",),
    late=("mean", "variance"),
)
declare(
    "conv2d_backward_input",
    "The gradient of a convolution by its input; H and W as given, or the least that give P and Q.",
    out("grad_x", "B H W C"),
    in_("grad_out", "B P Q O"),
    in_("weight", "R S I O"),
    *_OPTIONS,
    geometry=_geometry,
    runs_tails=True,
    by_rows=True,
    early=("weight",),
)
declare(
    "conv2d_backward_weight",
    "The gradient of a convolution by its weight.",
    out("grad_weight", "R S I O"),
    in_("x", "B H W C"),
    in_("grad_out", "B P Q O"),
    *_OPTIONS,
    geometry=_geometry,
    runs_tails=True,
    by_rows=True,
    late=("grad_weight",),
)
declare(
    "conv2d_transpose_forward",
    "out = activation(x spread out by weight, + bias): a convolution's gradient by its input.",
    out("out", "B H W C"),
    in_("x", "B P Q O"),
    in_("weight", "R S I O"),
    in_("bias", "C", optional=True),
    *_OPTIONS,
    geometry=_geometry,
    backward=(
        "conv2d_transpose_backward_input",
        "conv2d_transpose_backward_weight",
        "dense_backward_bias",
    ),
    tail=_TAIL,
    runs_tails=True,
    by_rows=True,
    early=("weight",),
)
declare(
    "conv2d_transpose_backward_input",
    "The gradient of a transposed convolution by its input: a convolution of grad_out.",
    out("grad_x", "B P Q O"),
    in_("grad_out", "B H W C"),
    in_("weight", "R S I O"),
    *_OPTIONS,
    geometry=_geometry,
    runs_tails=True,
    by_rows=True,
    early=("weight",),
)
declare(
    "conv2d_transpose_backward_weight",
    "The gradient of a transposed convolution by its weight.",
    out("grad_weight", "R S I O"),
    in_("x", "B P Q O"),
    in_("grad_out", "B H W C"),
    *_OPTIONS,
    geometry=_geometry,
    runs_tails=True,
    by_rows=True,
    late=("grad_weight",),
)
