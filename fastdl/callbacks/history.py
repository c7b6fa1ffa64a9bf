"""The history of a fit: what every epoch gave."""

from __future__ import annotations

import os
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
    seconds : float
        How long the fit took.

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
        self.seconds = 0.0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the fit before."""
        self.history, self.epoch, self.seconds = {}, [], 0.0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the epoch's logs."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draws the curves of loss and metrics; see `fastdl.plots.plot_history`.

        Parameters
        ----------
        path : path, optional
            Where to write the picture; its ending says in which format.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from fastdl import plots

        return plots.plot_history(self, path)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Writes one HTML page, complete in itself: curves, model, configuration, timings.

        Parameters
        ----------
        path : path
            The file, ``"run.html"``.
        """
        from fastdl import report

        report.write(self, path)
