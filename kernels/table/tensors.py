"""Tensors as in NumPy: functions of elements, broadcasting, sums, moving elements about.

Few forms stand for all shapes, as a reshape costs nothing: neighbouring axes that are treated alike
become one, and what stands before them is part of B. A sum over an axis is a sum over M of
(B, M, N), and a permutation of axes is a few exchanges of two neighbouring groups. `fastdl.ops`
brings every case to these forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastdl.kernels.table.vocabulary import choice, declare, flag, in_, integer, number, out

#: name: (formula, what its backward op reads beside ``grad_out``)
UNARY = {
    "exp": ("exp(x)", "out"),
    "log": ("log(x), the natural logarithm", "x"),
    "sqrt": ("sqrt(x)", "out"),
    "square": ("x*x", "x"),
    "abs": ("|x|; its gradient at 0 is 0", "x"),
}

for _name, (_formula, _saved) in UNARY.items():
    declare(
        f"{_name}_forward",
        f"out = {_formula}, for each element.",
        out("out", "B"),
        in_("x", "B"),
        backward=(f"{_name}_backward",),
        elementwise=True,
        inplace=True,
    )
    declare(
        f"{_name}_backward",
        f"Gradient of ``{_name}_forward`` from its {'output' if _saved == 'out' else 'input'}.",
        out("grad_x", "B"),
        in_("grad_out", "B"),
        in_(_saved, "B"),
        elementwise=True,
        inplace=True,
    )

declare("sign", "out = -1, 0 or 1 as x is below, at or above 0.", out("out", "B"), in_("x", "B"),
    elementwise=True, inplace=True)  # fmt: skip

_BOUNDS = number("low"), number("high")
declare("clip_forward", "out = min(max(x, low), high).", out("out", "B"), in_("x", "B"), *_BOUNDS,
    backward=("clip_backward",), elementwise=True, inplace=True)  # fmt: skip
declare("clip_backward", "grad_x = grad_out where low <= x <= high, else 0.", out("grad_x", "B"),
    in_("grad_out", "B"), in_("x", "B"), *_BOUNDS, elementwise=True, inplace=True)  # fmt: skip

# --- two arguments ------------------------------------------------------------------------------

#: Functions of two numbers that have gradients; where both are extreme they share it.
ARITHMETIC = {
    "add": "a + b", "subtract": "a - b", "multiply": "a*b", "divide": "a/b", "power": "a**b",
    "maximum": "max(a, b)", "minimum": "min(a, b)",
}  # fmt: skip

#: Functions that are 1 where they hold and 0 elsewhere.
COMPARISONS = {"less": "a < b", "less_equal": "a <= b", "equal": "a == b", "not_equal": "a != b"}

for _name in ("subtract", "divide", "power", "maximum", "minimum"):
    declare(
        _name,
        f"out = {ARITHMETIC[_name]}, for each element.",
        out("out", "B"),
        in_("a", "B"),
        in_("b", "B"),
        backward=(f"{_name}_backward",),
        elementwise=True,
        inplace=True,
    )
    declare(
        f"{_name}_backward",
        f"Gradients of ``{_name}``.",
        out("grad_a", "B", optional=True),
        out("grad_b", "B", optional=True),
        in_("grad_out", "B"),
        in_("a", "B"),
        in_("b", "B"),
    )

for _name, _formula in COMPARISONS.items():
    declare(_name, f"out = 1 where {_formula}, else 0, for each element.",
        out("out", "B"), in_("a", "B"), in_("b", "B"), elementwise=True, inplace=True)  # fmt: skip

_VALUES = (
    number("a_value", 0.0, doc="stands for a where that is left out"),
    number("b_value", 0.0, doc="stands for b where that is left out"),
)
declare(
    "where_forward",
    "out = a where condition is not 0, else b.",
    out("out", "B"),
    in_("condition", "B"),
    in_("a", "B", optional=True),
    in_("b", "B", optional=True),
    *_VALUES,
    backward=("where_backward",),
    elementwise=True,
)
declare(
    "where_backward",
    "Gradients of where_forward: grad_out where its argument was taken, else 0.",
    out("grad_a", "B", optional=True),
    out("grad_b", "B", optional=True),
    in_("grad_out", "B"),
    in_("condition", "B"),
)

# One operand (B, M, N); the other is a number, the same (N,) for all rows, or one (B, N) for each.
_FUNCTION = choice("function", ARITHMETIC, "add")
_COMPARISON = choice("function", COMPARISONS, "less")
_SWAPPED = flag("swapped", doc="function(y, x) instead of function(x, y)")

declare("scalar_forward", "out = function(x, value).", out("out", "B"), in_("x", "B"),
    number("value"), _FUNCTION, _SWAPPED, backward=("scalar_backward",), elementwise=True,
    inplace=True)  # fmt: skip
declare("scalar_backward", "Gradient of scalar_forward.", out("grad_x", "B"), in_("grad_out", "B"),
    in_("x", "B"), number("value"), _FUNCTION, _SWAPPED, elementwise=True,
    inplace=True)  # fmt: skip
declare("scalar_compare", "out = 1 where function(x, value) holds, else 0.", out("out", "B"),
    in_("x", "B"), number("value"), _COMPARISON, _SWAPPED, elementwise=True,
    inplace=True)  # fmt: skip

for _form, _whole, _part, _where in (
    ("vector", "B N", "N", "y being the same for all of B"),
    ("middle", "B M N", "B N", "y being the same for all of M"),
):
    declare(
        f"{_form}_forward",
        f"out = function(x, y), {_where}.",
        out("out", _whole),
        in_("x", _whole),
        in_("y", _part),
        _FUNCTION,
        _SWAPPED,
        backward=(f"{_form}_backward",),
    )
    declare(
        f"{_form}_backward",
        f"Gradients of ``{_form}_forward``; that of y is a sum.",
        out("grad_x", _whole, optional=True),
        out("grad_y", _part, optional=True),
        in_("grad_out", _whole),
        in_("x", _whole),
        in_("y", _part),
        _FUNCTION,
        _SWAPPED,
    )
    declare(
        f"{_form}_compare",
        f"out = 1 where function(x, y) holds, else 0, {_where}.",
        out("out", _whole),
        in_("x", _whole),
        in_("y", _part),
        _COMPARISON,
        _SWAPPED,
    )

# --- reductions and broadcasts ------------------------------------------------------------------

_MEAN = flag("mean", doc="divide by the number of terms")

declare("sum_forward", "out = sum of x over M.", out("out", "B N"), in_("x", "B M N"), _MEAN,
    backward=("sum_backward",))  # fmt: skip
declare("sum_backward", "grad_x = grad_out, the same for all of M.", out("grad_x", "B M N"),
    in_("grad_out", "B N"), _MEAN)  # fmt: skip
declare("sum_rows_forward", "out = sum of x over B.", out("out", "N"), in_("x", "B N"), _MEAN,
    backward=("sum_rows_backward",))  # fmt: skip
declare("sum_rows_backward", "grad_x = grad_out, the same for all of B.", out("grad_x", "B N"),
    in_("grad_out", "N"), _MEAN)  # fmt: skip

for _name in ("max", "min"):
    declare(f"{_name}_forward", f"out = {_name} of x over M; NaN where there is one.",
        out("out", "B N"), in_("x", "B M N"), backward=(f"{_name}_backward",))  # fmt: skip
    declare(f"{_name}_backward", "grad_x = grad_out where x is out, in equal parts; elsewhere 0.",
        out("grad_x", "B M N"), in_("grad_out", "B N"), in_("x", "B M N"),
        in_("out", "B N"))  # fmt: skip


def _repeats(lengths: dict[str, int], options: Mapping[str, Any]) -> dict[str, int]:
    return {"M": options["repeats"]}


_REPEATS = integer("repeats", high=2**31)
declare("broadcast_forward", "out = x, ``repeats`` times along M.", out("out", "B M N"),
    in_("x", "B N"), _REPEATS, geometry=_repeats, backward=("broadcast_backward",))  # fmt: skip
declare("broadcast_backward", "grad_x = sum of grad_out over M.", out("grad_x", "B N"),
    in_("grad_out", "B M N"), _REPEATS, geometry=_repeats)  # fmt: skip
declare("broadcast_rows_forward", "out = x for each of B.", out("out", "B N"), in_("x", "N"),
    in_("like", "B K", doc="only its number of rows is used"),
    backward=("broadcast_rows_backward",))  # fmt: skip
declare("broadcast_rows_backward", "grad_x = sum of grad_out over B.", out("grad_x", "N"),
    in_("grad_out", "B N"))  # fmt: skip

# --- moving elements ----------------------------------------------------------------------------

declare("transpose_forward", "out = x with M and N exchanged.", out("out", "B N M K"),
    in_("x", "B M N K"), backward=("transpose_backward",))  # fmt: skip
declare("transpose_backward", "grad_x = grad_out with N and M exchanged.",
    out("grad_x", "B M N K"), in_("grad_out", "B N M K"))  # fmt: skip


def _slice(lengths: dict[str, int], options: Mapping[str, Any]) -> dict[str, int]:
    start, stride, count = options["start"], options["stride"], options["length"]
    last = start + stride * (count - 1)
    if "M" in lengths and count and not (start < lengths["M"] and 0 <= last < lengths["M"]):
        raise ValueError(
            f"option 'length' leads from {start} by {stride} to {last}, which is not in an "
            f"axis of {lengths['M']}"
        )
    return {"K": count}


_SLICE = (
    integer("start", 0, high=2**31),
    integer("stride", 1, low=-(2**31), high=2**31),
    integer("length", high=2**31),
)
declare("slice_forward", "out = x[:, start], x[:, start + stride], ...: ``length`` places of M.",
    out("out", "B K N"), in_("x", "B M N"), *_SLICE, geometry=_slice,
    backward=("slice_backward",))  # fmt: skip
declare("slice_backward", "grad_x = grad_out at the places that were taken, elsewhere 0.",
    out("grad_x", "B M N"), in_("grad_out", "B K N"), *_SLICE, geometry=_slice)  # fmt: skip

declare(
    "take_forward",
    "out = the rows of weight that the labels name.",
    out("out", "B N"),
    in_("labels", "B", dtype="label", below="V"),
    in_("weight", "V N"),
    backward=("take_backward",),
)
declare(
    "take_backward",
    "grad_weight = sum of the rows of grad_out with each label, in their order.",
    out("grad_weight", "V N"),
    in_("grad_out", "B N"),
    in_("labels", "B", dtype="label", below="V"),
)


def _classes(lengths: dict[str, int], options: Mapping[str, Any]) -> dict[str, int]:
    return {"C": options["classes"]}


declare("one_hot", "out = 1 at the place that the label names, elsewhere 0.", out("out", "B C"),
    in_("labels", "B", dtype="label", below="C"), integer("classes", low=1, high=2**31),
    geometry=_classes)  # fmt: skip

# --- products -----------------------------------------------------------------------------------

declare("batch_matmul_forward", "out = a @ b, for each of B.", out("out", "B M N"),
    in_("a", "B M K"), in_("b", "B K N"),
    backward=("batch_matmul_backward_a", "batch_matmul_backward_b"))  # fmt: skip
declare("batch_matmul_backward_a", "grad_a = grad_out @ b.T, for each of B.",
    out("grad_a", "B M K"), in_("grad_out", "B M N"), in_("b", "B K N"))  # fmt: skip
declare("batch_matmul_backward_b", "grad_b = a.T @ grad_out, for each of B.",
    out("grad_b", "B K N"), in_("grad_out", "B M N"), in_("a", "B M K"))  # fmt: skip
