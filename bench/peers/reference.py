"""The oracle: the same training in float64 NumPy, short enough to be seen to be right."""

from __future__ import annotations

from functools import partial
from itertools import islice

import numpy as np

from .rows import BATCHNORM_EPSILON, HEADS, LAYERNORM_EPSILON, Row

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
    given, chain = iter(weights), _Chain(x)
    last = len(row.widths) - 2
    for _, pooled in row.convolutions:
        chain.then(_convolution, next(given), same=row.padding == "same")
        if row.batchnorm:
            chain.then(_normalization, next(given), next(given))
        else:
            chain.then(_bias, next(given))
        chain.then(_relu)
        if pooled:
            chain.then(_maxima)
    if row.recurrent:
        product = partial(_convolution, same=True) if row.recurrent[0] == "convlstm" else _product
        cell = _gru_cell if row.recurrent[0] == "gru" else _lstm_cell
        chain.then(_recurrence, *islice(given, 3), cell=cell, product=product)
    for _ in range(row.blocks):
        attended = _Chain(chain.a).then(_attention, *islice(given, 4))
        chain.then(_added, attended).then(_layer_normalization, *islice(given, 2))
        hidden = _Chain(chain.a).then(_product, next(given)).then(_bias, next(given)).then(_relu)
        hidden.then(_product, next(given)).then(_bias, next(given))
        chain.then(_added, hidden).then(_layer_normalization, *islice(given, 2))
    if row.blocks:
        chain.then(_mean)
    chain.then(_flat)
    for k in range(last + 1):
        chain.then(_product, next(given))
        if row.batchnorm and k < last:
            chain.then(_normalization, next(given), next(given))
        else:
            chain.then(_bias, next(given))
        if k < last:
            chain.then(_relu)
    loss, gradient = _loss(row, chain.a, y)
    return loss, chain.back(gradient)[1:]


# Each part gives its result, and a function from the gradient of that to the gradient of its input
# and those of its weights.


class _Chain:
    """Parts one after the other: what they give, and the way back through all of them."""

    def __init__(self, a):
        self.a, self.backs = a, []

    def then(self, part, *weights, **options):
        self.a, back = part(self.a, *weights, **options)
        self.backs.append(back)
        return self

    def back(self, gradient):
        grads = []
        for back in reversed(self.backs):
            gradient, *own = back(gradient)
            grads[:0] = own
        return gradient, *grads


def _product(a, kernel):
    def back(g):
        return g @ kernel.T, a.reshape(-1, len(kernel)).T @ g.reshape(-1, kernel.shape[1])

    return a @ kernel, back


def _bias(a, bias):
    return a + bias, lambda g: (g, g.reshape(-1, g.shape[-1]).sum(axis=0))


def _relu(a):
    return np.maximum(a, 0), lambda g: (g * (a > 0),)


def _flat(a):
    return a.reshape(len(a), -1), lambda g: (g.reshape(a.shape),)


def _mean(a):
    return a.mean(axis=1), lambda g: (np.repeat(g[:, None], a.shape[1], 1) / a.shape[1],)


def _added(a, chain):
    """What a chain makes of a, added to it."""

    def back(g):
        gradient, *own = chain.back(g)
        return g + gradient, *own

    return a + chain.a, back


def _layer_normalization(a, gamma, beta):
    rstd = 1 / np.sqrt(a.var(axis=-1, keepdims=True) + LAYERNORM_EPSILON)
    xhat = (a - a.mean(axis=-1, keepdims=True)) * rstd

    def back(g):
        h = g * gamma
        mean, along = (t.mean(axis=-1, keepdims=True) for t in (h, h * xhat))
        return rstd * (h - mean - xhat * along), (g * xhat).sum(axis=(0, 1)), g.sum(axis=(0, 1))

    return gamma * xhat + beta, back


def _attention(a, query, key, value, output):
    """Of HEADS heads, the places of a to themselves."""
    width = a.shape[-1] // HEADS

    def heads(t):
        return t.reshape(*t.shape[:2], HEADS, width).swapaxes(1, 2)

    def joined(t):
        return t.swapaxes(1, 2).reshape(a.shape)

    chains = [_Chain(a).then(_product, w) for w in (query, key, value)]
    q, k, v = (heads(chain.a) for chain in chains)
    p = np.exp(q @ k.swapaxes(2, 3) / np.sqrt(width))
    p /= p.sum(axis=-1, keepdims=True)
    out, back_out = _product(joined(p @ v), output)

    def back(g):
        g, own = back_out(g)
        g = heads(g)
        slopes = g @ v.swapaxes(2, 3)
        slopes = p * (slopes - (slopes * p).sum(axis=-1, keepdims=True)) / np.sqrt(width)
        grads = (slopes @ k, slopes.swapaxes(2, 3) @ q, p.swapaxes(2, 3) @ g)
        backs = [chain.back(joined(t)) for chain, t in zip(chains, grads, strict=True)]
        return sum(b[0] for b in backs), *(b[1] for b in backs), own

    return out, back


def _recurrence(a, kernel, recurrent, bias, cell, product):
    """The last output of a cell that goes over the first axis of each row."""
    biases = [*bias.reshape(-1, bias.shape[-1]), 0]  # of the input's product and the state's
    states, backs = None, []
    for t in range(a.shape[1]):
        fed, back_fed = product(a[:, t], kernel)
        if states is None:
            states = [np.zeros((*fed.shape[:-1], recurrent.shape[-2]))] * 2
        held, back_held = product(states[0], recurrent)
        states, back_cell = cell(fed + biases[0], held + biases[1], states)
        backs.append((back_fed, back_held, back_cell))

    def back(g):
        gradient, own = np.zeros_like(a), [np.zeros_like(w) for w in (kernel, recurrent, bias)]
        g = [g, 0]
        for t, (back_fed, back_held, back_cell) in reversed(list(enumerate(backs))):
            gates, g = back_cell(g)
            gradient[:, t], of_kernel = back_fed(gates[0])
            of_state, of_recurrent = back_held(gates[1])
            g[0] = g[0] + of_state
            sums = [t.reshape(-1, t.shape[-1]).sum(axis=0) for t in gates]
            for total, more in zip(
                own, (of_kernel, of_recurrent, sums[0] if bias.ndim == 1 else sums), strict=True
            ):
                total += more
        return gradient, *own

    return states[0], back


def _lstm_cell(fed, held, states):
    i, f, g, o = np.split(fed + held, 4, axis=-1)
    i, f, g, o, before = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o), states[1]
    carry = f * before + i * g
    squashed = np.tanh(carry)

    def back(grads):
        gh, gc = grads[0], grads[1] + grads[0] * o * (1 - squashed**2)
        gates = (gc * g * i * (1 - i), gc * before * f * (1 - f), gc * i * (1 - g**2),
                 gh * squashed * o * (1 - o))  # fmt: skip
        gates = np.concatenate(gates, axis=-1)
        return (gates, gates), [0, gc * f]

    return [o * squashed, carry], back


def _gru_cell(fed, held, states):
    (z, r, n), (held_z, held_r, held_n) = (np.split(t, 3, axis=-1) for t in (fed, held))
    z, r, before = _sigmoid(z + held_z), _sigmoid(r + held_r), states[0]
    n = np.tanh(n + r * held_n)

    def back(grads):
        g = grads[0]
        of_n = g * (1 - z) * (1 - n**2)
        gates = [g * (before - n) * z * (1 - z), of_n * held_n * r * (1 - r)]
        both = [np.concatenate([*gates, t], axis=-1) for t in (of_n, of_n * r)]
        return both, [g * z, 0]

    return [z * before + (1 - z) * n, None], back


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


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
