"""Losses and metrics."""

from __future__ import annotations

from fastdl.kernels.table.vocabulary import Argument, Option, declare, flag, in_, inout, number, out

# ``loss`` is one number a row, its mean over the outputs. ``grad_pred`` is the gradient of
# scale * mean(loss * sample_weight), the mean taken over the rows. The backward op has the gradient
# of each row's loss instead.


def _loss(name: str, doc: str, target: Argument, *options: Option) -> None:
    declare(
        name,
        doc,
        out("loss", "B"),
        out("grad_pred", "B C", optional=True),
        in_("pred", "B C"),
        target,
        in_("sample_weight", "B", optional=True),
        *options,
        number("scale", 1.0),
        backward=(f"{name}_backward",),
    )
    declare(
        f"{name}_backward",
        f"Gradient of ``{name}`` where each row's loss has a gradient of its own.",
        out("grad_pred", "B C"),
        in_("grad_loss", "B"),
        in_("pred", "B C"),
        target,
        *options,
    )


_LOGITS = flag("from_logits", doc="pred holds the inputs of the softmax or sigmoid")
_SMOOTHING = number("label_smoothing", 0.0, 0.0, 1.0)
_TARGET = in_("target", "B C")

_loss("mean_squared_error", "loss = mean((pred - target)**2).", _TARGET)
_loss("mean_absolute_error", "loss = mean(|pred - target|); the gradient at 0 is 0.", _TARGET)
_loss(
    "huber",
    "loss = mean(d**2/2 where |d| <= delta, delta*|d| - delta**2/2 elsewhere), d = pred - target "
    "(Huber 1964).",
    _TARGET,
    number("delta", 1.0, 0.0, open_low=True),
)
_loss(
    "binary_crossentropy",
    "loss = mean(-t*log(p) - (1 - t)*log(1 - p)); p = pred clipped to [1e-7, 1 - 1e-7], or "
    "sigmoid(pred) computed stably from logits; smoothing: t = t*(1 - s) + s/2.",
    _TARGET,
    _LOGITS,
    _SMOOTHING,
)
_loss(
    "categorical_crossentropy",
    "loss = -sum(t*log(p)); p = pred/sum(pred) clipped to [1e-7, 1 - 1e-7], or softmax(pred) "
    "computed stably from logits; smoothing: t = t*(1 - s) + s/C.",
    _TARGET,
    _LOGITS,
    _SMOOTHING,
)
_loss(
    "sparse_categorical_crossentropy",
    "categorical_crossentropy with whole-number labels in 0 ... C - 1.",
    in_("labels", "B", dtype="label", below="C"),
    _LOGITS,
    _SMOOTHING,
)

declare("categorical_accuracy",
    "out = 1 where argmax(pred) == argmax(target), else 0, for each row.",
    out("out", "B"), in_("pred", "B C"), _TARGET)  # fmt: skip
declare("sparse_categorical_accuracy",
    "out = 1 where argmax(pred) == labels, else 0, for each row.",
    out("out", "B"), in_("pred", "B C"), in_("labels", "B", dtype="label", below="C"))  # fmt: skip
declare("binary_accuracy", "out = share of a row's outputs where (pred > threshold) == target.",
    out("out", "B"), in_("pred", "B C"), _TARGET, number("threshold", 0.5))  # fmt: skip
declare("batch_mean", "out = sum(values*sample_weight)/B, summed in float64.",
    out("out", ""), in_("values", "B"), in_("sample_weight", "B", optional=True),
    backward=("batch_mean_backward",))  # fmt: skip
declare("batch_mean_backward", "grad_values = grad_out/B*sample_weight.",
    out("grad_values", "B"), in_("grad_out", ""),
    in_("values", "B", doc="only its number of rows is used"),
    in_("sample_weight", "B", optional=True))  # fmt: skip
declare("accumulate",
    "total[0] += sum(values*sample_weight), total[1] += B, or sum(sample_weight) with by_weight.",
    inout("total", "2", dtype="float64"), in_("values", "B"),
    in_("sample_weight", "B", optional=True), flag("by_weight"))  # fmt: skip
declare("penalty",
    "total[0] += B*(l1*sum(|param|) + l2*sum(param**2)), B being the rows of values.",
    inout("total", "2", dtype="float64"), in_("param", "N"), in_("values", "B"),
    number("l1", 0.0, 0.0), number("l2", 0.0, 0.0))  # fmt: skip
