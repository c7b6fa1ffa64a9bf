"""Pooling."""

from __future__ import annotations

import math

import numpy as np

from oracle.common import _rows
from oracle.norms import batchnorm_forward


def _windows(x_shape, out_shape, size, stride, padding):
    """Each window: (its place p, q; its rows and columns in x; the numbers of its places)."""
    height, width = x_shape[-3:-1]
    before = [0, 0]
    if padding == "same":
        lengths = zip(x_shape[-3:-1], out_shape[-3:-1], size, stride, strict=True)
        before = [max((n - 1) * step + k - length, 0) // 2 for length, n, k, step in lengths]
    for p in range(out_shape[-3]):
        for q in range(out_shape[-2]):
            rows = np.arange(size[0]) + p * stride[0] - before[0]
            columns = np.arange(size[1]) + q * stride[1] - before[1]
            places = np.arange(size[0] * size[1]).reshape(size)
            inside = np.ix_((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))
            place = places[inside]
            rows, columns = rows[inside[0].ravel()], columns[inside[1].ravel()]
            yield p, q, np.ix_(rows, columns), place


def _pooled_shape(shape, size, stride, padding):
    lengths = zip(shape[-3:-1], size, stride, strict=True)
    counts = [math.ceil(n / s) if padding == "same" else (n - k) // s + 1 for n, k, s in lengths]
    return (*shape[:-3], *counts, shape[-1])


def _pool_sizes(pool_height, pool_width, stride_height, stride_width, padding):
    return (pool_height, pool_width), (stride_height, stride_width), padding


def _largest(x, key, *sizes):
    """The elements of x whose keys are the largest of their windows, and their places."""
    out = np.empty(_pooled_shape(x.shape, *sizes))
    index = np.empty(out.shape)
    for p, q, (rows, columns), place in _windows(x.shape, out.shape, *sizes):
        keys, window = (
            a[..., rows, columns, :].reshape(*x.shape[:-3], place.size, x.shape[-1])
            for a in (key, x)
        )
        first = keys.argmax(-2)  # the first NaN, where there is one
        out[..., p, q, :] = np.take_along_axis(window, first[..., None, :], -2)[..., 0, :]
        index[..., p, q, :] = place.ravel()[first]
    return out, index


def max_pool_forward(x, pool_height, pool_width, stride_height, stride_width, padding="valid"):
    return _largest(
        x, x, *_pool_sizes(pool_height, pool_width, stride_height, stride_width, padding)
    )


def max_pool_backward(
    grad_out, index, pool_height, pool_width, stride_height, stride_width, padding="valid",
    *, lengths,
):  # fmt: skip
    sizes = _pool_sizes(pool_height, pool_width, stride_height, stride_width, padding)
    grad_x = np.zeros((*grad_out.shape[:-3], lengths["H"], lengths["W"], lengths["C"]))
    for p, q, (rows, columns), place in _windows(grad_x.shape, grad_out.shape, *sizes):
        taken = index[..., p, q, :][..., None, None, :] == place[..., None]
        grad_x[..., rows, columns, :] += np.where(
            taken, grad_out[..., p, q, :][..., None, None, :], 0.0
        )
    return grad_x


def average_pool_forward(x, pool_height, pool_width, stride_height, stride_width, padding="valid"):
    sizes = _pool_sizes(pool_height, pool_width, stride_height, stride_width, padding)
    out = np.empty(_pooled_shape(x.shape, *sizes))
    for p, q, (rows, columns), _ in _windows(x.shape, out.shape, *sizes):
        out[..., p, q, :] = x[..., rows, columns, :].mean((-3, -2))
    return out


def average_pool_backward(
    grad_out, pool_height, pool_width, stride_height, stride_width, padding="valid", *, lengths
):
    sizes = _pool_sizes(pool_height, pool_width, stride_height, stride_width, padding)
    grad_x = np.zeros((*grad_out.shape[:-3], lengths["H"], lengths["W"], lengths["C"]))
    for p, q, (rows, columns), place in _windows(grad_x.shape, grad_out.shape, *sizes):
        part = grad_out[..., p, q, :] / place.size
        grad_x[..., rows, columns, :] += part[..., None, None, :]
    return grad_x


def batchnorm_max_pool_forward(
    x, mean, variance, gamma=None, beta=None, *,
    pool_height, pool_width, stride_height, stride_width, padding="valid", epsilon=1e-3,
):  # fmt: skip
    sizes = _pool_sizes(pool_height, pool_width, stride_height, stride_width, padding)
    picked, index = _largest(x, x if gamma is None else x * np.sign(gamma), *sizes)
    return batchnorm_forward(picked, mean, variance, gamma, beta, epsilon), picked, index


def batchnorm_max_pool_backward(
    grad_out, picked, index, x, mean, variance, gamma=None, *,
    pool_height, pool_width, stride_height, stride_width, padding="valid", epsilon=1e-3, lengths,
):  # fmt: skip
    sizes = _pool_sizes(pool_height, pool_width, stride_height, stride_width, padding)
    grad = max_pool_backward(grad_out, index, *sizes[0], *sizes[1], padding, lengths=lengths)
    root = np.sqrt(variance + epsilon)
    places = max(math.prod(x.shape[:-1]), 1)
    grad_gamma = _rows(grad_out * (picked - mean) / root).sum(0)
    grad_beta = _rows(grad_out).sum(0)
    centered = grad - grad_beta / places - (x - mean) / root * grad_gamma / places
    return centered / root * (1.0 if gamma is None else gamma), grad_gamma, grad_beta
