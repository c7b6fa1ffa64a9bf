"""The base of schedules, and how they are written down."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fastdl._names import Configurable, lookup, split_config

__all__ = ["LearningRateSchedule", "Vectorized", "get", "known", "serialize"]

#: fastdl's own schedules by name.
known: dict[str, type[LearningRateSchedule]] = {}


class LearningRateSchedule(Configurable):
    """The base of all schedules: a function of the number of updates made so far.

    A subclass defines ``__call__(self, step)``, which gets 0 for the first update. It is called
    for each step, some time before the step is made; where it can also take an array of steps, say
    ``vectorized = True`` and it is called once for many. To save models with a schedule of your
    own, define ``get_config`` too and load them with ``custom_objects``.

    Examples
    --------
    >>> class Halving(LearningRateSchedule):
    ...     def __call__(self, step):
    ...         return 0.1 / (1 + step // 1000)
    >>> Halving().rates([0, 1000]).tolist()
    [0.1, 0.05]
    """

    #: Whether ``__call__`` takes arrays of steps.
    vectorized: ClassVar[bool] = False

    def __call__(self, step: Any) -> Any:
        """The learning rate of the update after ``step`` others."""
        raise TypeError(f"{type(self).__name__} has no __call__(self, step)")

    def rates(self, steps: Any) -> np.ndarray:
        """The learning rates of these steps.

        Parameters
        ----------
        steps : array of int, shape (n,)

        Returns
        -------
        array of float64, shape (n,)

        Raises
        ------
        ValueError
            If a rate is negative or not finite; the schedule and the step are named.
        """
        steps = np.asarray(steps, np.int64)
        if self.vectorized:
            rates = np.broadcast_to(np.asarray(self(steps), np.float64), steps.shape)
        else:
            rates = np.array([float(self(step)) for step in steps.tolist()])
        good = (rates >= 0) & (rates < math.inf)
        if not good.all():
            at = int(np.argmin(good))
            raise ValueError(
                f"{type(self).__name__}: the learning rate of step {steps[at]} is {rates[at]}; it "
                f"must be finite and >= 0"
            )
        return np.ascontiguousarray(rates)

    def _check(self, **numbers: Any) -> None:
        """Keeps the arguments, or says which of them is no finite number."""
        for name, value in numbers.items():
            try:
                number = float(value)
            except (TypeError, ValueError):
                number = math.nan
            if not math.isfinite(number):
                raise ValueError(f"{type(self).__name__}: {name} must be a number, got {value!r}")
            if name.endswith(("_steps", "_factor")) and name != "warmup_steps" and not number > 0:
                raise ValueError(f"{type(self).__name__}: {name} must be > 0, got {value!r}")
            if (name.endswith("learning_rate") or name == "warmup_steps") and number < 0:
                raise ValueError(f"{type(self).__name__}: {name} must be >= 0, got {value!r}")
            setattr(self, name, value if isinstance(value, int) else number)


class Vectorized(LearningRateSchedule):
    """The base of those whose formula takes arrays."""

    vectorized = True


def get(identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> LearningRateSchedule:
    """The schedule that a configuration stands for; a schedule is returned as it is.

    Parameters
    ----------
    identifier : LearningRateSchedule, or dict from `serialize`
    custom_objects : dict, optional
        Classes of your own schedules, by name.

    Raises
    ------
    ValueError
        For an unknown name; the message gives the nearest one.
    TypeError
        If it is nothing of the kind.
    """
    if isinstance(identifier, LearningRateSchedule):
        return identifier
    if not isinstance(identifier, Mapping):
        raise TypeError(
            f"a learning rate is a number or a fastdl.schedules.LearningRateSchedule, not "
            f"{type(identifier).__name__}"
        )
    name, arguments = split_config("schedule", identifier)
    for key, value in arguments.items():
        if isinstance(value, Mapping):  # a schedule around another
            arguments[key] = get(value, custom_objects)
    if custom_objects and name in custom_objects:
        return custom_objects[name](**arguments)
    return lookup("schedule", name, known)(**arguments)


def serialize(schedule: LearningRateSchedule) -> dict[str, Any]:
    """A schedule as a JSON-ready dict from which `get` makes an equal one."""
    return {"class_name": type(schedule).__name__, "config": schedule.get_config()}
