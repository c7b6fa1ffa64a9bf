"""Elementwise arithmetic and joining of arrays."""

from __future__ import annotations

from fastdl.kernels.table.vocabulary import declare, in_, number, out

declare("add", "out = a + b.", out("out", "B"), in_("a", "B"), in_("b", "B"),
    passes=("a", "b"), elementwise=True, inplace=True)  # fmt: skip
declare("multiply", "out = a * b.", out("out", "B"), in_("a", "B"), in_("b", "B"),
    backward=("multiply_backward",), elementwise=True, inplace=True)  # fmt: skip
declare("multiply_backward", "grad_a = grad_out * b, grad_b = grad_out * a.",
    out("grad_a", "B"), out("grad_b", "B"),
    in_("grad_out", "B"), in_("a", "B"), in_("b", "B"))  # fmt: skip
declare("scale", "out = factor * x.", out("out", "B"), in_("x", "B"), number("factor", 1.0),
    backward=("scale_backward",), elementwise=True, inplace=True)  # fmt: skip
declare("scale_backward", "grad_x = factor * grad_out.", out("grad_x", "B"), in_("grad_out", "B"),
    number("factor", 1.0), elementwise=True, inplace=True)  # fmt: skip
declare("concatenate", "out = [a | b], side by side along the last axis.",
    out("out", "B C+D"), in_("a", "B C"), in_("b", "B D"),
    backward=("concatenate_backward",))  # fmt: skip
declare("concatenate_backward", "grad_a and grad_b: the two parts of grad_out.",
    out("grad_a", "B C"), out("grad_b", "B D"), in_("grad_out", "B C+D"))  # fmt: skip
declare("split_forward", "a and b: the two parts of x along the last axis.",
    out("a", "B C"), out("b", "B D"), in_("x", "B C+D"), backward=("split_backward",))  # fmt: skip
declare("split_backward", "grad_x = [grad_a | grad_b].",
    out("grad_x", "B C+D"), in_("grad_a", "B C"), in_("grad_b", "B D"))  # fmt: skip
