"""Courses on the GPU: programs over data for many epochs, as `fastdl.kernels.course.Course`.

Batches run in stretches of some milliseconds. The host launches those of a stretch ahead of the
device, works out the next epoch's order meanwhile, and then waits; between two stretches it looks
at the clock and at what others want. An epoch's rows are shuffled to the same order as on the CPU.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy as np

from fastdl.gpu.program import Program
from fastdl.kernels.course import epoch_order, rates_ahead

__all__ = ["Course"]

_STRETCH_SECONDS = 0.04


class Course:
    """Epochs of training, each with its validation.

    Parameters and attributes are those of the CPU's. ``looked_at`` says whether somebody looks at
    the weights when `advance` returns: then the host is given them.
    """

    def __init__(
        self,
        train: Program,
        validate: Program | None,
        *,
        batch_size: int,
        validation_batch: int,
        first_epoch: int,
        epochs: int,
        shuffle: bool,
        step: int,
        seed: int,
        looked_at: bool,
    ) -> None:
        self.train, self.validate = train, validate
        self.rows = train.bound_rows
        if not 1 <= batch_size <= train.capacity or self.rows < 1:
            raise ValueError("Course: no rows, or a batch that the program has no room for")
        self.validation_rows = 0 if validate is None else validate.bound_rows
        self.batch_size, self.validation_batch = batch_size, validation_batch
        self.batches = -(-self.rows // batch_size)
        self.epoch, self.epochs, self.batch = first_epoch, max(epochs, first_epoch), 0
        self.step, self.seed, self.shuffled, self.looked_at = step, seed, shuffle, looked_at
        self.learning_rate, self.watched, self.interrupted = 0.0, 0, False
        self.first_epoch = first_epoch
        programs = [p for p in (train, validate) if p is not None]
        self.history = np.zeros((self.epochs - first_epoch, sum(p.totals.size for p in programs)))
        self._programs = programs
        self._schedule: Any = None
        self._rates, self._rates_first = np.zeros(0), 0
        self._begun, self._length = False, 1
        #: epoch: the order of its rows, on the host
        self._orders: dict[int, np.ndarray] = {}
        self._order: tuple[int, Any] = (-1, None)

    @property
    def schedule(self) -> Any:
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Any) -> None:
        if schedule is not self._schedule:
            self._schedule = schedule
            self._rates = np.zeros(0)

    def go_to(self, batch: int, step: int, totals: np.ndarray) -> None:
        """Goes on from within the epoch: ``batch`` batches of it done, with these totals.

        Raises
        ------
        ValueError
            If the epoch has fewer batches, or the totals are not those of this program.
        """
        if not 0 <= batch <= self.batches:
            raise ValueError(f"Course: an epoch has {self.batches} batches, not {batch}")
        self.train.totals[...] = totals
        self.batch, self.step, self._begun = batch, step, True

    def advance(self, until: str, seconds: float, batch: int = 0) -> str:
        """Trains on; returns which point it reached: see the CPU's course."""
        if self.epoch >= self.epochs:
            self._look()
            return "end"
        if self.train.bound_rows != self.rows or (
            self.validate is not None and self.validate.bound_rows != self.validation_rows
        ):
            raise RuntimeError("Course: other rows have been bound to its programs")
        with contextlib.ExitStack() as stack:
            for program in self._programs:
                stack.enter_context(program.running())
            reached = ""
            try:
                reached = self._advance(until, time.monotonic() + seconds, batch)
            finally:
                for program in self._programs:
                    program.read_results()
                    if self.looked_at and reached != "time":
                        program.let_go()
            return reached

    def _advance(self, until: str, deadline: float, batch: int) -> str:
        self.train.write_totals()
        while self.epoch < self.epochs:
            self._look()
            if not self._begun:
                self.train.totals.fill(0)
                self.train.write_totals()
                self._begun = True
                if until != "end":
                    self._rates = np.zeros(0)
            if self.batch < self.batches:
                self._stretch(
                    max(1, batch - self.batch) if until == "batch" else self.batches, until
                )
                if not np.isfinite(self.train.totals[: 2 * self.watched : 2]).all():
                    return "not finite"
                if until == "batch" and (self.batch >= batch or self.batch == self.batches):
                    return "batch"
            if self.batch == self.batches:
                row = self.history[self.epoch - self.first_epoch]
                row[: self.train.totals.size] = self.train.totals
                if self.validate is not None:
                    self.validate.run_all(self.validation_batch)
                    row[self.train.totals.size :] = self.validate.totals
                self.epoch += 1
                self.batch, self._begun = 0, False
                if until != "end":
                    return "epoch"
            if time.monotonic() > deadline and self.epoch < self.epochs:
                return "time"
        return "end"

    def _look(self) -> None:
        """Lets threads that set ``interrupted`` end the call."""
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt

    def _stretch(self, most: int, until: str) -> None:
        """Some batches; the next time more or fewer, to last about as long as a stretch should."""
        count = min(self._length, most, self.batches - self.batch)
        rates = None
        if self._schedule is not None:
            rates = self._rates_from_here(until == "end")
            count = min(count, len(rates))
            rates = rates[:count]
        begin = time.monotonic()
        try:
            self.train.stretch(
                *(self.batch_size, self.batch, count),
                order=self._order_on_device() if self.shuffled else None,
                step=self.step + 1,
                seed=self.seed,
                learning_rate=self.learning_rate,
                rates=rates,
                meanwhile=self._prepare_next if self.shuffled else None,
            )
        finally:
            self.batch += self.train.done
            self.step += self.train.done
        took = time.monotonic() - begin
        if took < _STRETCH_SECONDS / 2:
            self._length *= 2
        elif took > 2 * _STRETCH_SECONDS:
            self._length = max(1, self._length // 2)

    def _order_of(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            self._orders = {epoch: epoch_order(self.rows, self.seed, epoch)}
        return self._orders[epoch]

    def _order_on_device(self) -> Any:
        if self._order[0] != self.epoch:
            self._order = self.epoch, self.train.upload(self._order_of(self.epoch))
        return self._order[1]

    def _prepare_next(self) -> None:
        """While the device is at work: the order of the rows in the epoch to come."""
        if self.epoch + 1 < self.epochs:
            self._order_of(self.epoch + 1)

    def _rates_from_here(self, across_epochs: bool) -> np.ndarray:
        """The learning rates of the steps to come, as many as the schedule has been asked for."""
        known = self.step - self._rates_first
        if 0 <= known < len(self._rates):
            return self._rates[known:]
        later = (self.epochs - self.epoch - 1) * self.batches if across_epochs else 0
        left = self.batches - self.batch
        self._rates = rates_ahead(self._schedule, self.step, left, later)
        self._rates_first = self.step
        return self._rates
