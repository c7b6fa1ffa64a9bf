"""Watching one number of the logs for whether it gets better: shared by several callbacks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdl._names import nearest
from fastdl.callbacks.base import Callback, Logs

__all__ = ["Monitor", "at_least", "choice"]

# What is better when it is higher, as a part of a metric's name; everything else is an error.
_HIGHER = ("acc", "auc", "precision", "recall", "f1", "fbeta", "r2", "similarity", "iou", "top_k")


class Monitor(Callback):
    """The base of callbacks that watch one number of the logs.

    Parameters
    ----------
    monitor : str
        Its name in the logs.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better; "auto" tells by the name.
    min_delta : float >= 0
        By how much a value has to be better to count.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        super().__init__()
        self.monitor = monitor
        choice(self, "mode", mode, ("auto", "min", "max"))
        if mode == "auto":
            mode = "max" if any(part in monitor.lower() for part in _HIGHER) else "min"
        self.mode = mode
        self.min_delta = abs(float(min_delta))

    @property
    def worst(self) -> float:
        """What any value is better than."""
        return math.inf if self.mode == "min" else -math.inf

    def better(self, value: float, than: float) -> bool:
        """Whether ``value`` is better than another one by ``min_delta``; NaN never is."""
        if self.mode == "min":
            return value < than - self.min_delta
        return value > than + self.min_delta

    def value(self, logs: Logs | None) -> float:
        """The watched number.

        Raises
        ------
        ValueError
            If the logs have none of this name, or it is an array.
        """
        logs = logs or {}
        if self.monitor not in logs:
            hint = nearest(self.monitor, logs)
            if self.monitor.startswith("val_") and not any(k.startswith("val_") for k in logs):
                hint = ": fit was given no validation data"
            raise ValueError(
                f"{type(self).__name__}: the logs have no {self.monitor!r}{hint}; they have "
                f"{', '.join(sorted(logs))}"
            )
        value = logs[self.monitor]
        if np.ndim(value):
            raise ValueError(
                f"{type(self).__name__}: {self.monitor!r} is an array of shape {np.shape(value)}, "
                f"and only a number can get better: give the metric an average, if it has one"
            )
        return float(value)


def at_least(owner: Any, name: str, value: Any, low: int) -> int:
    """``value`` as an int, or an error that names callback and argument."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(
            f"{type(owner).__name__}: {name} must be a whole number of at least {low}, got "
            f"{value!r}"
        )
    return value


def choice(owner: Any, name: str, value: Any, known: tuple[str, ...]) -> None:
    """Refuses a word that is none of the known ones."""
    if value not in known:
        raise ValueError(
            f"{type(owner).__name__}: {name} must be {' or '.join(map(repr, known))}, got "
            f"{value!r}{nearest(str(value), known)}"
        )
