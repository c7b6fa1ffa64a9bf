"""JAX: one jitted call a step, with the state donated and the batches on the device beforehand."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .peer import Peer
from .rows import BATCHNORM_EPSILON, BATCHNORM_MOMENTUM, HEADS, LAYERNORM_EPSILON

__all__ = ["JaxJit", "new_state", "train_step"]


def _normalized(row, a, w, axes, running, updated):
    """BatchNorm over all axes but the last; its running statistics go to ``updated``."""
    mean, variance = a.mean(axes), a.var(axes)
    updated += [
        BATCHNORM_MOMENTUM * old + (1 - BATCHNORM_MOMENTUM) * new
        for old, new in zip(running[len(updated) :], (mean, variance), strict=False)
    ]
    return next(w) * (a - mean) * jax.lax.rsqrt(variance + BATCHNORM_EPSILON)


def _convolved(a, kernel, padding):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(a, kernel, (1, 1), padding, dimension_numbers=layout)


def _recurrence(row, a, w):
    """The last output of a recurrent layer; the input's product over all time steps at once."""
    kind, units = row.recurrent
    product = partial(_convolved, padding="SAME") if kind == "convlstm" else jnp.matmul
    kernel, recurrent, bias = next(w), next(w), next(w)
    biases = [*bias.reshape(-1, bias.shape[-1]), 0]
    rows = a.swapaxes(0, 1).reshape(-1, *a.shape[2:])
    fed = product(rows, kernel) + biases[0]
    fed = fed.reshape(a.shape[1], len(a), *fed.shape[1:])
    zeros = jnp.zeros((*fed.shape[1:-1], units))

    def lstm(states, fed):
        h, c = states
        i, f, g, o = jnp.split(fed + product(h, recurrent), 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    def gru(h, fed):
        held = product(h, recurrent) + biases[1]
        (z, r, n), (held_z, held_r, held_n) = (jnp.split(t, 3, axis=-1) for t in (fed, held))
        z, r = jax.nn.sigmoid(z + held_z), jax.nn.sigmoid(r + held_r)
        return z * h + (1 - z) * jnp.tanh(n + r * held_n), None

    if kind == "gru":
        return jax.lax.scan(gru, zeros, fed)[0]
    return jax.lax.scan(lstm, (zeros, zeros), fed)[0][0]


def _layernorm(a, gamma, beta):
    centered = a - a.mean(-1, keepdims=True)
    rstd = jax.lax.rsqrt(a.var(-1, keepdims=True) + LAYERNORM_EPSILON)
    return gamma * centered * rstd + beta


def _block(a, w):
    q, k, v = ((a @ next(w)).reshape(*a.shape[:2], HEADS, -1) for _ in range(3))
    attended = jax.nn.dot_product_attention(q, k, v).reshape(a.shape)
    a = _layernorm(a + attended @ next(w), next(w), next(w))
    hidden = jax.nn.relu(a @ next(w) + next(w))
    return _layernorm(a + hidden @ next(w) + next(w), next(w), next(w))


def _loss(row, weights, running, key, x, y):
    """The loss of a batch, and the running statistics that it leaves."""
    w, a, updated = iter(weights), x, []
    for _, pooled in row.convolutions:
        a = _convolved(a, next(w), row.padding.upper())
        if row.batchnorm:
            a = _normalized(row, a, w, (0, 1, 2), running, updated)
        a = jax.nn.relu(a + next(w))
        if pooled:
            a = jax.lax.reduce_window(a, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    if row.recurrent:
        a = _recurrence(row, a, w)
    for _ in range(row.blocks):
        a = _block(a, w)
    if row.blocks:
        a = a.mean(1)
    a = a.reshape(len(a), -1)
    for k in range(len(row.widths) - 2):
        a = a @ next(w)
        if row.batchnorm:
            a = _normalized(row, a, w, (0,), running, updated)
        a = jax.nn.relu(a + next(w))
        if row.dropout:
            keep = jax.random.bernoulli(jax.random.fold_in(key, k), 1 - row.dropout, a.shape)
            a = jnp.where(keep, a / (1 - row.dropout), 0)
    z = a @ next(w) + next(w)
    if row.loss == "mse":
        return jnp.mean((z - y) ** 2), updated
    log_p = jax.nn.log_softmax(z)
    return -jnp.take_along_axis(log_p, y[:, None], 1).mean(), updated


def train_step(row, state, x, y):
    """One step: (weights, m, v, step, running statistics, key, summed loss) -> the next."""
    weights, m, v, t, running, key, total = state
    key_now = jax.random.fold_in(key, t) if row.dropout else key
    (loss, running), grads = jax.value_and_grad(partial(_loss, row), has_aux=True)(
        weights, running, key_now, x, y
    )
    t = t + 1
    if row.optimizer == "sgd":
        weights = [w - row.learning_rate * g for w, g in zip(weights, grads, strict=True)]
    else:
        m = [0.9 * a + 0.1 * g for a, g in zip(m, grads, strict=True)]
        v = [0.999 * a + 0.001 * g * g for a, g in zip(v, grads, strict=True)]
        # 1 - beta**t without the rounding of 0.999 to float32
        corrections = [-jnp.expm1(t * math.log(beta)) for beta in (0.9, 0.999)]
        rate = row.learning_rate * jnp.sqrt(corrections[1]) / corrections[0]
        weights = [
            w - rate * a / (jnp.sqrt(b) + 1e-7) for w, a, b in zip(weights, m, v, strict=True)
        ]
    return weights, m, v, t, running, key, total + loss


def new_state(row, weights):
    moments = [[jnp.zeros_like(w) for w in weights if row.optimizer == "adam"] for _ in "mv"]
    running = []
    widths = [*(filters for filters, _ in row.convolutions), *row.widths[1:-1]]
    for width in widths if row.batchnorm else ():
        running += [jnp.zeros(width), jnp.ones(width)]
    return (
        [jnp.array(w) for w in weights],
        *moments,
        jnp.zeros((), jnp.float32),
        running,
        jax.random.key(0),
        jnp.zeros(()),
    )


class JaxJit(Peer):
    distributions = ("jax", "jaxlib")

    def build(self, weights, x, y):
        row = self.row
        self.state = new_state(row, weights)
        self.train_step = jax.jit(partial(train_step, row), donate_argnums=0)
        starts = range(0, len(x), row.batch)
        y = y.astype(np.int32) if row.loss == "ce" else y
        self.data = [
            (jnp.array(x[i : i + row.batch]), jnp.array(y[i : i + row.batch])) for i in starts
        ]

    def epochs(self, count, batches):
        before = float(self.state[-1])
        for _ in range(count):
            for x, y in self.data[:batches]:
                self.state = self.train_step(self.state, x, y)
            after = float(self.state[-1])
        return (after - before) / (count * batches)

    def weights(self):
        return [np.asarray(w) for w in self.state[0]]
