"""The history of a fit: what every epoch gave."""

from __future__ import annotations

from typing import Any

from fastdl.callbacks.base import Callback, Logs

__all__ = ["History"]


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
