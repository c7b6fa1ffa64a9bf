"""Metrics that are a mean of one number a row, or a function of such a mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from fastdl.metrics.base import MeanMetric
from fastdl.tensor import Tensor, apply

__all__ = [
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "CosineSimilarity",
    "FunctionMetric",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
]


class _OpMetric(MeanMetric):
    """The mean of what an op of the table gives."""

    op: ClassVar[str]

    def __init__(self, name: str | None = None, **options: Any) -> None:
        super().__init__(name)
        self.options = options

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """See `MeanMetric.call`."""
        target = {"labels" if y_true.dtype == "label" else "target": y_true}
        return apply(self.op, ("grad_pred",), pred=y_pred, **target, **self.options)

    @property
    def by_order(self) -> bool:
        """See `NativeMetric.by_order`."""
        return self.op.endswith("categorical_accuracy")

    def get_config(self) -> dict[str, Any]:
        """See `Metric.get_config`."""
        return {**super().get_config(), **self.options}


class CategoricalAccuracy(_OpMetric):
    """Share of rows whose largest prediction is where the one-hot target is.

    Parameters
    ----------
    name : str, optional
    """

    op = "categorical_accuracy"
    targets = "arrays"

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)


class SparseCategoricalAccuracy(_OpMetric):
    """Share of rows whose largest prediction is at the label.

    Parameters
    ----------
    name : str, optional

    Examples
    --------
    >>> SparseCategoricalAccuracy()([1, 0], [[0.1, 0.9], [0.2, 0.8]])
    0.5
    """

    op = "sparse_categorical_accuracy"
    targets = "labels"

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)


class BinaryAccuracy(_OpMetric):
    """Share of outputs that are on the right side of the threshold.

    Parameters
    ----------
    threshold : float, default 0.5
    name : str, optional
    """

    op = "binary_accuracy"
    targets = "arrays"

    def __init__(self, threshold: float = 0.5, name: str | None = None) -> None:
        super().__init__(name, threshold=float(threshold))


class TopKCategoricalAccuracy(_OpMetric):
    """Share of rows whose class, by the one-hot target, is among the k largest predictions.

    A prediction that ties with that of the row's class does not push it out.

    Parameters
    ----------
    k : int, default 5
    name : str, optional
    """

    op = "top_k_categorical_accuracy"
    targets = "arrays"

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise ValueError(
                f"{type(self).__name__}: k must be a whole number of at least 1, got {k!r}"
            )
        super().__init__(name, k=int(k))


class SparseTopKCategoricalAccuracy(TopKCategoricalAccuracy):
    """Share of rows whose label is among the k largest predictions.

    Parameters
    ----------
    k : int, default 5
    name : str, optional

    Examples
    --------
    >>> SparseTopKCategoricalAccuracy(k=2)([0, 1], [[0.5, 0.2, 0.3], [0.5, 0.2, 0.3]])
    0.5
    """

    op = "sparse_top_k_categorical_accuracy"
    targets = "labels"


class MeanSquaredError(_OpMetric):
    """mean((y_pred - y_true)**2).

    Parameters
    ----------
    name : str, optional
    """

    op = "mean_squared_error"
    targets = "arrays"

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)


class RootMeanSquaredError(MeanSquaredError):
    """sqrt(mean((y_pred - y_true)**2)), the mean taken over all rows and outputs.

    Parameters
    ----------
    name : str, optional

    Examples
    --------
    >>> RootMeanSquaredError()([[0.0], [0.0]], [[1.0], [7.0]])
    5.0
    """

    def compute(self, total: np.ndarray) -> Any:  # type: ignore[override]
        """See `NativeMetric.compute`."""
        return np.sqrt(super().compute(total))


class MeanAbsoluteError(_OpMetric):
    """mean(|y_pred - y_true|).

    Parameters
    ----------
    name : str, optional
    """

    op = "mean_absolute_error"
    targets = "arrays"

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)


class CosineSimilarity(_OpMetric):
    """Mean cosine of the angle between the rows of targets and of predictions.

    Parameters
    ----------
    name : str, optional

    Examples
    --------
    >>> CosineSimilarity()([[0.0, 2.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 3.0]])
    0.5
    """

    op = "cosine_similarity"
    targets = "arrays"

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)


class FunctionMetric(MeanMetric):
    """The mean of what a function of tensors ``(y_true, y_pred)`` gives for each row.

    Parameters
    ----------
    function : callable
    name : str, optional
        By default that of the function.
    """

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        super().__init__(name or getattr(function, "__name__", "function_metric").strip("<>"))
        self.function = function

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """See `MeanMetric.call`."""
        return self.function(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """See `Metric.get_config`; `fastdl.load_model` has to be given the function."""
        return {"name": self.name}
