"""Metrics: what is shown beside the loss. Each is an op that gives one number a row."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastdl import kernels
from fastdl._names import lookup, snake_case, split_config
from fastdl.losses import Loss
from fastdl.tensor import Shape, Tensor, apply

__all__ = [
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "SparseCategoricalAccuracy",
    "get",
    "serialize",
]


class Metric:
    """The base of all metrics: the mean over rows of what its op gives.

    Parameters
    ----------
    name : str, optional
        The key in the history.
    """

    op: ClassVar[str]
    labels: ClassVar[bool] = False
    options: dict[str, Any]

    def __init__(self, name: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        self.options = {}

    def target_shape(self, prediction: Shape) -> Shape:
        """The shape of the targets for predictions of this shape."""
        return prediction[:-1] if self.labels else prediction

    def apply(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Adds the metric to the graph: one number a row."""
        name = "labels" if self.labels else "target"
        inputs = {"pred": prediction, name: target}
        return apply(self.op, ("grad_pred",), **inputs, **self.options)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """The metric of arrays.

        >>> SparseCategoricalAccuracy()([1, 0], [[0.1, 0.9], [0.2, 0.8]])
        0.5
        """
        values = getattr(kernels, self.op)(y_pred, y_true, **self._without_gradient())
        return float(np.average(np.ravel(values), weights=sample_weight))

    def _without_gradient(self) -> dict[str, Any]:
        names = [a.name for a in kernels.OPS[self.op].outputs]
        return {**self.options, **({"grad_pred": False} if "grad_pred" in names else {})}

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal metric."""
        return {"name": self.name, **self.options}


class CategoricalAccuracy(Metric):
    """Share of rows whose largest prediction is where the one-hot target is."""

    op = "categorical_accuracy"


class SparseCategoricalAccuracy(Metric):
    """Share of rows whose largest prediction is at the label."""

    op = "sparse_categorical_accuracy"
    labels = True


class BinaryAccuracy(Metric):
    """Share of outputs that are on the right side of the threshold.

    Parameters
    ----------
    threshold : float, default 0.5
    """

    op = "binary_accuracy"

    def __init__(self, threshold: float = 0.5, name: str | None = None) -> None:
        super().__init__(name)
        self.options = {"threshold": float(threshold)}


class MeanSquaredError(Metric):
    """mean((y_pred - y_true)**2)."""

    op = "mean_squared_error"


class MeanAbsoluteError(Metric):
    """mean(|y_pred - y_true|)."""

    op = "mean_absolute_error"


_METRICS: dict[str, type[Metric]] = {
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "binary_accuracy": BinaryAccuracy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
}


def get(identifier: Any, loss: Loss, prediction: Shape) -> Metric:
    """The metric that a name, a configuration, a class or a metric stands for.

    "accuracy" (or "acc") is the sparse, the categorical or the binary one, as the loss and the
    shape of the predictions say.

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
        name, arguments = split_config("metric", identifier)
        return lookup("metric", name, _METRICS)(**arguments)
    if not isinstance(identifier, str):
        raise TypeError(
            f"a metric is a name or a fastdl.metrics.Metric, not {type(identifier).__name__}"
        )
    if identifier in ("accuracy", "acc"):
        if loss.labels:
            return SparseCategoricalAccuracy(name=identifier)
        if prediction[-1] == 1 or loss.op == "binary_crossentropy":
            return BinaryAccuracy(name=identifier)
        return CategoricalAccuracy(name=identifier)
    known = {**_METRICS, "accuracy": CategoricalAccuracy}
    return lookup("metric", identifier, known)(name=snake_case(identifier))


def serialize(metric: Any) -> Any:
    """A metric as JSON can hold it; names stay names."""
    if isinstance(metric, str):
        return metric
    return {"class_name": type(metric).__name__, "config": metric.get_config()}
