"""Things that people name: looked up, made from configs, and told apart when the name is wrong."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

__all__ = [
    "Configurable",
    "Hinted",
    "custom_objects_known",
    "hinted",
    "lookup",
    "make",
    "nearest",
    "refuse_unknown",
    "snake_case",
    "split_config",
    "unknown_name",
]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_custom: ContextVar[Mapping[str, Any]] = ContextVar("custom", default={})  # noqa: B039


@contextlib.contextmanager
def custom_objects_known(objects: Mapping[str, Any] | None) -> Iterator[None]:
    """Has `make` know the user's own classes by these names, in the block."""
    token = _custom.set(objects or {})
    try:
        yield
    finally:
        _custom.reset(token)


def snake_case(name: str) -> str:
    """Return ``name`` in lower case with underscores, as Keras writes it.

    >>> snake_case("HeNormal"), snake_case("Conv2DTranspose"), snake_case("ConvLSTM2D")
    ('he_normal', 'conv2d_transpose', 'conv_lstm2d')
    """
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the name most like ``name``, or an empty string."""
    import difflib  # here, because only a mistake needs it and importing fastdl must be quick

    match = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the error for a name that nobody knows: the nearest one, and all there are.

    >>> print(unknown_name("loss", "huberr", ["huber", "mse"]))
    unknown loss 'huberr' (did you mean 'huber'?); known: huber, mse
    """
    names = sorted(known)
    return ValueError(f"unknown {kind} {name!r}{nearest(name, names)}; known: {', '.join(names)}")


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """Return ``table[name]``; class names (``"HeNormal"``) find their snake_case entry.

    Raises
    ------
    ValueError
        If there is no such name; the message gives the nearest one.
    """
    for key in (name, name.lower(), snake_case(name)):
        if key in table:
            return table[key]
    raise unknown_name(kind, name, table)


def split_config(kind: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Split ``{"class_name": ..., "config": {...}}`` into name and arguments, checked.

    Raises
    ------
    ValueError
        If it is not of that form.
    """
    name, arguments = config.get("class_name"), config.get("config", {})
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise ValueError(
            f"a config of a {kind} is {{'class_name': str, 'config': dict}}, not {dict(config)!r}"
        )
    return name, dict(arguments)


def make(kind: str, identifier: str | Mapping[str, Any], table: Mapping[str, type[T]]) -> T:
    """Return the object that a name or a config means, by its class in ``table``.

    Raises
    ------
    ValueError
        If the name is unknown (the message gives the nearest one), or the config is malformed.
    """
    if isinstance(identifier, str):
        return lookup(kind, identifier, table)()
    name, arguments = split_config(kind, identifier)
    cls = _custom.get().get(name) or lookup(kind, name, table)
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ValueError(f"the config of {kind} {name!r} is wrong: {error}") from None


def refuse_unknown(thing: object, given: Iterable[str]) -> None:
    """Raise TypeError for arguments that the class of ``thing`` does not take.

    >>> refuse_unknown(Configurable(), [])
    """
    for name in given:
        known = {
            parameter.name
            for cls in type(thing).__mro__
            for parameter in inspect.signature(cls).parameters.values()
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        }
        hint = nearest(name, known)
        raise TypeError(f"{type(thing).__name__}: no argument {name!r}{hint}")


def hinted(function: F) -> F:
    """The method, whose error for an argument that it does not take gives the nearest one."""

    @functools.wraps(function)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return function(self, *arguments, **options)
        except TypeError as error:
            known = inspect.signature(function).parameters
            unknown = next((name for name in options if name not in known), None)
            inside = error.__traceback__ is None or error.__traceback__.tb_next is not None
            if inside or unknown is None:
                raise
            what = type(self).__name__
            if function.__name__ != "__init__":
                what += f".{function.__name__}"
            raise TypeError(f"{what}: no argument {unknown!r}{nearest(unknown, known)}") from None

    return call  # type: ignore[return-value]


class Hinted:
    """The base of classes whose arguments people spell: a wrong name gives the nearest one.

    >>> from fastdl.callbacks import EarlyStopping
    >>> EarlyStopping(patiance=3)
    Traceback (most recent call last):
    TypeError: EarlyStopping: no argument 'patiance' (did you mean 'patience'?)
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own: Any = cls.__dict__.get("__init__")
        if own is not None:
            cls.__init__ = hinted(own)  # type: ignore[method-assign]


class Configurable(Hinted):
    """An object that is its class and its arguments: equal to those with the same.

    ``_arguments`` names the arguments, which are kept as attributes of the same names.
    """

    _arguments: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal object."""
        return {name: getattr(self, name) for name in self._arguments}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Configurable):
            return NotImplemented
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))
