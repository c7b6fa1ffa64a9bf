"""Activations and softmax."""

from __future__ import annotations

import math

import numpy as np

_erf = np.vectorize(math.erf, otypes=[np.float64])


_SELU_ALPHA = 1.6732632423543772848170429916717


_SELU_SCALE = 1.0507009873554804934193349852946


_GELU_TANH = math.sqrt(2 / math.pi)


def relu_forward(x):
    return np.where(x < 0, 0.0, x)


def relu_backward(grad_out, out):
    return np.where(out <= 0, 0.0, grad_out)


def leaky_relu_forward(x, alpha=0.3):
    return np.where(x > 0, x, alpha * x)


def leaky_relu_backward(grad_out, x, alpha=0.3):
    return np.where(x > 0, grad_out, alpha * grad_out)


def elu_forward(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(x))


def elu_backward(grad_out, x, alpha=1.0):
    return np.where(x > 0, grad_out, grad_out * alpha * np.exp(x))


def selu_forward(x):
    return _SELU_SCALE * elu_forward(x, _SELU_ALPHA)


def selu_backward(grad_out, out):
    slope = np.where(out > 0, _SELU_SCALE, out + _SELU_SCALE * _SELU_ALPHA)
    return grad_out * slope


def gelu_forward(x):
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def gelu_backward(grad_out, x):
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return grad_out * ((1 + _erf(x / math.sqrt(2))) / 2 + x * density)


def gelu_tanh_forward(x):
    return x * (1 + np.tanh(_GELU_TANH * (x + 0.044715 * x**3))) / 2


def gelu_tanh_backward(grad_out, x):
    t = np.tanh(_GELU_TANH * (x + 0.044715 * x**3))
    slope = _GELU_TANH * (1 + 3 * 0.044715 * x**2)
    return grad_out * ((1 + t) / 2 + x * (1 - t**2) * slope / 2)


def sigmoid_forward(x):
    return np.where(x > 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(x) / (1 + np.exp(x)))


def sigmoid_backward(grad_out, out):
    return grad_out * out * (1 - out)


def tanh_forward(x):
    return np.tanh(x)


def tanh_backward(grad_out, out):
    return grad_out * (1 - out**2)


def softplus_forward(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softplus_backward(grad_out, x):
    return grad_out * sigmoid_forward(x)


def silu_forward(x):
    return x * sigmoid_forward(x)


def silu_backward(grad_out, x):
    s = sigmoid_forward(x)
    return grad_out * (s + x * s * (1 - s))


def softmax_forward(x):
    e = np.exp(x - x.max(-1, keepdims=True, initial=-np.inf))
    return e / e.sum(-1, keepdims=True)


def softmax_backward(grad_out, out):
    return out * (grad_out - (grad_out * out).sum(-1, keepdims=True))


def _activated(x, activation):
    return x if activation == "linear" else globals()[f"{activation}_forward"](x)
