"""Says whether a peer computed what the float64 reference computes.

The loss: the mean over the steps, relative. The weights, of each array: |array - reference| over
|reference - start|, Euclidean norms. float32 is off by some 1e-5, by 4e-3 for each ReLU of M1 that
rounding moves to its other side, by 1.1e-2 in C1, where Adam's first step makes as much of small
gradients as of large ones: so each row has a tolerance of its own.
"""

from __future__ import annotations

import numpy as np

from .reference import train
from .rows import ROWS, data, initial_weights

__all__ = ["LOSS_TOLERANCE", "Verifier", "verified_steps"]

LOSS_TOLERANCE = 1e-4


def verified_steps(name: str) -> int:
    """The steps compared: within one epoch, or, where that is one step, several epochs."""
    row = ROWS[name]
    return row.verified if row.batches == 1 else min(row.verified, row.batches)


class Verifier:
    """Keeps the reference results of one row."""

    def __init__(self, name: str) -> None:
        self._row = ROWS[name]
        self._steps = verified_steps(name)
        self._start = initial_weights(self._row)
        self._results: dict[str, tuple[float, list[np.ndarray]]] = {}

    def compare(self, loss: float, weights: list[np.ndarray], adam: str) -> dict:
        """{"loss_error", "weight_error", "ok"} of a peer with this formula of Adam."""
        if adam not in self._results:
            x, y = data(self._row)
            self._results[adam] = train(self._row, self._start, x, y, self._steps, adam)
        true_loss, true_weights = self._results[adam]
        loss_error = abs(loss - true_loss) / abs(true_loss)
        if [w.shape for w in weights] != [w.shape for w in true_weights]:
            return {"ok": False, "loss_error": loss_error, "weight_error": float("inf")}
        errors = []
        for got, true, start in zip(weights, true_weights, self._start, strict=True):
            moved = np.linalg.norm(true - start)
            error = np.linalg.norm(got - true)
            errors.append(error / moved if moved else error)
        worst = float(max(errors))
        ok = loss_error <= LOSS_TOLERANCE and worst <= self._row.tolerance
        return {"ok": bool(ok), "loss_error": float(loss_error), "weight_error": worst}
