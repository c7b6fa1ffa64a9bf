"""One axis made longer: by zeros in front and behind, or by points between its own.

Images are padded and resized an axis at a time, as the axes in front of M are part of B and those
behind it of N. (An axis is cut, and its points repeated, by ``slice`` and ``broadcast``.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastdl.kernels.table.vocabulary import declare, in_, integer, out

_ZEROS = (integer("before", 0, high=2**31), integer("after", 0, high=2**31))
_SIZE = integer("size", low=1, high=2**31)


def _padded(lengths: dict[str, int], options: Mapping[str, Any]) -> dict[str, int]:
    added = options["before"] + options["after"]
    if "M" in lengths:
        return {"P": lengths["M"] + added}
    if lengths.get("P", added) < added:
        raise ValueError(f"axis P must be at least {added}, the zeros alone, got {lengths['P']}")
    return {"M": lengths["P"] - added} if "P" in lengths else {}


def _resized(lengths: dict[str, int], options: Mapping[str, Any]) -> dict[str, int]:
    size = options["size"]
    if "M" in lengths:
        return {"P": size * lengths["M"]}
    if lengths.get("P", 0) % size:
        raise ValueError(f"axis P must be a multiple of the size {size}, got {lengths['P']}")
    return {"M": lengths["P"] // size} if "P" in lengths else {}


declare("pad_forward", "out = x with so many zeros before and after it.", out("out", "B P N"),
    in_("x", "B M N"), *_ZEROS, geometry=_padded, backward=("pad_backward",))  # fmt: skip
declare("pad_backward", "grad_x = grad_out without the zeros' places.", out("grad_x", "B M N"),
    in_("grad_out", "B P N"), *_ZEROS, geometry=_padded)  # fmt: skip

declare(
    "interpolate_forward",
    "out = ``size`` points for each of x, on the lines between the neighbours: out[p] is at place "
    "(p + 1/2)/size - 1/2 of x, whose ends go on as they are.",
    out("out", "B P N"),
    in_("x", "B M N"),
    _SIZE,
    geometry=_resized,
    backward=("interpolate_backward",),
)
declare(
    "interpolate_backward",
    "grad_x = sum of grad_out, each with the weight that this point of x had.",
    out("grad_x", "B M N"),
    in_("grad_out", "B P N"),
    _SIZE,
    geometry=_resized,
)
