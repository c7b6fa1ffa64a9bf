"""The order of time, masks, steps of cells."""

from __future__ import annotations

import numpy as np

from oracle.activations import relu_forward, sigmoid_forward


def to_time_major_forward(x, reverse=False):
    sequences = x.reshape(-1, *x.shape[-2:]) if x.size else x.reshape(0, 1, 1)
    in_time = sequences.transpose(1, 0, 2)
    return (in_time[::-1] if reverse else in_time).reshape(x.shape)


def from_time_major_forward(x, reverse=False):
    if not x.size:
        return x
    in_time = x.reshape(x.shape[-2], -1, x.shape[-1])
    return (in_time[::-1] if reverse else in_time).transpose(1, 0, 2).reshape(x.shape)


def to_time_major_backward(grad_out, reverse=False):
    return from_time_major_forward(grad_out, reverse)


def from_time_major_backward(grad_out, reverse=False):
    return to_time_major_forward(grad_out, reverse)


def fill(lengths, value=0.0):
    return np.full(lengths["B"], value)


def assign(target, x):
    return x.copy()


def row_mask(x, value=0.0):
    return (x != value).any(axis=-1).astype(float)


def choose_rows_forward(x, other, mask):
    return np.where(mask[..., None] != 0, x, 0.0 if other is None else other)


def choose_rows_backward(grad_out, mask):
    kept = mask[..., None] != 0
    return np.where(kept, grad_out, 0.0), np.where(kept, 0.0, grad_out)


_GATE = {
    "linear": (lambda x: x, lambda out: np.ones_like(out)),
    "relu": (relu_forward, lambda out: np.where(out <= 0, 0.0, 1.0)),
    "sigmoid": (sigmoid_forward, lambda out: out * (1 - out)),
    "tanh": (np.tanh, lambda out: 1 - out**2),
}


def lstm_step_forward(x, carry, activation="tanh", recurrent_activation="sigmoid"):
    outer, gate = _GATE[activation][0], _GATE[recurrent_activation][0]
    i, f, c, o = np.split(x, 4, axis=-1)
    i, f, c, o = gate(i), gate(f), outer(c), gate(o)
    carry_out = f * carry + i * c
    squashed = outer(carry_out)
    return o * squashed, carry_out, np.concatenate([i, f, c, o], axis=-1), squashed


def lstm_step_backward(
    grad_out, grad_carry_out, gates, squashed, carry, activation="tanh",
    recurrent_activation="sigmoid",
):  # fmt: skip
    outer, gate = _GATE[activation][1], _GATE[recurrent_activation][1]
    i, f, c, o = np.split(gates, 4, axis=-1)
    grad_out = np.zeros_like(carry) if grad_out is None else grad_out
    grad = grad_out * o * outer(squashed) + (0.0 if grad_carry_out is None else grad_carry_out)
    parts = [grad * c * gate(i), grad * carry * gate(f), grad * i * outer(c)]
    parts.append(grad_out * squashed * gate(o))
    return grad * f, np.concatenate(parts, axis=-1)


def gru_step_forward(x, recurrent, state, activation="tanh", recurrent_activation="sigmoid"):
    outer, gate = _GATE[activation][0], _GATE[recurrent_activation][0]
    x_z, x_r, x_h = np.split(x, 3, axis=-1)
    s_z, s_r, s_h = np.split(recurrent, 3, axis=-1)
    z, r = gate(x_z + s_z), gate(x_r + s_r)
    h = outer(x_h + r * s_h)
    return z * state + (1 - z) * h, np.concatenate([z, r, h], axis=-1)


def gru_step_backward(
    grad_out, gates, recurrent, state, activation="tanh", recurrent_activation="sigmoid"
):
    outer, gate = _GATE[activation][1], _GATE[recurrent_activation][1]
    z, r, h = np.split(gates, 3, axis=-1)
    s_h = np.split(recurrent, 3, axis=-1)[2]
    grad_h = grad_out * (1 - z) * outer(h)
    grad_r = grad_h * s_h * gate(r)
    grad_z = grad_out * (state - h) * gate(z)
    grad_x = np.concatenate([grad_z, grad_r, grad_h], axis=-1)
    return grad_out * z, grad_x, np.concatenate([grad_z, grad_r, grad_h * r], axis=-1)
