"""The loop of fit: data in, a Program runs over many epochs, logs out.

It hands whole epochs to the native `Course` and comes back to Python only where somebody
listens: for callbacks, for the progress line some ten times a second, and for signals.
"""

from __future__ import annotations

import functools
import math
import os
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import resume
from fastdl.arguments import (
    INFERENCE_BATCH,
    FitData,
    check_counts,
    fit_data,
    rows_for,
    validation_rows,
    whole,
)
from fastdl.callbacks import BackupAndRestore, CallbackList, History
from fastdl.callbacks import Progress as ProgressCallback
from fastdl.callbacks.norms import NormRecorder
from fastdl.data import Rows, is_stream
from fastdl.kernels.course import Course
from fastdl.metrics.base import plain_logs
from fastdl.programs import Compiled, compiled
from fastdl.progress import Progress, resolve_verbose
from fastdl.streaming import StreamRun

if TYPE_CHECKING:
    from fastdl.diagnosis import Watch
    from fastdl.model import Model

__all__ = ["NOT_FINITE", "Busy", "Run", "fit", "not_finite"]

#: What to do about a loss that is not finite.
NOT_FINITE = (
    "look for NaN or Inf in the data, lower the learning rate, or clip gradients (clipnorm=)"
)

_FOREVER = 1e9


class Busy:
    """Refuses to train a model that is being trained by another thread."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __enter__(self) -> None:
        if not self.model._lock.acquire(blocking=False):
            raise RuntimeError(f"{self.model.name} is already being trained by another call")

    def __exit__(self, *exc: object) -> None:
        self.model._lock.release()


def fit(
    model: Model,
    x: Any,
    y: Any,
    *,
    batch_size: int,
    epochs: int,
    verbose: str | int,
    callbacks: Any,
    validation_split: float,
    validation_data: Any,
    shuffle: bool,
    class_weight: Mapping[int, float] | str | None,
    sample_weight: Any,
    initial_epoch: int,
    stratify: bool,
    resume_from: str | os.PathLike[str] | None,
    steps_per_epoch: int | None,
    validation_steps: int | None,
) -> History:
    """See `Model.fit`."""
    check_counts(batch_size, epochs, initial_epoch)
    listeners = CallbackList(callbacks)
    resolve_verbose(verbose)
    place = None if resume_from is None else resume.Place(resume_from)
    if y is None and is_stream(x):
        refused = {
            "validation_split": bool(validation_split),
            "sample_weight": sample_weight is not None,
            "stratify": stratify,
        }
        for name, given in refused.items():
            if given:
                raise ValueError(f"fit: {name} is for arrays, but x gives batches")

        def rows_of(model: Model, x: Any, y: Any, weight: Any) -> Rows:
            return rows_for(model, x, y, weight, class_weight)

        if steps_per_epoch is not None:
            whole("steps_per_epoch", steps_per_epoch, 1)
        if validation_data is not None and not is_stream(validation_data):
            validation_data = validation_rows(model, validation_data)
        run: Run | StreamRun = StreamRun(
            *(model, x, rows_of, steps_per_epoch, validation_data, validation_steps),
            *(int(epochs), int(initial_epoch), bool(shuffle), listeners),
            lambda batches: _progress(batches, verbose, listeners),
            place or _backup(listeners),
        )
        return _reported(model, run)
    if steps_per_epoch is not None or validation_steps is not None:
        raise ValueError("fit: steps_per_epoch and validation_steps are for batches, not arrays")
    data = fit_data(
        model, x, y, validation_split, validation_data, class_weight, sample_weight, stratify
    )
    run = Run(model, data, batch_size, epochs, verbose, listeners, shuffle, initial_epoch, place)
    return _reported(model, run)


def _reported(model: Model, run: Run | StreamRun) -> History:
    """Trains; warns where a loss is not finite and no watch has said so."""
    history = run.go()
    bad = not_finite(history)
    if bad is not None and not any(watch.finding for watch in run.watching):
        what, value, epoch = bad
        warnings.warn(
            f"{model.name}: the {what} became {value} in epoch {epoch + 1}; {NOT_FINITE}",
            RuntimeWarning,
            stacklevel=5,  # the line that called Model.fit
        )
    return history


def not_finite(history: History) -> tuple[str, float, int] | None:
    """The first loss of a fit that is not finite, on training or on validation data: what it is
    called, its value and its epoch."""
    for name, what in (("loss", "loss"), ("val_loss", "validation loss")):
        losses = history.history.get(name, [])
        if not math.isfinite(sum(losses)):
            for epoch, loss in zip(history.epoch, losses, strict=True):
                if not math.isfinite(loss):
                    return what, loss, epoch
    return None


class Run(resume.Fit):
    """One fit: the course, and those who look at it.

    Attributes
    ----------
    course : Course
        The native half; to set its ``interrupted`` from another thread ends `go` as Ctrl-C does.
    """

    def __init__(
        self,
        model: Model,
        data: FitData,
        batch_size: int,
        epochs: int,
        verbose: str | int,
        listeners: CallbackList,
        shuffle: bool,
        initial_epoch: int,
        place: resume.Place | None = None,
    ) -> None:
        place = place or _backup(listeners)
        super().__init__(model, listeners, place)
        self.data = data
        rows, validation = data.rows, data.validation
        self.rows, self.shuffle = rows.count, bool(shuffle)
        self.batch_size = min(int(batch_size), rows.count)
        weighted = rows.weighted
        norms = any(isinstance(c, NormRecorder) for c in listeners.callbacks)
        self.step = compiled(model, "train", self.batch_size, weighted, norms)
        self.step.check_batches(rows.count, self.batch_size)
        self.check: Compiled | None = None
        validation_batch = 1
        if validation is not None:
            usual = self.step.lowered.batch_rows or INFERENCE_BATCH
            validation_batch = min(usual, validation.count)
            self.check = compiled(model, "validate", validation_batch, validation.weighted)
            self.check.check_batches(validation.count, validation_batch)
        self.train_totals = self.step.lowered.program.totals.size
        #: What the programs hand out for the metrics that see all rows of an epoch.
        self.kept = self.step.results(rows.count)
        self.kept_check: list[np.ndarray] = []
        if place is not None:
            place.check(self)
            place.restore_model(model)
        try:
            self.step.lowered.program.bind(rows.sources, self.kept)
            if self.check is not None and validation is not None:
                self.kept_check = self.check.results(validation.count)
                self.check.lowered.program.bind(validation.sources, self.kept_check)
            course = Course
            if model.backend == "gpu":
                from fastdl.gpu.course import Course as CourseOnGpu

                course = functools.partial(CourseOnGpu, looked_at=bool(listeners.callbacks))
            self.course = course(
                self.step.lowered.program,
                None if self.check is None else self.check.lowered.program,
                batch_size=self.batch_size,
                validation_batch=validation_batch,
                first_epoch=int(initial_epoch) if place is None else place.epoch,
                epochs=int(epochs),
                shuffle=self.shuffle,
                step=model.optimizer.iterations,
                seed=model.next_seed() if place is None else place.seed,
            )
        except BaseException:
            self._unbind()
            raise
        course = self.course
        self.progress = _progress(course.batches, verbose, listeners)
        if data.note and self.progress.level:
            print(data.note, file=self.progress.stream, flush=True)
        self.first = course.epoch
        params = {
            "verbose": self.progress.level,
            "epochs": course.epochs,
            "steps": course.batches,
            "batch_size": self.batch_size,
            "rows": rows.count,
            "validation_rows": 0 if validation is None else validation.count,
            "shuffle": self.shuffle,
        }
        self.introduce(params)
        self.watch: Watch | None = None

    # --- its place ---

    @property
    def totals(self) -> np.ndarray:
        """What the epoch under way has added up."""
        return self.step.lowered.program.totals

    def signature(self) -> dict[str, Any]:
        """What has to be the same in the fit that goes on."""
        return {
            "rows": self.rows,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "validation": self.check is not None,
            "totals": self.step.names,
        }

    def position(self) -> dict[str, int]:
        """Where the fit is."""
        course = self.course
        return {"seed": course.seed, "epoch": course.epoch, "batch": course.batch}

    def rows_kept(self) -> list[np.ndarray]:
        """What was handed out for the metrics that see all rows, of those that were seen."""
        return [array[: self.seen] for array in self.kept]

    def go_to(self, batch: int, totals: np.ndarray, kept: list[np.ndarray]) -> None:
        """Has the first epoch begin behind so many batches."""
        self.course.go_to(batch, self.course.step, totals)
        for array, values in zip(self.kept, kept, strict=True):
            array[: self.seen] = values

    def go(self) -> History:
        """Trains to the end, or until somebody sets ``model.stop_training``."""
        self.model._run = self
        try:
            self._go()
        finally:
            self.model._run = None
            self._unbind()
        return self.history

    def _unbind(self) -> None:
        self.step.lowered.program.unbind()
        if self.check is not None:
            self.check.lowered.program.unbind()

    def _go(self) -> None:
        self.history.on_train_begin()
        self.listeners.on_train_begin({})
        if self.place is not None:
            self.place.restore_run(self)
        if self.watching:
            from fastdl.diagnosis import Watch

            self.watch = Watch(self)
        logs: dict[str, float] = {}
        begin = time.perf_counter()
        try:
            looked_at = self.listeners.callbacks or self.progress.level
            if not looked_at and not self.kept and not self.kept_check:
                self._advance("end", _FOREVER)
                self._record_all()
            else:
                for epoch in range(self.first, self.course.epochs):
                    if self.model.stop_training:
                        break
                    logs = self._epoch(epoch)
        except BaseException:  # of a callback, or Ctrl-C
            self.progress.close()
            raise
        finally:
            self.history.seconds += time.perf_counter() - begin
        self.listeners.on_train_end(logs)

    def _advance(self, until: str, seconds: float, batch: int = 0) -> str:
        optimizer, course = self.model.optimizer, self.course
        course.schedule = optimizer.schedule
        if optimizer.schedule is None:
            course.learning_rate = optimizer.learning_rate
        if self.watch is not None:
            self.watch.before(until == "batch")
            seconds = min(seconds, self.watch.interval)
        try:
            reached = course.advance(until, seconds, batch)
            if reached == "not finite":
                self._not_finite()
                return "batch" if until == "batch" else course.advance("epoch", _FOREVER)
            return reached
        finally:
            optimizer.iterations = course.step

    def _not_finite(self) -> None:
        """Has those who watch know where it comes from, and ends the epoch before that batch."""
        assert self.watch is not None
        finding = self.watch.find()
        self.course.watched = 0
        for callback in self.watching:
            callback.found(finding)
        self.course.go_to(self.course.batches, self.course.step, self.totals)

    def _epoch(self, epoch: int) -> dict[str, float]:
        course, listeners = self.course, self.listeners
        self.progress.start(f"Epoch {epoch + 1}/{course.epochs}")
        if not course.batch:  # of an epoch that is resumed within, the hook has been called
            listeners.on_epoch_begin(epoch, {})
        interval = self.progress.interval or _FOREVER
        if listeners.needs_batches:
            self._batches(epoch, interval)
        elif listeners.needs_tests:
            self._until_batch(course.batches, interval)
        validates = self.check is not None and listeners.needs_tests
        if validates:
            listeners.on_test_begin({})
        while self._advance("epoch", interval) == "time":
            self.progress.update(course.batch, self._train_logs())
        logs = self._epoch_logs(epoch)
        if validates:
            listeners.on_test_end(
                {k.removeprefix("val_"): v for k, v in logs.items() if k.startswith("val_")}
            )
        listeners.on_epoch_end(epoch, logs)
        self.history.on_epoch_end(epoch, logs)
        self.write_files()
        self.progress.finish(logs)
        return logs

    def _batches(self, epoch: int, interval: float) -> None:
        """The batches of an epoch, with the hooks that want to be called between them."""
        course, listeners = self.course, self.listeners
        before = epoch * course.batches
        while course.batch < course.batches and not self.model.stop_training:
            listeners.on_train_batch_begin(course.batch, {})
            self._until_batch(listeners.next_batch(before, course.batch, course.batches), interval)
            logs = self._train_logs()
            listeners.on_train_batch_end(course.batch - 1, logs, before + course.batch)
            self.write_files()
            self.progress.update(course.batch, logs)
        if course.batch < course.batches:  # stopped: the epoch ends here
            self.kept = [array[: self.seen] for array in self.kept]
            course.go_to(course.batches, course.step, self.totals)

    @property
    def seen(self) -> int:
        """How many rows of the epoch have been trained on."""
        return min(self.course.batch * self.batch_size, self.rows)

    def _until_batch(self, batch: int, interval: float) -> None:
        while self._advance("batch", interval, batch) == "time":
            self.progress.update(self.course.batch, self._train_logs())

    def squares(self) -> dict[str, tuple[float, float, float]]:
        """See `Compiled.squares`: of the epoch so far, where a `NormRecorder` asked for them."""
        return self.step.squares(self.totals)

    def _train_logs(self) -> dict[str, float]:
        return plain_logs(self.step.logs(self.totals))

    def _epoch_logs(self, epoch: int) -> dict[str, float]:
        logs = self._logs(self.course.history[epoch - self.first])
        logs.update(self.step.kept_logs(self.kept))
        if self.check is not None:
            later = self.check.kept_logs(self.kept_check)
            logs.update({f"val_{name}": value for name, value in later.items()})
        return plain_logs(logs)

    def _logs(self, totals: np.ndarray) -> dict[str, Any]:
        logs = self.step.logs(totals[..., : self.train_totals])
        if self.check is not None:
            later = self.check.logs(totals[..., self.train_totals :])
            logs.update({f"val_{name}": value for name, value in later.items()})
        return logs

    def _record_all(self) -> None:
        logs = self._logs(self.course.history)
        self.history.epoch += range(self.first, self.course.epochs)
        for name, values in logs.items():
            each = values.tolist() if values.ndim == 1 else list(values)
            self.history.history.setdefault(name, []).extend(each)


def _backup(listeners: CallbackList) -> resume.Place | None:
    """Where to go on, if a `BackupAndRestore` finds its file."""
    for callback in listeners.callbacks:
        if isinstance(callback, BackupAndRestore) and os.path.exists(callback.filepath):
            return resume.Place(callback.filepath)
    return None


def _progress(batches: int | None, verbose: str | int, listeners: CallbackList) -> Progress:
    """The display that a callback asks for, or that of ``verbose``."""
    for callback in listeners.callbacks:
        if isinstance(callback, ProgressCallback):
            return Progress(batches, callback.verbose, callback.stream)
    return Progress(batches, verbose)
