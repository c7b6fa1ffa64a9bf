"""Pooling of images."""

from __future__ import annotations

from typing import Any

from fastdl.gpu.core import Call, Family
from fastdl.gpu.norms import picked_slopes

pooling = Family("pooling")


@pooling.host(
    "max_pool_forward", "max_pool_backward", "average_pool_forward", "average_pool_backward"
)
def _windows(call: Call) -> None:
    _launch(call, call.op.name, *(call[a.name] for a in call.op.arguments))


@pooling.host("batchnorm_max_pool_forward")
def _normalised(call: Call) -> None:
    arrays = (call[a.name] for a in call.op.arguments)
    _launch(call, call.op.name, *arrays, call["epsilon"])


@pooling.host("batchnorm_max_pool_backward")
def _normalised_backward(call: Call) -> None:
    slopes = picked_slopes(call)
    arrays = (call[name] for name in ("grad_x", "grad_out", "index", "x", "mean"))
    _launch(call, "batchnorm_max_pool_gradient", *arrays, slopes)


def _launch(call: Call, kernel: str, *arguments: Any) -> None:
    """A kernel over the elements of the first argument; the shapes stand behind its arguments."""
    lengths, options = call.lengths, call.options
    sizes = options["pool_height"], options["pool_width"]
    strides = options["stride_height"], options["stride_width"]
    before = [0, 0]
    if options["padding"] == "same":  # where their number is odd, the one more is behind
        ends = [(lengths[n] - 1) * s + k for n, s, k in zip("PQ", strides, sizes, strict=True)]
        before = [max(0, e - lengths[n]) // 2 for e, n in zip(ends, "HW", strict=True)]
    tail = call.epilogue if call.op.name.endswith("forward") else ()
    call.elements(
        kernel, call.size(call.op.arguments[0].name), *arguments, *tail,
        call.rows, *(lengths[letter] for letter in "HWCPQ"), *sizes, *strides, *before,
    )  # fmt: skip
