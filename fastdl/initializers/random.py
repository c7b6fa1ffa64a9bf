"""Initializers that draw random values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl._names import lookup
from fastdl.initializers.base import Initializer, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform",
    "Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling",
    "compute_fans",
]  # fmt: skip

# The standard deviation of a unit normal cut off at two standard deviations:
# sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)), with phi and Phi its density and distribution.
_TRUNCATED_STDDEV = 0.87962566103423978


def compute_fans(shape: Sequence[int]) -> tuple[int, int]:
    """Return how many inputs and outputs a kernel of this shape connects.

    Parameters
    ----------
    shape : sequence of int
        ``(..., in, out)``: leading axes are the receptive field of a convolution. A vector counts
        its length both ways, a scalar 1.

    Returns
    -------
    fan_in, fan_out : int

    Examples
    --------
    >>> compute_fans((784, 128)), compute_fans((3, 3, 16, 32)), compute_fans((5,))
    ((784, 128), (144, 288), (5, 5))
    """
    if len(shape) == 0:
        return 1, 1
    if len(shape) == 1:
        return int(shape[0]), int(shape[0])
    field = math.prod(int(n) for n in shape[:-2])
    return int(shape[-2]) * field, int(shape[-1]) * field


class RandomUniform(Initializer):
    """Uniform between ``minval`` (default -0.05) and ``maxval`` (default 0.05).

    Raises
    ------
    ValueError
        If ``maxval`` is below ``minval`` or one is not finite.

    Examples
    --------
    >>> x = RandomUniform(seed=1)((100, 100))
    >>> bool(abs(x).max() <= 0.05)
    True
    """

    _arguments = ("minval", "maxval", "seed")

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None
    ) -> None:
        self.minval = number("minval", minval)
        self.maxval = number("maxval", maxval, self.minval)
        self.seed = seed

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        return rng.uniform(self.minval, self.maxval, shape)


class RandomNormal(Initializer):
    """Normal with ``mean`` (default 0.0) and ``stddev`` (>= 0, default 0.05).

    >>> x = RandomNormal(seed=1)((100, 100))
    >>> bool(abs(x.std() - 0.05) < 0.001)
    True
    """

    _arguments = ("mean", "stddev", "seed")

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = number("mean", mean)
        self.stddev = number("stddev", stddev, 0.0)
        self.seed = seed

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        return rng.normal(self.mean, self.stddev, shape)


def _truncated_normal(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    """Return unit normals, those beyond two standard deviations drawn again."""
    x = rng.standard_normal(math.prod(shape))
    far = np.flatnonzero(np.abs(x) > 2.0)
    while far.size:
        x[far] = rng.standard_normal(far.size)
        far = far[np.abs(x[far]) > 2.0]
    return x.reshape(shape)


class TruncatedNormal(RandomNormal):
    """Normal, values further than two ``stddev`` (default 0.05) from ``mean`` drawn again.

    >>> x = TruncatedNormal(seed=1)((100, 100))
    >>> bool(abs(x).max() <= 0.1)
    True
    """

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        return self.mean + self.stddev * _truncated_normal(shape, rng)


class VarianceScaling(Initializer):
    """Random values whose variance is ``scale / n``, n being the kernel's fan.

    Parameters
    ----------
    scale : float > 0, default 1.0
        The variance times the fan.
    mode : {"fan_in", "fan_out", "fan_avg"}, default "fan_in"
        The n of the formula: inputs, outputs, or the mean of the two (see `compute_fans`).
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
        ``"truncated_normal"`` is the default; ``"uniform"`` has the limit ``sqrt(3 scale / n)``.
    seed : int, optional
        For the same values every time.

    Raises
    ------
    ValueError
        If ``scale`` is not positive, or for an unknown mode or distribution.

    Examples
    --------
    >>> x = VarianceScaling(2.0, seed=1)((1000, 100))
    >>> bool(abs(x.var() * 1000 - 2.0) < 0.05)
    True
    """

    _arguments: tuple[str, ...] = ("scale", "mode", "distribution", "seed")

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        self.scale = number("scale", scale, 0.0)
        if self.scale == 0.0:
            raise ValueError("scale must be above 0")
        modes = {name: name for name in ("fan_in", "fan_out", "fan_avg")}
        self.mode = lookup("mode", mode, modes)
        names = ("truncated_normal", "untruncated_normal", "uniform")
        self.distribution = lookup(
            "distribution", distribution, {name: name for name in names} | {"normal": names[0]}
        )
        self.seed = seed

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        fan_in, fan_out = compute_fans(shape)
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        variance = self.scale / max(1.0, fans[self.mode])
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return rng.uniform(-limit, limit, shape)
        if self.distribution == "untruncated_normal":
            return rng.normal(0.0, math.sqrt(variance), shape)
        return math.sqrt(variance) / _TRUNCATED_STDDEV * _truncated_normal(shape, rng)


class _Scaled(VarianceScaling):
    """A variance scaling with its arguments fixed by the class."""

    _arguments = ("seed",)
    _fixed: tuple[float, str, str]

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(*self._fixed, seed=seed)


class GlorotUniform(_Scaled):
    """Uniform within ``sqrt(6 / (fan_in + fan_out))`` (Glorot and Bengio, 2010).

    >>> x = GlorotUniform(seed=1)((100, 50))
    >>> bool(abs(x).max() <= (6 / 150) ** 0.5)
    True
    """

    _fixed = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    """Truncated normal of variance ``2 / (fan_in + fan_out)`` (Glorot and Bengio, 2010).

    >>> GlorotNormal(seed=1)((100, 50)).shape
    (100, 50)
    """

    _fixed = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaled):
    """Uniform within ``sqrt(6 / fan_in)`` (He et al., 2015), for relu networks.

    >>> x = HeUniform(seed=1)((100, 50))
    >>> bool(abs(x).max() <= (6 / 100) ** 0.5)
    True
    """

    _fixed = (2.0, "fan_in", "uniform")


class HeNormal(_Scaled):
    """Truncated normal of variance ``2 / fan_in`` (He et al., 2015), for relu networks.

    >>> HeNormal(seed=1)((100, 50)).dtype
    dtype('float32')
    """

    _fixed = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    """Uniform within ``sqrt(3 / fan_in)`` (LeCun et al., 1998).

    >>> x = LecunUniform(seed=1)((100, 50))
    >>> bool(abs(x).max() <= (3 / 100) ** 0.5)
    True
    """

    _fixed = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    """Truncated normal of variance ``1 / fan_in`` (LeCun et al., 1998), for selu networks.

    >>> LecunNormal(seed=1)((100, 50)).shape
    (100, 50)
    """

    _fixed = (1.0, "fan_in", "truncated_normal")


class Orthogonal(Initializer):
    """A random matrix with orthonormal rows or columns, whichever are fewer, times ``gain``.

    Leading axes are taken together: a kernel ``(..., in, out)`` is the matrix
    ``(prod(...) * in, out)``. The Q of a normal matrix's QR decomposition, signs chosen so
    that it is uniformly distributed (Saxe et al., 2013; Mezzadri, 2007).

    Parameters
    ----------
    gain : float, default 1.0
        The factor.
    seed : int, optional
        For the same values every time.

    Raises
    ------
    ValueError
        If the shape has fewer than two axes.

    Examples
    --------
    >>> q = Orthogonal(seed=1)((8, 3), "float64")
    >>> bool(np.allclose(q.T @ q, np.eye(3)))
    True
    """

    _arguments = ("gain", "seed")

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = number("gain", gain)
        self.seed = seed

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs a shape of two axes or more, not {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(tall)
        q *= np.where(np.diagonal(r) < 0.0, -1.0, 1.0)
        return self.gain * (q if rows >= columns else q.T).reshape(shape)
