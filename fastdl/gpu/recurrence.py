"""Steps of recurrent cells, masks, and sequences in the order of time."""

from __future__ import annotations

from fastdl.gpu.core import Call, Family

recurrence = Family("recurrence")

recurrence.elementwise(
    "fill", "assign", "choose_rows_forward", "choose_rows_backward",
    "lstm_step_forward", "lstm_step_backward", "gru_step_forward", "gru_step_backward",
)  # fmt: skip
recurrence.rowwise("row_mask")


def _rearranges(kernel: str, *ops: str) -> None:
    @recurrence.host(*ops)
    def launch(call: Call) -> None:
        call.elements(kernel, call.size(call.op.arguments[0].name), *call.arguments())


_rearranges("to_time_major", "to_time_major_forward", "from_time_major_backward")
_rearranges("from_time_major", "from_time_major_forward", "to_time_major_backward")
