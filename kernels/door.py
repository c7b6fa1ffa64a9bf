"""The slow half of the door: what an op's arrays are converted to, and the words of every error.

`call.pyx` checks each call against the table at full speed and comes here only where an array is
not already as the kernels want it.
"""

from __future__ import annotations

import difflib
import inspect
import math
from typing import Any

import numpy as np

from fastdl.kernels.table import OPS, Argument, Op, Option

__all__ = [
    "bad_option", "document", "needed_argument", "prepare", "signature", "tail_function",
    "unknown_argument",
]  # fmt: skip

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


# --- arrays -------------------------------------------------------------------------------------


def prepare(op: Op, arrays: list[Any], options: dict[str, Any]) -> list[tuple[int, np.ndarray]]:
    """Replaces in ``arrays`` (one entry an argument) what the kernels cannot take as it is.

    Returns
    -------
    list of (index, array)
        Arrays that are to be written, for which a contiguous stand-in was put into ``arrays``: the
        caller copies it back. Nothing has been changed when an error is raised.
    """
    for argument, value in zip(op.arguments, arrays, strict=True):
        if value is None and argument.role != "out" and not argument.optional:
            raise TypeError(f"{op.name}: argument {argument.name!r} is missing")
    targets = {
        i: _check_target(op, a, arrays[i])
        for i, a in enumerate(op.arguments)
        if a.role != "in" and arrays[i] is not None and not (a.optional and arrays[i] is False)
    }
    inputs = {
        i: _as_array(op, a, arrays[i])
        for i, a in enumerate(op.arguments)
        if a.role == "in" and arrays[i] is not None
    }
    real = _float_type(op, targets, inputs)
    for i, array in inputs.items():
        arrays[i] = _convert(op, op.arguments[i], array, real)
    lengths = _check_shapes(op, arrays, options)
    _check_labels(op, arrays, lengths)
    return _stand_ins(op, arrays, targets)


def _check_target(op: Op, argument: Argument, value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise TypeError(
            f"{op.name}: argument {argument.name!r} is written and must be a NumPy array, "
            f"got {type(value).__name__}"
        )
    allowed = _FLOATS if argument.dtype == "real" else (np.dtype(np.float64),)
    if value.dtype.newbyteorder("=") not in allowed:
        raise TypeError(
            f"{op.name}: argument {argument.name!r} is written and must be "
            f"{' or '.join(map(str, allowed))}, got {value.dtype}"
        )
    if not value.flags.writeable:
        raise ValueError(f"{op.name}: argument {argument.name!r} is written, but it is read-only")
    if any(s == 0 and n > 1 for s, n in zip(value.strides, value.shape, strict=True)):
        raise ValueError(
            f"{op.name}: argument {argument.name!r} is written, but its elements share memory"
        )
    return value


def _as_array(op: Op, argument: Argument, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except Exception as error:
        raise TypeError(
            f"{op.name}: argument {argument.name!r} is not an array: {error}"
        ) from error
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{op.name}: argument {argument.name!r} must hold real numbers, got {array.dtype}"
        )
    return array


def _float_type(op: Op, targets: dict[int, np.ndarray], inputs: dict[int, np.ndarray]) -> np.dtype:
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


def _convert(op: Op, argument: Argument, array: np.ndarray, real: np.dtype) -> np.ndarray:
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
    return np.require(array, dtype=wanted, requirements=["C", "A", "ENSUREARRAY"])


def _check_shapes(op: Op, arrays: list[Any], options: dict[str, Any]) -> dict[str, int]:
    """Holds every shape against the table, inputs first; the first that differs is named. Returns
    the lengths by letter."""
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
                f"{op.name}: argument {name!r} must have shape {_pattern(argument)}, got {shape}"
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
                    f"{_pattern(argument)} must be {wanted}, {source}"
                )
    known = {letter: length for letter, (length, _) in lengths.items()}
    op.derive(known, options)
    for argument, array in zip(op.arguments, arrays, strict=True):
        unknown = [x for a in argument.axes for x in a.split("+") if x.isalpha() and x != "B"]
        rows = lead is not None or not argument.batched
        follows = rows and all(x in known for x in unknown)
        if argument.role == "out" and array is None and not follows:
            raise ValueError(
                f"{op.name}: {argument.name!r} must be given: its shape {_pattern(argument)} does "
                f"not follow from the inputs"
            )
        if argument.batched and lead and len(lead[0]) + len(argument.axes) > 32:
            raise ValueError(f"{op.name}: arrays of more than 32 axes are not supported")
    return known


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
    op: Op, arrays: list[Any], targets: dict[int, np.ndarray]
) -> list[tuple[int, np.ndarray]]:
    copies = []
    for i, target in targets.items():
        for k, other in targets.items():
            if k > i and np.may_share_memory(target, other):
                raise ValueError(
                    f"{op.name}: arguments {op.arguments[i].name!r} and {op.arguments[k].name!r} "
                    f"are both written and share memory"
                )
        others = [a for k, a in enumerate(arrays) if k != i and isinstance(a, np.ndarray)]
        flags = target.flags
        usable = type(target) is np.ndarray and flags.c_contiguous and flags.aligned
        if (
            not usable
            or not target.dtype.isnative
            or any(np.may_share_memory(target, other) for other in others)
        ):
            arrays[i] = np.array(
                target, dtype=target.dtype.newbyteorder("="), order="C", subok=False
            )
            copies.append((i, target))
    return copies


def _pattern(argument: Argument) -> str:
    return f"({', '.join(argument.axes)}{',' if len(argument.axes) == 1 else ''})"


def _index(where: tuple) -> str:
    return str(int(where[0])) if len(where) == 1 else str(tuple(int(i) for i in where))


# --- options and names --------------------------------------------------------------------------


def bad_option(op: Op, index: int, value: Any) -> str:
    """What an option wanted and what came."""
    option = op.options[index]
    if value is None and option.default is None:
        return f"{op.name}: option {option.name!r} must be given"
    return f"{op.name}: option {option.name!r} must be {_range(option)}, got {value!r}" + _nearest(
        value, option.choices
    )


def needed_argument(op: Op, index: int) -> str:
    """An optional argument was left out that an option's value asks for."""
    a = op.arguments[index]
    return f"{op.name}: argument {a.name!r} is needed with {a.needed_by}"


def unknown_argument(op: Op, name: str) -> str:
    names = [a.name for a in op.arguments] + [o.name for o in op.options]
    return f"{op.name}: no argument {name!r}" + _nearest(name, tuple(names))


def tail_function(op: Op, activation: Any) -> Any:
    """The function of ``<activation>_forward``; None for linear."""
    assert op.tail is not None
    if not isinstance(activation, str) or activation not in op.tail.choices:
        raise ValueError(
            f"{op.name}: option {op.tail.name!r} must be {_range(op.tail)}, got {activation!r}"
            + _nearest(activation, op.tail.choices)
        )
    if activation == "linear":
        return None
    from fastdl import kernels

    return getattr(kernels, f"{activation}_forward")


def _nearest(value: Any, names: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(value, names, 1) if isinstance(value, str) else []
    return f" (did you mean {close[0]!r}?)" if close else ""


def _range(option: Option) -> str:
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


# --- documentation ------------------------------------------------------------------------------


def signature(op: Op) -> inspect.Signature:
    """The Python signature: inputs, then options and outputs by keyword."""
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    keyword = inspect.Parameter.KEYWORD_ONLY
    required: list[inspect.Parameter] = []
    optional: list[inspect.Parameter] = []
    for a in op.inputs:
        default = None if a.optional else inspect.Parameter.empty
        (optional if a.optional else required).append(
            inspect.Parameter(a.name, positional, default=default)
        )
    # An optional input may stand before a required one in the table; Python then wants keywords.
    names = [a.name for a in op.inputs]
    in_order = names == [p.name for p in required + optional]
    if not in_order:
        optional = [p.replace(kind=keyword) for p in optional]
    options = [*op.options, *([op.tail] if op.tail else [])]
    rest = [
        inspect.Parameter(
            o.name, keyword, default=inspect.Parameter.empty if o.default is None else o.default
        )
        for o in options
    ] + [inspect.Parameter(a.name, keyword, default=None) for a in op.outputs]
    return inspect.Signature([*required, *optional, *rest])


def document(op: Op) -> str:
    """The docstring of an op's function, in NumPy style."""
    lines = [op.doc, "", "Parameters", "----------"]
    for a in op.inputs:
        kind = {"real": "float32 or float64", "label": "int64", "float64": "float64"}[a.dtype]
        extras = [f"shape {_pattern(a)}", "updated in place" if a.role == "inout" else ""]
        extras += ["optional" if a.optional else ""]
        lines.append(f"{a.name} : array of {kind}, {', '.join(e for e in extras if e)}")
        if a.doc:
            lines.append(f"    {a.doc}")
    for o in [*op.options, *([op.tail] if op.tail else [])]:
        default = "" if o.default is None else f", default {o.default}"
        lines.append(f"{o.name} : {_range(o)}{default}")
        if o.doc:
            lines.append(f"    {o.doc}")
    if op.outputs:
        lines += ["", "Returns", "-------"]
        for a in op.outputs:
            lines.append(f"{a.name} : array, shape {_pattern(a)}")
            given = f"    Pass ``{a.name}=`` to have it written into an array of yours"
            lines.append(given + (", False to leave it out." if a.optional else "."))
    lines += [
        "",
        "Raises",
        "------",
        "ValueError, TypeError",
        "    If an array or option does not fit; nothing has been changed then.",
    ]
    return "\n".join(lines)


def stub() -> str:
    """The text of ``__init__.pyi``: every op with its signature, for editors and type checkers."""
    types = {"float": "float", "int": "int", "bool": "bool", "choice": "str"}
    lines = [
        '"""Written by ``python -m fastdl.kernels.door``; a test holds it against the table."""',
        "",
        "from typing import Any",
        "",
        "from numpy import ndarray",
        "",
        "from fastdl.kernels.table import OPS as OPS",
        "",
        "dispatch: Any",
        "runner: Any",
        "",
        "def get_include() -> str: ...",
        "def matmul(",
        "    a: Any, b: Any, transpose_a: bool = ..., transpose_b: bool = ..., out: Any = ...",
        ") -> ndarray: ...",
    ]
    for op in OPS.values():
        kinds = {o.name: types[o.kind] for o in [*op.options, *([op.tail] if op.tail else [])]}
        parts, starred = [], False
        for p in signature(op).parameters.values():
            if p.kind is inspect.Parameter.KEYWORD_ONLY and not starred:
                parts.append("*")
                starred = True
            default = "" if p.default is inspect.Parameter.empty else " = ..."
            parts.append(f"{p.name}: {kinds.get(p.name, 'Any')}{default}")
        outputs = len(op.outputs)
        result = "None" if not outputs else "ndarray" if outputs == 1 else "tuple[ndarray, ...]"
        lines.append(f"def {op.name}(")
        lines += [f"    {part}," for part in parts]
        lines.append(f") -> {result}: ...")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(stub(), end="")
