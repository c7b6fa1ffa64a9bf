"""The sizes of weights and gradients over time."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from fastdl.callbacks.base import Callback, Logs
from fastdl.callbacks.monitor import at_least

__all__ = ["NormRecorder"]


class NormRecorder(Callback):
    """Records the norms of each weight and of its gradient: whether they vanish or explode.

    The squares are added up within the training step, without Python; Python looks at the sums at
    the end of each epoch, or every so many batches.

    Parameters
    ----------
    interval : "epoch" or int, default "epoch"
        How many batches make one point; at the end of an epoch there may be fewer.

    Attributes
    ----------
    steps : list of int
        The updates made when each point was taken.
    gradients : dict of str to list of float
        ``gradients["dense/kernel"][k]``: the Euclidean norm of the gradient of the loss by this
        weight, before any clipping, at the k-th point: the root of the mean square over the batches
        since the point before.
    weights : dict of str to list of float
        The same of the weights themselves, after their updates.

    Examples
    --------
    >>> import numpy as np, fastdl
    >>> from fastdl.layers import Dense
    >>> model = fastdl.Sequential([Dense(1, use_bias=False, name="only")])
    >>> model.compile(fastdl.optimizers.SGD(0.0), "mean_squared_error")
    >>> norms = NormRecorder()
    >>> _ = model.fit(np.ones((4, 1)), np.zeros(4), epochs=2, verbose=0, callbacks=[norms])
    >>> norms.steps, list(norms.gradients)
    ([1, 2], ['only/kernel'])
    >>> ratio = norms.gradients["only/kernel"][0] / norms.weights["only/kernel"][0]
    >>> round(ratio, 6)  # the gradient of w**2 is 2*w
    2.0
    """

    def __init__(self, interval: str | int = "epoch") -> None:
        super().__init__()
        self.interval = interval
        if interval != "epoch":
            self.batch_interval = at_least(self, "interval", interval, 1)
            self.on_train_batch_end = self._take  # type: ignore[method-assign]
        self._reset()

    def _reset(self) -> None:
        self.steps: list[int] = []
        self.gradients: dict[str, list[float]] = {}
        self.weights: dict[str, list[float]] = {}
        self._before: dict[str, list[float]] = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the fit before."""
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Take what has come since the last point."""
        self._take(0, logs)
        self._before = {}

    def _take(self, batch: int, logs: Logs | None = None) -> None:
        taken = False
        for name, sums in self.model._run.squares().items():
            gradient, weight, count = (
                now - before
                for now, before in zip(sums, self._before.get(name, (0.0, 0.0, 0.0)), strict=True)
            )
            if count:
                self.gradients.setdefault(name, []).append(_root(gradient / count))
                self.weights.setdefault(name, []).append(_root(weight / count))
                taken = True
            self._before[name] = list(sums)
        if taken:
            self.steps.append(self.model.optimizer.iterations)

    def layers(self, which: str = "gradients") -> dict[str, list[float]]:
        """The norms of whole layers: of all weights of each together.

        Parameters
        ----------
        which : {"gradients", "weights"}
        """
        squares: dict[str, list[float]] = {}
        for name, norms in getattr(self, which).items():
            layer = name.rpartition("/")[0] or name
            before = squares.get(layer, [0.0] * len(norms))
            squares[layer] = [b + n * n for b, n in zip(before, norms, strict=True)]
        return {layer: [_root(s) for s in values] for layer, values in squares.items()}

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draws the norms of all layers over the steps; see `fastdl.plots.plot_norms`."""
        from fastdl import plots

        return plots.plot_norms(self, path)

    def get_state(self) -> dict[str, Any]:
        """See `Callback.get_state`."""
        names = ("steps", "gradients", "weights", "_before")
        return {name: getattr(self, name) for name in names}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Callback.set_state`."""
        for name, value in state.items():
            setattr(self, name, value)


def _root(square: float) -> float:
    """The root; of a difference of sums that rounding made negative it is 0."""
    return math.sqrt(square) if not square < 0 else 0.0
