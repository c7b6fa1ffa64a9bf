"""The first values of a layer's parameters: Keras's initializers, drawn with NumPy.

An initializer is called as ``initializer(shape, dtype, rng)``. Values are drawn in float64 and then
converted, so float32 and float64 networks start from the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

from fastdl._names import make
from fastdl.initializers.base import Initializer, InitializerLike, first_values
from fastdl.initializers.constant import Constant, Identity, Ones, Zeros
from fastdl.initializers.random import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    compute_fans,
)

__all__ = [
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity",
    "Initializer", "LecunNormal", "LecunUniform", "Ones", "Orthogonal", "RandomNormal",
    "RandomUniform", "TruncatedNormal", "VarianceScaling", "Zeros", "compute_fans", "first_values",
    "get", "serialize",
]  # fmt: skip

_BY_NAME: dict[str, type[Initializer]] = {
    "zeros": Zeros,
    "zero": Zeros,
    "ones": Ones,
    "one": Ones,
    "constant": Constant,
    "identity": Identity,
    "random_uniform": RandomUniform,
    "uniform": RandomUniform,
    "random_normal": RandomNormal,
    "normal": RandomNormal,
    "truncated_normal": TruncatedNormal,
    "variance_scaling": VarianceScaling,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "orthogonal": Orthogonal,
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
