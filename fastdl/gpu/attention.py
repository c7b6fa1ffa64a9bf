"""Attention whose scores are never stored (see attention.cu)."""

from __future__ import annotations

from typing import Any

from fastdl.gpu.core import Call, Family

attention = Family("attention")

_THREADS = (16, 16)


def _common(call: Call) -> tuple[int, list[Any], list[Any]]:
    """The side of a block, INPUTS and OPTIONS of the kernels."""
    inputs = [call[name] for name in ("q", "k", "v", "mask", "key_mask")]
    options = [call[name] for name in ("scale", "causal", "rate", "stream")]
    lengths = [call.lengths[letter] for letter in "TSHDV"]
    return 64 if call.real.itemsize == 4 else 32, inputs, [*options, call.context, *lengths]


def _grid(call: Call, block: int, rows: str, columns: int) -> tuple[int, int]:
    """Blocks of an axis of every head, and of the columns that they make."""
    heads = call.rows * call.lengths["H"]
    return -(-call.lengths[rows] // block) * heads, -(-columns // block)


@attention.host("attention_forward")
def _forward(call: Call) -> None:
    block, inputs, options = _common(call)
    grid = _grid(call, block, "T", max(call.lengths["V"], 1))  # lse, if there are no values
    call.launch(
        "attention_forward", grid, _THREADS, call["out"], call["lse"], *inputs, *options
    )  # fmt: skip


@attention.host("attention_backward")
def _backward(call: Call) -> None:
    block, inputs, options = _common(call)
    lengths, grad_out, lse = call.lengths, call["grad_out"], call["lse"]
    rows = call.rows * lengths["T"] * lengths["H"]
    means = call.workspace("means", rows)
    call.by_rows("attention_means", rows, lengths["V"], means, grad_out, call["out"], rows,
                 lengths["V"])  # fmt: skip
    given = grad_out, *inputs, lse, means, *options
    grid = _grid(call, block, "S", max(lengths["D"], lengths["V"]))
    call.launch("attention_keys", grid, _THREADS, call["grad_k"], call["grad_v"], *given)
    grid = _grid(call, block, "T", lengths["D"])
    call.launch("attention_queries", grid, _THREADS, call["grad_q"], *given)
