"""Initializers that draw nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl.initializers.base import Initializer, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Constant", "Identity", "Ones", "Zeros"]


class Zeros(Initializer):
    """All zeros.

    >>> Zeros()((2, 2))
    array([[0., 0.],
           [0., 0.]], dtype=float32)
    """

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        return np.zeros(shape)


class Ones(Initializer):
    """All ones.

    >>> Ones()(3, "float64")
    array([1., 1., 1.])
    """

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        return np.ones(shape)


class Constant(Initializer):
    """Every element is ``value`` (a finite number, default 0.0).

    >>> Constant(0.5)(2)
    array([0.5, 0.5], dtype=float32)
    """

    _arguments = ("value",)

    def __init__(self, value: float = 0.0) -> None:
        self.value = number("value", value)

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        return np.full(shape, self.value)


class Identity(Initializer):
    """Ones on the diagonal of a matrix, times ``gain`` (default 1.0); zeros elsewhere.

    Raises
    ------
    ValueError
        If the shape has not exactly two axes.

    Examples
    --------
    >>> Identity(2.0)((2, 3))
    array([[2., 0., 0.],
           [0., 2., 0.]], dtype=float32)
    """

    _arguments = ("gain",)

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = number("gain", gain)

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        if len(shape) != 2:
            raise ValueError(f"Identity needs a shape of two axes, not {shape}")
        return self.gain * np.eye(*shape)
