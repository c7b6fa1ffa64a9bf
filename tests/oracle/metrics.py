"""Metrics."""

from __future__ import annotations

import numpy as np

from oracle.common import _mean


def categorical_accuracy(pred, target):
    return (pred.argmax(-1) == target.argmax(-1)).astype(float)


def sparse_categorical_accuracy(pred, labels):
    return (pred.argmax(-1) == labels).astype(float)


def binary_accuracy(pred, target, threshold=0.5):
    return _mean(((pred > threshold) == target).astype(float), -1)


def top_k_categorical_accuracy(pred, target, k=5):
    return sparse_top_k_categorical_accuracy(pred, target.argmax(-1), k)


def sparse_top_k_categorical_accuracy(pred, labels, k=5):
    own = np.take_along_axis(pred, labels[..., None], -1)
    larger = (~(pred <= own)).sum(-1)
    return ((larger < k) & ~np.isnan(own[..., 0])).astype(float)


def cosine_similarity(pred, target):
    lengths = [np.sqrt((x**2).sum(-1)) for x in (pred, target)]
    tiny = (lengths[0] <= 1e-12) | (lengths[1] <= 1e-12)
    return np.where(tiny, 0.0, (pred * target).sum(-1) / lengths[0] / lengths[1])


def _samples(columns, sample_weight, *arrays):
    """The arrays with one leading axis, and the weights, 1 where there are none."""
    count = int(np.prod(arrays[0].shape[:-1]))
    flat = [a.reshape(count, columns) for a in arrays]
    weights = np.ones(count) if sample_weight is None else sample_weight.reshape(-1)
    return (*flat, weights)


def confusion_update(confusion, pred, labels, sample_weight=None):
    scores, weights = _samples(len(confusion), sample_weight, pred)
    confusion = confusion.copy()
    np.add.at(confusion, (labels.reshape(-1), scores.argmax(-1)), weights)
    return confusion


def categorical_confusion_update(confusion, pred, target, sample_weight=None):
    return confusion_update(confusion, pred, target.argmax(-1), sample_weight)


def threshold_counts_update(counts, pred, target, sample_weight=None, threshold=0.5):
    scores, truth, weights = _samples(counts.shape[1], sample_weight, pred, target)
    said, true = scores > threshold, truth > 0.5
    kinds = (said & true, said & ~true, ~said & true, ~said & ~true)
    return counts + np.array([np.where(kind, weights[:, None], 0).sum(0) for kind in kinds])


def sparse_threshold_counts_update(counts, pred, labels, sample_weight=None, threshold=0.5):
    target = np.eye(pred.shape[-1])[labels]
    return threshold_counts_update(counts, pred, target, sample_weight, threshold)


def argmax_counts_update(counts, pred, target, sample_weight=None):
    return sparse_argmax_counts_update(counts, pred, target.argmax(-1), sample_weight)


def sparse_argmax_counts_update(counts, pred, labels, sample_weight=None):
    classes = np.eye(pred.shape[-1])
    return threshold_counts_update(counts, classes[pred.argmax(-1)], classes[labels], sample_weight)


def r2_update(moments, pred, target, sample_weight=None):
    p, t, w = _samples(moments.shape[1], sample_weight, pred, target)
    shift = np.where(moments[1] == 0, t[0], moments[0]) if len(t) else moments[0]
    w = w[:, None] * np.ones_like(t)
    sums = [w, w * (t - shift), w * (t - shift) ** 2, w * (t - p) ** 2]
    return np.vstack(
        [shift, *(before + s.sum(0) for before, s in zip(moments[1:], sums, strict=True))]
    )
