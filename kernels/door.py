"""The slow half of the door: what an op's arrays are converted to, and the words of every error.

`call.pyx` checks each call against the table at full speed and comes here only where an array is
not already as the kernels want it. Calls on a GPU come here alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastdl.kernels.table import Argument, Op, Option

__all__ = [
    "Checked", "Library", "as_array", "bad_option", "bind", "check", "lengths_of",
    "needed_argument", "option_value", "pattern", "prepare", "range_of", "tail_function",
    "unknown_argument",
]  # fmt: skip

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


# --- arrays -------------------------------------------------------------------------------------


class Library:
    """What the door asks of a library of arrays; here of NumPy, ``fastdl.gpu`` has one of CuPy."""

    xp: Any = np
    array_type: Any = np.ndarray
    kind = "NumPy array"

    def as_array(self, value: Any) -> Any:
        """An array of any library that ``convert`` takes."""
        return np.asarray(value)

    def convert(self, array: Any, dtype: np.dtype) -> Any:
        """The array as the kernels want it, itself where it is so already."""
        return np.require(array, dtype=dtype, requirements=["C", "A", "ENSUREARRAY"])

    def is_writeable(self, array: Any) -> bool:
        return bool(array.flags.writeable)

    def is_usable(self, array: Any) -> bool:
        """Whether kernels can write to it as it lies."""
        flags = array.flags
        plain = type(array) is np.ndarray and array.dtype.isnative
        return bool(plain and flags.c_contiguous and flags.aligned)

    def same(self, a: Any, b: Any) -> bool:
        """Whether two contiguous arrays have the same place and size."""
        return bool(a.nbytes == b.nbytes and a.ctypes.data == b.ctypes.data)

    def stand_in(self, array: Any) -> Any:
        """A contiguous copy."""
        return np.array(array, dtype=array.dtype.newbyteorder("="), order="C", subok=False)


NUMPY = Library()


class Checked:
    """What is known of a call's arrays once they have been checked.

    Attributes
    ----------
    real : dtype
        The float type of the call.
    lengths : dict
        By letter, all that follow from the inputs and options.
    lead : tuple or None
        The leading axes that B stands for.
    copies : list of (index, array)
        Arrays that are to be written, for which a contiguous stand-in was put into ``arrays``: the
        caller copies it back.
    """

    def __init__(
        self,
        real: np.dtype,
        lengths: dict[str, int],
        lead: tuple[int, ...] | None,
        copies: list[tuple[int, Any]],
    ) -> None:
        self.real = real
        self.lengths = lengths
        self.lead = lead
        self.copies = copies


def prepare(op: Op, arrays: list[Any], options: dict[str, Any]) -> list[tuple[int, np.ndarray]]:
    """`check` for NumPy; returns the copies alone."""
    return check(op, arrays, options, NUMPY).copies


def check(op: Op, arrays: list[Any], options: dict[str, Any], library: Library) -> Checked:
    """Replaces in ``arrays`` (one entry an argument) what the kernels cannot take as it is.

    Nothing has been changed when an error is raised.
    """
    for argument, value in zip(op.arguments, arrays, strict=True):
        if value is None and argument.role != "out" and not argument.optional:
            raise TypeError(f"{op.name}: argument {argument.name!r} is missing")
    targets = {
        i: _check_target(op, a, arrays[i], library)
        for i, a in enumerate(op.arguments)
        if a.role != "in" and arrays[i] is not None and not (a.optional and arrays[i] is False)
    }
    inputs = {
        i: as_array(op, a, arrays[i], library)
        for i, a in enumerate(op.arguments)
        if a.role == "in" and arrays[i] is not None
    }
    real = _float_type(op, targets, inputs)
    for i, array in inputs.items():
        arrays[i] = _convert(op, op.arguments[i], array, real, library)
    lengths, lead = lengths_of(op, arrays, options)
    _check_labels(op, arrays, lengths)
    return Checked(real, lengths, lead, _stand_ins(op, arrays, targets, library))


def _check_target(op: Op, argument: Argument, value: Any, library: Library) -> Any:
    if not isinstance(value, library.array_type):
        raise TypeError(
            f"{op.name}: argument {argument.name!r} is written and must be a {library.kind}, "
            f"got {type(value).__name__}"
        )
    allowed = _FLOATS if argument.dtype == "real" else (np.dtype(np.float64),)
    if value.dtype.newbyteorder("=") not in allowed:
        raise TypeError(
            f"{op.name}: argument {argument.name!r} is written and must be "
            f"{' or '.join(map(str, allowed))}, got {value.dtype}"
        )
    if not library.is_writeable(value):
        raise ValueError(f"{op.name}: argument {argument.name!r} is written, but it is read-only")
    repeated = any(s == 0 and n > 1 for s, n in zip(value.strides, value.shape, strict=True))
    if value.size and repeated:
        raise ValueError(
            f"{op.name}: argument {argument.name!r} is written, but its elements share memory"
        )
    return value


def as_array(op: Op, argument: Argument, value: Any, library: Library) -> Any:
    """The value of an argument as an array of the library, or a TypeError."""
    try:
        array = library.as_array(value)
    except Exception as error:
        raise TypeError(
            f"{op.name}: argument {argument.name!r} is not an array: {error}"
        ) from error
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{op.name}: argument {argument.name!r} must hold real numbers, got {array.dtype}"
        )
    return array


def _float_type(op: Op, targets: dict[int, Any], inputs: dict[int, Any]) -> np.dtype:
    """The float type of the call: the written arrays', else the widest input's, else float32."""
    written = {
        op.arguments[i].name: a.dtype.newbyteorder("=")
        for i, a in targets.items()
        if op.arguments[i].dtype == "real"
    }
    if len(set(written.values())) > 1:
        listed = ", ".join(f"{name} is {dtype}" for name, dtype in written.items())
        raise TypeError(f"{op.name}: all float arrays that are written need one type, but {listed}")
    if written:
        return next(iter(written.values()))
    floats = [
        a.dtype
        for i, a in inputs.items()
        if a.dtype.kind == "f" and op.arguments[i].dtype == "real"
    ]
    return _FLOATS[any(dtype.itemsize > 4 for dtype in floats)]


def _convert(op: Op, argument: Argument, array: Any, real: np.dtype, library: Library) -> Any:
    if argument.dtype == "label":
        if array.dtype.kind == "f":
            whole = np.isfinite(array) & (array == np.floor(array)) & (np.abs(array) < 2.0**62)
            if not whole.all():
                where = np.unravel_index(int(np.argmin(whole)), array.shape)
                raise ValueError(
                    f"{op.name}: argument {argument.name!r} must hold whole numbers, but row "
                    f"{_index(where)} is {array[where]}"
                )
        elif array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{op.name}: argument {argument.name!r} has labels beyond 2**63")
        wanted: np.dtype = np.dtype(np.int64)
    else:
        wanted = real if argument.dtype == "real" else np.dtype(np.float64)
    return library.convert(array, wanted)


def lengths_of(
    op: Op, arrays: list[Any], options: dict[str, Any]
) -> tuple[dict[str, int], tuple[int, ...] | None]:
    """Holds every shape against the table, inputs first; the first that differs is named. Returns
    the lengths by letter, and the leading axes."""
    lengths: dict[str, tuple[int, str]] = {}
    lead: tuple[tuple[int, ...], str] | None = None
    # Sums of letters last: each letter has to be known by then.
    order = sorted(
        range(len(arrays)),
        key=lambda i: ("+" in "".join(op.arguments[i].axes), op.arguments[i].role == "out"),
    )
    for i in order:
        argument, array = op.arguments[i], arrays[i]
        if array is None or array is False:
            continue
        name, shape = argument.name, array.shape
        batched, axes = argument.batched, argument.own_axes
        n = len(shape) - len(axes)
        if n < (1 if batched and axes else 0) or (not batched and n > 0):
            raise ValueError(
                f"{op.name}: argument {name!r} must have shape {pattern(argument)}, got {shape}"
            )
        if batched:
            if lead is None:
                lead = shape[:n], name
            elif shape[:n] != lead[0]:
                raise ValueError(
                    f"{op.name}: argument {name!r} has shape {shape}, but its leading axes must be "
                    f"{lead[0]}, as those of {lead[1]!r}"
                )
        for axis, length in zip(axes, shape[n:], strict=True):
            parts = [lengths.get(letter) for letter in axis.split("+")]
            if axis.isdigit():
                wanted, source = int(axis), "as the op asks"
            elif all(parts):
                wanted = sum(p[0] for p in parts if p)
                source = "as in " + " and ".join(repr(p[1]) for p in parts if p)
            else:
                if "+" not in axis:
                    lengths[axis] = length, name
                continue
            if length != wanted:
                raise ValueError(
                    f"{op.name}: argument {name!r} has shape {shape}, but axis {axis} of "
                    f"{pattern(argument)} must be {wanted}, {source}"
                )
    known = {letter: length for letter, (length, _) in lengths.items()}
    op.derive(known, options)
    for argument, array in zip(op.arguments, arrays, strict=True):
        unknown = [x for a in argument.axes for x in a.split("+") if x.isalpha() and x != "B"]
        rows = lead is not None or not argument.batched
        follows = rows and all(x in known for x in unknown)
        if argument.role == "out" and array is None and not follows:
            raise ValueError(
                f"{op.name}: {argument.name!r} must be given: its shape {pattern(argument)} does "
                f"not follow from the inputs"
            )
        if argument.batched and lead and len(lead[0]) + len(argument.axes) > 32:
            raise ValueError(f"{op.name}: arrays of more than 32 axes are not supported")
    return known, lead[0] if lead else None


def _check_labels(op: Op, arrays: list[Any], lengths: dict[str, int]) -> None:
    for argument, array in zip(op.arguments, arrays, strict=True):
        if argument.below and array is not None:
            classes = lengths[argument.below]
            bad = (array < 0) | (array >= classes)
            if bad.any():
                where = np.unravel_index(int(np.argmax(bad)), array.shape)
                raise ValueError(
                    f"{op.name}: argument {argument.name!r} must lie in 0 ... {classes - 1}, but "
                    f"row {_index(where)} is {array[where]}"
                )


def _stand_ins(
    op: Op, arrays: list[Any], targets: dict[int, Any], library: Library
) -> list[tuple[int, Any]]:
    overlap = library.xp.may_share_memory
    copies = []
    for i, target in targets.items():
        for k, other in targets.items():
            if k > i and overlap(target, other):
                raise ValueError(
                    f"{op.name}: arguments {op.arguments[i].name!r} and {op.arguments[k].name!r} "
                    f"are both written and share memory"
                )
        others = [
            a
            for k, a in enumerate(arrays)
            if k != i
            and isinstance(a, library.array_type)
            and not (op.inplace and op.arguments[k].role == "in" and library.same(target, a))
        ]
        if not library.is_usable(target) or any(overlap(target, other) for other in others):
            arrays[i] = library.stand_in(target)
            copies.append((i, target))
    return copies


def pattern(argument: Argument) -> str:
    """The shape of an argument as the table has it."""
    return f"({', '.join(argument.axes)}{',' if len(argument.axes) == 1 else ''})"


def _index(where: tuple) -> str:
    return str(int(where[0])) if len(where) == 1 else str(tuple(int(i) for i in where))


# --- options and names --------------------------------------------------------------------------


def bad_option(op: Op, index: int, value: Any) -> str:
    """What an option wanted and what came."""
    option = op.options[index]
    if value is None and option.default is None:
        return f"{op.name}: option {option.name!r} must be given"
    wanted = f"{op.name}: option {option.name!r} must be {range_of(option)}"
    return f"{wanted}, got {value!r}{_nearest(value, option.choices)}"


def bind(
    op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any], Any]:
    """What a call gives: the arrays, one entry an argument, all options, and the activation (None:
    not given). The fast twin of this and of `option_value` is in call.pyx.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown or there are too many, or an option does not fit or is missing.
    """
    positions = {a.name: i for i, a in enumerate(op.arguments)}
    options = {o.name: i for i, o in enumerate(op.options)}
    if len(args) > len(op.inputs):
        raise TypeError(
            f"{op.name}: takes at most {len(op.inputs)} positional arguments, got {len(args)}"
        )
    arrays: list[Any] = [None] * len(op.arguments)
    for argument, value in zip(op.inputs, args, strict=False):
        arrays[positions[argument.name]] = value
    values, activation = dict(op.defaults), None
    for name, value in kwargs.items():
        if op.tail is not None and name == op.tail.name:
            activation = value
        elif name in options:
            values[name] = option_value(op, options[name], value)
        elif name not in positions:
            raise TypeError(unknown_argument(op, name))
        elif arrays[positions[name]] is not None:
            raise TypeError(f"{op.name}: argument {name!r} was given twice")
        else:
            arrays[positions[name]] = value
    for i, option in enumerate(op.options):
        if option.name not in values:
            raise TypeError(bad_option(op, i, None))
    for i, argument in enumerate(op.arguments):
        if argument.needed_by and values[argument.needed_by] and arrays[i] is None:
            raise ValueError(needed_argument(op, i))
    return arrays, values, activation


def option_value(op: Op, index: int, value: Any) -> Any:
    """The value of an option, a choice by its name; an error where it does not fit."""
    option = op.options[index]
    error = bad_option(op, index, value)
    if option.kind == "choice":
        if not isinstance(value, str) or value not in option.choices:
            raise ValueError(error)
        return value
    if option.kind == "bool":
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(error)
        return bool(value)
    if isinstance(value, (bool, str, bytes, bytearray)):
        raise TypeError(error)
    try:
        number = value.__index__() if option.kind == "int" else float(value)
    except (TypeError, AttributeError):
        raise TypeError(error) from None
    except (OverflowError, ValueError):
        raise ValueError(error) from None
    low, high = option.low, option.high
    if (
        number != number
        or (low is not None and (number < low or (option.open_low and number == low)))
        or (high is not None and (number > high or (option.open_high and number == high)))
        or (option.kind == "int" and not -(2**63) <= number < 2**63)
    ):
        raise ValueError(error)
    return number


def needed_argument(op: Op, index: int) -> str:
    """An optional argument was left out that an option's value asks for."""
    a = op.arguments[index]
    return f"{op.name}: argument {a.name!r} is needed with {a.needed_by}"


def unknown_argument(op: Op, name: str) -> str:
    """An argument was given that the op does not have."""
    names = [a.name for a in op.arguments] + [o.name for o in op.options]
    return f"{op.name}: no argument {name!r}" + _nearest(name, tuple(names))


def tail_function(op: Op, activation: Any) -> Any:
    """The function of ``<activation>_forward``; None for linear."""
    assert op.tail is not None
    if not isinstance(activation, str) or activation not in op.tail.choices:
        raise ValueError(
            f"{op.name}: option {op.tail.name!r} must be {range_of(op.tail)}, got {activation!r}"
            + _nearest(activation, op.tail.choices)
        )
    if activation == "linear":
        return None
    from fastdl import kernels

    return getattr(kernels, f"{activation}_forward")


def _nearest(value: Any, names: tuple[str, ...]) -> str:
    import difflib  # here, because only a mistake needs it and importing fastdl must be quick

    close = difflib.get_close_matches(value, names, 1) if isinstance(value, str) else []
    return f" (did you mean {close[0]!r}?)" if close else ""


def range_of(option: Option) -> str:
    """What an option may be."""
    if option.kind == "choice":
        return "one of " + ", ".join(option.choices)
    if option.kind == "bool":
        return "True or False"
    kind = "a whole number" if option.kind == "int" else "a number"
    low = (
        None
        if option.low in (None, -math.inf)
        else f"{'>' if option.open_low else '>='} {option.low}"
    )
    high = (
        None
        if option.high in (None, math.inf)
        else f"{'<' if option.open_high else '<='} {option.high}"
    )
    return " ".join([kind, " and ".join(b for b in (low, high) if b)]).strip()
