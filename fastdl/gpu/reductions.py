"""Sums and extremes over one axis, broadcasts along one (see reductions.cu)."""

from __future__ import annotations

from typing import Any

from fastdl.gpu.core import Call, Family, power_of_two
from fastdl.gpu.functions import which

reductions = Family("reductions")

_WARP, _THREADS, _MOST_THREADS = 32, 256, 512

#: As many rows are summed by one thread; and with fewer of them for each, parts would not be worth
#: the launch that brings them together.
_FEW, _LEAST = 32, 16

#: As many blocks as keep a large GPU busy.
_BLOCKS = 264


def reduce(
    call: Call, kernel: str, out: Any, arguments: Any, shape: Any, divisor: int = 1,
    merge: str = "sum",
) -> None:  # fmt: skip
    """out (outer, columns) = the reduction of what the kernel makes of (outer, rows, columns), by
    the divisor; without ``out`` the kernel only writes what else it has to write."""
    outer, rows, columns = shape
    outputs, block = outer * columns, _block(rows, columns)
    parts = min(_BLOCKS // max(-(-outputs // block[0]), 1), rows // (block[1] * _LEAST))
    if parts <= 1 or rows <= _FEW:
        _launch(call, kernel, out, arguments, shape, block, 1, divisor)
        return
    if out is None:
        _launch(call, kernel, None, arguments, shape, block, parts)
        return
    layers = call.workspace("layers", parts * outputs)
    _launch(call, kernel, layers, arguments, shape, block, parts)
    shape = 1, parts, outputs
    _launch(call, merge, out, (layers,), shape, _block(parts, outputs), 1, divisor)


def _block(rows: int, columns: int) -> tuple[int, int]:
    """How many outputs a block has, and how many threads each of them."""
    if rows <= _FEW:
        return _THREADS, 1
    width = min(power_of_two(columns), _WARP)
    return width, min(_MOST_THREADS // width, power_of_two(rows))


def _launch(
    call: Call, kernel: str, out: Any, arguments: Any, shape: Any, block: tuple[int, int],
    parts: int, divisor: int = 1,
) -> None:  # fmt: skip
    grid = -(-shape[0] * shape[2] // block[0]), parts
    call.launch(f"reductions.{kernel}", grid, block, out, *arguments, float(divisor), *shape)


def _shape(call: Call) -> tuple[int, int, int]:
    """(outer, rows, columns) of the op's large array."""
    lengths = call.lengths
    return (lengths["B"], lengths["M"], lengths["N"]) if "M" in lengths else _over_rows(call)


def _over_rows(call: Call) -> tuple[int, int, int]:
    return 1, call.lengths["B"], call.lengths["N"]


def _divisor(call: Call) -> int:
    return max(_shape(call)[1], 1) if call.options.get("mean") else 1


_REDUCED = {"max_forward": "largest", "min_forward": "smallest"}


@reductions.host(
    "sum_forward", "sum_rows_forward", "broadcast_backward", "broadcast_rows_backward",
    *_REDUCED,
)  # fmt: skip
def _reduce(call: Call) -> None:
    out, x = call.arrays.values()
    kernel = _REDUCED.get(call.op.name, "sum")
    reduce(call, kernel, out, (x,), _shape(call), _divisor(call), kernel)


@reductions.host("sum_backward", "sum_rows_backward", "broadcast_forward", "broadcast_rows_forward")
def _spread(call: Call) -> None:
    out, x, *_ = call.arrays.values()
    n = call.size(call.op.arguments[0].name)
    call.elements("spread", n, out, x, float(_divisor(call)), *_shape(call)[1:], n)


@reductions.host("max_backward", "min_backward")
def _extreme_backward(call: Call) -> None:
    shape = _shape(call)
    count = call.workspace("count", shape[0] * shape[2])
    reduce(call, "count_same", count, (call["x"], call["out"]), shape)
    n = call.size("x")
    call.elements("extreme_backward", n, *call.arrays.values(), count, *shape[1:], n)


@reductions.host("vector_forward", "vector_compare", "middle_forward", "middle_compare")
def _function(call: Call) -> None:
    n = call.size("x")
    arguments = (*call.arrays.values(), which(call), call["swapped"], *_shape(call)[1:], n)
    call.elements("function", n, *arguments)


@reductions.host("vector_backward", "middle_backward")
def _function_backward(call: Call) -> None:
    grad_x, grad_y, *inputs = call.arrays.values()
    arguments = (grad_x, *inputs, which(call), call["swapped"])
    reduce(call, "function_backward", grad_y, arguments, _shape(call))
