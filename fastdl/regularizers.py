"""Penalties on the size of parameters: l1 * sum|w| + l2 * sum(w^2), as in Keras.

A regularizer only carries the two factors: the kernels of the optimizers add its gradient,
``l1 * sign(w) + 2 * l2 * w``, in the pass that updates the parameter. One of the user's own is
traced and differentiated like the rest of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl._names import Configurable, make
from fastdl.tensor import Tensor, apply, constant

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["L1", "L1L2", "L2", "Regularizer", "get", "serialize"]


def _factor(name: str, value: float) -> float:
    number = float(value)
    if not math.isfinite(number) or number < 0.0:
        raise ValueError(f"{name} must be a finite number of at least 0, not {value!r}")
    return number


class Regularizer(Configurable):
    """The base of all: the penalty ``l1 * sum|w| + l2 * sum(w^2)``.

    A subclass of your own defines ``__call__(self, weight)`` in ops, which gives one number; where
    a model with it is to be saved, ``get_config`` too. A plain function does as well.

    Attributes
    ----------
    l1, l2 : float >= 0
        The factors.

    Examples
    --------
    >>> import fastdl
    >>> class Orthogonal(Regularizer):
    ...     def __call__(self, weight):
    ...         product = fastdl.ops.transpose(weight) @ weight
    ...         return 0.01 * fastdl.ops.sum((product - np.eye(3)) ** 2)
    >>> layer = fastdl.layers.Dense(3, kernel_regularizer=Orthogonal())
    """

    l1: float = 0.0
    l2: float = 0.0

    @property
    def factors(self) -> tuple[float, float] | None:
        """l1 and l2, where they say all of it; None of a regularizer of the user's own."""
        return (self.l1, self.l2) if type(self).__call__ is Regularizer.__call__ else None

    def __call__(self, weight: ArrayLike | Tensor) -> Any:
        """Return the penalty of an array of any shape, summed in float64.

        That of a tensor is a tensor of shape (), through which gradients flow.

        >>> L1L2(l1=1.0, l2=0.5)([1.0, -2.0])
        5.5
        """
        if isinstance(weight, Tensor):
            return self._of_tensor(weight)
        w = np.asarray(weight, dtype=np.float64).ravel()
        # A factor of 0 skips its sum, so that an infinite weight does not become 0 * inf = nan.
        penalty = self.l1 * float(np.abs(w).sum()) if self.l1 else 0.0
        return penalty + self.l2 * float(w @ w) if self.l2 else penalty

    def _of_tensor(self, weight: Tensor) -> Tensor:
        parts = []
        if self.l1:
            size = apply("relu_forward", x=weight) + apply("relu_forward", x=weight * -1.0)
            parts.append(apply("batch_mean", values=size) * (self.l1 * weight.value.size))
        if self.l2:
            square = weight * weight
            parts.append(apply("batch_mean", values=square) * (self.l2 * weight.value.size))
        return parts[0] + parts[1] if len(parts) == 2 else parts[0] if parts else constant(0.0)


class L1(Regularizer):
    """The penalty ``l1 * sum|w|``; l1 >= 0, default 0.01.

    >>> L1()([1.0, -2.0])
    0.03
    """

    _arguments = ("l1",)

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = _factor("l1", l1)


class L2(Regularizer):
    """The penalty ``l2 * sum(w^2)``, whose gradient is ``2 * l2 * w``; l2 >= 0, default 0.01.

    >>> L2()([1.0, -2.0])
    0.05
    """

    _arguments = ("l2",)

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = _factor("l2", l2)


class L1L2(Regularizer):
    """The penalty ``l1 * sum|w| + l2 * sum(w^2)``; both factors >= 0, default 0.0.

    >>> L1L2(l1=0.1).get_config()
    {'l1': 0.1, 'l2': 0.0}
    """

    _arguments = ("l1", "l2")

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = _factor("l1", l1)
        self.l2 = _factor("l2", l2)


class _Function(Regularizer):
    """A plain function of a weight."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, weight: Any) -> Any:
        return self.function(weight)

    def get_config(self) -> dict[str, Any]:
        raise ValueError(
            f"the regularizer {self.function!r} is a plain function and cannot be saved; make it "
            f"a subclass of fastdl.regularizers.Regularizer"
        )

    def __repr__(self) -> str:
        return repr(self.function)


_BY_NAME: dict[str, type[Regularizer]] = {"l1": L1, "l2": L2, "l1_l2": L1L2, "l1l2": L1L2}


def get(
    identifier: str | Mapping[str, Any] | Regularizer | Callable[..., Any] | None,
) -> Regularizer | None:
    """Return the regularizer that ``identifier`` means.

    Parameters
    ----------
    identifier : str, dict, Regularizer, callable or None
        ``"l1"``, ``"l2"`` or ``"l1_l2"`` with their defaults, what `serialize` returned, a
        regularizer or its class, a function of a weight. None stays None.

    Raises
    ------
    ValueError
        If the name is unknown (the message gives the nearest one), or a config is malformed.
    TypeError
        If it is none of these.

    Examples
    --------
    >>> get("l2")
    L2(l2=0.01)
    """
    if identifier is None or isinstance(identifier, Regularizer):
        return identifier
    if isinstance(identifier, (str, Mapping)):
        return make("regularizer", identifier, _BY_NAME)
    if isinstance(identifier, type):
        if issubclass(identifier, Regularizer):
            return identifier()
    elif callable(identifier):
        return _Function(identifier)
    raise TypeError(
        f"a regularizer is a name, a config, an L1, L2 or L1L2, a function of a weight, or None, "
        f"not {identifier!r}"
    )


def serialize(regularizer: Regularizer | None) -> dict[str, Any] | None:
    """Return ``regularizer`` as a JSON-ready dict from which `get` makes an equal one.

    >>> serialize(L2())
    {'class_name': 'L2', 'config': {'l2': 0.01}}
    """
    if regularizer is None:
        return None
    return {"class_name": type(regularizer).__name__, "config": regularizer.get_config()}
