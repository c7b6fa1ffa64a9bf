"""What metrics need beside the accuracies: figures of rows, and accumulators in float64.

An ``_update`` adds the rows of one batch, each as often as its weight says, to what the batches
before have left.
"""

from __future__ import annotations

from fastdl.kernels.table.vocabulary import declare, in_, inout, integer, number, out

_PRED = in_("pred", "B C")
_TARGET = in_("target", "B C")
_LABELS = in_("labels", "B", dtype="label", below="C")
_WEIGHT = in_("sample_weight", "B", optional=True)

_TOP_K = (
    "out = 1 where fewer than k outputs are larger than that of the row's class, else 0: outputs "
    "that tie with it do not push it out, NaN elsewhere does, and NaN itself is never in."
)
declare("top_k_categorical_accuracy", _TOP_K + " The class is argmax(target).",
    out("out", "B"), _PRED, _TARGET, integer("k", 5, 1))  # fmt: skip
declare("sparse_top_k_categorical_accuracy", _TOP_K,
    out("out", "B"), _PRED, _LABELS, integer("k", 5, 1))  # fmt: skip
declare("cosine_similarity",
    "out = sum(pred*target)/(|pred|*|target|) of each row, 0 where a length is at most 1e-12.",
    out("out", "B"), _PRED, _TARGET)  # fmt: skip

declare("confusion_update", "confusion[labels, argmax(pred)] += sample_weight, or 1, for each row.",
    inout("confusion", "C C", dtype="float64"), _PRED, _LABELS, _WEIGHT)  # fmt: skip
declare("categorical_confusion_update", "confusion_update with labels = argmax(target).",
    inout("confusion", "C C", dtype="float64"), _PRED, _TARGET, _WEIGHT)  # fmt: skip

_COUNTS = (
    "counts += the weights of each output's true positives, false positives, false negatives and "
    "true negatives, in this order: predicted are those with pred > threshold, positive those "
)
declare("threshold_counts_update", _COUNTS + "with target > 1/2.",
    inout("counts", "4 C", dtype="float64"), _PRED, _TARGET, _WEIGHT,
    number("threshold", 0.5))  # fmt: skip
declare("sparse_threshold_counts_update", _COUNTS + "of the row's label.",
    inout("counts", "4 C", dtype="float64"), _PRED, _LABELS, _WEIGHT,
    number("threshold", 0.5))  # fmt: skip

_CLASSES = (
    "counts += the weights of each class's true positives, false positives, false negatives and "
    "true negatives, in this order: predicted is argmax(pred), positive "
)
declare("argmax_counts_update", _CLASSES + "argmax(target).",
    inout("counts", "4 C", dtype="float64"), _PRED, _TARGET, _WEIGHT)  # fmt: skip
declare("sparse_argmax_counts_update", _CLASSES + "the row's label.",
    inout("counts", "4 C", dtype="float64"), _PRED, _LABELS, _WEIGHT)  # fmt: skip

declare("r2_update",
    "moments of each output are s, sum(w), sum(w*(target - s)), sum(w*(target - s)**2) and "
    "sum(w*(target - pred)**2), with w = sample_weight or 1. The shift s keeps the digits that "
    "sums of squares far from 0 would lose: it is the first row's target where sum(w) is 0.",
    inout("moments", "5 C", dtype="float64"), _PRED, _TARGET, _WEIGHT)  # fmt: skip
