"""Figures of rows, and what metrics add up over batches (see metrics.cu)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.gpu.core import Call, Family

metrics = Family("metrics")

metrics.rowwise(
    "categorical_accuracy", "sparse_categorical_accuracy", "binary_accuracy",
    "top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy", "cosine_similarity",
)  # fmt: skip

_WARP, _ROWS = 32, 8

#: As many blocks as keep a large GPU busy; a part of rows has at least so many.
_BLOCKS, _LEAST = 264, 256

#: Rows among which those of the same cell are looked for at a time.
_CHUNK = 4096


def _classes(call: Call) -> tuple[Any, Any]:
    """The classes that pred says, and those that are wanted."""
    rows, C = call.rows, call.lengths["C"]
    said, wanted = (call.workspace(name, rows, np.int64) for name in ("said", "wanted"))
    call.by_rows(
        "classes", rows, C,
        said, wanted, call["pred"], call.arrays.get("target"), call.arrays.get("labels"), rows, C,
    )  # fmt: skip
    return said, wanted


@metrics.host("confusion_update", "categorical_confusion_update")
def _confusion(call: Call) -> None:
    C = call.lengths["C"]
    if C == 0:
        return
    said, wanted = _classes(call)
    for begin in range(0, call.rows, _CHUNK):
        end = min(begin + _CHUNK, call.rows)
        call.by_rows(
            "confusion", end - begin, end - begin,
            call["confusion"], said, wanted, call["sample_weight"], begin, end, C,
        )  # fmt: skip


def _columns(call: Call, kernel: str, out: Any, *arguments: Any) -> None:
    """Sums over rows, cut into parts where there are many, and what is made of them."""
    rows, C = call.rows, call.lengths["C"]
    blocks = -(-C // _WARP)
    parts = max(1, min(_BLOCKS // max(blocks, 1), rows // _LEAST))
    layers = call.workspace("parts", 4 * parts * C, float) if parts > 1 else None
    for cut, merged in ((parts, 0), (1, parts))[: 1 + (parts > 1)]:
        call.launch(kernel, (blocks, cut), (_WARP, _ROWS), out, layers, merged, *arguments, rows, C)


@metrics.host(
    "threshold_counts_update", "sparse_threshold_counts_update", "argmax_counts_update",
    "sparse_argmax_counts_update",
)  # fmt: skip
def _counts(call: Call) -> None:
    said, wanted = None, call.arrays.get("labels")
    if "argmax" in call.op.name:
        said, wanted = _classes(call)
    _columns(
        call, "counts", call["counts"], call["pred"], call.arrays.get("target"), said, wanted,
        call["sample_weight"], float(call.options.get("threshold", 0.0)),
    )  # fmt: skip


@metrics.host("r2_update")
def _r2(call: Call) -> None:
    out, *inputs = call.arrays.values()
    _columns(call, "r2_update", out, *inputs)
