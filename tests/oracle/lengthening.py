"""One axis made longer."""

from __future__ import annotations

import numpy as np


def pad_forward(x, before=0, after=0):
    return np.pad(x, [(0, 0)] * (x.ndim - 2) + [(before, after), (0, 0)])


def pad_backward(grad_out, before=0, after=0):
    return grad_out[..., before : grad_out.shape[-2] - after, :]


def _parts_of_points(length, size):
    """(p, {m: weight}): what each new point p is made of."""
    for p in range(length * size):
        low, beyond = divmod(max(2 * p + 1 - size, 0), 2 * size)  # of the place, in whole numbers
        share = beyond / (2 * size) if low + 1 < length else 0.0
        yield p, {m: w for m, w in ((low, 1 - share), (low + 1, share)) if w}


def interpolate_forward(x, size):
    out = np.zeros((*x.shape[:-2], x.shape[-2] * size, x.shape[-1]))
    for p, parts in _parts_of_points(x.shape[-2], size):
        out[..., p, :] = sum(weight * x[..., m, :] for m, weight in parts.items())
    return out


def interpolate_backward(grad_out, size):
    length = grad_out.shape[-2] // size
    grad_x = np.zeros((*grad_out.shape[:-2], length, grad_out.shape[-1]))
    for p, parts in _parts_of_points(length, size):
        for m, weight in parts.items():
            grad_x[..., m, :] += weight * grad_out[..., p, :]
    return grad_x
