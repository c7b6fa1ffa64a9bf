"""What an op's function says of itself: its signature, its docstring, its line of the type stub.

Only who asks for help needs it: `call.pyx` imports it then.
"""

from __future__ import annotations

import inspect

from fastdl.kernels.door import pattern, range_of
from fastdl.kernels.table import OPS, Op, Option

__all__ = ["document", "signature", "stub"]


def _options(op: Op) -> list[Option]:
    """All that may be chosen, the activation at the end."""
    return [*op.options, *([op.tail] if op.tail else [])]


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
    rest = [
        inspect.Parameter(
            o.name, keyword, default=inspect.Parameter.empty if o.default is None else o.default
        )
        for o in _options(op)
    ] + [inspect.Parameter(a.name, keyword, default=None) for a in op.outputs]
    return inspect.Signature([*required, *optional, *rest])


def document(op: Op) -> str:
    """The docstring of an op's function, in NumPy style."""
    lines = [op.doc, "", "Parameters", "----------"]
    for a in op.inputs:
        kind = {"real": "float32 or float64", "label": "int64", "float64": "float64"}[a.dtype]
        extras = [f"shape {pattern(a)}", "updated in place" if a.role == "inout" else ""]
        extras += ["optional" if a.optional else ""]
        lines.append(f"{a.name} : array of {kind}, {', '.join(e for e in extras if e)}")
        if a.doc:
            lines.append(f"    {a.doc}")
    for o in _options(op):
        default = "" if o.default is None else f", default {o.default}"
        lines.append(f"{o.name} : {range_of(o)}{default}")
        if o.doc:
            lines.append(f"    {o.doc}")
    if op.outputs:
        lines += ["", "Returns", "-------"]
        for a in op.outputs:
            lines.append(f"{a.name} : array, shape {pattern(a)}")
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
        '"""By ``python -m fastdl.kernels.describe``; a test holds it against the table."""',
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
        kinds = {o.name: types[o.kind] for o in _options(op)}
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
