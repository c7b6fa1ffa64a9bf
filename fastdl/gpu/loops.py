"""Loops over time in one launch, where their ops work row by row and their weights are small.

A step of a small recurrent layer takes less time than its launches. So the ops of all iterations
go to one kernel (loops.cu), whose blocks have some rows of the batch each, for the whole loop.
"""

from __future__ import annotations

import numpy as np

from fastdl.gpu.core import Call, power_of_two

__all__ = ["Loop", "fused"]

#: The codes of loops.cu, and the letters of the two sizes that an op has there.
_OPS = {
    "dense_forward": (0, "IO"), "dense_backward_input": (1, "IO"), "add": (2, ""),
    "lstm_step_forward": (3, "U"), "lstm_step_backward": (4, "U"),
    "gru_step_forward": (5, "U"), "gru_step_backward": (6, "U"),
    "choose_rows_forward": (7, "F"), "choose_rows_backward": (8, "F"),
}  # fmt: skip

_WORDS, _THREADS, _MOST_ROWS, _ROOM = 12, 512, 8, 4096

#: Rows are shared out to so many blocks, one for each multiprocessor of a large GPU. A block reads
#: all weights in every iteration: with more bytes than these that takes longer than the launches.
_BLOCKS, _MOST_BYTES = 128, 1 << 19


class Loop:
    """The calls of all iterations as one launch."""

    def __init__(self, iterations: list[list[Call]], rows: int) -> None:
        self.calls = iterations
        first = iterations[0][0]
        self.driver, self.real, self.rows = first.driver, first.real, rows
        self.each = -(-rows // _BLOCKS)
        words = [self._words(call) for calls in iterations for call in calls]
        self.table = self.driver.upload(np.array(words, np.int64))

    def _words(self, call: Call) -> list[int]:
        """An op as the kernel reads it."""
        code, letters = _OPS[call.op.name]
        sizes = [call.lengths[letter] for letter in letters] or [call.rows // self.rows]
        options = [call[o.name] for o in call.op.options]
        arrays = [call[a.name] for a in call.op.arguments]
        there = [0 if a is None else self.driver.address(a) for a in arrays]
        words = [code, *(*sizes, 0)[:2], *(*options, 0, 0)[:2], *there]
        return words + [0] * (_WORDS - len(words))

    def run(self) -> None:
        kernel = self.driver.kernel("loops", 8 * self.real.itemsize, "loop")
        count = len(self.calls), len(self.calls[0])
        grid, block = (-(-self.rows // self.each), 1, 1), (_THREADS, 1, 1)
        self.driver.launch(kernel, grid, block, (self.table, *count, self.rows, self.each))


def fused(iterations: list[list[Call]], rows: int) -> list[Loop]:
    """The loop of these calls, or nothing if they cannot be one, or would not gain."""
    body = iterations[0] if len(iterations) > 1 else []
    products = [call for call in body if "weight" in call.arrays]
    if not 1 <= rows <= _MOST_ROWS * _BLOCKS or not products:
        return []
    for call in body:
        by_rows = call.rows == rows or (call.op.name == "add" and call.rows % rows == 0)
        if call.op.name not in _OPS or call.real != body[0].real or call.epilogue[0] or not by_rows:
            return []
    longest = max(call.lengths[letter] for call in products for letter in "IO")
    size = sum(call.size("weight") for call in products) * body[0].real.itemsize
    if size > _MOST_BYTES or longest * power_of_two(-(-rows // _BLOCKS)) > _ROOM:
        return []
    return [Loop(iterations, rows)]
