"""Losses with their gradients."""

from __future__ import annotations

from typing import Any

from fastdl.gpu.core import Call, Family

losses = Family("losses")


#: In the order of losses.cu, with the option that a loss has beside `from_logits`; the fifth is
#: that of logits.
_ELEMENTWISE = {
    "mean_squared_error": None, "mean_absolute_error": None, "huber": "delta",
    "binary_crossentropy": "label_smoothing",
}  # fmt: skip


def _weights(call: Call) -> tuple[Any, float]:
    """What each row's gradient is multiplied by, an array and a number."""
    if "grad_loss" in call.arrays:  # a backward op
        return call["grad_loss"], 1.0
    return call["sample_weight"], call["scale"] / max(call.rows, 1)


@losses.host(*(f"{name}{way}" for name in _ELEMENTWISE for way in ("", "_backward")))
def _elementwise(call: Call) -> None:
    rows, C = call.rows, call.lengths["C"]
    name = call.op.name.removesuffix("_backward")
    option = _ELEMENTWISE[name]
    call.by_rows(
        "elementwise", rows, C,
        call.arrays.get("loss"), call["grad_pred"], call["pred"], call["target"], *_weights(call),
        list(_ELEMENTWISE).index(name) + bool(call.options.get("from_logits")),
        call[option] if option else 0.0, rows, C,
    )  # fmt: skip


@losses.host(
    "categorical_crossentropy", "sparse_categorical_crossentropy",
    "categorical_crossentropy_backward", "sparse_categorical_crossentropy_backward",
)  # fmt: skip
def _categorical(call: Call) -> None:
    arrays, rows, C = call.arrays, call.rows, call.lengths["C"]
    call.by_rows(
        "categorical", rows, C,
        arrays.get("loss"), call["grad_pred"], call["pred"],
        arrays.get("target"), arrays.get("labels"), *_weights(call),
        call["from_logits"], call["label_smoothing"],
        rows, C,
    )  # fmt: skip
