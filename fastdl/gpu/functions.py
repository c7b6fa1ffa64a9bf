"""Functions of elements."""

from __future__ import annotations

from fastdl.gpu.core import Call, Family
from fastdl.kernels.table.tensors import ARITHMETIC, COMPARISONS, UNARY

functions = Family("functions")

#: In the order of functions.cuh.
_FUNCTIONS = (*ARITHMETIC, *COMPARISONS)

functions.elementwise(
    *(f"{name}_{way}" for name in UNARY for way in ("forward", "backward")),
    "sign", "clip_forward", "clip_backward", "where_forward", "where_backward",
)  # fmt: skip

_OWN = ("subtract", "divide", "power", "maximum", "minimum")


def which(call: Call) -> int:
    """The number of a call's option ``function``."""
    return _FUNCTIONS.index(call.options["function"])


@functions.host(*_OWN, *COMPARISONS)
def _two(call: Call) -> None:
    n = call.rows
    call.elements("two", n, *call.arrays.values(), _FUNCTIONS.index(call.op.name), n)


@functions.host(*(f"{name}_backward" for name in _OWN))
def _two_backward(call: Call) -> None:
    n, function = call.rows, call.op.name.removesuffix("_backward")
    call.elements("two_backward", n, *call.arrays.values(), _FUNCTIONS.index(function), n)


@functions.host("scalar_forward", "scalar_compare", "scalar_backward")
def _scalar(call: Call) -> None:
    kernel = "scalar_backward" if call.op.name == "scalar_backward" else "scalar"
    n = call.rows
    call.elements(
        kernel, n, *call.arrays.values(), call["value"], which(call), call["swapped"], n
    )  # fmt: skip
