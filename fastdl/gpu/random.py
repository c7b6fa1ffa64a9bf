"""Dropout: the CPU's masks."""

from __future__ import annotations

from fastdl.gpu.core import Call, Family

random = Family("random")


@random.host("dropout_forward", "dropout_backward")
def _four_elements_a_thread(call: Call) -> None:
    call.elements(call.op.name, -(-call.rows // 4), *call.arguments())
