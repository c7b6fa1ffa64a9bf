"""Optimizers' updates."""

from __future__ import annotations

import math

import numpy as np


def _penalised(grad, param, l1, l2):
    """A factor of 0 leaves the parameters out, also where they are NaN."""
    return grad + (l1 * np.sign(param) if l1 else 0.0) + (2 * l2 * param if l2 else 0.0)


def _gradient(param, grad, grad_scale, clipvalue, l1, l2):
    g = _penalised(grad, param, l1, l2)
    g = g if grad_scale is None else g * grad_scale
    return np.clip(g, -clipvalue, clipvalue) if clipvalue else g


def sgd_update(
    param, grad, velocity=None, grad_scale=None, learning_rate=0.01, momentum=0.0,
    nesterov=False, weight_decay=0.0, convention="keras", clipvalue=0.0, l1=0.0, l2=0.0,
):  # fmt: skip
    g = _gradient(param, grad, grad_scale, clipvalue, l1, l2)
    w = param - learning_rate * weight_decay * param
    if momentum == 0:
        return w - learning_rate * g, velocity
    if convention == "keras":
        v = momentum * velocity - learning_rate * g
        return w + (momentum * v - learning_rate * g if nesterov else v), v
    v = momentum * velocity + g
    return w - learning_rate * (g + momentum * v if nesterov else v), v


def rmsprop_update(
    param, grad, square, average=None, velocity=None, grad_scale=None, learning_rate=1e-3,
    rho=0.9, momentum=0.0, epsilon=1e-7, centered=False, weight_decay=0.0, convention="keras",
    clipvalue=0.0, l1=0.0, l2=0.0,
):  # fmt: skip
    g = _gradient(param, grad, grad_scale, clipvalue, l1, l2)
    w = param - learning_rate * weight_decay * param
    square = rho * square + (1 - rho) * g**2
    if centered:
        average = rho * average + (1 - rho) * g
    d = square - average**2 if centered else square
    if convention == "keras":
        step = learning_rate * g / np.sqrt(d + epsilon)
    else:
        step = g / (np.sqrt(d) + epsilon)
    if momentum:
        step = velocity = momentum * velocity + step
    return w - (step if convention == "keras" else learning_rate * step), square, average, velocity


def adam_update(
    param, grad, m, v, v_max=None, grad_scale=None, learning_rate=1e-3, step=1, beta_1=0.9,
    beta_2=0.999, epsilon=1e-7, weight_decay=0.0, convention="keras", clipvalue=0.0, l1=0.0,
    l2=0.0,
):  # fmt: skip
    g = _gradient(param, grad, grad_scale, clipvalue, l1, l2)
    w = param - learning_rate * weight_decay * param
    m = beta_1 * m + (1 - beta_1) * g
    v = beta_2 * v + (1 - beta_2) * g**2
    if v_max is not None:
        v_max = np.maximum(v_max, v)
    below = v if v_max is None else v_max
    first, second = 1 - beta_1**step, 1 - beta_2**step
    if convention == "keras":
        w = w - learning_rate * math.sqrt(second) / first * m / (np.sqrt(below) + epsilon)
    else:
        w = w - learning_rate / first * m / (np.sqrt(below / second) + epsilon)
    return w, m, v, v_max


def adagrad_update(
    param, grad, square, grad_scale=None, learning_rate=1e-3, epsilon=1e-7, weight_decay=0.0,
    convention="keras", clipvalue=0.0, l1=0.0, l2=0.0,
):  # fmt: skip
    g = _gradient(param, grad, grad_scale, clipvalue, l1, l2)
    w = param - learning_rate * weight_decay * param
    square = square + g**2
    below = np.sqrt(square + epsilon) if convention == "keras" else np.sqrt(square) + epsilon
    return w - learning_rate * g / below, square


def squared_norm(grad, param=None, before=None, l1=0.0, l2=0.0):
    g = grad if param is None else _penalised(grad, param, l1, l2)
    return np.array([(g**2).sum()]) + (0.0 if before is None else before)


def accumulate_squares(total, values):
    return total + np.array([(values**2).sum(), 1.0])


def clip_scale(squares, clipnorm):
    with np.errstate(divide="ignore"):
        return np.minimum(1.0, clipnorm / np.sqrt(squares.sum(keepdims=True)))
