"""The area under the ROC curve, exactly: from all scores of an epoch, sorted once."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.metrics.base import Metric

__all__ = ["AUC"]


class AUC(Metric):
    """The area under the ROC curve.

    It is computed from all scores, not from some thresholds: the probability that a positive row
    has a higher score than a negative one, ties counting half. With several outputs it is the mean
    over the classes, each against all others; classes that have no positive or no negative rows are
    left out.

    Parameters
    ----------
    name : str, optional

    Examples
    --------
    >>> AUC()([0.0, 0.0, 1.0, 1.0], [0.1, 0.4, 0.35, 0.8])
    0.75
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name or "auc")
        self.reset_state()

    def reset_state(self) -> None:
        """See `Metric.reset_state`."""
        self._rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """See `Metric.update_state`."""
        scores = np.asarray(y_pred)
        scores = scores.reshape(-1, scores.shape[-1] if scores.ndim > 1 else 1)
        truth = np.asarray(y_true).reshape(-1)
        if truth.size == len(scores) and scores.shape[1] > 1:
            positive = truth[:, None] == np.arange(scores.shape[1])
        elif truth.size == scores.size:
            positive = truth.reshape(scores.shape) > 0.5
        else:
            raise ValueError(
                f"{self.name}: y_true has shape {np.shape(y_true)}, which does not fit y_pred of "
                f"shape {np.shape(y_pred)}"
            )
        weights = np.ones(len(scores))
        if sample_weight is not None:
            weights = np.asarray(sample_weight, np.float64).reshape(-1)
            if len(weights) != len(scores):
                raise ValueError(
                    f"{self.name}: sample_weight has {len(weights)} numbers, not {len(scores)}"
                )
        self._rows.append((scores, positive, weights))

    def result(self) -> float:
        """See `Metric.result`; NaN where no class has both kinds of rows, or a score is NaN."""
        if not self._rows:
            return float("nan")
        scores, positive, weights = (np.concatenate(part) for part in zip(*self._rows, strict=True))
        areas = [roc_area(scores[:, c], positive[:, c], weights) for c in range(scores.shape[1])]
        known = [area for area in areas if area is not None]
        return float(np.mean(known)) if known else float("nan")


def roc_area(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float | None:
    """The area of one class; None where only one of positive and negative occurs."""
    order = np.argsort(scores, kind="stable")
    scores, hits = scores[order], np.where(positive, weights, 0.0)[order]
    misses = weights[order] - hits
    total = hits.sum() * misses.sum()
    if not total:
        return None
    if np.isnan(scores[-1]):  # they sort to the end
        return float("nan")
    # Runs of equal scores: a positive one is above all negatives before, and ties with its run.
    first = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    hits, misses = np.add.reduceat(hits, first), np.add.reduceat(misses, first)
    below = np.cumsum(misses) - misses
    return float((hits * (below + 0.5 * misses)).sum() / total)
