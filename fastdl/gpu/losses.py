"""Losses with their gradients."""

from __future__ import annotations

from fastdl.gpu.core import Call, Family

losses = Family("losses")


@losses.host(
    "categorical_crossentropy", "sparse_categorical_crossentropy",
    "categorical_crossentropy_backward", "sparse_categorical_crossentropy_backward",
)  # fmt: skip
def _categorical(call: Call) -> None:
    arrays, rows, C = call.arrays, call.rows, call.lengths["C"]
    backward = "grad_loss" in arrays
    call.by_rows(
        "categorical", rows, C,
        arrays.get("loss"), call["grad_pred"], call["pred"],
        arrays.get("target"), arrays.get("labels"),
        call["grad_loss"] if backward else call["sample_weight"],
        1.0 if backward else call["scale"] / max(rows, 1),
        call["from_logits"], call["label_smoothing"],
        rows, C,
    )  # fmt: skip
