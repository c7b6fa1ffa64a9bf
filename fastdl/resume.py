"""The place of a fit in its course: written into model files, and gone on from, exactly.

A model file holds weights, optimizer state, seed and number of updates. To these come where the fit
is (epoch, batch of it, seed of the shuffle), what it has added up (the totals of the epoch, the
history) and what its callbacks remember. All else follows from the data and the arguments of the
fit, which have to be the same; what can be compared is.
"""

from __future__ import annotations

import abc
import itertools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import optimizers, serialization
from fastdl.callbacks import History, TerminateOnNaN

if TYPE_CHECKING:
    from fastdl.callbacks import CallbackList
    from fastdl.model import Model

__all__ = ["Fit", "Place", "save"]

_ARRAY = "an array of the file"


class Fit(abc.ABC):
    """What fits on arrays and on batches have in common: those who listen, and a place that can be
    written down and gone on from.

    Parameters
    ----------
    model : Model
    listeners : CallbackList
    place : Place, optional
        Where to go on.
    """

    def __init__(self, model: Model, listeners: CallbackList, place: Place | None) -> None:
        self.model, self.listeners, self.place = model, listeners, place
        self.history = History()
        #: Files that callbacks asked for.
        self.to_save: list[str | os.PathLike[str]] = []
        self.watching = [c for c in listeners.callbacks if isinstance(c, TerminateOnNaN)]

    def introduce(self, params: dict[str, Any]) -> None:
        """Tells those who listen which model is trained, and how."""
        for callback in (self.history, *self.listeners.callbacks):
            callback.set_model(self.model)
            callback.set_params(params)
        self.model.history = self.history
        self.model.stop_training = self.place is not None and self.place.stopped

    def write_files(self) -> None:
        """Writes the files that callbacks asked for, now that all have been called."""
        while self.to_save:
            save(self, self.to_save.pop(0))

    @property
    @abc.abstractmethod
    def totals(self) -> np.ndarray:
        """What the epoch under way has added up."""

    @abc.abstractmethod
    def signature(self) -> dict[str, Any]:
        """What has to be the same in the fit that goes on, as JSON can hold it."""

    @abc.abstractmethod
    def position(self) -> dict[str, int]:
        """The seed of the fit; the epoch, and how many batches of it are done."""

    @abc.abstractmethod
    def rows_kept(self) -> list[np.ndarray]:
        """What was handed out for the metrics that see all rows, of those that were seen."""

    @abc.abstractmethod
    def go_to(self, batch: int, totals: np.ndarray, kept: list[np.ndarray]) -> None:
        """Has the first epoch begin behind so many batches."""


def save(run: Fit, path: str | os.PathLike[str]) -> None:
    """Writes the model of a fit under way, and the place in it."""
    position, tensors = run.position(), {"fit/totals": run.totals}
    if position["batch"]:
        tensors |= {f"fit/kept/{i}": array for i, array in enumerate(run.rows_kept())}
    callbacks = []
    for i, callback in enumerate(run.listeners.callbacks):
        state = _without_arrays(callback.get_state(), f"fit/callbacks/{i}", tensors)
        callbacks.append({"class_name": type(callback).__name__, "state": state})
    state = {
        **run.signature(),
        **position,
        "history": _without_arrays(run.history.history, "fit/history", tensors),
        "epochs_run": run.history.epoch,
        "seconds": run.history.seconds,
        "stopped": bool(run.model.stop_training),
        "callbacks": callbacks,
    }
    serialization.save(run.model, path, {"fit": state}, tensors)


def _without_arrays(value: Any, name: str, tensors: dict[str, np.ndarray]) -> Any:
    """The value with its arrays put among the tensors, and their names in their places."""
    if isinstance(value, np.ndarray):
        tensors[name] = value
        return {_ARRAY: name}
    if isinstance(value, Mapping):
        return {k: _without_arrays(v, f"{name}/{k}", tensors) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_arrays(v, f"{name}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _with_arrays(value: Any, tensors: Mapping[str, np.ndarray]) -> Any:
    """What `_without_arrays` was given."""
    if isinstance(value, dict):
        if _ARRAY in value:
            return tensors[value[_ARRAY]]
        return {k: _with_arrays(v, tensors) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_arrays(v, tensors) for v in value]
    return value


class Place:
    """Where a fit was when a file was written.

    Parameters
    ----------
    path : path
        What `ModelCheckpoint` or `BackupAndRestore` wrote.

    Raises
    ------
    ValueError
        If the file is damaged, or there is no fit in it.
    OSError
        If it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        from fastdl import saving

        self.file = saving.read_model(path)
        self.state: dict[str, Any] = self.file.state.get("fit") or {}
        if not self.state:
            raise ValueError(
                f"{self.path}: there is no fit in it to go on with; ModelCheckpoint writes such "
                f"files, and load_model reads this one"
            )
        self.epoch = int(self.state["epoch"])
        self.batch = int(self.state["batch"])
        self.seed = int(self.state["seed"])
        self.step = int(self.file.state["iterations"])
        self.stopped = bool(self.state["stopped"])

    def check(self, run: Fit) -> None:
        """Refuses a fit that is not the one of the file; nothing has been changed then.

        Raises
        ------
        ValueError
            It names the first difference.
        """
        for name, now in run.signature().items():
            if self.state.get(name) != now:
                self._differs(name, self.state.get(name), now)
        optimizer = optimizers.serialize(run.model.optimizer)
        there = self.file.architecture["compile"]["optimizer"]
        self._compare("optimizer", there["class_name"], optimizer["class_name"])
        for name, now in optimizer["config"].items():
            was = there["config"].get(name)
            follows = isinstance(was, Mapping) or isinstance(now, Mapping)
            if name != "name" and (name != "learning_rate" or follows):
                self._compare(f"{name} of the optimizer", was, _plain(now))
        classes = [type(c).__name__ for c in run.listeners.callbacks]
        self._compare("callbacks", [c["class_name"] for c in self.state["callbacks"]], classes)
        self._compare("totals", self.file.tensors["fit/totals"].shape, run.totals.shape)
        serialization.check_weights(run.model, self.file.tensors, self.path)

    def _compare(self, name: str, was: Any, now: Any) -> None:
        if was != now:
            self._differs(name, was, now)

    def _differs(self, name: str, was: Any, now: Any) -> None:
        raise ValueError(
            f"{self.path}: is of another fit: its {name} {_are(name)} {was!r}, but here {now!r}"
        )

    def restore_model(self, model: Model) -> None:
        """Gives the model its weights, optimizer and random state."""
        serialization.restore(model, self.file)
        rate = self.file.architecture["compile"]["optimizer"]["config"]["learning_rate"]
        if not isinstance(rate, Mapping):
            model.optimizer.learning_rate = rate

    def restore_run(self, run: Fit) -> None:
        """Gives history and callbacks what they had; they have begun already."""
        run.history.history = _with_arrays(self.state["history"], self.file.tensors)
        run.history.epoch = list(self.state["epochs_run"])
        run.history.seconds = float(self.state["seconds"])
        for callback, saved in zip(run.listeners.callbacks, self.state["callbacks"], strict=True):
            callback.set_state(_with_arrays(saved["state"], self.file.tensors))
        if self.batch:
            names = (f"fit/kept/{i}" for i in itertools.count())
            there = itertools.takewhile(self.file.tensors.__contains__, names)
            kept = [self.file.tensors[name] for name in there]
            run.go_to(self.batch, self.file.tensors["fit/totals"], kept)


def _are(name: str) -> str:
    return "are" if name in ("rows", "callbacks", "totals") else "is"


def _plain(value: Any) -> Any:
    """The value as it comes out of JSON."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
