"""The oracle: the same training in float64 NumPy, short enough to be seen to be right."""

from __future__ import annotations

import numpy as np

from .rows import BATCHNORM_EPSILON, Row

__all__ = ["loss_and_gradients", "train"]


def train(
    row: Row, weights: list[np.ndarray], x: np.ndarray, y: np.ndarray, steps: int, adam: str
) -> tuple[float, list[np.ndarray]]:
    """Trains without dropout; returns the mean loss and the weights. ``adam``: whose formula."""
    weights = [w.astype(np.float64) for w in weights]
    m = [np.zeros_like(w) for w in weights]
    v = [np.zeros_like(w) for w in weights]
    total = 0.0
    for t in range(1, steps + 1):
        start = (t - 1) % row.batches * row.batch
        batch = slice(start, start + row.batch)
        loss, grads = loss_and_gradients(row, weights, x[batch].astype(np.float64), y[batch])
        total += loss
        for w, g, m_, v_ in zip(weights, grads, m, v, strict=True):
            if row.optimizer == "sgd":
                w -= row.learning_rate * g
                continue
            m_ += 0.1 * (g - m_)
            v_ += 0.001 * (g * g - v_)
            root = np.sqrt(1 - 0.999**t)
            # PyTorch adds its epsilon to the corrected root, Keras to the root itself.
            epsilon = 1e-7 if adam == "keras" else 1e-8 * root
            w -= row.learning_rate * root / (1 - 0.9**t) * m_ / (np.sqrt(v_) + epsilon)
    return total / steps, weights


def loss_and_gradients(row, weights, x, y):
    """The mean loss of a batch and its gradients, in the order of the weights."""
    layers, per_layer = len(row.widths) - 1, 3 if row.batchnorm else 2
    saved, a = [], x
    for k in range(layers):
        kernel, *rest = weights[per_layer * k : per_layer * (k + 1)]
        z = a @ kernel
        if k == layers - 1:
            saved.append((a, None, None))
            z = z + rest[0]
            break
        xhat = rstd = None
        if row.batchnorm:
            rstd = 1 / np.sqrt(z.var(axis=0) + BATCHNORM_EPSILON)
            xhat = (z - z.mean(axis=0)) * rstd
            z = rest[0] * xhat + rest[1]
        else:
            z = z + rest[0]
        saved.append((a, xhat, rstd))
        a = np.maximum(z, 0)
    loss, dz = _loss(row, z, y)
    grads: list[np.ndarray] = []
    for k in reversed(range(layers)):
        a, xhat, rstd = saved[k]
        kernel, *rest = weights[per_layer * k : per_layer * (k + 1)]
        vectors = [dz.sum(axis=0)]
        if xhat is not None:
            vectors.insert(0, (dz * xhat).sum(axis=0))
            dz = rest[0] * rstd * (dz - dz.mean(axis=0) - xhat * (dz * xhat).mean(axis=0))
        grads[:0] = [a.T @ dz, *vectors]
        dz = (dz @ kernel.T) * (a > 0) if k else None
    return loss, grads


def _loss(row, z, y):
    """The mean loss and its gradient with respect to the last layer's output."""
    n = len(z)
    if row.loss == "mse":
        return np.mean((z - y) ** 2), 2 * (z - y) / n
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    dz = np.exp(log_p)
    dz[np.arange(n), y] -= 1
    return -log_p[np.arange(n), y].mean(), dz / n
