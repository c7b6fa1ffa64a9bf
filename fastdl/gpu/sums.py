"""Sums of all elements in float64 (see sums.cu)."""

from __future__ import annotations

from typing import Any

from fastdl.gpu.core import Call, Family

sums = Family("sums")

_THREADS, _LEAST, _MOST_BLOCKS = 256, 4096, 1024


def _sum(call: Call, out: Any, count: int, *arguments: Any) -> None:
    """Launches the op's kernel on blocks of at least _LEAST elements, and on what these leave."""
    blocks = max(1, min(-(-count // _LEAST), _MOST_BLOCKS))
    parts = call.workspace("parts", 2 * blocks, float) if blocks > 1 else None
    for grid, merged in ((blocks, 0), (1, blocks))[: 1 + (blocks > 1)]:
        call.launch(call.op.name, grid, _THREADS, out, parts, merged, *arguments, count)


@sums.host("accumulate", "batch_mean")
def _rows(call: Call) -> None:
    out, *inputs = call.arrays.values()
    options = [call["by_weight"]] if "by_weight" in call.options else []
    _sum(call, out, call.rows, *inputs, *options)


sums.elementwise("batch_mean_backward")


@sums.host("penalty")
def _penalty(call: Call) -> None:
    _sum(
        call, call["total"], call.size("param"), call["param"], call["l1"], call["l2"], call.rows
    )  # fmt: skip


@sums.host("squared_norm")
def _squared_norm(call: Call) -> None:
    out, *inputs = call.arrays.values()
    _sum(call, out, call.size("grad"), *inputs, call["l1"], call["l2"])


@sums.host("accumulate_squares")
def _accumulate_squares(call: Call) -> None:
    _sum(call, call["total"], call.size("values"), call["values"])


@sums.host("clip_scale")
def _clip_scale(call: Call) -> None:
    _sum(call, call["scale"], call.size("squares"), call["squares"], call["clipnorm"])
