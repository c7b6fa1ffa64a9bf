"""Rates that fall, smoothly or in steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdl.schedules.base import Vectorized

__all__ = [
    "ExponentialDecay",
    "InverseTimeDecay",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "StepDecay",
]


class _Decay(Vectorized):
    """A decay in steps of ``decay_steps`` updates, gliding or in stairs."""

    _arguments = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase")
    initial_learning_rate: float
    decay_steps: float
    decay_rate: float

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
    ) -> None:
        self._check(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            decay_rate=decay_rate,
        )
        self.staircase = bool(staircase)

    def _periods(self, step: Any) -> Any:
        periods = np.asarray(step, np.float64) / self.decay_steps
        return np.floor(periods) if self.staircase else periods


class ExponentialDecay(_Decay):
    """initial_learning_rate * decay_rate**(step/decay_steps).

    Parameters
    ----------
    initial_learning_rate : float >= 0
    decay_steps : float > 0
    decay_rate : float
    staircase : bool, default False
        Round step/decay_steps down.

    Examples
    --------
    >>> ExponentialDecay(0.1, decay_steps=100, decay_rate=0.5).rates([0, 100, 200]).tolist()
    [0.1, 0.05, 0.025]
    """

    def __call__(self, step: Any) -> Any:
        return self.initial_learning_rate * self.decay_rate ** self._periods(step)


class StepDecay(Vectorized):
    """initial_learning_rate * decay_rate**floor(step/decay_steps).

    Parameters
    ----------
    initial_learning_rate : float >= 0
    decay_steps : float > 0
    decay_rate : float, default 0.1
    """

    _arguments = ("initial_learning_rate", "decay_steps", "decay_rate")
    initial_learning_rate: float
    decay_steps: float
    decay_rate: float

    def __init__(
        self, initial_learning_rate: float, decay_steps: float, decay_rate: float = 0.1
    ) -> None:
        self._check(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            decay_rate=decay_rate,
        )

    def __call__(self, step: Any) -> Any:
        periods = np.floor(np.asarray(step, np.float64) / self.decay_steps)
        return self.initial_learning_rate * self.decay_rate**periods


class InverseTimeDecay(_Decay):
    """initial_learning_rate / (1 + decay_rate*step/decay_steps).

    Parameters
    ----------
    initial_learning_rate : float >= 0
    decay_steps : float > 0
    decay_rate : float
    staircase : bool, default False
        Round step/decay_steps down.
    """

    def __call__(self, step: Any) -> Any:
        return self.initial_learning_rate / (1 + self.decay_rate * self._periods(step))


class PolynomialDecay(Vectorized):
    """(initial - end)*(1 - step/decay_steps)**power + end.

    Parameters
    ----------
    initial_learning_rate : float >= 0
    decay_steps : float > 0
    end_learning_rate : float >= 0, default 1e-4
        The rate from ``decay_steps`` on.
    power : float, default 1
    cycle : bool, default False
        Stretch ``decay_steps`` to its next multiple instead of staying at the end.
    """

    _arguments = ("initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle")
    initial_learning_rate: float
    decay_steps: float
    end_learning_rate: float
    power: float

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 1e-4,
        power: float = 1.0,
        cycle: bool = False,
    ) -> None:
        self._check(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            end_learning_rate=end_learning_rate,
            power=power,
        )
        self.cycle = bool(cycle)

    def __call__(self, step: Any) -> Any:
        periods = np.asarray(step, np.float64) / self.decay_steps
        if self.cycle:
            done = periods / np.maximum(np.ceil(periods), 1.0)
        else:
            done = np.minimum(periods, 1.0)
        span = self.initial_learning_rate - self.end_learning_rate
        return span * (1.0 - done) ** self.power + self.end_learning_rate


class PiecewiseConstantDecay(Vectorized):
    """One rate up to and with each boundary, the next one after it.

    Parameters
    ----------
    boundaries : list of n numbers, rising
        Steps.
    values : list of n + 1 rates >= 0

    Examples
    --------
    >>> PiecewiseConstantDecay([100, 200], [1e-2, 1e-3, 1e-4]).rates([0, 100, 101, 201]).tolist()
    [0.01, 0.01, 0.001, 0.0001]
    """

    _arguments = ("boundaries", "values")

    def __init__(self, boundaries: Sequence[float], values: Sequence[float]) -> None:
        self.boundaries = [b if isinstance(b, int) else float(b) for b in boundaries]
        self.values = [float(v) for v in values]
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"PiecewiseConstantDecay: wants one value more than boundaries, got "
                f"{len(self.values)} values and {len(self.boundaries)} boundaries"
            )
        if any(not a < b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"PiecewiseConstantDecay: boundaries must rise, got {boundaries!r}")
        if not all(0 <= v < math.inf for v in self.values):
            raise ValueError(f"PiecewiseConstantDecay: values must be >= 0, got {values!r}")

    def __call__(self, step: Any) -> Any:
        where = np.searchsorted(self.boundaries, np.asarray(step), side="left")
        return np.asarray(self.values)[where]
