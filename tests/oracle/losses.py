"""Losses and their gradients."""

from __future__ import annotations

import numpy as np

from oracle.activations import sigmoid_forward, softplus_forward
from oracle.common import _mean


def _loss(each, slope, sample_weight, factor):
    """From the loss of each output and its derivative: the row's means, and the gradient."""
    return _mean(each, -1), _grad_pred(slope / max(each.shape[-1], 1), sample_weight, factor)


def _grad_pred(slope, sample_weight, factor):
    """``slope``: derivatives of the rows' losses. The gradient is that of factor*mean(w*loss)."""
    weight = np.ones(slope.shape[:-1]) if sample_weight is None else sample_weight
    return slope * weight[..., None] * factor / max(weight.size, 1)


def mean_squared_error(pred, target, sample_weight=None, scale=1.0):
    d = pred - target
    return _loss(d**2, 2 * d, sample_weight, scale)


def mean_absolute_error(pred, target, sample_weight=None, scale=1.0):
    d = pred - target
    return _loss(np.abs(d), np.sign(d), sample_weight, scale)


def huber(pred, target, sample_weight=None, delta=1.0, scale=1.0):
    d = pred - target
    small = np.abs(d) <= delta
    each = np.where(small, d**2 / 2, delta * np.abs(d) - delta**2 / 2)
    return _loss(each, np.where(small, d, delta * np.sign(d)), sample_weight, scale)


def _clip(p):
    """p within the bounds that the cross-entropies keep it in, and where it was outside them."""
    return np.clip(p, 1e-7, 1 - 1e-7), (p < 1e-7) | (p > 1 - 1e-7)


def binary_crossentropy(
    pred, target, sample_weight=None, from_logits=False, label_smoothing=0.0, scale=1.0
):
    t = target * (1 - label_smoothing) + label_smoothing / 2
    if from_logits:  # -log(sigmoid(x)) = softplus(-x)
        each = t * softplus_forward(-pred) + (1 - t) * softplus_forward(pred)
        slope = sigmoid_forward(pred) - t
    else:
        p, outside = _clip(pred)
        each = -t * np.log(p) - (1 - t) * np.log1p(-p)
        slope = np.where(outside, 0.0, (p - t) / (p * (1 - p)))
    return _loss(each, slope, sample_weight, scale)


def categorical_crossentropy(
    pred, target, sample_weight=None, from_logits=False, label_smoothing=0.0, scale=1.0
):
    t = target * (1 - label_smoothing) + label_smoothing / max(pred.shape[-1], 1)
    if from_logits:
        shifted = pred - pred.max(-1, keepdims=True, initial=-np.inf)
        log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        slope = t.sum(-1, keepdims=True) * np.exp(log_p) - t
    else:
        total = pred.sum(-1, keepdims=True)
        p, outside = _clip(pred / total)
        log_p, t_inside = np.log(p), np.where(outside, 0.0, t)
        slope = (t_inside.sum(-1, keepdims=True) - t_inside / p) / total
    each = np.where(t == 0, 0.0, t * log_p)  # 0*log(0) is 0
    return -each.sum(-1), _grad_pred(slope, sample_weight, scale)


def sparse_categorical_crossentropy(
    pred, labels, sample_weight=None, from_logits=False, label_smoothing=0.0, scale=1.0
):
    target = np.eye(pred.shape[-1])[labels]
    return categorical_crossentropy(
        pred, target, sample_weight, from_logits, label_smoothing, scale
    )


# Where each row's loss has a gradient of its own: it takes the place of the weight over the rows.


def mean_squared_error_backward(grad_loss, pred, target):
    return mean_squared_error(pred, target, grad_loss, scale=grad_loss.size)[1]


def mean_absolute_error_backward(grad_loss, pred, target):
    return mean_absolute_error(pred, target, grad_loss, scale=grad_loss.size)[1]


def huber_backward(grad_loss, pred, target, delta=1.0):
    return huber(pred, target, grad_loss, delta, grad_loss.size)[1]


def binary_crossentropy_backward(
    grad_loss, pred, target, from_logits=False, label_smoothing=0.0
):  # fmt: skip
    options = from_logits, label_smoothing, grad_loss.size
    return binary_crossentropy(pred, target, grad_loss, *options)[1]


def categorical_crossentropy_backward(
    grad_loss, pred, target, from_logits=False, label_smoothing=0.0
):  # fmt: skip
    options = from_logits, label_smoothing, grad_loss.size
    return categorical_crossentropy(pred, target, grad_loss, *options)[1]


def sparse_categorical_crossentropy_backward(
    grad_loss, pred, labels, from_logits=False, label_smoothing=0.0
):  # fmt: skip
    options = from_logits, label_smoothing, grad_loss.size
    return sparse_categorical_crossentropy(pred, labels, grad_loss, *options)[1]


def batch_mean(values, sample_weight=None):
    weighted = values if sample_weight is None else values * sample_weight
    return weighted.sum() / np.float64(values.size)


def batch_mean_backward(grad_out, values, sample_weight=None):
    weight = np.ones(values.shape) if sample_weight is None else sample_weight
    return grad_out / np.float64(values.size) * weight


def accumulate(total, values, sample_weight=None, by_weight=False):
    weights = np.ones_like(values) if sample_weight is None else sample_weight
    count = weights.sum() if by_weight else values.size
    return total + np.array([(values * weights).sum(), count])


def penalty(total, param, values, l1=0.0, l2=0.0):
    each = (l1 * np.abs(param).sum() if l1 else 0.0) + (l2 * (param**2).sum() if l2 else 0.0)
    return total + np.array([values.size * each, 0.0])
