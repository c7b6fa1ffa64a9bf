"""Copies of parts: transposed, sliced, padded, interpolated, taken by label."""

from __future__ import annotations

from typing import Any

from fastdl.gpu.core import Call, Family

moves = Family("moves")

moves.elementwise(
    "slice_forward", "slice_backward", "pad_forward", "pad_backward", "interpolate_forward",
    "interpolate_backward", "take_forward", "one_hot",
)  # fmt: skip

_TILE, _TILE_ROWS = 32, 8
_WARP, _WARPS, _TAKEN = 32, 8, 128

#: Rows among which those with the same label are looked for at a time.
_ROWS = 4096


@moves.host("transpose_forward", "transpose_backward")
def _transpose(call: Call) -> None:
    out, x = call.arrays.values()
    transpose(call, out, x, call.rows, *(call.lengths[a] for a in call.op.inputs[0].own_axes))


def transpose(call: Call, out: Any, x: Any, rows: int, M: int, N: int, K: int = 1) -> None:
    """out (rows, N, M, K) = x (rows, M, N, K)."""
    if K == 1 and min(M, N) >= _TILE_ROWS:
        tiles = rows * -(-M // _TILE) * -(-N // _TILE)
        call.launch("moves.transpose_tiles", tiles, (_TILE, _TILE_ROWS), out, x, M, N)
    else:
        n = rows * M * N * K
        call.elements("moves.transpose", n, out, x, M, N, K, n)


@moves.host("take_backward")
def _take_backward(call: Call) -> None:
    grad_weight, grad_out, labels = call.arrays.values()
    N, V = call.lengths["N"], call.lengths["V"]
    call.elements("recurrence.fill", V * N, grad_weight, 0.0, V * N)
    for begin in range(0, call.rows, _ROWS):
        end = min(begin + _ROWS, call.rows)
        call.launch(
            "take_backward", (end - begin) * -(-N // _TAKEN), (_WARP, _WARPS),
            grad_weight, grad_out, labels, begin, end, N, V,
        )  # fmt: skip
