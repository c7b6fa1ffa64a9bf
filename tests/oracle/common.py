"""What the oracle's families share."""

from __future__ import annotations

import math

import numpy as np


def _rows(x):
    """All leading axes as one: (B..., C) as (B, C)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _mean(x, axis):
    """The mean, and 0 of nothing; summed in long double, since a plain sum loses digits."""
    return (x.sum(axis, dtype=np.longdouble) / max(x.shape[axis], 1)).astype(np.float64)
