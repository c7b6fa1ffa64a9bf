"""What a user may hang into training: hooks with Keras's names.

Training calls into Python only where somebody listens: `CallbackList` knows which hooks each
callback overrides, and batches run inside the compiled program unless one is for batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastdl._names import Hinted

__all__ = ["HOOKS", "Callback", "CallbackList", "Logs"]

Logs = Mapping[str, Any]


class Callback(Hinted):
    """The base of all callbacks: a subclass overrides the hooks that it wants.

    ``logs`` maps names (``"loss"``, ``"accuracy"``, ``"val_loss"``) to floats. A hook stops the
    fit by ``self.model.stop_training = True``. Overriding a hook of batches makes training return
    to Python after each batch: slower, so do it only where needed.

    Attributes
    ----------
    model : Model or None
        The model in training, set before the first hook is called.
    params : dict
        ``{"verbose": ..., "epochs": ..., "steps": ...}`` of the running call.
    batch_interval : int, default 1
        How many training batches lie between two calls of ``on_train_batch_end``: n asks for every
        n-th batch of the fit, counted over its epochs, and the others run without Python.

    Examples
    --------
    >>> class Announce(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print("epoch", epoch, "loss", logs["loss"])
    >>> CallbackList([Announce()]).on_epoch_end(0, {"loss": 0.5})
    epoch 0 loss 0.5
    """

    model: Any = None
    params: dict[str, Any]
    batch_interval: int = 1

    def __init__(self) -> None:
        self.params = {}

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Keep the parameters of the running call in ``self.params``."""
        self.params = dict(params)

    def set_model(self, model: Any) -> None:
        """Keep the model in ``self.model``."""
        self.model = model

    def get_state(self) -> dict[str, Any]:
        """What this callback has to remember for a fit to be resumed exactly.

        Returns
        -------
        dict
            Of what JSON has, and of arrays; nested as you like.
        """
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `get_state` gave, when a fit is resumed; after ``on_train_begin``."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Run before the first epoch of a fit."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Run after the last epoch of a fit; ``logs`` are those of that epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Run before epoch ``epoch``, counted from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Run after epoch ``epoch`` and its validation; ``logs`` hold both's results."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Run before training batch ``batch`` of the epoch, counted from 0."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Run after training batch ``batch``; ``logs`` are running means over the epoch."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Run before an evaluation, that of validation data included."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Run after an evaluation; ``logs`` are its results."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Run before batch ``batch`` of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Run after batch ``batch`` of an evaluation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Run before a prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Run after a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Run before batch ``batch`` of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Run after batch ``batch`` of a prediction."""


#: The names of all hooks.
HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


def _overrides(callback: Callback, hook: str) -> bool:
    """Whether ``callback`` has a ``hook`` of its own, by its class or set on the object."""
    method = getattr(callback, hook)
    return getattr(method, "__func__", method) is not getattr(Callback, hook)


def _each(hook: str) -> Callable[..., None]:
    """Return the method that calls ``hook`` of all who override it."""

    def call(self: CallbackList, *arguments: Any) -> None:
        for method in self._hooks[hook]:
            method(*arguments)

    call.__name__ = hook
    call.__doc__ = f"Call ``{hook}`` of those who override it, with its arguments as they are."
    return call


class CallbackList:
    """Some callbacks as one: each hook calls, in order, those who override it.

    Parameters
    ----------
    callbacks : Callback, iterable of Callback, CallbackList or None
        The callbacks; classes are not made into objects.
    model : Model, optional
        Given to each by ``set_model``.
    params : mapping, optional
        Given to each by ``set_params``.

    Raises
    ------
    TypeError
        If one is not a `Callback`.

    Examples
    --------
    >>> CallbackList([Callback()]).needs_batches
    False
    """

    def __init__(
        self,
        callbacks: Callback | Iterable[Callback] | CallbackList | None = None,
        model: Any = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        if callbacks is None:
            callbacks = []
        elif isinstance(callbacks, CallbackList):
            callbacks = callbacks.callbacks
        elif isinstance(callbacks, Callback):
            callbacks = [callbacks]
        self.callbacks: list[Callback] = []
        self._hooks: dict[str, list[Callable[..., Any]]] = {name: [] for name in HOOKS}
        for callback in callbacks:
            self.append(callback)
        if model is not None:
            self.set_model(model)
        if params is not None:
            self.set_params(params)

    def append(self, callback: Callback) -> None:
        """Add one callback at the end."""
        if not isinstance(callback, Callback):
            hint = " (a class: call it)" if isinstance(callback, type) else ""
            raise TypeError(f"a callback is a fastdl.callbacks.Callback, not {callback!r}{hint}")
        self.callbacks.append(callback)
        for hook in HOOKS:
            if _overrides(callback, hook):
                self._hooks[hook].append(getattr(callback, hook))

    def set_model(self, model: Any) -> None:
        """Give every callback the model."""
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Give every callback the parameters of the running call."""
        for callback in self.callbacks:
            callback.set_params(params)

    @property
    def needs_batches(self) -> bool:
        """Whether somebody wants to be called at every training batch."""
        return self._listens("train")

    @property
    def needs_test_batches(self) -> bool:
        """Whether somebody wants to be called at every batch of an evaluation."""
        return self._listens("test")

    @property
    def needs_predict_batches(self) -> bool:
        """Whether somebody wants to be called at every batch of a prediction."""
        return self._listens("predict")

    def _listens(self, what: str) -> bool:
        return any(self._hooks[f"on_{what}_batch_{when}"] for when in ("begin", "end"))

    @property
    def needs_tests(self) -> bool:
        """Whether somebody wants to be called around an evaluation."""
        return bool(self._hooks["on_test_begin"] or self._hooks["on_test_end"])

    def next_batch(self, before: int, batch: int, batches: int) -> int:
        """How many batches of the epoch may be done before somebody has to be called.

        Parameters
        ----------
        before : int
            Batches of all epochs before.
        batch, batches : int
            Batches of this epoch that are done, and that there are.
        """
        if self._hooks["on_train_batch_begin"]:
            return batch + 1
        done = before + batch
        intervals = (self._interval(hook) for hook in self._hooks["on_train_batch_end"])
        return min(min((done // n + 1) * n for n in intervals) - before, batches)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None, done: int = 0) -> None:
        """Call ``on_train_batch_end`` of those whose turn it is.

        Parameters
        ----------
        batch : int
        logs : mapping
        done : int, optional
            Batches of the fit that are done, for those who want every n-th; 0 calls all.
        """
        for method in self._hooks["on_train_batch_end"]:
            if done % self._interval(method) == 0:
                method(batch, logs)

    @staticmethod
    def _interval(method: Callable[..., Any]) -> int:
        return getattr(getattr(method, "__self__", None), "batch_interval", 1)

    on_train_begin = _each("on_train_begin")
    on_train_end = _each("on_train_end")
    on_epoch_begin = _each("on_epoch_begin")
    on_epoch_end = _each("on_epoch_end")
    on_train_batch_begin = _each("on_train_batch_begin")
    on_test_begin = _each("on_test_begin")
    on_test_end = _each("on_test_end")
    on_test_batch_begin = _each("on_test_batch_begin")
    on_test_batch_end = _each("on_test_batch_end")
    on_predict_begin = _each("on_predict_begin")
    on_predict_end = _each("on_predict_end")
    on_predict_batch_begin = _each("on_predict_batch_begin")
    on_predict_batch_end = _each("on_predict_batch_end")
