"""The base of initializers, and how one fills a weight."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import runtime
from fastdl._names import Configurable

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["Initializer", "InitializerLike", "first_values", "number"]

#: What `fastdl.initializers.get` returns; see `first_values` for how it is called.
InitializerLike = Callable[..., "NDArray[Any]"]


def _shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return ``shape`` as a tuple of whole numbers >= 0."""
    sizes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    out = tuple(int(n) for n in sizes)
    if any(n < 0 or n != given for n, given in zip(out, sizes, strict=True)):
        raise ValueError(f"a shape has whole lengths of at least 0, not {tuple(sizes)}")
    return out


def number(name: str, value: float, low: float = -math.inf) -> float:
    """Return ``value`` as a finite float of at least ``low``."""
    found = float(value)
    if not math.isfinite(found) or found < low:
        bound = "" if low == -math.inf else f" of at least {low:g}"
        raise ValueError(f"{name} must be a finite number{bound}, not {value!r}")
    return found


class Initializer(Configurable):
    """The base of all initializers.

    A subclass of your own defines ``__call__(self, shape)``, which may take ``dtype`` and ``rng``
    too: the type of floats, and a generator that follows `fastdl.set_seed`.

    >>> from fastdl.initializers import HeNormal
    >>> HeNormal(seed=3).get_config(), HeNormal(seed=3) == HeNormal(seed=3)
    ({'seed': 3}, True)
    """

    def __call__(
        self,
        shape: int | Sequence[int],
        dtype: DTypeLike = "float32",
        rng: np.random.Generator | None = None,
    ) -> NDArray[Any]:
        """Return a new array of first values.

        Parameters
        ----------
        shape : int or sequence of int
            The shape; kernels are ``(..., in, out)``.
        dtype : dtype, default "float32"
            The type of the array.
        rng : numpy.random.Generator, optional
            Where random numbers come from; by default a fresh, unseeded generator. An initializer
            that was given a ``seed`` uses that instead, and gives the same values every time.

        Returns
        -------
        ndarray of ``shape`` and ``dtype``

        Raises
        ------
        ValueError
            If a length is negative, or the shape is not one that this initializer can fill.
        """
        seed = getattr(self, "seed", None)
        if seed is not None or rng is None:
            rng = np.random.default_rng(seed)
        return np.asarray(self._draw(_shape(shape), rng)).astype(dtype, order="C", copy=False)

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        """Return the values, in float64 or smaller."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to draw its values")


def first_values(
    initializer: InitializerLike, shape: tuple[int, ...], rng: np.random.Generator, name: str
) -> NDArray[Any]:
    """A weight's first values, of the float type that `fastdl.set_floatx` chose.

    A function of the user's own is given of ``dtype`` and ``rng`` what it takes.

    Raises
    ------
    ValueError
        If the initializer gives another shape; the message has ``name``.
    """
    dtype = runtime.floatx()
    options: dict[str, Any] = {"dtype": dtype, "rng": rng}
    if not isinstance(initializer, Initializer) or type(initializer).__call__ is not (
        Initializer.__call__
    ):
        taken = inspect.signature(initializer).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
            options = {key: value for key, value in options.items() if key in taken}
    values = np.asarray(initializer(shape, **options))
    if values.shape != shape:
        raise ValueError(f"{name}: its initializer gave the shape {values.shape}, not {shape}")
    return values.astype(dtype, order="C", copy=False)
