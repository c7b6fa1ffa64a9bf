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
    given, backs = iter(weights), []
    last = len(row.widths) - 2

    def then(result):
        """Keeps what goes back through a part, and goes on with what it gives."""
        a, back = result
        backs.append(back)
        return a

    a = x
    for _, pooled in row.convolutions:
        a = then(_convolution(a, next(given), row.padding == "same"))
        a = then(
            _normalization(a, next(given), next(given)) if row.batchnorm else _bias(a, next(given))
        )
        a = then(_relu(a))
        if pooled:
            a = then(_maxima(a))
    a = then(_flat(a))
    for k in range(last + 1):
        a = then(_product(a, next(given)))
        if row.batchnorm and k < last:
            a = then(_normalization(a, next(given), next(given)))
        else:
            a = then(_bias(a, next(given)))
        if k < last:
            a = then(_relu(a))
    loss, gradient = _loss(row, a, y)
    grads: list[np.ndarray] = []
    for back in reversed(backs):
        gradient, *own = back(gradient)
        grads[:0] = own
    return loss, grads


# Each part gives its result, and a function from the gradient of that to the gradient of its input
# and those of its weights.


def _product(a, kernel):
    return a @ kernel, lambda g: (g @ kernel.T, a.T @ g)


def _bias(a, bias):
    return a + bias, lambda g: (g, g.reshape(-1, g.shape[-1]).sum(axis=0))


def _relu(a):
    return np.maximum(a, 0), lambda g: (g * (a > 0),)


def _flat(a):
    return a.reshape(len(a), -1), lambda g: (g.reshape(a.shape),)


def _normalization(a, gamma, beta):
    axes = tuple(range(a.ndim - 1))
    rstd = 1 / np.sqrt(a.var(axis=axes) + BATCHNORM_EPSILON)
    xhat = (a - a.mean(axis=axes)) * rstd

    def back(g):
        centered = g - g.mean(axis=axes) - xhat * (g * xhat).mean(axis=axes)
        return gamma * rstd * centered, (g * xhat).sum(axis=axes), g.sum(axis=axes)

    return gamma * xhat + beta, back


def _convolution(a, kernel, same):
    """3x3, moving on by one."""
    if same:
        a = np.pad(a, [(0, 0), (1, 1), (1, 1), (0, 0)])
    height, width = a.shape[1] - 2, a.shape[2] - 2
    windows = [(kernel[r, s], np.s_[:, r : r + height, s : s + width]) for r, s in np.ndindex(3, 3)]

    def back(g):
        gradient = np.zeros_like(a)
        own = np.zeros_like(kernel)
        for (r, s), (tap, window) in zip(np.ndindex(3, 3), windows, strict=True):
            gradient[window] += g @ tap.T
            own[r, s] = np.einsum("nhwi,nhwo->io", a[window], g, optimize=True)
        return gradient[:, 1:-1, 1:-1] if same else gradient, own

    return sum(a[window] @ tap for tap, window in windows), back


def _maxima(a):
    """Of 2x2 pixels; what is left over at the end belongs to none."""
    n, height, width, channels = a.shape
    blocks = a[:, : height // 2 * 2, : width // 2 * 2].reshape(
        n, height // 2, 2, width // 2, 2, channels
    )
    fours = blocks.transpose(0, 1, 3, 5, 2, 4).reshape(n, height // 2, width // 2, channels, 4)
    largest = fours.argmax(axis=-1)

    def back(g):
        spread = np.where(np.arange(4) == largest[..., None], g[..., None], 0.0)
        spread = spread.reshape(n, height // 2, width // 2, channels, 2, 2)
        gradient = np.zeros_like(a)
        gradient[:, : height // 2 * 2, : width // 2 * 2] = spread.transpose(
            0, 1, 4, 2, 5, 3
        ).reshape(n, height // 2 * 2, width // 2 * 2, channels)
        return (gradient,)

    return fours.max(axis=-1), back


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
