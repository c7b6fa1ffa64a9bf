"""Learning rates that follow the number of updates: Keras's names and formulas, and some more.

A schedule goes where an optimizer takes its ``learning_rate``. It is asked for the rates of many
coming updates at once, and training reads them off the list: no Python runs between two batches.
"""

from fastdl.schedules.base import LearningRateSchedule, get, known, serialize
from fastdl.schedules.decays import (
    ExponentialDecay,
    InverseTimeDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
    StepDecay,
)
from fastdl.schedules.waves import CosineDecay, CosineDecayRestarts, OneCycle, WarmUp

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "OneCycle",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "StepDecay",
    "WarmUp",
    "get",
    "serialize",
]

known.update(
    {
        "exponential_decay": ExponentialDecay,
        "step_decay": StepDecay,
        "inverse_time_decay": InverseTimeDecay,
        "polynomial_decay": PolynomialDecay,
        "cosine_decay": CosineDecay,
        "cosine_decay_restarts": CosineDecayRestarts,
        "piecewise_constant_decay": PiecewiseConstantDecay,
        "warm_up": WarmUp,
        "one_cycle": OneCycle,
    }
)
