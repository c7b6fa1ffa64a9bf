"""Matrix products and the dense layer made of them."""

from __future__ import annotations

from fastdl.kernels.table.activations import ACTIVATIONS
from fastdl.kernels.table.vocabulary import choice, declare, in_, out

declare(
    "matmul_nn",
    "out = a @ b.",
    out("out", "M N"),
    in_("a", "M K"),
    in_("b", "K N"),
    runs_tails=True,
)
declare(
    "matmul_tn",
    "out = a.T @ b.",
    out("out", "M N"),
    in_("a", "K M"),
    in_("b", "K N"),
    runs_tails=True,
    hands_on=True,
)
declare(
    "matmul_nt",
    "out = a @ b.T.",
    out("out", "M N"),
    in_("a", "M K"),
    in_("b", "N K"),
    runs_tails=True,
)
declare(
    "dense_forward",
    "out = activation(x @ weight + bias).",
    out("out", "B O"),
    in_("x", "B I"),
    in_("weight", "I O"),
    in_("bias", "O", optional=True),
    backward=("dense_backward_input", "dense_backward_weight", "dense_backward_bias"),
    tail=choice("activation", ACTIVATIONS, "linear", doc="applied to each finished tile"),
    runs_tails=True,
)
declare(
    "dense_backward_input",
    "grad_x = grad_out @ weight.T.",
    out("grad_x", "B I"),
    in_("grad_out", "B O"),
    in_("weight", "I O"),
    runs_tails=True,
)
declare(
    "dense_backward_weight",
    "grad_weight = x.T @ grad_out.",
    out("grad_weight", "I O"),
    in_("x", "B I"),
    in_("grad_out", "B O"),
    runs_tails=True,
    hands_on=True,
)
declare(
    "dense_backward_bias",
    "grad_bias = sum of grad_out over B.",
    out("grad_bias", "O"),
    in_("grad_out", "B O"),
)
