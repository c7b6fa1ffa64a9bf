"""What all optimizers are: options, slots, and the ops that update a model's weights."""

from __future__ import annotations

import inspect
import operator
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fastdl import schedules
from fastdl._names import refuse_unknown
from fastdl.arena import consolidate, parallel
from fastdl.kernels import values
from fastdl.kernels.updates import Updates
from fastdl.lowering import update_steps
from fastdl.schedules import LearningRateSchedule
from fastdl.tensor import Tensor, Variable, apply, changes, constant
from fastdl.trace import Trace, current_trace

__all__ = ["Optimizer"]

_CONVENTIONS = ("keras", "torch")


class Optimizer:
    """The base of all optimizers.

    Parameters
    ----------
    learning_rate : float >= 0, or LearningRateSchedule
        May be changed at any time.
    weight_decay : float >= 0, optional
        Shrinks the weights: w -= learning_rate*weight_decay*w. With ``convention="torch"`` it is
        added to the gradient instead, but for AdamW.
    clipnorm, clipvalue, global_clipnorm : float > 0, optional
        Bounds on each gradient's norm, on each element, on the norm of all gradients together; at
        most one of the norms.
    convention : {"keras", "torch"}
        Whose formula and defaults.

    Attributes
    ----------
    iterations : int
        Updates made so far.
    schedule : LearningRateSchedule or None
        What the learning rate follows, where it is no constant.
    """

    op: ClassVar[str]
    defaults: ClassVar[dict[str, tuple[float, float]]] = {}
    decoupled_decay: ClassVar[bool] = False

    def __init__(
        self,
        learning_rate: Any = None,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        convention: str = "keras",
        name: str | None = None,
        **options: Any,
    ) -> None:
        taken = inspect.signature(type(self).__init__).parameters
        refuse_unknown(self, [key for key in options if key not in taken])
        if convention not in _CONVENTIONS:
            raise ValueError(
                f"{type(self).__name__}: convention must be 'keras' or 'torch', got {convention!r}"
            )
        self.name = name or type(self).__name__.lower()
        self.convention = convention
        self.iterations = 0
        self.schedule: LearningRateSchedule | None = None
        self.learning_rate = learning_rate
        self.weight_decay = self._default("weight_decay", weight_decay)
        if clipnorm is not None and global_clipnorm is not None:
            raise ValueError(f"{self.name}: give clipnorm or global_clipnorm, not both")
        self.clipnorm = self._bound("clipnorm", clipnorm)
        self.clipvalue = self._bound("clipvalue", clipvalue)
        self.global_clipnorm = self._bound("global_clipnorm", global_clipnorm)
        self.options: dict[str, Any] = {
            k: self._default(k, v) if not isinstance(v, bool) else v for k, v in options.items()
        }
        self.slots: dict[str, dict[Variable, Variable]] = {}
        self._make_private()

    def _make_private(self) -> None:
        #: What `apply_gradients` prepared for these weights and options.
        self._prepared: tuple[Any, list[Any], Updates | None] = (None, [], None)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_prepared"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_private()

    def _default(self, key: str, value: float | None) -> float:
        if value is None:
            pair = self.defaults.get(key, (0.0, 0.0))
            return pair[self.convention == "torch"]
        number = float(value)
        if not number >= 0.0 or number == float("inf"):
            raise ValueError(f"{type(self).__name__}: {key} must be finite and >= 0, got {value!r}")
        return number

    def _bound(self, key: str, value: float | None) -> float | None:
        if value is not None and not float(value) > 0.0:
            raise ValueError(f"{self.name}: {key} must be > 0, got {value!r}")
        return None if value is None else float(value)

    @property
    def learning_rate(self) -> float:
        """The rate of the next update; may be set to a number or to a schedule."""
        if self.schedule is None:
            return self._rate
        return float(self.schedule.rates([self.iterations])[0])

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if value is None or hasattr(value, "__float__"):
            self._rate, self.schedule = self._default("learning_rate", value), None
        else:
            self.schedule = schedules.get(value)

    # --- state ----------------------------------------------------------------------------------

    def slot_values(self) -> dict[str, float]:
        """The slots that this optimizer needs, and what they start from."""
        return {}

    def build(self, variables: Sequence[Variable]) -> None:
        """Makes the state of those variables that have none yet."""
        for slot, value in self.slot_values().items():
            known = self.slots.setdefault(slot, {})
            known.update(parallel([v for v in variables if v not in known], slot, value))

    def state(self, named: Mapping[str, Variable]) -> dict[str, np.ndarray]:
        """The slots of these variables, as "name/slot"."""
        return {
            f"{name}/{slot}": twins[variable].value
            for slot in self.slot_values()
            for name, variable in named.items()
            if (twins := self.slots.get(slot)) and variable in twins
        }

    def restore(self, named: Mapping[str, Variable], state: Mapping[str, np.ndarray]) -> None:
        """Takes over what `state` gave.

        Raises
        ------
        ValueError
            If a slot belongs to none of these variables or does not fit.
        """
        slots = self.slot_values()
        self.build([v for k, v in named.items() if any(f"{k}/{slot}" in state for slot in slots)])
        own = self.state(named)
        if own.keys() != state.keys():
            name = min(own.keys() ^ state.keys())
            raise ValueError(f"the optimizer's state is not that of this model: see {name!r}")
        for slot, twins in self.slots.items():
            for name, variable in named.items():
                if variable in twins:
                    twins[variable].assign(state[f"{name}/{slot}"])

    # --- the graph ------------------------------------------------------------------------------

    def apply(self, gradients: dict[Variable, Tensor], regularized: bool = True) -> None:
        """Adds the updates to the open trace.

        Parameters
        ----------
        gradients : dict
        regularized : bool, default True
            Whether the updates add the gradients of the weights' regularizers.
        """
        self.build(list(gradients))
        scales = self._clip_scales(gradients, regularized)
        for variable, gradient in gradients.items():
            slots = {slot: self.slots[slot][variable] for slot in self.slot_values()}
            apply(
                self.op,
                (),
                param=variable,
                grad=gradient,
                grad_scale=scales.get(variable),
                **slots,
                **self._update_options(variable, regularized),
            )

    def _update_options(self, variable: Variable, regularized: bool) -> dict[str, Any]:
        l1, l2 = _penalties(variable, regularized)
        decay = self.weight_decay
        if self.convention == "torch" and not self.decoupled_decay:
            l2, decay = l2 + decay / 2, 0.0
        return {
            **self.options,
            "weight_decay": decay,
            "clipvalue": self.clipvalue or 0.0,
            "l1": l1,
            "l2": l2,
            "convention": self.convention,
        }

    def _clip_scales(
        self, gradients: dict[Variable, Tensor], regularized: bool
    ) -> dict[Variable, Tensor]:
        bound = self.clipnorm or self.global_clipnorm
        if bound is None or not gradients:
            return {}
        scales: dict[Variable, Tensor] = {}
        squares = None
        for variable, gradient in gradients.items():
            l1, l2 = _penalties(variable, regularized)
            before = squares if self.global_clipnorm is not None else None
            squares = apply(
                "squared_norm", grad=gradient, param=variable, before=before, l1=l1, l2=l2
            )
            if self.clipnorm is not None:
                scales[variable] = apply("clip_scale", squares=squares, clipnorm=bound)
        if self.global_clipnorm is not None:
            scale = apply("clip_scale", squares=squares, clipnorm=bound)
            scales = dict.fromkeys(gradients, scale)
        return scales

    # --- custom loops ---------------------------------------------------------------------------

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> None:
        """One update of these weights.

        Regularizers are not asked: what they add to the loss stands in ``model.losses``.

        Parameters
        ----------
        grads_and_vars : iterable of (gradient, Variable)
            A weight whose gradient is None is left as it is, with a warning.

        Raises
        ------
        TypeError, ValueError
            If a gradient does not fit its weight, a weight stands there twice, or there is no
            gradient at all; nothing has been changed then.

        Examples
        --------
        >>> import fastdl
        >>> w = fastdl.Variable([1.0, 2.0])
        >>> fastdl.optimizers.SGD(0.1).apply_gradients([(fastdl.constant([1.0, 1.0]), w)])
        >>> w.numpy().round(3)
        array([0.9, 1.9], dtype=float32)
        """
        pairs = list(grads_and_vars)
        if not values.is_tracing() and pairs and type(pairs[0]) is tuple:
            gradients = [pair[0] for pair in pairs]
            key, variables, updates = self._prepared
            if (
                updates is not None
                and key == (changes.latest, *self.fixed_options())
                and len(pairs) == len(variables)
                and all(map(operator.is_, variables, [pair[1] for pair in pairs]))
                and updates.run(gradients, self.iterations + 1, self.learning_rate)
            ):
                self.iterations += 1
                return
        self._apply_checked(pairs)

    def _apply_checked(self, pairs: list[Any]) -> None:
        """`apply_gradients`, with all questions asked."""
        gradients: dict[Variable, Tensor] = {}
        missing = []
        for pair in pairs:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise TypeError(
                    f"apply_gradients: wants pairs of (gradient, Variable), as "
                    f"zip(gradients, weights) gives, got {type(pair).__name__}"
                )
            gradient, variable = pair
            if not isinstance(variable, Variable):
                raise TypeError(
                    f"apply_gradients: wants pairs of (gradient, Variable), got "
                    f"{type(variable).__name__} for the weight"
                )
            if gradient is None:
                missing.append(variable.name)
                continue
            if not isinstance(gradient, Tensor):
                gradient = constant(gradient, variable.value.dtype)
            if gradient.shape != variable.shape:
                raise ValueError(
                    f"apply_gradients: the gradient of {variable.name} has shape "
                    f"{gradient.shape}, but the weight {variable.shape}"
                )
            if variable in gradients:
                raise ValueError(f"apply_gradients: {variable.name} stands there twice")
            gradients[variable] = gradient
        if not gradients:
            raise ValueError("apply_gradients: there is no gradient for any weight")
        if missing:
            warnings.warn(
                f"apply_gradients: the loss does not depend on {', '.join(missing)}",
                RuntimeWarning,
                stacklevel=3,
            )
        trace = current_trace()
        if isinstance(trace, Trace):
            trace.apply_gradients(self, gradients)
            return
        gradients = {v: _like(g, v) for v, g in gradients.items()}
        variables = list(gradients)
        consolidate(variables)
        placeholders = {v: Tensor(v.shape, name=f"gradient of {v.name}") for v in variables}
        with Trace(training=True) as recorded:
            self.apply(placeholders, regularized=False)
        updates = Updates(*update_steps(recorded.nodes, placeholders))
        if not updates.run(list(gradients.values()), self.iterations + 1, self.learning_rate):
            raise SystemError("apply_gradients: the updates do not fit their weights")  # a bug
        self.iterations += 1
        self._prepared = (changes.latest, *self.fixed_options()), variables, updates

    def fixed_options(self) -> tuple[Any, ...]:
        """What prepared updates depend on."""
        return (
            self.weight_decay,
            self.clipnorm,
            self.clipvalue,
            self.global_clipnorm,
            self.convention,
            *self.options.values(),
        )

    # --- configuration --------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal optimizer."""
        return {
            "name": self.name,
            "learning_rate": schedules.serialize(self.schedule) if self.schedule else self._rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
            "convention": self.convention,
            **self.options,
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} learning_rate={self.schedule or self._rate}>"


def _penalties(variable: Variable, regularized: bool) -> tuple[float, float]:
    regularizer = variable.regularizer
    if regularizer is None or not regularized:
        return 0.0, 0.0
    return regularizer.factors or (0.0, 0.0)


def _like(gradient: Tensor, variable: Variable) -> Tensor:
    """The gradient as the update reads it: contiguous, of the weight's type."""
    array = np.require(gradient.value, variable.value.dtype, ["C", "A"])
    return gradient if array is gradient.value else values.wrap(array)
