"""Fits on data that come batch by batch: from generators, iterators, and sequences of batches.

The next batches are made and converted on a thread (`Batches`) while the program of the training
step runs. A batch is one call of that program; the updates have the bits that `fit` on arrays gives
for the same batches.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import resume
from fastdl.callbacks import CallbackList, History
from fastdl.callbacks.norms import NormRecorder
from fastdl.data import Batches, Rows
from fastdl.kernels.course import epoch_order
from fastdl.metrics.base import plain_logs
from fastdl.programs import Compiled, compiled
from fastdl.progress import Progress

if TYPE_CHECKING:
    from fastdl.diagnosis import BatchWatch
    from fastdl.model import Model

__all__ = ["StreamRun", "evaluate_batches", "inputs_of"]


class _Epoch:
    """What the batches of an epoch add up to; the program is made anew for longer ones."""

    def __init__(self, model: Model, kind: str, norms: bool = False) -> None:
        self.model, self.kind, self.norms = model, kind, norms
        self.program: Compiled | None = None
        self.totals: np.ndarray | None = None
        self.kept: list[list[np.ndarray]] = []
        self._on_device: contextlib.ExitStack | None = None

    @contextlib.contextmanager
    def undisturbed(self, undisturbed: bool = True) -> Iterator[None]:
        """Nobody looks at the weights between batches: on a GPU they stay on the device."""
        with contextlib.ExitStack() as stack:
            self._on_device = stack if undisturbed and self.model.backend == "gpu" else None
            yield
        self._on_device = None

    def begin(self) -> None:
        """Nothing has been added up yet."""
        self.totals, self.kept = None, []

    def prepare(self, rows: Rows) -> Compiled:
        """Makes the program for such a batch."""
        self.program = compiled(self.model, self.kind, rows.count, rows.weighted, self.norms)
        return self.program.check_batches(rows.count, rows.count)

    def run(self, rows: Rows, **context: Any) -> None:
        """One batch."""
        program = self.prepare(rows)
        native = program.lowered.program
        if self._on_device is not None:
            self._on_device.enter_context(native.keeping_weights())
            self._on_device = None
        with program.lock:
            results = program.results(rows.count)
            native.bind(rows.sources, results)
            try:
                native.totals[:] = 0.0 if self.totals is None else self.totals
                native.run(rows.count, keep_totals=True, **context)
                self.totals = native.totals.copy()
            finally:
                native.unbind()
        if results:
            self.kept.append(results)

    def go_back(self, totals: np.ndarray | None, parts: int) -> None:
        """Forgets what has been added since, and all but so many parts of ``kept``."""
        self.totals, self.kept = totals, self.kept[:parts]

    @property
    def finite(self) -> bool:
        """Whether the losses are."""
        assert self.program is not None and self.totals is not None
        return all(map(math.isfinite, self.totals[: 2 * self.program.losses : 2].tolist()))

    def logs(self, kept: bool) -> dict[str, Any]:
        """Losses and metrics of the batches so far; with ``kept`` those of all rows too."""
        assert self.program is not None
        totals = self.totals
        if totals is None:  # a watched fit went back to the beginning
            totals = np.zeros_like(self.program.lowered.program.totals)
        logs = self.program.logs(totals)
        if kept and self.kept:
            whole = [np.concatenate(parts) for parts in zip(*self.kept, strict=True)]
            logs.update(self.program.kept_logs(whole))
        return plain_logs(logs)


class StreamRun(resume.Fit):
    """One fit on batches.

    Parameters
    ----------
    model : Model
    source : iterator, iterable, or sequence of (x, y) or (x, y, sample_weight)
    convert : callable
        From (model, x, y, sample_weight) to Rows.
    steps : int, optional
        Batches of an epoch.
    validation : Rows, stream or None
    place : Place, optional
        Where to go on.

    Raises
    ------
    ValueError
        If an iterator would have to begin anew, or the place is one of another fit.
    """

    def __init__(
        self,
        model: Model,
        source: Any,
        convert: Callable[..., Rows],
        steps: int | None,
        validation: Any,
        validation_steps: int | None,
        epochs: int,
        initial_epoch: int,
        shuffle: bool,
        listeners: CallbackList,
        progress: Callable[[int | None], Progress],
        place: resume.Place | None,
    ) -> None:
        if isinstance(source, Iterator) and place is not None:
            raise ValueError(
                f"fit: to go on from {place.path}, x must give the same batches once more, and an "
                f"iterator cannot begin anew: give an object whose __iter__ does, or a sequence of "
                f"batches"
            )
        if isinstance(source, Iterator) and steps is None and epochs - initial_epoch > 1:
            raise ValueError(
                "fit: x is an iterator, which cannot begin anew: say how many batches make an "
                "epoch by steps_per_epoch"
            )
        if isinstance(source, Iterator) and steps is not None:  # no more is taken than is needed
            source = itertools.islice(source, steps * max(epochs - initial_epoch, 0))
        super().__init__(model, listeners, place)
        self.epochs, self.first = epochs, initial_epoch
        #: Batches of all epochs.
        self.done = 0
        #: The epoch under way, and how many batches of it are done.
        self.epoch, self.batch = initial_epoch, 0
        self.shuffle = shuffle
        rows_of = functools.partial(_rows_of, model, convert)

        def order(count: int, epoch: int) -> np.ndarray:
            return epoch_order(count, self.seed, epoch)

        self.batches = Batches(source, steps, rows_of, order if shuffle else None)
        self.validation: Any = validation
        if validation is not None and not isinstance(validation, Rows):
            if isinstance(validation, Iterator):
                raise ValueError(
                    "fit: validation_data is an iterator, which cannot begin anew for every epoch: "
                    "give arrays, or a sequence of batches"
                )
            self.validation = Batches(validation, validation_steps, rows_of)
        self.progress = progress(self.batches.steps)
        norms = any(isinstance(c, NormRecorder) for c in listeners.callbacks)
        self.training = _Epoch(model, "train", norms)
        self.seed = model.next_seed() if place is None else place.seed
        if place is not None:
            self._restore_model(place, rows_of)
        params = {"verbose": self.progress.level, "epochs": epochs, "steps": self.batches.steps}
        self.introduce(params)
        self.watch: BatchWatch | None = None

    # --- its place ---

    @property
    def totals(self) -> np.ndarray:
        """What the epoch under way has added up."""
        assert self.training.program is not None
        own = self.training.totals
        return self.training.program.lowered.program.totals if own is None else own

    def signature(self) -> dict[str, Any]:
        """What has to be the same in the fit that goes on."""
        assert self.training.program is not None
        return {
            "rows": "batches",
            "steps_per_epoch": self.batches.steps,
            "shuffle": bool(self.shuffle),
            "validation": self.validation is not None,
            "totals": self.training.program.names,
        }

    def position(self) -> dict[str, int]:
        """Where the fit is."""
        return {"seed": self.seed, "epoch": self.epoch, "batch": self.batch, "done": self.done}

    def rows_kept(self) -> list[np.ndarray]:
        """What was handed out for the metrics that see all rows, of those that were seen."""
        return [np.concatenate(parts) for parts in zip(*self.training.kept, strict=True)]

    def go_to(self, batch: int, totals: np.ndarray, kept: list[np.ndarray]) -> None:
        """Has the first epoch begin behind so many batches."""
        self.batch = batch
        self.training.totals, self.training.kept = totals.copy(), [kept] if kept else []

    def _restore_model(self, place: resume.Place, rows_of: Callable[[Any], Rows]) -> None:
        """Gives the model what the file has, if the file is of this fit."""
        for rows in self.batches.of_epoch(place.epoch):  # one builds the model, and says what it is
            self.training.prepare(rows)
            break
        self.batches.close()
        place.check(self)
        place.restore_model(self.model)
        self.first = self.epoch = place.epoch
        self.done = int(place.state["done"])

    def squares(self) -> dict[str, tuple[float, float, float]]:
        """See `Compiled.squares`."""
        assert self.training.program is not None
        return self.training.program.squares(self.totals)

    # --- the loop ---

    def go(self) -> History:
        """Trains to the end, or until somebody sets ``model.stop_training``."""
        self.model._run = self
        self.history.on_train_begin()
        logs: dict[str, Any] = {}
        begin = time.perf_counter()
        try:
            self.listeners.on_train_begin({})
            if self.place is not None:
                self.place.restore_run(self)
            for epoch in range(self.first, self.epochs):
                if self.model.stop_training:
                    break
                logs = self._epoch(epoch)
        except BaseException:
            self.progress.close()
            raise
        finally:
            self.history.seconds += time.perf_counter() - begin
            self.model._run = None
            self.batches.close()
            if isinstance(self.validation, Batches):
                self.validation.close()
        self.listeners.on_train_end(logs)
        return self.history

    def update(self, rows: Rows) -> None:
        """Trains on a batch."""
        optimizer, rate = self.model.optimizer, self.model.optimizer.learning_rate
        step = optimizer.iterations + 1
        self.training.run(rows, step=step, seed=self.seed, learning_rate=rate)
        optimizer.iterations = step

    def _epoch(self, epoch: int) -> dict[str, Any]:
        listeners, training, self.epoch = self.listeners, self.training, epoch
        self.progress.start(f"Epoch {epoch + 1}/{self.epochs}")
        if not self.batch:  # of an epoch that is resumed within, the hook has been called
            listeners.on_epoch_begin(epoch, {})
            training.begin()
        with training.undisturbed(not (listeners.needs_batches or self.watching)):
            self._batches_of(epoch)
        logs = training.logs(True)
        if self.validation is not None:
            logs.update({f"val_{k}": v for k, v in self._validate(epoch).items()})
        self.batches.end_epoch()
        listeners.on_epoch_end(epoch, logs)
        self.history.on_epoch_end(epoch, logs)
        self.epoch, self.batch = epoch + 1, 0
        self.write_files()
        self.progress.finish(logs)
        return logs

    def _batches_of(self, epoch: int) -> None:
        """Trains on the batches of an epoch."""
        model, listeners, training = self.model, self.listeners, self.training
        shown = time.monotonic()
        for rows in self.batches.of_epoch(epoch, self.batch):
            if listeners.needs_batches:
                listeners.on_train_batch_begin(self.batch, {})
            if self.watching:
                if self.watch is None:
                    training.prepare(rows)  # and with it the optimizer's state
                    from fastdl.diagnosis import BatchWatch

                    self.watch = BatchWatch(self)
                self.watch.before(rows, listeners.needs_batches)
            self.update(rows)
            if self.watch is not None and not training.finite:
                finding = self.watch.find()
                for callback in self.watching:
                    callback.found(finding)
                break
            self.done += 1
            self.batch += 1
            if listeners.needs_batches:
                listeners.on_train_batch_end(self.batch - 1, training.logs(False), self.done)
                self.write_files()
            if self.progress.interval and time.monotonic() - shown > self.progress.interval:
                self.progress.update(self.batch, training.logs(False))
                shown = time.monotonic()
            if model.stop_training:
                break

    def _validate(self, epoch: int) -> dict[str, Any]:
        listens = self.listeners.needs_tests
        if listens:
            self.listeners.on_test_begin({})
        found = _Epoch(self.model, "validate")
        parts: Any = [self.validation]
        if isinstance(self.validation, Batches):
            parts = self.validation.of_epoch(epoch)
        for rows in parts:
            found.run(rows)
        logs = found.logs(True)
        if listens:
            self.listeners.on_test_end(logs)
        return logs


def evaluate_batches(
    model: Model, source: Any, convert: Callable[..., Rows], steps: int | None
) -> dict[str, Any]:
    """Loss and metrics over all batches."""
    batches = Batches(source, steps, functools.partial(_rows_of, model, convert))
    found = _Epoch(model, "evaluate")
    with found.undisturbed():
        for rows in batches.once():
            found.run(rows)
    return found.logs(True)


def inputs_of(source: Any, steps: int | None) -> Iterator[Any]:
    """The inputs of each batch; of ``(x, y)`` and ``(x, y, sample_weight)`` the first."""

    def first(item: Any) -> Any:
        if item is None or (isinstance(item, tuple) and len(item) not in (1, 2, 3)):
            raise TypeError(f"a batch must be x or (x, y), got {_described(item)}")
        return item[0] if isinstance(item, tuple) else item

    return Batches(source, steps, first).once()


def _rows_of(model: Model, convert: Callable[..., Rows], item: Any) -> Rows:
    """What a batch holds."""
    if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
        raise TypeError(f"a batch must be (x, y) or (x, y, sample_weight), got {_described(item)}")
    return convert(model, *item, *(None,) * (3 - len(item)))


def _described(item: Any) -> str:
    return f"{len(item)} things" if isinstance(item, (tuple, list)) else type(item).__name__
