"""Functions of elements, broadcasting, sums, moved elements, products of many matrices."""

from __future__ import annotations

import math

import numpy as np

from oracle.arithmetic import add, multiply, multiply_backward
from oracle.common import _rows


def exp_forward(x):
    return np.exp(x)


def exp_backward(grad_out, out):
    return grad_out * out


def log_forward(x):
    return np.log(x)


def log_backward(grad_out, x):
    return grad_out / x


def sqrt_forward(x):
    return np.sqrt(x)


def sqrt_backward(grad_out, out):
    return grad_out / (2 * out)


def square_forward(x):
    return x * x


def square_backward(grad_out, x):
    return 2 * grad_out * x


def abs_forward(x):
    return np.abs(x)


def abs_backward(grad_out, x):
    return grad_out * np.sign(x)


def sign(x):
    return np.sign(x)


def clip_forward(x, low, high):
    return np.clip(x, low, high)


def clip_backward(grad_out, x, low, high):
    return np.where((x < low) | (x > high), 0.0, grad_out)


def subtract(a, b):
    return a - b


def divide(a, b):
    return a / b


def power(a, b):
    return np.power(a, b)


def maximum(a, b):
    return np.maximum(a, b)


def minimum(a, b):
    return np.minimum(a, b)


def less(a, b):
    return (a < b).astype(float)


def less_equal(a, b):
    return (a <= b).astype(float)


def equal(a, b):
    return (a == b).astype(float)


def not_equal(a, b):
    return (a != b).astype(float)


def _add_backward(grad_out, a, b):
    return grad_out, grad_out


def subtract_backward(grad_out, a, b):
    return grad_out, -grad_out


def divide_backward(grad_out, a, b):
    return grad_out / b, -grad_out * a / b**2


def power_backward(grad_out, a, b):
    by_a = np.where(b == 0, 0.0, b * np.power(a, b - 1))
    by_b = np.where((a == 0) & (b >= 0), 0.0, np.power(a, b) * np.log(a))
    return grad_out * by_a, grad_out * by_b


def _share(first, both):
    return np.where(first, 1.0, np.where(both, 0.5, 0.0))


def maximum_backward(grad_out, a, b):
    return grad_out * _share(a > b, a == b), grad_out * _share(b > a, a == b)


def minimum_backward(grad_out, a, b):
    return grad_out * _share(a < b, a == b), grad_out * _share(b < a, a == b)


def where_forward(condition, a=None, b=None, a_value=0.0, b_value=0.0):
    return np.where(condition != 0, a_value if a is None else a, b_value if b is None else b)


def where_backward(grad_out, condition):
    return np.where(condition != 0, grad_out, 0.0), np.where(condition != 0, 0.0, grad_out)


_FUNCTIONS = {
    "add": add, "subtract": subtract, "multiply": multiply, "divide": divide, "power": power,
    "maximum": maximum, "minimum": minimum, "less": less, "less_equal": less_equal,
    "equal": equal, "not_equal": not_equal,
}  # fmt: skip


_GRADIENTS = {
    "add": _add_backward, "subtract": subtract_backward, "multiply": multiply_backward,
    "divide": divide_backward, "power": power_backward, "maximum": maximum_backward,
    "minimum": minimum_backward,
}  # fmt: skip


def _of_two(function, x, y, swapped):
    return _FUNCTIONS[function](y, x) if swapped else _FUNCTIONS[function](x, y)


def _gradients_of_two(function, grad_out, x, y, swapped):
    """The gradients of x and of y, in the shape of x."""
    y = np.broadcast_to(y, x.shape)
    if swapped:
        return _GRADIENTS[function](grad_out, y, x)[::-1]
    return _GRADIENTS[function](grad_out, x, y)


def scalar_forward(x, value, function="add", swapped=False):
    return _of_two(function, x, np.float64(value), swapped)


def scalar_backward(grad_out, x, value, function="add", swapped=False):
    return _gradients_of_two(function, grad_out, x, value, swapped)[0]


def scalar_compare(x, value, function="less", swapped=False):
    return _of_two(function, x, value, swapped)


def vector_forward(x, y, function="add", swapped=False):
    return _of_two(function, x, y, swapped)


def vector_backward(grad_out, x, y, function="add", swapped=False):
    grad_x, grad_y = _gradients_of_two(function, grad_out, x, y, swapped)
    return grad_x, _rows(grad_y).sum(0)


def vector_compare(x, y, function="less", swapped=False):
    return _of_two(function, x, y, swapped)


def middle_forward(x, y, function="add", swapped=False):
    return _of_two(function, x, y[..., None, :], swapped)


def middle_backward(grad_out, x, y, function="add", swapped=False):
    grad_x, grad_y = _gradients_of_two(function, grad_out, x, y[..., None, :], swapped)
    return grad_x, grad_y.sum(-2)


def middle_compare(x, y, function="less", swapped=False):
    return _of_two(function, x, y[..., None, :], swapped)


def sum_forward(x, mean=False):
    return x.sum(-2) / (max(x.shape[-2], 1) if mean else 1)


def sum_backward(grad_out, mean=False, lengths=None):
    repeats = lengths["M"]
    return np.repeat(grad_out[..., None, :], repeats, -2) / (max(repeats, 1) if mean else 1)


def sum_rows_forward(x, mean=False):
    return _rows(x).sum(0) / (max(len(_rows(x)), 1) if mean else 1)


def sum_rows_backward(grad_out, mean=False, lengths=None):
    rows = max(math.prod(lengths["B"]), 1)
    return np.broadcast_to(grad_out, (*lengths["B"], *grad_out.shape)) / (rows if mean else 1)


def max_forward(x):
    return np.max(x, -2, initial=-np.inf)


def min_forward(x):
    return np.min(x, -2, initial=np.inf)


def max_backward(grad_out, x, out):
    same = x == out[..., None, :]
    return np.where(same, (grad_out / np.maximum(same.sum(-2), 1))[..., None, :], 0.0)


def min_backward(grad_out, x, out):
    return max_backward(grad_out, x, out)


def broadcast_forward(x, repeats):
    return np.repeat(x[..., None, :], repeats, -2)


def broadcast_backward(grad_out, repeats):
    return grad_out.sum(-2)


def broadcast_rows_forward(x, like):
    return np.broadcast_to(x, (*like.shape[:-1], *x.shape))


def broadcast_rows_backward(grad_out):
    return _rows(grad_out).sum(0)


def transpose_forward(x):
    return np.swapaxes(x, -3, -2)


def transpose_backward(grad_out):
    return np.swapaxes(grad_out, -3, -2)


def slice_forward(x, start=0, stride=1, *, length):
    return x[..., start + stride * np.arange(length), :]


def slice_backward(grad_out, start=0, stride=1, *, length, lengths=None):
    grad_x = np.zeros((*lengths["B"], lengths["M"], lengths["N"]))
    grad_x[..., start + stride * np.arange(length), :] = grad_out
    return grad_x


def take_forward(labels, weight):
    return weight[labels]


def take_backward(grad_out, labels, lengths=None):
    grad_weight = np.zeros((lengths["V"], lengths["N"]))
    np.add.at(grad_weight, labels, grad_out)
    return grad_weight


def one_hot(labels, classes):
    return np.eye(classes)[labels]


def batch_matmul_forward(a, b):
    return a @ b


def batch_matmul_backward_a(grad_out, b):
    return grad_out @ np.swapaxes(b, -1, -2)


def batch_matmul_backward_b(grad_out, a):
    return np.swapaxes(a, -1, -2) @ grad_out
