"""Elementwise arithmetic, and arrays side by side."""

from __future__ import annotations

from fastdl.gpu.core import Call, Family

arithmetic = Family("arithmetic")

arithmetic.elementwise("add", "multiply", "multiply_backward", "scale", "scale_backward")


def _side_by_side(kernel: str, both: str, left: str, right: str):
    def launch(call: Call) -> None:
        lengths = call.rows, call.lengths["C"], call.lengths["D"]
        arrays = [call[name] for name in (both, left, right)]
        if kernel == "part":
            arrays = [arrays[1], arrays[2], arrays[0]]
        call.elements(kernel, call.size(both), *arrays, *lengths)

    return launch


arithmetic.host("concatenate")(_side_by_side("join", "out", "a", "b"))
arithmetic.host("concatenate_backward")(_side_by_side("part", "grad_out", "grad_a", "grad_b"))
arithmetic.host("split_forward")(_side_by_side("part", "x", "a", "b"))
arithmetic.host("split_backward")(_side_by_side("join", "grad_x", "grad_a", "grad_b"))
