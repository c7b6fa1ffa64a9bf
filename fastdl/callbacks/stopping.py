"""Ending a fit: because nothing gets better any more, or because the numbers have gone bad."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastdl.callbacks.base import Callback, Logs
from fastdl.callbacks.monitor import Monitor, at_least

__all__ = ["EarlyStopping", "TerminateOnNaN"]


class EarlyStopping(Monitor):
    """Ends the fit when the watched number has not become better for some epochs.

    Parameters
    ----------
    monitor : str, default "val_loss"
    min_delta : float >= 0, default 0
        By how much a value has to be better to count.
    patience : int >= 0, default 0
        After so many epochs without a better value the fit ends.
    verbose : {0, 1}
        Whether to say that the fit was stopped.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better; "auto" tells by the name.
    baseline : float, optional
        Epochs that are not better than this do not renew the patience.
    restore_best_weights : bool, default False
        Give the model the weights of its best epoch when the fit ends, for whatever reason it does.
    start_from_epoch : int >= 0, default 0
        Epochs before this one are not looked at.

    Attributes
    ----------
    best : float
        The best value so far.
    best_epoch, stopped_epoch : int
        When it was, and when the fit was stopped (0 if it was not); counted from 0.

    Raises
    ------
    ValueError
        At the end of the first epoch, if the logs have no such number.

    Examples
    --------
    >>> import numpy as np, fastdl
    >>> from fastdl.layers import Dense
    >>> model = fastdl.Sequential([Dense(1)])
    >>> model.compile("sgd", "mean_squared_error")
    >>> stop = EarlyStopping(monitor="loss", min_delta=10.0, patience=2)
    >>> history = model.fit(np.ones((8, 1)), np.ones(8), epochs=50, verbose=0, callbacks=[stop])
    >>> history.epoch
    [0, 1, 2]
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = at_least(self, "patience", patience, 0)
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = bool(restore_best_weights)
        self.start_from_epoch = at_least(self, "start_from_epoch", start_from_epoch, 0)
        self._reset()

    def _reset(self) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = self.worst
        self.best_weights: list[np.ndarray] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the fit before."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the watched number, and stop the fit if it is time."""
        value = self.value(logs)
        if epoch < self.start_from_epoch:
            return
        improved = self.better(value, self.best)
        if improved:
            self.best, self.best_epoch = value, epoch
        if self.restore_best_weights and (improved or self.best_weights is None):
            self.best_weights = self.model.get_weights()
        if improved and (self.baseline is None or self.better(value, self.baseline)):
            self.wait = 0
            return
        self.wait += 1
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Restore the best weights, if that was asked for."""
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)
            if self.verbose:
                print(f"Restored the weights of epoch {self.best_epoch + 1}")

    def get_state(self) -> dict[str, Any]:
        """See `Callback.get_state`."""
        names = ("wait", "stopped_epoch", "best_epoch", "best", "best_weights")
        return {name: getattr(self, name) for name in names}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Callback.set_state`."""
        for name, value in state.items():
            setattr(self, name, value)


class TerminateOnNaN(Callback):
    """Ends the fit at the first batch whose loss is NaN or infinite, and says where it came from.

    The batch is run again op by op, and the layer (or the data, the loss, the update) is named that
    makes the first number that is not finite. The model is left as it was before that batch.

    Attributes
    ----------
    finding : Finding or None
        What was found: ``epoch``, ``batch``, ``step``, ``part``, ``layer``, ``what``, ``text``.

    Warns
    -----
    RuntimeWarning
        With the text, and what may be done.

    Notes
    -----
    Nothing is called between batches: the totals are looked at natively, and weights and optimizer
    state are copied now and then, for some hundredths of the time.

    Examples
    --------
    >>> import numpy as np, fastdl, warnings
    >>> from fastdl.layers import Dense
    >>> model = fastdl.Sequential([Dense(1, name="only")])
    >>> model.compile(fastdl.optimizers.SGD(1e25), "mean_squared_error")
    >>> watch = TerminateOnNaN()
    >>> with warnings.catch_warnings(action="ignore"):
    ...     _ = model.fit(np.ones((8, 1)), np.full(8, 3.0), epochs=9, verbose=0, callbacks=[watch])
    >>> watch.finding.part, watch.finding.epoch
    ('loss', 1)
    >>> bool(np.isfinite(model.get_weights()[0]).all())
    True
    """

    def __init__(self) -> None:
        super().__init__()
        self.finding: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the fit before."""
        self.finding = None

    def found(self, finding: Any) -> None:
        """Told by the fit: keeps the finding, says it, and stops."""
        self.finding = finding
        self.model.stop_training = True
        warnings.warn(
            f"{self.model.name}: numbers that are not finite come first in {finding.text}. The fit "
            f"ends before that batch; {_remedy(finding.part)}",
            RuntimeWarning,
            stacklevel=2,
        )


def _remedy(part: str) -> str:
    if part == "data":
        return "clean the data"
    if part == "weights":
        return "give the model other weights"
    return "lower the learning rate, clip gradients (clipnorm=), or scale the data"
