"""What a user may hang into training: hooks with Keras's names, and the history of a fit.

Training calls into Python only where somebody listens: `CallbackList` knows which hooks each
callback overrides, and batches run inside the compiled program unless one is for batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["Callback", "CallbackList", "History"]

Logs = Mapping[str, Any]


class Callback:
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

    def __init__(self) -> None:
        self.params = {}

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Keep the parameters of the running call in ``self.params``."""
        self.params = dict(params)

    def set_model(self, model: Any) -> None:
        """Keep the model in ``self.model``."""
        self.model = model

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


_HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


class History(Callback):
    """What a fit returns: the logs of every epoch.

    Attributes
    ----------
    history : dict of str to list of float
        ``history["loss"][k]`` is the loss of the k-th epoch that ran; likewise the metrics and, of
        validation data, ``"val_loss"`` and so on.
    epoch : list of int
        The epochs that ran, counted from 0.

    Examples
    --------
    >>> history = History()
    >>> history.on_epoch_end(0, {"loss": 0.5})
    >>> history.on_epoch_end(1, {"loss": 0.25})
    >>> history.history, history.epoch
    ({'loss': [0.5, 0.25]}, [0, 1])
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the fit before."""
        self.history, self.epoch = {}, []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the epoch's logs."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


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
    >>> CallbackList([History()]).needs_batches
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
        self._hooks: dict[str, list[Callable[..., Any]]] = {name: [] for name in _HOOKS}
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
        for hook in _HOOKS:
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

    on_train_begin = _each("on_train_begin")
    on_train_end = _each("on_train_end")
    on_epoch_begin = _each("on_epoch_begin")
    on_epoch_end = _each("on_epoch_end")
    on_train_batch_begin = _each("on_train_batch_begin")
    on_train_batch_end = _each("on_train_batch_end")
    on_test_begin = _each("on_test_begin")
    on_test_end = _each("on_test_end")
    on_test_batch_begin = _each("on_test_batch_begin")
    on_test_batch_end = _each("on_test_batch_end")
    on_predict_begin = _each("on_predict_begin")
    on_predict_end = _each("on_predict_end")
    on_predict_batch_begin = _each("on_predict_batch_begin")
    on_predict_batch_end = _each("on_predict_batch_end")
