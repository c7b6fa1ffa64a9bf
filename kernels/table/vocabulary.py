"""The words in which ops are declared: Argument, Option, Op, and short ways to write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

__all__ = [
    "DYNAMIC_OPTIONS", "OPS", "Argument", "Op", "Option", "choice", "declare", "flag", "in_",
    "inout", "integer", "number", "out",
]  # fmt: skip

#: Options that change from step to step: a running program keeps them in its context.
DYNAMIC_OPTIONS = ("learning_rate", "step", "seed")


class Argument(NamedTuple):
    """One array of an op: its role (``in``, ``out``, ``inout``), axes and type."""

    name: str
    role: str
    axes: tuple[str, ...]
    dtype: str = "real"
    optional: bool = False
    below: str = ""  # labels: whole numbers from 0 to this letter's length - 1
    needed_by: str = ""  # optional ones: the option that needs it unless it is 0 or False
    doc: str = ""

    @property
    def batched(self) -> bool:
        return self.axes[:1] == ("B",)

    @property
    def own_axes(self) -> tuple[str, ...]:
        """The axes behind those that B stands for."""
        return self.axes[1:] if self.batched else self.axes


class Option(NamedTuple):
    """One scalar of an op. ``choices`` are passed to the kernel by their index."""

    name: str
    kind: str  # "float", "int", "bool" or "choice"
    default: float | int | bool | str | None  # None: must be given
    low: float | None = None
    high: float | None = None
    open_low: bool = False  # the lower bound itself is not allowed
    open_high: bool = False
    choices: tuple[str, ...] = ()
    doc: str = ""


class Op:
    """An operation: what may be called, what is checked, how it is differentiated."""

    def __init__(
        self,
        name: str,
        doc: str,
        arguments: tuple[Argument, ...],
        options: tuple[Option, ...] = (),
        *,
        backward: tuple[str, ...] = (),
        passes: tuple[str, ...] = (),
        elementwise: bool = False,
        inplace: bool = False,
        runs_tails: bool = False,
        hands_on: bool = False,
        by_rows: bool = False,
        early: tuple[str, ...] = (),
        late: tuple[str, ...] = (),
        tail: Option | None = None,
        geometry: Callable[[dict[str, int], Mapping[str, Any]], dict[str, int]] | None = None,
    ) -> None:
        self.name = name
        self.doc = doc
        self.arguments = arguments
        self.options = options
        self.backward = backward
        self.passes = passes
        self.elementwise = elementwise
        self.inplace = inplace
        self.runs_tails = runs_tails
        #: its output need have no memory where a tail alone reads it, an update
        self.hands_on = hands_on
        #: one phase goes by the rows of B in order; of the other phases, which arguments those
        #: before it touch, and which only those after it do (tails belong to these where the output
        #: does)
        self.by_rows = by_rows
        self.early = early
        self.late = late
        #: an option naming an activation that is applied to the output as a tail
        self.tail = tail
        #: (the lengths known so far by letter, the options by name) -> the lengths that follow from
        #: them; a ValueError where there is no such array
        self.geometry = geometry

    @cached_property
    def letters(self) -> tuple[str, ...]:
        """The letters of the axes, but for B, in the order in which they come."""
        axes = (axis for argument in self.arguments for axis in argument.axes)
        return tuple(dict.fromkeys(a for a in axes if a.isalpha() and a != "B"))

    @cached_property
    def outputs(self) -> tuple[Argument, ...]:
        return tuple(a for a in self.arguments if a.role == "out")

    @cached_property
    def inputs(self) -> tuple[Argument, ...]:
        return tuple(a for a in self.arguments if a.role != "out")

    def derive(self, lengths: dict[str, int], options: Mapping[str, Any]) -> None:
        """Adds to ``lengths`` what follows from them and from all the options by ``geometry``.

        Raises
        ------
        ValueError
            If nothing of these lengths exists, or one of them is another than follows.
        """
        if self.geometry is None:
            return
        try:
            derived = self.geometry(lengths, options)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        for letter, length in derived.items():
            given = lengths.setdefault(letter, length)
            if given != length:
                raise ValueError(
                    f"{self.name}: axis {letter} must be {length} by the other lengths and the "
                    f"options, got {given}"
                )

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The options that have a default, by name."""
        return {o.name: o.default for o in self.options if o.default is not None}

    @cached_property
    def option_names(self) -> frozenset[str]:
        return frozenset(o.name for o in self.options)

    @cached_property
    def updates(self) -> tuple[str, ...]:
        """The names of the arguments that are changed in place."""
        return tuple(a.name for a in self.arguments if a.role == "inout")


OPS: dict[str, Op] = {}


def declare(name: str, doc: str, *parts: Argument | Option, **properties: Any) -> None:
    """Enters an op into the table."""
    OPS[name] = Op(
        name,
        doc,
        tuple(p for p in parts if isinstance(p, Argument)),
        tuple(p for p in parts if isinstance(p, Option)),
        **properties,
    )


def _argument(role: str):
    def make(name, axes, *, dtype="real", optional=False, below="", needed_by="", doc=""):
        return Argument(name, role, tuple(axes.split()), dtype, optional, below, needed_by, doc)

    return make


in_, out, inout = _argument("in"), _argument("out"), _argument("inout")


def number(name, default=None, low=None, high=None, *, open_low=False, open_high=False, doc=""):
    return Option(name, "float", default, low, high, open_low, open_high, doc=doc)


def integer(name, default=None, low=0, high=None, *, doc=""):
    return Option(name, "int", default, low, high, doc=doc)


def flag(name, default=False, *, doc=""):
    return Option(name, "bool", default, doc=doc)


def choice(name, choices, default, *, doc=""):
    return Option(name, "choice", default, choices=tuple(choices), doc=doc)
