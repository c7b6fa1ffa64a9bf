"""The first values of a layer's parameters: Keras's initializers, drawn with NumPy.

An initializer is called as ``initializer(shape, dtype, rng)``. Values are drawn in float64 and then
converted, so float32 and float64 networks start from the same numbers.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from fastdl import runtime
from fastdl._names import Configurable, lookup, make, snake_case

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "compute_fans",
    "first_values",
    "get",
    "serialize",
]

#: What ``get`` returns; see `first_values` for how it is called.
InitializerLike = Callable[..., "NDArray[Any]"]

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


def _shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return ``shape`` as a tuple of whole numbers >= 0."""
    sizes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    out = tuple(int(n) for n in sizes)
    if any(n < 0 or n != given for n, given in zip(out, sizes, strict=True)):
        raise ValueError(f"a shape has whole lengths of at least 0, not {tuple(sizes)}")
    return out


def _number(name: str, value: float, low: float = -math.inf) -> float:
    """Return ``value`` as a finite float of at least ``low``."""
    number = float(value)
    if not math.isfinite(number) or number < low:
        bound = "" if low == -math.inf else f" of at least {low:g}"
        raise ValueError(f"{name} must be a finite number{bound}, not {value!r}")
    return number


class Initializer(Configurable):
    """The base of all initializers.

    A subclass of your own defines ``__call__(self, shape)``, which may take ``dtype`` and ``rng``
    too: the type of floats, and a generator that follows `fastdl.set_seed`.

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
        self.value = _number("value", value)

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        return np.full(shape, self.value)


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
        self.minval = _number("minval", minval)
        self.maxval = _number("maxval", maxval, self.minval)
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
        self.mean = _number("mean", mean)
        self.stddev = _number("stddev", stddev, 0.0)
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
        self.scale = _number("scale", scale, 0.0)
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
        self.gain = _number("gain", gain)
        self.seed = seed

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs a shape of two axes or more, not {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(tall)
        q *= np.where(np.diagonal(r) < 0.0, -1.0, 1.0)
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


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
        self.gain = _number("gain", gain)

    def _draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        if len(shape) != 2:
            raise ValueError(f"Identity needs a shape of two axes, not {shape}")
        return self.gain * np.eye(*shape)


_CLASSES: tuple[type[Initializer], ...] = (
    Zeros, Ones, Constant, RandomUniform, RandomNormal, TruncatedNormal, VarianceScaling,
    GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal, Orthogonal,
    Identity,
)  # fmt: skip

_BY_NAME: dict[str, type[Initializer]] = {
    **{snake_case(cls.__name__): cls for cls in _CLASSES},
    "zero": Zeros,
    "one": Ones,
    "uniform": RandomUniform,
    "normal": RandomNormal,
}


@overload
def get(identifier: None) -> None: ...
@overload
def get(identifier: str | Mapping[str, Any] | InitializerLike) -> InitializerLike: ...
def get(
    identifier: str | Mapping[str, Any] | InitializerLike | None,
) -> InitializerLike | None:
    """Return the initializer that ``identifier`` means.

    Parameters
    ----------
    identifier : str, dict, callable or None
        A name (``"glorot_uniform"``, ``"GlorotUniform"``), what `serialize` returned, an
        initializer or its class, or any function of ``shape``, and of ``dtype`` and ``rng`` if it
        takes them. None stays None.

    Returns
    -------
    callable or None

    Raises
    ------
    ValueError
        If the name is unknown (the message gives the nearest one), or a config is malformed.
    TypeError
        If it is none of these.

    Examples
    --------
    >>> get("he_normal")
    HeNormal(seed=None)
    >>> get({"class_name": "Constant", "config": {"value": 2.0}})
    Constant(value=2.0)
    """
    if identifier is None:
        return None
    if isinstance(identifier, (str, Mapping)):
        return make("initializer", identifier, _BY_NAME)
    if isinstance(identifier, type):
        if issubclass(identifier, Initializer):
            return identifier()
    elif callable(identifier):
        return identifier
    raise TypeError(f"an initializer is a name, a config, a callable or None, not {identifier!r}")


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


def serialize(initializer: InitializerLike | None) -> dict[str, Any] | None:
    """Return ``initializer`` as a JSON-ready dict from which `get` makes an equal one.

    Raises
    ------
    ValueError
        If it is a plain function, which cannot be written to a file.

    Examples
    --------
    >>> serialize(Zeros())
    {'class_name': 'Zeros', 'config': {}}
    """
    if initializer is None:
        return None
    if not isinstance(initializer, Initializer):
        raise ValueError(
            f"the initializer {initializer!r} is a plain callable and cannot be saved; "
            "use one of fastdl.initializers"
        )
    return {"class_name": type(initializer).__name__, "config": initializer.get_config()}
