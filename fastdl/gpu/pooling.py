"""Pooling of images."""

from __future__ import annotations

from fastdl.gpu.core import Call, Family

pooling = Family("pooling")


@pooling.host(
    "max_pool_forward", "max_pool_backward", "average_pool_forward", "average_pool_backward"
)
def _windows(call: Call) -> None:
    lengths, options = call.lengths, call.options
    sizes = options["pool_height"], options["pool_width"]
    strides = options["stride_height"], options["stride_width"]
    before = [0, 0]
    if options["padding"] == "same":  # where their number is odd, the one more is behind
        ends = [(lengths[n] - 1) * s + k for n, s, k in zip("PQ", strides, sizes, strict=True)]
        before = [max(0, e - lengths[n]) // 2 for e, n in zip(ends, "HW", strict=True)]
    arrays = [call[a.name] for a in call.op.arguments]
    tail = call.epilogue if call.op.name.endswith("forward") else ()
    call.elements(
        call.op.name, call.size(call.op.arguments[0].name), *arrays, *tail,
        call.rows, *(lengths[letter] for letter in "HWCPQ"), *sizes, *strides, *before,
    )  # fmt: skip
