"""Rates that rise and fall: cosine waves, a warm-up, one cycle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastdl.schedules.base import LearningRateSchedule, Vectorized, get, serialize

__all__ = ["CosineDecay", "CosineDecayRestarts", "OneCycle", "WarmUp"]


class CosineDecay(Vectorized):
    """Half a cosine wave down to ``alpha`` of the rate, after a linear warm-up if one is asked for.

    Parameters
    ----------
    initial_learning_rate : float >= 0
    decay_steps : float > 0
    alpha : float, default 0
        The last rate as a share of the first (with warm-up: of ``warmup_target``).
    warmup_target : float >= 0, optional
        The rate to which the warm-up leads, from ``initial_learning_rate``.
    warmup_steps : float >= 0, default 0

    Notes
    -----
    Loshchilov & Hutter 2017, without restarts.

    Examples
    --------
    >>> CosineDecay(0.0, 100, warmup_target=0.1, warmup_steps=10).rates([0, 5, 10, 110]).tolist()
    [0.0, 0.05, 0.1, 0.0]
    """

    _arguments = (
        "initial_learning_rate", "decay_steps", "alpha", "warmup_target", "warmup_steps",
    )  # fmt: skip
    initial_learning_rate: float
    decay_steps: float
    alpha: float
    warmup_steps: float

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        self._check(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            alpha=alpha,
            warmup_steps=warmup_steps,
        )
        self.warmup_target: float | None = None
        if warmup_target is not None:
            self._check(warmup_target=warmup_target)

    def __call__(self, step: Any) -> Any:
        step = np.asarray(step, np.float64)
        if self.warmup_target is None:
            return self._decayed(step, self.initial_learning_rate)
        decayed = self._decayed(step - self.warmup_steps, self.warmup_target)
        if not self.warmup_steps:
            return decayed
        rise = self.warmup_target - self.initial_learning_rate
        warming = self.initial_learning_rate + rise * (step / self.warmup_steps)
        return np.where(step < self.warmup_steps, warming, decayed)

    def _decayed(self, step: Any, rate: float) -> Any:
        done = np.minimum(step / self.decay_steps, 1.0)
        return rate * ((1 - self.alpha) * 0.5 * (1 + np.cos(math.pi * done)) + self.alpha)


class CosineDecayRestarts(Vectorized):
    """Cosine decay that begins anew again and again (Loshchilov & Hutter 2017).

    Parameters
    ----------
    initial_learning_rate : float >= 0
    first_decay_steps : float > 0
        The length of the first period.
    t_mul : float >= 1, default 2
        How much longer each period is than the one before.
    m_mul : float, default 1
        The first rate of each period as a share of that of the one before.
    alpha : float, default 0
        The lowest rate as a share of the first.
    """

    _arguments = ("initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha")
    initial_learning_rate: float
    first_decay_steps: float
    t_mul: float
    m_mul: float
    alpha: float

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
    ) -> None:
        self._check(
            initial_learning_rate=initial_learning_rate,
            first_decay_steps=first_decay_steps,
            t_mul=t_mul,
            m_mul=m_mul,
            alpha=alpha,
        )
        if self.t_mul < 1:
            raise ValueError(f"CosineDecayRestarts: t_mul must be >= 1, got {t_mul!r}")

    def __call__(self, step: Any) -> Any:
        done = np.asarray(step, np.float64) / self.first_decay_steps
        if self.t_mul == 1:
            period = np.floor(done)
            done = done - period
        else:
            period = np.floor(np.log1p(done * (self.t_mul - 1)) / math.log(self.t_mul))
            # The logarithm may be off by a rounding just where a period begins.
            period = np.where(done < self._begin(period), period - 1, period)
            period = np.where(done >= self._begin(period + 1), period + 1, period)
            done = (done - self._begin(period)) / self.t_mul**period
        wave = 0.5 * self.m_mul**period * (1 + np.cos(math.pi * done))
        return self.initial_learning_rate * ((1 - self.alpha) * wave + self.alpha)

    def _begin(self, period: Any) -> Any:
        """Where a period begins, in lengths of the first one."""
        return (self.t_mul**period - 1) / (self.t_mul - 1)


class OneCycle(Vectorized):
    """Up to a high rate and down to a very low one, once (Smith & Topin 2018).

    Names and formula are those of PyTorch's OneCycleLR; after the last step the rate stays.

    Parameters
    ----------
    max_learning_rate : float > 0
        The highest rate.
    total_steps : int >= 2
        The steps of the whole fit: epochs times batches.
    pct_start : float, 0 < share < 1, default 0.3
        The share of the steps in which the rate rises.
    anneal_strategy : {"cos", "linear"}
    div_factor : float > 0, default 25
        The first rate is max_learning_rate/div_factor.
    final_div_factor : float > 0, default 1e4
        The last rate is the first one divided by this.
    """

    _arguments = (
        "max_learning_rate", "total_steps", "pct_start", "anneal_strategy", "div_factor",
        "final_div_factor",
    )  # fmt: skip
    max_learning_rate: float
    total_steps: float
    pct_start: float
    div_factor: float
    final_div_factor: float

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self._check(
            max_learning_rate=max_learning_rate,
            total_steps=total_steps,
            pct_start=pct_start,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
        )
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycle: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}"
            )
        self.anneal_strategy = anneal_strategy
        if not 1 < self.pct_start * self.total_steps < self.total_steps:
            raise ValueError(
                f"OneCycle: pct_start={pct_start!r} of total_steps={total_steps!r} leaves no step "
                f"to rise or to fall"
            )

    def __call__(self, step: Any) -> Any:
        top, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        first = self.max_learning_rate / self.div_factor
        step = np.minimum(np.asarray(step, np.float64), end)
        rising = self._between(first, self.max_learning_rate, step / top)
        last = first / self.final_div_factor
        falling = self._between(self.max_learning_rate, last, (step - top) / (end - top))
        return np.where(step <= top, rising, falling)

    def _between(self, begin: float, end: float, share: Any) -> Any:
        if self.anneal_strategy == "linear":
            return begin + (end - begin) * share
        return end + (begin - end) / 2 * (1 + np.cos(math.pi * share))


class WarmUp(LearningRateSchedule):
    """A linear rise to where another schedule, or a constant rate, begins.

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule
        What follows; its own steps count from the end of the warm-up.
    warmup_steps : int > 0
    initial_learning_rate : float >= 0, default 0

    Examples
    --------
    >>> WarmUp(0.1, 10).rates([0, 5, 10, 1000]).tolist()
    [0.0, 0.05, 0.1, 0.1]
    """

    vectorized = True

    def __init__(
        self, learning_rate: Any, warmup_steps: int, initial_learning_rate: float = 0.0
    ) -> None:
        self.learning_rate: Any = learning_rate
        if isinstance(learning_rate, (LearningRateSchedule, Mapping)):
            self.learning_rate = get(learning_rate)
        else:
            self._check(learning_rate=learning_rate)
        self._check(warmup_steps=warmup_steps, initial_learning_rate=initial_learning_rate)
        self.warmup_steps: float
        self.initial_learning_rate: float
        if not self.warmup_steps > 0:
            raise ValueError(f"WarmUp: warmup_steps must be > 0, got {warmup_steps!r}")

    def __call__(self, step: Any) -> Any:
        steps = np.atleast_1d(np.asarray(step, np.int64))
        after = np.maximum(steps - math.ceil(self.warmup_steps), 0)
        if isinstance(self.learning_rate, LearningRateSchedule):
            target, later = self.learning_rate.rates([0])[0], self.learning_rate.rates(after)
        else:
            target, later = self.learning_rate, np.full(len(steps), self.learning_rate)
        rise = (target - self.initial_learning_rate) * (steps / self.warmup_steps)
        rates = np.where(steps < self.warmup_steps, self.initial_learning_rate + rise, later)
        return rates.reshape(np.shape(step))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal schedule."""
        rate = self.learning_rate
        return {
            "learning_rate": serialize(rate) if isinstance(rate, LearningRateSchedule) else rate,
            "warmup_steps": self.warmup_steps,
            "initial_learning_rate": self.initial_learning_rate,
        }
