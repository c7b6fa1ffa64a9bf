"""Matrix products and dense layers."""

from __future__ import annotations

from oracle.activations import _activated
from oracle.common import _rows


def matmul_nn(a, b):
    return a @ b


def matmul_tn(a, b):
    return a.T @ b


def matmul_nt(a, b):
    return a @ b.T


def dense_forward(x, weight, bias=None, activation="linear"):
    return _activated(x @ weight + (0.0 if bias is None else bias), activation)


def dense_backward_input(grad_out, weight):
    return grad_out @ weight.T


def dense_backward_weight(x, grad_out):
    return _rows(x).T @ _rows(grad_out)


def dense_backward_bias(grad_out):
    return _rows(grad_out).sum(0)
