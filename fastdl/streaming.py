"""Fits on data that come batch by batch: from generators, iterators, and sequences of batches.

A thread asks for the next batches, and checks and converts them, while the program of the training
step runs. A batch is one call of that program; the updates have the bits that `fit` on arrays gives
for the same batches.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl.callbacks import CallbackList, History, TerminateOnNaN
from fastdl.data import Rows
from fastdl.kernels.course import epoch_order
from fastdl.metrics.base import plain
from fastdl.programs import Compiled, compiled
from fastdl.progress import Progress

if TYPE_CHECKING:
    from fastdl.model import Model

__all__ = ["StreamRun", "is_stream"]

#: Batches that may lie ready.
AHEAD = 2

_END = object()


def is_stream(x: Any) -> bool:
    """Whether these are batches rather than an array, or several arrays."""
    if isinstance(x, (np.ndarray, list, tuple, Mapping, str, bytes)) or x is None:
        return False
    if hasattr(x, "__array__") or hasattr(x, "__dlpack__"):
        return False
    return isinstance(x, Iterable) or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


class _Ahead:
    """What an iterator gives, asked for and converted on a thread of its own.

    Parameters
    ----------
    items : iterator
    convert : callable
        Of an item; it runs on the thread as well.
    """

    def __init__(self, items: Iterator[Any], convert: Callable[[Any], Any]) -> None:
        self.items, self.convert = items, convert
        self.ready: queue.Queue[Any] = queue.Queue(AHEAD)
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._work, name="fastdl batches", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        last: Any = _END
        try:
            for item in self.items:
                if not self._give(self.convert(item)):
                    return
        except BaseException as error:
            last = error
        self._give(last)

    def _give(self, item: Any) -> bool:
        """Hands an item over; False where nobody wants it any more."""
        while not self.closed.is_set():
            try:
                self.ready.put(item, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False

    def next(self) -> Any:
        """The next item, `_END`, or the exception that ended the iterator."""
        while True:
            try:
                return self.ready.get(timeout=0.1)  # so that Ctrl-C is heard
            except queue.Empty:
                continue

    def close(self) -> None:
        """Ends the thread, when the item that it is making is made."""
        self.closed.set()
        self.thread.join()


class _Batches:
    """The batches of epoch after epoch.

    Parameters
    ----------
    source : iterator, iterable, or sequence of batches
        Of an iterator each epoch takes the next ``steps``; the others begin anew.
    steps : int, optional
    convert : callable
        From a batch to Rows.
    order : callable, optional
        The order of a sequence's batches, from their number and the epoch.
    """

    def __init__(
        self,
        source: Any,
        steps: int | None,
        convert: Callable[[Any], Rows],
        order: Callable[[int, int], np.ndarray] | None = None,
    ) -> None:
        self.source, self.steps, self.convert, self.order = source, steps, convert, order
        self.sequence = hasattr(source, "__getitem__") and hasattr(source, "__len__")
        self.ahead: _Ahead | None = None
        self.single = isinstance(source, Iterator)
        if self.sequence and steps is None:
            self.steps = len(source)

    def of_epoch(self, epoch: int) -> Iterator[Rows]:
        """The batches of an epoch.

        Raises
        ------
        RuntimeError
            If the source fails, or ends before ``steps`` batches.
        """
        if self.ahead is None:
            items = self._items(epoch)
            if not self.single and self.steps is not None:
                items = itertools.islice(items, self.steps)
            self.ahead = _Ahead(items, self.convert)
        done = 0
        while self.steps is None or done < self.steps:
            item = self.ahead.next()
            if item is _END:
                if self.steps is not None or not done:
                    wanted = "" if self.steps is None else f" of {self.steps}"
                    raise RuntimeError(
                        f"the data ended early: {done}{wanted} batches of epoch {epoch + 1} came"
                    )
                break
            if isinstance(item, BaseException):
                if not isinstance(item, Exception):
                    raise item
                raise RuntimeError(
                    f"the data failed at batch {done + 1} of epoch {epoch + 1}: "
                    f"{type(item).__name__}: {item}"
                ) from item
            done += 1
            yield item
        if not self.single:
            self.close()

    def _items(self, epoch: int) -> Iterator[Any]:
        if not self.sequence:
            return iter(self.source)
        count = len(self.source)
        order = np.arange(count) if self.order is None else self.order(count, epoch)
        return (self.source[int(k)] for k in order)

    def end_epoch(self) -> None:
        """Tells a sequence that an epoch has ended."""
        hook = getattr(self.source, "on_epoch_end", None)
        if hook is not None:
            hook()

    def close(self) -> None:
        """Ends the thread."""
        if self.ahead is not None:
            self.ahead.close()
            self.ahead = None


class _Epoch:
    """What the batches of an epoch add up to; the program is made anew for longer ones."""

    def __init__(self, model: Model, kind: str) -> None:
        self.model, self.kind = model, kind
        self.program: Compiled | None = None
        self.totals: np.ndarray | None = None
        self.kept: list[list[np.ndarray]] = []

    def run(self, rows: Rows, **context: Any) -> None:
        """One batch."""
        self.program = compiled(self.model, self.kind, rows.count, rows.weighted)
        self.program.check_batches(rows.count, rows.count)
        native = self.program.lowered.program
        with self.program.lock:
            results = self.program.results(rows.count)
            native.bind(rows.sources, results)
            try:
                native.totals[:] = 0.0 if self.totals is None else self.totals
                native.run(rows.count, keep_totals=True, **context)
                self.totals = native.totals.copy()
            finally:
                native.unbind()
        if results:
            self.kept.append(results)

    @property
    def finite(self) -> bool:
        """Whether the loss is."""
        assert self.totals is not None
        return bool(np.isfinite(self.totals[0]))

    def logs(self, kept: bool) -> dict[str, Any]:
        """Losses and metrics of the batches so far; with ``kept`` those of all rows too."""
        assert self.program is not None and self.totals is not None
        logs = self.program.logs(self.totals)
        if kept and self.kept:
            whole = [np.concatenate(parts) for parts in zip(*self.kept, strict=True)]
            logs.update(self.program.kept_logs(whole))
        return {name: plain(value) for name, value in logs.items()}


class StreamRun:
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
    ) -> None:
        if isinstance(source, Iterator) and steps is None and epochs - initial_epoch > 1:
            raise ValueError(
                "fit: x is an iterator, which cannot begin anew: say how many batches make an "
                "epoch by steps_per_epoch"
            )
        if isinstance(source, Iterator) and steps is not None:  # no more is taken than is needed
            source = itertools.islice(source, steps * max(epochs - initial_epoch, 0))
        self.model, self.epochs, self.first, self.done = model, epochs, initial_epoch, 0
        self.seed = model.next_seed()

        def rows_of(item: Any) -> Rows:
            if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
                raise TypeError(
                    f"a batch must be (x, y) or (x, y, sample_weight), got {_described(item)}"
                )
            return convert(model, *item, *(None,) * (3 - len(item)))

        def order(count: int, epoch: int) -> np.ndarray:
            return epoch_order(count, self.seed, epoch)

        self.batches = _Batches(source, steps, rows_of, order if shuffle else None)
        self.validation: Any = validation
        if validation is not None and not isinstance(validation, Rows):
            if isinstance(validation, Iterator):
                raise ValueError(
                    "fit: validation_data is an iterator, which cannot begin anew for every epoch: "
                    "give arrays, or a sequence of batches"
                )
            self.validation = _Batches(validation, validation_steps, rows_of)
        self.listeners, self.history = listeners, History()
        self.progress = progress(self.batches.steps)
        params = {"verbose": self.progress.level, "epochs": epochs, "steps": self.batches.steps}
        for callback in (self.history, *listeners.callbacks):
            callback.set_model(model)
            callback.set_params(params)
        self.watching = any(isinstance(c, TerminateOnNaN) for c in listeners.callbacks)
        model.history, model.stop_training = self.history, False

    def go(self) -> History:
        """Trains to the end, or until somebody sets ``model.stop_training``."""
        self.history.on_train_begin()
        self.listeners.on_train_begin({})
        logs: dict[str, Any] = {}
        try:
            for epoch in range(self.first, self.epochs):
                logs = self._epoch(epoch)
                if self.model.stop_training:
                    break
        except BaseException:
            self.progress.close()
            raise
        finally:
            self.batches.close()
            if isinstance(self.validation, _Batches):
                self.validation.close()
        self.listeners.on_train_end(logs)
        return self.history

    def _epoch(self, epoch: int) -> dict[str, Any]:
        model, listeners, optimizer = self.model, self.listeners, self.model.optimizer
        self.progress.start(f"Epoch {epoch + 1}/{self.epochs}")
        listeners.on_epoch_begin(epoch, {})
        training, shown = _Epoch(model, "train"), time.monotonic()
        for batch, rows in enumerate(self.batches.of_epoch(epoch)):
            if listeners.needs_batches:
                listeners.on_train_batch_begin(batch, {})
            rate = optimizer.learning_rate
            training.run(rows, step=optimizer.iterations + 1, seed=self.seed, learning_rate=rate)
            optimizer.iterations += 1
            self.done += 1
            if listeners.needs_batches:
                listeners.on_train_batch_end(batch, training.logs(False), self.done)
            if self.progress.interval and time.monotonic() - shown > self.progress.interval:
                self.progress.update(batch + 1, training.logs(False))
                shown = time.monotonic()
            if self.watching and not training.finite:
                model.stop_training = True
            if model.stop_training:
                break
        logs = training.logs(True)
        if self.validation is not None:
            logs.update({f"val_{k}": v for k, v in self._validate(epoch).items()})
        self.batches.end_epoch()
        listeners.on_epoch_end(epoch, logs)
        self.history.on_epoch_end(epoch, logs)
        self.progress.finish(logs)
        return logs

    def _validate(self, epoch: int) -> dict[str, Any]:
        listens = self.listeners.needs_tests
        if listens:
            self.listeners.on_test_begin({})
        found = _Epoch(self.model, "validate")
        parts: Any = [self.validation]
        if isinstance(self.validation, _Batches):
            parts = self.validation.of_epoch(epoch)
        for rows in parts:
            found.run(rows)
        logs = found.logs(True)
        if listens:
            self.listeners.on_test_end(logs)
        return logs


def _described(item: Any) -> str:
    return f"{len(item)} things" if isinstance(item, (tuple, list)) else type(item).__name__
