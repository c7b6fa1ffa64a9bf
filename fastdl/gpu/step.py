"""Compiled steps on the GPU: the face of `fastdl.kernels.step.Step`.

A step is a Program of one batch that is called from Python again and again. Its weights stay on the
device from call to call, until somebody looks at them on the host.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.data.door import is_on_gpu
from fastdl.gpu import device
from fastdl.gpu.core import CONTEXT
from fastdl.gpu.memory import stay
from fastdl.gpu.program import TYPES, Program
from fastdl.kernels.values import wrap

__all__ = ["Step"]


class Step:
    """A program with numbers for some of its ops, and what is read from it after a run.

    Parameters are those of the CPU's.
    """

    def __init__(
        self,
        program: Program,
        owners: list[list[list[int]]],
        results: list[tuple[np.ndarray, bool]],
    ) -> None:
        self.program, self.results = program, results
        program.give_numbers([owner for op in owners for chain in op for owner in chain])

    def is_current(self) -> bool:
        """Whether the program's memory is that of the driver that is in use."""
        return self.program.driver is device.driver()

    def run(self, sources: Any, numbers: list[tuple[int, int, float]]) -> list[Any] | None:
        """One batch.

        Parameters
        ----------
        sources : list of array
            The rows for each feed, on the host or on the device.
        numbers : list of (step, seed, learning rate)

        Returns
        -------
        list of Tensor, or None
            The results; None, and nothing has been done, where an array does not fit or is longer
            than the program has room for.

        Raises
        ------
        RuntimeError
            If another thread is running this step.
        """
        program = self.program
        rows = {len(source) for source in sources} or {1}
        fit = all(map(_fits, sources, program.feed_buffers))
        if not fit or len(rows) > 1 or not 1 <= max(rows) <= program.capacity:
            return None
        with program.running(), program.in_use:
            stay(program)
            program.bind(sources, [])
            program.once(rows.pop(), _contexts(numbers))
            return [wrap(self._copy(*result)) for result in self.results]

    def _copy(self, buffer: np.ndarray, per_row: bool) -> np.ndarray:
        there = self.program.result(buffer)
        return there[: self.program.rows] if per_row else there


def _fits(source: Any, buffer: np.ndarray) -> bool:
    known = type(source) is np.ndarray or is_on_gpu(source)
    same = known and source.shape[1:] == buffer.shape[1:] and source.ndim == buffer.ndim
    return bool(same and source.dtype.isnative and source.dtype.name in TYPES)


def _contexts(numbers: list[tuple[int, int, float]]) -> np.ndarray:
    contexts = np.zeros(len(numbers), CONTEXT)
    for context, (step, seed, rate) in zip(contexts, numbers, strict=True):
        context["step"], context["seed"], context["learning_rate"] = step, seed, rate
    return contexts
