"""Dropout and noise by the CPU's random words."""

from __future__ import annotations

from fastdl.gpu.core import Call, Family

random = Family("random")


@random.host("dropout_forward", "dropout_backward", "gaussian_noise_forward")
def _four_elements_a_thread(call: Call) -> None:
    call.elements(call.op.name, -(-call.rows // 4), *call.arguments())
