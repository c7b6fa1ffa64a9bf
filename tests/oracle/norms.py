"""Batch and layer normalisation."""

from __future__ import annotations

import numpy as np

from oracle.common import _mean, _rows


def _affine(x, gamma, beta):
    return x * (1.0 if gamma is None else gamma) + (0.0 if beta is None else beta)


def batchnorm_statistics(x):
    x = _rows(x)
    mean = _mean(x, 0)
    return mean, _mean((x - mean) ** 2, 0)


def batchnorm_forward(x, mean, variance, gamma=None, beta=None, epsilon=1e-3):
    return _affine((x - mean) / np.sqrt(variance + epsilon), gamma, beta)


def batchnorm_backward(grad_out, x, mean, variance, gamma=None, epsilon=1e-3):
    g, normal = _rows(grad_out), _rows((x - mean) / np.sqrt(variance + epsilon))
    centered = g - _mean(g, 0) - normal * _mean(g * normal, 0)
    grad_x = centered / np.sqrt(variance + epsilon) * (1.0 if gamma is None else gamma)
    return grad_x.reshape(x.shape), (g * normal).sum(0), g.sum(0)


def batchnorm_inference(x, mean, variance, gamma=None, beta=None, epsilon=1e-3):
    return batchnorm_forward(x, mean, variance, gamma, beta, epsilon)


def batchnorm_inference_backward(grad_out, x, mean, variance, gamma=None, epsilon=1e-3):
    normal = (x - mean) / np.sqrt(variance + epsilon)
    grad_x = grad_out / np.sqrt(variance + epsilon) * (1.0 if gamma is None else gamma)
    return grad_x, _rows(grad_out * normal).sum(0), _rows(grad_out).sum(0)


def batchnorm_update(
    running_mean, running_variance, mean, variance, x, momentum=0.99, unbiased=False
):
    rows = len(_rows(x))
    factor = rows / max(rows - 1, 1) if unbiased else 1.0
    return (
        momentum * running_mean + (1 - momentum) * mean,
        momentum * running_variance + (1 - momentum) * factor * variance,
    )


def layernorm_forward(x, gamma=None, beta=None, epsilon=1e-3):
    mean = _mean(x, -1)
    rstd = 1 / np.sqrt(_mean((x - mean[..., None]) ** 2, -1) + epsilon)
    return _affine((x - mean[..., None]) * rstd[..., None], gamma, beta), mean, rstd


def layernorm_backward(grad_out, x, mean, rstd, gamma=None):
    normal = (x - mean[..., None]) * rstd[..., None]
    g = grad_out * (1.0 if gamma is None else gamma)
    centered = g - _mean(g, -1)[..., None] - normal * _mean(g * normal, -1)[..., None]
    grad_x = centered * rstd[..., None]
    return grad_x, _rows(grad_out * normal).sum(0), _rows(grad_out).sum(0)
