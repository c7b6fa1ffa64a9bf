"""Metrics: what is shown beside the loss.

Most are counted by ops inside the Program, in float64; `AUC` and metrics in plain Python see all
rows of an epoch at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastdl._names import lookup, snake_case, split_config
from fastdl.losses import Loss
from fastdl.metrics.auc import AUC
from fastdl.metrics.base import MeanMetric, Metric, NativeMetric
from fastdl.metrics.counts import ConfusionMatrix, F1Score, Precision, R2Score, Recall
from fastdl.metrics.rows import (
    BinaryAccuracy,
    CategoricalAccuracy,
    CosineSimilarity,
    FunctionMetric,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from fastdl.tensor import Shape

__all__ = [
    "AUC",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "ConfusionMatrix",
    "CosineSimilarity",
    "F1Score",
    "FunctionMetric",
    "MeanAbsoluteError",
    "MeanMetric",
    "MeanSquaredError",
    "Metric",
    "NativeMetric",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "from_config",
    "get",
    "serialize",
]

_METRICS: dict[str, type[Metric]] = {
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "binary_accuracy": BinaryAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "root_mean_squared_error": RootMeanSquaredError,
    "rmse": RootMeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
    "cosine_similarity": CosineSimilarity,
    "precision": Precision,
    "recall": Recall,
    "f1_score": F1Score,
    "r2_score": R2Score,
    "confusion_matrix": ConfusionMatrix,
    "auc": AUC,
}

#: Names that the targets tell apart.
_BY_TARGETS: dict[str, tuple[Any, Any]] = {
    "accuracy": (SparseCategoricalAccuracy, CategoricalAccuracy),
    "acc": (SparseCategoricalAccuracy, CategoricalAccuracy),
    "top_k_accuracy": (SparseTopKCategoricalAccuracy, TopKCategoricalAccuracy),
}


def get(identifier: Any, loss: Loss, prediction: Shape) -> Metric:
    """The metric that a name, a configuration, a class, a function or a metric stands for.

    "accuracy" (or "acc") is the sparse, the categorical or the binary one, as the loss and the
    shape of the predictions say; likewise "top_k_accuracy".

    Raises
    ------
    ValueError
        For an unknown name; the message gives the nearest one.
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return identifier()
    if isinstance(identifier, dict):
        return from_config(identifier)
    if not isinstance(identifier, str):
        if callable(identifier) and not isinstance(identifier, type):
            return FunctionMetric(identifier)
        raise TypeError(
            f"a metric is a name, a function of (y_true, y_pred) or a fastdl.metrics.Metric, not "
            f"{type(identifier).__name__}"
        )
    if identifier in _BY_TARGETS:
        sparse, dense = _BY_TARGETS[identifier]
        binary = prediction[-1] == 1 or loss.op == "binary_crossentropy"
        if not loss.labels and binary and dense is CategoricalAccuracy:
            return BinaryAccuracy(name=identifier)
        chosen: Any = sparse if loss.labels else dense
        return chosen(name=identifier)
    known: dict[str, type[Metric]] = {**dict.fromkeys(_BY_TARGETS, Metric), **_METRICS}
    return lookup("metric", identifier, known)(name=snake_case(identifier))


def from_config(config: Mapping[str, Any], custom: Mapping[str, Any] | None = None) -> Metric:
    """The metric that `serialize` described.

    Parameters
    ----------
    config : dict
    custom : dict, optional
        Classes and functions of your own, by name.
    """
    name, arguments = split_config("metric", config)
    made = lookup("metric", name, {**_METRICS, **(custom or {})})
    return made(**arguments) if isinstance(made, type) else FunctionMetric(made, **arguments)


def serialize(metric: Any) -> Any:
    """A metric as JSON can hold it; names stay names."""
    if isinstance(metric, str):
        return metric
    if not isinstance(metric, Metric):
        metric = FunctionMetric(metric)
    named = metric.function if isinstance(metric, FunctionMetric) else type(metric)
    name = getattr(named, "__name__", type(named).__name__)
    return {"class_name": name, "config": metric.get_config()}
