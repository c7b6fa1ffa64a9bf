"""An eager call of an op on device arrays: the door, and then the op's host side."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.gpu import device
from fastdl.gpu.core import CONTEXT, HOSTS, Call
from fastdl.kernels import describe, door
from fastdl.kernels.table import ACTIVATIONS, DYNAMIC_OPTIONS, OPS, Op

__all__ = ["Function", "epilogue_of"]


def epilogue_of(activation: str, **options: Any) -> tuple[int, float]:
    """The index and alpha of an elementwise activation, as a product's kernel takes them."""
    given = {**OPS[f"{activation}_forward"].defaults, **options} if activation != "linear" else {}
    return ACTIVATIONS.index(activation), float(given.get("alpha", 0.0))


class Function:
    """One op as a Python function on device arrays."""

    def __init__(self, op: Op) -> None:
        self.op = op
        self.__name__ = self.__qualname__ = op.name
        self.__module__ = "fastdl.gpu"
        self.__doc__ = describe.document(op)
        self.__signature__ = describe.signature(op)

    def __repr__(self) -> str:
        return f"<op fastdl.gpu.{self.op.name}{self.__signature__}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        op = self.op
        driver = device.driver()
        arrays, options, activation = door.bind(op, args, kwargs)
        if activation is not None and door.tail_function(op, activation) is None:
            activation = None
        static = {k: v for k, v in options.items() if k not in DYNAMIC_OPTIONS}
        checked = door.check(op, arrays, static, driver.library)
        lengths = dict(checked.lengths)
        if checked.lead is not None or any(a.batched for a in op.arguments):
            lengths["B"] = int(np.prod(checked.lead or (), dtype=np.int64))
        for i, argument in enumerate(op.arguments):
            if argument.role == "out" and arrays[i] is None:
                arrays[i] = driver.xp.empty(
                    _shape(argument, checked), checked.real if argument.dtype == "real" else float
                )
        named = {
            a.name: None if array is False else array
            for a, array in zip(op.arguments, arrays, strict=True)
        }
        context = _context(driver, options) if len(static) < len(options) else None
        call = Call(op, HOSTS[op.name], driver, checked.real, named, static, lengths, context)
        softmax = activation == "softmax"
        if activation is not None and not softmax:
            call.epilogue = epilogue_of(activation)
        call.run()
        if softmax:
            out = arrays[0]
            softmax_forward = Function(OPS["softmax_forward"])
            softmax_forward(out, out=out)
        for i, original in checked.copies:
            original[...] = arrays[i]
            arrays[i] = original
        results = [
            array
            for argument, array in zip(op.arguments, arrays, strict=True)
            if argument.role == "out" and array is not False
        ]
        if not op.outputs:
            return None
        return results[0] if len(results) == 1 else tuple(results)


def _shape(argument: Any, checked: door.Checked) -> tuple[int, ...]:
    lead = checked.lead or () if argument.batched else ()
    known = checked.lengths
    return lead + tuple(
        [sum(int(p) if p.isdigit() else known[p] for p in a.split("+")) for a in argument.own_axes]
    )


def _context(driver: Any, options: dict[str, Any]) -> Any:
    """What changes from step to step, on the device."""
    context = np.zeros(1, CONTEXT)
    for name in DYNAMIC_OPTIONS:
        if name in options:
            context[name] = options[name]
    return driver.upload(context.view(np.uint8))
