"""Many models at once: `fit_many` trains independent models side by side in one process.

1. The models are made and built in the caller's thread and order, so that initial weights and seeds
   depend on nothing else; data is converted once for all models that want it in the same form.
2. A pool of threads takes whole fits, those of large models first, so that the last ones to end are
   short. Each fit runs on one thread, without the GIL: no barriers, and the same bits as alone.
3. The caller's thread waits, shows what is done, and ends all fits when it is interrupted.
"""

from __future__ import annotations

import functools
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastdl.arguments import FitData, check_counts, fit_data, whole
from fastdl.callbacks import CallbackList, History
from fastdl.kernels import runner
from fastdl.model import Model
from fastdl.progress import Progress, format_logs, format_seconds
from fastdl.training import NOT_FINITE, Busy, Run, not_finite

__all__ = ["FitManyError", "SharedData", "fit_all", "fit_many"]

#: The least time between two lines, where lines are written and no bar.
LINE_SECONDS = 0.5

# Seconds between two looks of the thread that waits: at the display, and for signals, which need
# not wake it.
_LOOK = 0.05


class FitManyError(RuntimeError):
    """Some fits of a `fit_many` failed; the others were trained to their end.

    Attributes
    ----------
    errors : dict of int to Exception
        What each failed fit raised, by the index of its model. The first is the ``__cause__``.
    histories : list of History or None
        As `fit_many` returns them; None where the fit failed.
    """

    def __init__(
        self, message: str, errors: dict[int, BaseException], histories: list[History | None]
    ) -> None:
        super().__init__(message)
        self.errors = errors
        self.histories = histories


def fit_many(
    models: Sequence[Model] | Callable[..., Model],
    x: Any,
    y: Any = None,
    batch_size: int = 32,
    epochs: int = 1,
    verbose: str | int = "auto",
    callbacks: Callable[[int], Any] | None = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool = True,
    class_weight: Mapping[int, float] | str | None = None,
    sample_weight: Any = None,
    initial_epoch: int = 0,
    stratify: bool = False,
    *,
    parameters: Iterable[Mapping[str, Any]] | None = None,
    workers: int | None = None,
) -> list[History]:
    """Trains many independent models on the same data, side by side.

    Every model is trained on one thread, and its weights and history have the same bits as after
    ``model.fit`` alone. Models that are too large to share a processor's caches, or fewer than
    there are threads, are better trained one after the other, each on all threads.

    Parameters
    ----------
    models : list of Model, or callable
        Compiled models; or what makes one, called with each of ``parameters``.
    x, y, batch_size, epochs, validation_split, validation_data, shuffle, class_weight, \
sample_weight, initial_epoch, stratify
        As in `Model.fit`, the same for all.
    verbose : {"auto", 0, 1, 2}
        Silent, a progress bar over the models, or a line for each tenth of them; "auto" is a bar on
        a terminal.
    callbacks : callable, optional
        Called with each model's index, in order; returns the callbacks for that model. Their hooks
        run in the thread that trains it.
    parameters : iterable of dict, optional
        The keyword arguments of each call of ``models``; needed where that is a callable. It is
        called in this order, in the calling thread: after `set_seed` the same models come out.
    workers : int, optional
        How many models are trained at the same time; ``fastdl.get_num_threads()`` by default.

    Returns
    -------
    list of History
        One for each model, in order; ``history.model`` is the model.

    Raises
    ------
    ValueError, TypeError
        If an argument is wrong, or models share weights, an optimizer or callbacks: nothing has
        been trained then.
    FitManyError
        If some models could not be made or trained. All others have been trained; the error has
        their histories.
    KeyboardInterrupt
        At Ctrl-C all fits stop; their models are consistent and may be trained on.

    Examples
    --------
    >>> import numpy as np, fastdl
    >>> from fastdl.layers import Dense
    >>> def make(width):
    ...     model = fastdl.Sequential([Dense(width, activation="relu"), Dense(1)])
    ...     model.compile(optimizer="adam", loss="mean_squared_error")
    ...     return model
    >>> x, y = np.ones((64, 3)), np.ones(64)
    >>> widths = [{"width": 4}, {"width": 8}, {"width": 16}]
    >>> histories = fastdl.fit_many(make, x, y, parameters=widths, epochs=3, verbose=0)
    >>> [h.model.layers[0].units for h in histories], len(histories[0].history["loss"])
    ([4, 8, 16], 3)
    """
    check_counts(batch_size, epochs, initial_epoch)
    workers = runner.get_num_threads() if workers is None else whole("workers", workers, 1)
    if callbacks is not None and not callable(callbacks):
        raise TypeError(
            "fit_many: callbacks must be a function of a model's index that returns new callbacks: "
            "models that train at the same time cannot share them"
        )
    shared = SharedData(
        x,
        y,
        validation_split=validation_split,
        validation_data=validation_data,
        class_weight=class_weight,
        sample_weight=sample_weight,
        stratify=stratify,
    )
    return fit_all(
        _makers(models, parameters),
        lambda index, model: shared.of(model),
        workers,
        verbose,
        callbacks,
        batch_size=batch_size,
        epochs=epochs,
        shuffle=shuffle,
        initial_epoch=initial_epoch,
    )


def fit_all(
    makers: Sequence[Callable[[], Any]],
    data_of: Callable[[int, Model], FitData],
    workers: int,
    verbose: str | int,
    callbacks: Callable[[int], Any] | None,
    **arguments: Any,
) -> list[History]:
    """Makes models and trains each on its own data, side by side.

    Parameters
    ----------
    makers : list of callable
        Each returns a compiled model.
    data_of : callable
        Called with a model's index and the model; returns what it is trained on.
    workers, verbose, callbacks
        As in `fit_many`.
    **arguments
        The other arguments of `Run`.
    """
    display = _Display(len(makers), verbose)
    tasks: list[_Task] = []
    errors: dict[int, BaseException] = {}
    for index, make in enumerate(makers):
        try:
            model = make()
            if not isinstance(model, Model):
                raise TypeError(f"wants models, got {type(model).__name__}")
            data = data_of(index, model)
        except Exception as error:
            errors[index] = error
        else:
            listeners = CallbackList(callbacks(index) if callbacks is not None else None)
            tasks.append(_Task(index, model, data, listeners))
    _check_independent(tasks)
    pool = _Pool(tasks, errors, verbose=0, **arguments)
    pool.run(workers, display)
    histories = [pool.histories.get(index) for index in range(len(makers))]
    _report_what_is_not_finite(histories)
    if errors:
        raise _failure(errors, histories)
    return histories  # type: ignore[return-value]


# --- before -------------------------------------------------------------------------------------


def _makers(models: Any, parameters: Iterable[Mapping[str, Any]] | None) -> list[Callable[[], Any]]:
    """One function for each model, which returns it."""
    if callable(models) and not isinstance(models, Model):
        if parameters is None:
            raise TypeError("fit_many: a function that makes models needs parameters=")
        given = list(parameters)
        for index, arguments in enumerate(given):
            if not isinstance(arguments, Mapping):
                raise TypeError(f"fit_many: parameters[{index}] must be a dict, got {arguments!r}")
        return [functools.partial(models, **arguments) for arguments in given]
    if isinstance(models, Model) or not isinstance(models, Iterable):
        raise TypeError(f"fit_many: wants a list of models, got {type(models).__name__}")
    if parameters is not None:
        raise TypeError("fit_many: parameters are for a function that makes models")
    return [functools.partial(_itself, model) for model in models]


def _itself(model: Any) -> Any:
    return model


def _check_independent(tasks: list[_Task]) -> None:
    """Refuses models that would write the same weights, optimizer state or callbacks."""
    owner: dict[int, int] = {}
    for task in tasks:
        parts: dict[int, str] = {id(w): f"the weight {w.name}" for w in task.model.weights}
        parts[id(task.model.optimizer)] = "an optimizer"
        parts[id(task.model)] = "everything: they are the same"
        parts |= {id(c): f"the callback {c!r}" for c in task.listeners.callbacks}
        for part, what in parts.items():
            other = owner.setdefault(part, task.index)
            if other != task.index:
                raise ValueError(
                    f"fit_many: models {other} and {task.index} share {what}; give each its own"
                )


class SharedData:
    """The data of the fits, converted once for all models that want it in the same form."""

    def __init__(self, x: Any, y: Any, **arguments: Any) -> None:
        self.x, self.y, self.arguments = x, y, arguments
        self.known: dict[Any, FitData] = {}

    def of(self, model: Model) -> FitData:
        """What this model is trained on; builds it."""
        model.build_for(self.x)
        targets = [(t.shape, t.classes) for t in model.targets]
        names: list[str] = []
        if len(model.row_shapes) > 1 or isinstance(self.x, Mapping):
            names += model.input_names
        if len(targets) > 1 or isinstance(self.y, Mapping):
            names += [t.name for t in model.targets]
        key = (*model.row_shapes, *model.input_classes, *targets, *names)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = fit_data(model, self.x, self.y, **self.arguments)
        return found


# --- the pool -----------------------------------------------------------------------------------


class _Task:
    """One fit that is to be made."""

    def __init__(self, index: int, model: Model, data: FitData, listeners: CallbackList) -> None:
        self.index, self.model, self.data, self.listeners = index, model, data, listeners
        self.run: Run | None = None

    @property
    def work(self) -> int:
        """Roughly how long it takes, in a unit of its own."""
        return self.model.count_params() * self.data.rows.count


class _Pool:
    """Threads that take fits from a list until it is empty or somebody interrupts.

    Attributes
    ----------
    histories : dict of int to History
        Of the fits that ended well, by the model's index.
    """

    def __init__(
        self, tasks: list[_Task], errors: dict[int, BaseException], **arguments: Any
    ) -> None:
        # Taken from the end: the largest first, equal ones in order.
        self.waiting = sorted(tasks, key=lambda task: (task.work, -task.index))
        self.arguments, self.errors = arguments, errors
        self.histories: dict[int, History] = {}
        self.running: set[_Task] = set()
        self.stopped = False
        self.changed = threading.Condition()

    def run(self, workers: int, display: _Display) -> None:
        """Makes all fits; returns when all threads have ended."""
        threads = [
            threading.Thread(target=self._worker, name=f"fit_many {i}")
            for i in range(min(workers, len(self.waiting)))
        ]
        display.start()
        try:
            for thread in threads:
                thread.start()
            while not self._ended(_LOOK):
                display.show(len(self.histories) + len(self.errors), self.histories)
        except BaseException:
            display.close()
            raise
        finally:
            self.stop()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if any(isinstance(error, KeyboardInterrupt) for error in self.errors.values()):
            display.close()
            raise KeyboardInterrupt  # from a hook
        display.finish(self.histories)

    def _ended(self, seconds: float) -> bool:
        """Waits for the end, for so long."""
        with self.changed:
            return self.changed.wait_for(lambda: not (self.waiting or self.running), seconds)

    def stop(self) -> None:
        """Ends the fits under way within some milliseconds, and begins no other."""
        self.stopped = True
        self.waiting.clear()
        for task in list(self.running):
            if task.run is not None:
                task.run.course.interrupted = True

    def _worker(self) -> None:
        """What each thread does."""
        runner.work_alone(True)
        while True:
            with self.changed:
                if self.stopped or not self.waiting:
                    return
                task = self.waiting.pop()
                self.running.add(task)
            history, error = None, None
            try:
                history = self._fit(task)
            except BaseException as raised:
                error = raised
            with self.changed:
                self.running.discard(task)
                if history is not None:
                    self.histories[task.index] = history
                if error is not None:
                    self.errors[task.index] = error
                if isinstance(error, KeyboardInterrupt):
                    self.stop()
                if not (self.waiting or self.running):
                    self.changed.notify_all()

    def _fit(self, task: _Task) -> History:
        with Busy(task.model):
            task.run = Run(task.model, task.data, listeners=task.listeners, **self.arguments)
            if self.stopped:
                raise KeyboardInterrupt
            return task.run.go()


# --- what is shown ------------------------------------------------------------------------------


class _Display:
    """A bar over the models on a terminal, a line for each tenth of them elsewhere."""

    def __init__(self, count: int, verbose: str | int) -> None:
        self.count = count
        self.progress = Progress(count, verbose, unit="model")
        self.tenths = 0
        self.begin = self.shown = 0.0

    def start(self) -> None:
        self.begin = self.shown = time.perf_counter()
        self.progress.start("fit_many")

    def show(self, done: int, histories: dict[int, History]) -> None:
        """Shows how many are done, if that is news."""
        if self.progress.level == 1:
            self.progress.update(done, _lowest(histories))
        now, tenths = time.perf_counter(), 10 * done // self.count
        if self.progress.level == 2 and tenths > self.tenths and now - self.shown > LINE_SECONDS:
            self.tenths, self.shown = tenths, now
            seconds = format_seconds(now - self.begin)
            line = f"fit_many {done}/{self.count} - {seconds} - {format_logs(_lowest(histories))}"
            print(line, file=self.progress.stream, flush=True)

    def finish(self, histories: dict[int, History]) -> None:
        self.progress.finish(_lowest(histories))

    def close(self) -> None:
        self.progress.close()


def _lowest(histories: dict[int, History]) -> dict[str, float]:
    """The lowest of the last losses, on validation data where there are such."""
    found: dict[str, float] = {}
    for history in list(histories.values()):
        for name in ("val_loss", "loss"):
            values = history.history.get(name)
            if values:
                if values[-1] < found.get(name, math.inf):
                    found[name] = values[-1]
                break
    return {f"lowest {name}": value for name, value in found.items()}


def _report_what_is_not_finite(histories: list[History | None]) -> None:
    bad = [i for i, h in enumerate(histories) if h is not None and not_finite(h) is not None]
    if bad:
        warnings.warn(
            f"fit_many: the loss of {len(bad)} of {len(histories)} models is not finite "
            f"({_indices(bad)}); {NOT_FINITE}",
            RuntimeWarning,
            stacklevel=4,
        )


def _failure(errors: dict[int, BaseException], histories: list[History | None]) -> FitManyError:
    bad = sorted(errors)
    cause = errors[bad[0]]
    failure = FitManyError(
        f"{len(bad)} of {len(histories)} models failed ({_indices(bad)}); model {bad[0]}: "
        f"{type(cause).__name__}: {cause}",
        {index: errors[index] for index in bad},
        histories,
    )
    failure.__cause__ = cause
    return failure


def _indices(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return f"{shown}, ..." if len(numbers) > 8 else shown
