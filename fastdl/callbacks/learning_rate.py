"""Changing the learning rate between epochs.

What follows from the number of steps alone is better done by a schedule of `fastdl.schedules`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from fastdl.callbacks.base import Callback, Logs
from fastdl.callbacks.monitor import Monitor, at_least

__all__ = ["LearningRateScheduler", "ReduceLROnPlateau"]


class LearningRateScheduler(Callback):
    """Sets the learning rate before every epoch.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, learning_rate)``, or ``schedule(epoch)``, returns the new rate.
    verbose : {0, 1}
        Whether to say so.

    Notes
    -----
    The rate is in the logs, and so in the history, as "learning_rate".

    Examples
    --------
    >>> import numpy as np, fastdl
    >>> from fastdl.layers import Dense
    >>> model = fastdl.Sequential([Dense(1)])
    >>> model.compile("sgd", "mean_squared_error")
    >>> halve = LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
    >>> history = model.fit(np.ones((8, 1)), np.ones(8), epochs=3, verbose=0, callbacks=[halve])
    >>> history.history["learning_rate"]
    [0.01, 0.005, 0.0025]
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        if not callable(schedule):
            raise TypeError(f"LearningRateScheduler: schedule must be callable, got {schedule!r}")
        self.schedule, self.verbose = schedule, verbose
        self._takes_rate = _takes_two(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Set the rate."""
        optimizer = self.model.optimizer
        arguments = (epoch, optimizer.learning_rate) if self._takes_rate else (epoch,)
        rate = self.schedule(*arguments)
        if not hasattr(rate, "__float__"):
            raise TypeError(f"LearningRateScheduler: schedule({epoch}) gave {rate!r}, no number")
        optimizer.learning_rate = rate
        if self.verbose:
            print(f"Epoch {epoch + 1}: the learning rate is {optimizer.learning_rate:g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the rate to the logs."""
        _note_rate(self.model, logs)


def _takes_two(function: Callable[..., Any]) -> bool:
    """Whether a function can be called with two arguments."""
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:  # a function in C that does not say
        return True
    return True


def _note_rate(model: Any, logs: Logs | None) -> None:
    if isinstance(logs, dict):
        logs["learning_rate"] = model.optimizer.learning_rate


class ReduceLROnPlateau(Monitor):
    """Lowers the learning rate when the watched number has not become better for some epochs.

    Parameters
    ----------
    monitor : str, default "val_loss"
    factor : float, 0 <= factor < 1, default 0.1
        What the rate is multiplied by.
    patience : int >= 0, default 10
        After so many epochs without a better value the rate is lowered.
    verbose : {0, 1}
        Whether to say so.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better; "auto" tells by the name.
    min_delta : float >= 0, default 1e-4
        By how much a value has to be better to count.
    cooldown : int >= 0, default 0
        Epochs after lowering that are not counted.
    min_lr : float >= 0, default 0
        The rate is not made lower than this.

    Notes
    -----
    The rate is in the logs, and so in the history, as "learning_rate".

    Raises
    ------
    ValueError
        At the end of the first epoch, if the logs have no such number; at the beginning of the fit,
        if the rate follows a schedule.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0.0 <= float(factor) < 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor must be >= 0 and < 1, got {factor!r}")
        self.factor, self.min_lr, self.verbose = float(factor), float(min_lr), verbose
        self.patience = at_least(self, "patience", patience, 0)
        self.cooldown = at_least(self, "cooldown", cooldown, 0)
        self._reset()

    def _reset(self) -> None:
        self.best = self.worst
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the fit before."""
        if self.model.optimizer.schedule is not None:
            raise ValueError(
                "ReduceLROnPlateau: the optimizer's learning rate follows a schedule; give it a "
                "number"
            )
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the watched number, and lower the rate if it is time."""
        value = self.value(logs)
        _note_rate(self.model, logs)
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.better(value, self.best):
            self.best, self.wait = value, 0
            return
        if self.cooldown_counter:
            return
        self.wait += 1
        if self.wait < self.patience:
            return
        optimizer = self.model.optimizer
        if optimizer.learning_rate > self.min_lr:
            optimizer.learning_rate = max(optimizer.learning_rate * self.factor, self.min_lr)
            self.cooldown_counter, self.wait = self.cooldown, 0
            if self.verbose:
                print(
                    f"Epoch {epoch + 1}: lowering the learning rate to {optimizer.learning_rate:g}"
                )

    def get_state(self) -> dict[str, Any]:
        """See `Callback.get_state`."""
        return {name: getattr(self, name) for name in ("best", "wait", "cooldown_counter")}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Callback.set_state`."""
        for name, value in state.items():
            setattr(self, name, value)
