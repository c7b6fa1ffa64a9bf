"""Metrics made of counts: of a confusion matrix, or of hits and misses at a threshold; and R².

The counts are exact sums of weights in float64, so that the numbers are those that scikit-learn
gives for the same predictions.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastdl.metrics.base import NativeMetric
from fastdl.tensor import Shape, Tensor, apply

__all__ = ["ConfusionMatrix", "F1Score", "Precision", "R2Score", "Recall"]

AVERAGES = (None, "micro", "macro", "weighted")


def _options(target: Tensor, weight: Tensor | None) -> tuple[str, dict[str, Tensor | None]]:
    """What the ops for labels are called in front, and their inputs beside the predictions."""
    if target.dtype == "label":
        return "sparse_", {"labels": target, "sample_weight": weight}
    return "", {"target": target, "sample_weight": weight}


class ConfusionMatrix(NativeMetric):
    """How often each class (row) was taken for each (column); the history holds arrays.

    Targets are labels or one-hot rows; with one output the classes are those below and above 0.5.

    Parameters
    ----------
    normalize : {None, "true", "pred", "all"}
        Whether to divide by the sums of the rows, of the columns, or of all.
    name : str, optional

    Examples
    --------
    >>> ConfusionMatrix()([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    array([[1., 0.],
           [1., 1.]])
    """

    def __init__(self, normalize: str | None = None, name: str | None = None) -> None:
        if normalize not in (None, "true", "pred", "all"):
            raise ValueError(
                f"ConfusionMatrix: normalize must be None, 'true', 'pred' or 'all', "
                f"got {normalize!r}"
            )
        super().__init__(name)
        self.normalize = normalize

    @property
    def by_order(self) -> bool:
        """See `NativeMetric.by_order`."""
        return True

    def accumulators(self, prediction: Shape) -> dict[str, tuple[int, ...]]:
        """See `NativeMetric.accumulators`."""
        classes = prediction[-1] or 0
        return {"counts": (4, 1)} if classes == 1 else {"confusion": (classes, classes)}

    def add(
        self, totals: dict[str, Tensor], prediction: Tensor, target: Tensor, weight: Tensor | None
    ) -> None:
        """See `NativeMetric.add`."""
        kind, inputs = _options(target, weight)
        op = f"{kind}threshold_counts_update"
        if "confusion" in totals:
            op = "confusion_update" if kind else "categorical_confusion_update"
        apply(op, **totals, **inputs, pred=prediction)

    def compute(self, **totals: np.ndarray) -> Any:
        """See `NativeMetric.compute`."""
        if "counts" in totals:
            hits, false_alarms, misses, rejections = totals["counts"][:, 0]
            matrix = np.array([[rejections, false_alarms], [misses, hits]])
        else:
            matrix = totals["confusion"].copy()
        if self.normalize is not None:
            axis = {"true": 1, "pred": 0, "all": None}[self.normalize]
            matrix = _ratio(matrix, np.broadcast_to(matrix.sum(axis, keepdims=True), matrix.shape))
        return matrix

    def get_config(self) -> dict[str, Any]:
        """See `Metric.get_config`."""
        return {**super().get_config(), "normalize": self.normalize}


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a/b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(b, dtype=np.float64), where=b != 0)


class _ClassMetric(NativeMetric):
    """A ratio of true positives, false positives and false negatives of each class."""

    #: The options with their names in the configuration.
    threshold_name: ClassVar[str]

    def __init__(
        self, threshold: float | None, class_id: int | None, average: str | None, name: str | None
    ) -> None:
        super().__init__(name)
        kind = type(self).__name__
        if average not in AVERAGES:
            raise ValueError(
                f"{kind}: average must be None, 'micro', 'macro' or 'weighted', got {average!r}"
            )
        real = isinstance(threshold, (int, float, np.number)) and not isinstance(threshold, bool)
        if threshold is not None and not real:
            raise TypeError(f"{kind}: {self.threshold_name} must be a number, got {threshold!r}")
        self.threshold = None if threshold is None else float(threshold)
        self.class_id, self.average = class_id, average

    def by_argmax(self, labels: bool, classes: int) -> bool:
        """Whether the class of a row is that of its largest output."""
        raise NotImplementedError

    def ratio(self, hits: Any, false_alarms: Any, misses: Any) -> Any:
        """The metric of these counts."""
        raise NotImplementedError

    def check(self, prediction: Shape) -> None:
        """See `Metric.check`."""
        classes = prediction[-1] or 0
        if self.class_id is not None and self.class_id not in range(classes):
            raise ValueError(
                f"{self.name}: class_id must be from 0 to {classes - 1}, got {self.class_id!r}"
            )

    def accumulators(self, prediction: Shape) -> dict[str, tuple[int, ...]]:
        """See `NativeMetric.accumulators`."""
        return {"counts": (4, prediction[-1] or 0)}

    def add(
        self, totals: dict[str, Tensor], prediction: Tensor, target: Tensor, weight: Tensor | None
    ) -> None:
        """See `NativeMetric.add`."""
        kind, inputs = _options(target, weight)
        options: dict[str, Any] = {**totals, **inputs, "pred": prediction}
        if self.by_argmax(bool(kind), prediction.shape[-1] or 0):
            apply(f"{kind}argmax_counts_update", **options)
        else:
            threshold = 0.5 if self.threshold is None else self.threshold
            apply(f"{kind}threshold_counts_update", threshold=threshold, **options)

    def compute(self, counts: np.ndarray) -> Any:  # type: ignore[override]
        """See `NativeMetric.compute`."""
        hits, false_alarms, misses = counts[:3]
        if self.average == "micro" and self.class_id is None:
            hits, false_alarms, misses = (
                c.sum(keepdims=True) for c in (hits, false_alarms, misses)
            )
        each = self.ratio(hits, false_alarms, misses)
        if self.class_id is not None:
            return each[self.class_id]
        if len(each) == 1:
            return each[0]
        if self.average == "weighted":
            support = hits + misses
            return (each * support).sum() / support.sum() if support.sum() else 0.0
        return each.mean() if self.average == "macro" else each

    def get_config(self) -> dict[str, Any]:
        """See `Metric.get_config`."""
        return {**super().get_config(), self.threshold_name: self.threshold,
                "average": self.average}  # fmt: skip


class _OfHits(_ClassMetric):
    threshold_name = "thresholds"

    def __init__(
        self,
        thresholds: float | None = None,
        class_id: int | None = None,
        name: str | None = None,
        average: str | None = "micro",
    ) -> None:
        super().__init__(thresholds, class_id, average, name)

    def by_argmax(self, labels: bool, classes: int) -> bool:
        """See `_ClassMetric.by_argmax`."""
        return labels and self.threshold is None and classes > 1

    def get_config(self) -> dict[str, Any]:
        """See `Metric.get_config`."""
        return {**super().get_config(), "class_id": self.class_id}


_PARAMETERS = """

    An output counts as predicted where it is above the threshold. Where the targets are labels and
    no threshold is given, the largest output of a row is its prediction.

    Parameters
    ----------
    thresholds : float, optional
        0.5 where needed.
    class_id : int, optional
        The class that is looked at; all of them by default.
    name : str, optional
    average : {"micro", "macro", "weighted", None}
        Of all counts together; the mean over the classes; the same weighted by how often each is
        the true one; or an array with a number for each class. A class without rows counts as 0.
    """


class Precision(_OfHits):
    __doc__ = f"""Of what was predicted, the share that is true.{_PARAMETERS}
    Examples
    --------
    >>> Precision()([1.0, 0.0, 1.0, 1.0], [0.9, 0.8, 0.7, 0.1])
    0.6666666666666666
    """

    def ratio(self, hits: Any, false_alarms: Any, misses: Any) -> Any:
        """See `_ClassMetric.ratio`."""
        return _ratio(hits, hits + false_alarms)


class Recall(_OfHits):
    __doc__ = f"""Of what is true, the share that was predicted.{_PARAMETERS}
    Examples
    --------
    >>> Recall()([1.0, 0.0, 1.0, 1.0], [0.9, 0.8, 0.7, 0.1])
    0.6666666666666666
    """

    def ratio(self, hits: Any, false_alarms: Any, misses: Any) -> Any:
        """See `_ClassMetric.ratio`."""
        return _ratio(hits, hits + misses)


class F1Score(_ClassMetric):
    """The harmonic mean of precision and recall.

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}, default None
        An array with a number for each class; of all counts together; the mean over the classes;
        the same weighted by how often each is the true one. A class without rows counts as 0.
    threshold : float, optional
        An output counts as predicted where it is above; by default the largest of a row is its
        prediction, and where there is one output only the threshold is 0.5.
    name : str, optional

    Examples
    --------
    >>> F1Score()([1.0, 0.0, 1.0, 1.0], [0.9, 0.8, 0.7, 0.1])
    0.6666666666666666
    """

    threshold_name = "threshold"

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str | None = None
    ) -> None:
        super().__init__(threshold, None, average, name)

    def by_argmax(self, labels: bool, classes: int) -> bool:
        """See `_ClassMetric.by_argmax`."""
        return self.threshold is None and classes > 1

    def ratio(self, hits: Any, false_alarms: Any, misses: Any) -> Any:
        """See `_ClassMetric.ratio`."""
        return _ratio(2 * hits, 2 * hits + false_alarms + misses)


class R2Score(NativeMetric):
    """The coefficient of determination: 1 - sum((t - p)**2)/sum((t - mean(t))**2).

    Where the targets are all the same it is 1 for exact predictions and 0 otherwise.

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average", None}
        Of several outputs: their mean, the same weighted by the targets' variance, or an array.
    name : str, default "r2_score"

    Examples
    --------
    >>> R2Score()([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    0.5
    """

    targets = "arrays"

    def __init__(
        self, class_aggregation: str | None = "uniform_average", name: str | None = "r2_score"
    ) -> None:
        if class_aggregation not in (None, "uniform_average", "variance_weighted_average"):
            raise ValueError(
                f"R2Score: class_aggregation must be 'uniform_average', "
                f"'variance_weighted_average' or None, got {class_aggregation!r}"
            )
        super().__init__(name)
        self.class_aggregation = class_aggregation

    def accumulators(self, prediction: Shape) -> dict[str, tuple[int, ...]]:
        """See `NativeMetric.accumulators`."""
        return {"moments": (5, prediction[-1] or 0)}

    def add(
        self, totals: dict[str, Tensor], prediction: Tensor, target: Tensor, weight: Tensor | None
    ) -> None:
        """See `NativeMetric.add`."""
        apply(
            "r2_update",
            moments=totals["moments"],
            pred=prediction,
            target=target,
            sample_weight=weight,
        )

    def compute(self, moments: np.ndarray) -> Any:  # type: ignore[override]
        """See `NativeMetric.compute`."""
        _, weights, sums, squares, errors = moments
        spread = squares - _ratio(sums * sums, weights)
        each = np.where(spread > 0, 1.0 - _ratio(errors, spread), (errors == 0) * 1.0)
        if self.class_aggregation is None:
            return each if len(each) > 1 else each[0]
        if self.class_aggregation == "uniform_average":
            return each.mean()
        return (each * spread).sum() / spread.sum() if spread.sum() > 0 else each.mean()

    def get_config(self) -> dict[str, Any]:
        """See `Metric.get_config`."""
        return {**super().get_config(), "class_aggregation": self.class_aggregation}
