"""Tensors: what layers compute with, and the record of the ops that made them.

A Tensor here is symbolic: a shape, whose first axis is None where it is the batch, and the node
(one call of an op) that computes it. `apply` calls an op of the table on tensors: it checks the
shapes, makes the outputs and, inside a `Trace`, writes the node down. A Variable is a Tensor with a
value.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdl.kernels.table import OPS, Op

__all__ = ["Node", "Tensor", "Trace", "Variable", "apply", "apply_node", "changes", "reshape"]

Shape = tuple[int | None, ...]


class _Changes:
    """Counts what is changed on layers and weights: while ``latest`` stays, programs stay right."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.latest = 0

    def note(self) -> int:
        """One more change; its number."""
        self.latest = number = next(self._numbers)
        return number


changes = _Changes()


class Tensor:
    """A symbolic array.

    Attributes
    ----------
    shape : tuple
        The lengths of the axes; None in front for the batch.
    dtype : {"real", "label", "float64"}
        As in the op table; real is the model's float type.
    node : Node or None
        What computes it; None for inputs and variables.
    """

    __slots__ = ("__weakref__", "dtype", "layer_call", "name", "node", "shape")

    def __init__(
        self, shape: Shape, dtype: str = "real", node: Node | None = None, name: str = ""
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.node = node
        self.name = name
        self.layer_call: Any = None

    def __repr__(self) -> str:
        return f"<Tensor {self.name or (self.node and self.node.name) or 'input'} {self.shape}>"

    def __add__(self, other: Tensor) -> Tensor:
        if not isinstance(other, Tensor):
            return NotImplemented
        return apply("add", a=self, b=other)

    def __mul__(self, other: Tensor | float) -> Tensor:
        if isinstance(other, Tensor):
            return apply("multiply", a=self, b=other)
        if isinstance(other, (int, float)):
            return apply("scale", x=self, factor=float(other))
        return NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, other: float) -> Tensor:
        return self * (1.0 / other) if isinstance(other, (int, float)) else NotImplemented

    def __neg__(self) -> Tensor:
        return self * -1.0

    def __sub__(self, other: Tensor) -> Tensor:
        if not isinstance(other, Tensor):
            return NotImplemented
        return self + other * -1.0

    def __bool__(self) -> bool:
        raise TypeError(
            "a symbolic tensor has no truth value: what a layer computes may not depend on data"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "a symbolic tensor has no values yet; build layers from fastdl.ops, not from NumPy"
        )

    __iter__ = None


class Variable(Tensor):
    """A weight: a tensor with a value.

    Attributes
    ----------
    value : ndarray
        The weight itself. Writing into it, or setting it, changes the weight. A model moves the
        values of its weights into one block when it is built, so take it from here each time.
    trainable : bool
    regularizer : Regularizer or None
    arena : Arena or None
        The block of memory that holds the value.
    offset : int
        Where in the arena, in elements.
    """

    __slots__ = ("_value", "arena", "offset", "regularizer", "trainable")

    def __init__(
        self, value: np.ndarray, name: str = "", trainable: bool = True, regularizer: Any = None
    ) -> None:
        self._value = np.array(value, order="C", ndmin=1)
        super().__init__(self._value.shape, "real", None, name)
        self.trainable = trainable
        self.regularizer = regularizer
        self.arena: Any = None
        self.offset = 0

    def __setattr__(self, key: str, value: Any) -> None:
        if key in ("trainable", "regularizer") and hasattr(self, "offset"):  # later than __init__
            changes.note()
        super().__setattr__(key, value)

    def __repr__(self) -> str:
        return f"<Variable {self.name} {self.shape}>"

    @property
    def value(self) -> np.ndarray:
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        self.assign(value)

    def numpy(self) -> np.ndarray:
        """A copy of the value."""
        return self._value.copy()

    def fitting(self, value: Any) -> np.ndarray:
        """The array that `assign` would take the value from.

        Raises
        ------
        ValueError, TypeError
            If its shape differs or it holds no real numbers.
        """
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{self.name}: wants real numbers, got {array.dtype}")
        if array.shape != self.shape:
            raise ValueError(f"{self.name}: has shape {self.shape}, got {array.shape}")
        return array

    def assign(self, value: Any) -> None:
        """Sets the value.

        Raises
        ------
        ValueError, TypeError
            If the shape differs or these are no real numbers; nothing has been changed then.
        """
        self._value[...] = self.fitting(value)

    def move(self, arena: Any, offset: int) -> None:
        """Makes this place of the arena, which holds the value already, that of the weight."""
        place = arena.flat[offset : offset + self._value.size].reshape(self._value.shape)
        self._value, self.arena, self.offset = place, arena, offset

    # Copies and pickles keep weights in their arenas, where their optimizer's state lies parallel.

    def __getstate__(self) -> dict[str, Any]:
        names = ("shape", "dtype", "name", "trainable", "regularizer", "arena", "offset")
        state = {name: getattr(self, name) for name in names}
        return state if self.arena is not None else {**state, "_value": self._value}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.node = self.layer_call = None
        for name, value in state.items():
            setattr(self, name, value)
        if self.arena is not None:
            end = self.offset + int(np.prod(state["shape"]))
            self._value = self.arena.flat[self.offset : end].reshape(state["shape"])


@dataclass(eq=False)
class Node:
    """One call of an op on tensors. ``op`` is None for a reshape, which computes nothing."""

    op: Op | None
    inputs: dict[str, Tensor]
    options: dict[str, Any]
    outputs: dict[str, Tensor]

    @property
    def name(self) -> str:
        return self.op.name if self.op else "reshape"

    def argument(self, name: str) -> Tensor | None:
        """The tensor of an argument, input or output."""
        return self.inputs[name] if name in self.inputs else self.outputs.get(name)


# --- recording ----------------------------------------------------------------------------------


class _State(threading.local):
    trace: Trace | None = None


_state = _State()


class Trace:
    """Writes down every op that is applied inside its ``with`` block, in order.

    Parameters
    ----------
    training : bool
        Whether layers are to behave as in training.
    """

    def __init__(self, training: bool) -> None:
        self.training = training
        self.nodes: list[Node] = []
        #: Tells the uses of random numbers apart.
        self.streams = itertools.count()

    def __enter__(self) -> Trace:
        self._before = _state.trace
        _state.trace = self
        return self

    def __exit__(self, *exc: object) -> None:
        _state.trace = self._before


def current_trace() -> Trace | None:
    """The innermost trace that is open in this thread."""
    return _state.trace


def record(node: Node) -> Node:
    """Links the node to its outputs and adds it to the open trace."""
    for name, tensor in node.outputs.items():
        tensor.node = node
        tensor.name = tensor.name or f"{node.name}.{name}"
    if _state.trace is not None:
        _state.trace.nodes.append(node)
    return node


# --- applying ops -------------------------------------------------------------------------------


def apply(name: str, without: Iterable[str] = (), /, **arguments: Any) -> Any:
    """Calls an op of the table on tensors.

    Parameters
    ----------
    name : str
        The op.
    without : names of optional outputs that are not wanted
    **arguments
        The inputs and options by the table's names; optional inputs may be None.

    Returns
    -------
    Tensor, tuple of Tensor, or None
        The outputs in the table's order.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, an input is missing or unknown, or an input is no tensor.
    """
    results = tuple(apply_node(name, without, **arguments).outputs.values())
    return None if not results else results[0] if len(results) == 1 else results


def apply_node(name: str, without: Iterable[str] = (), /, **arguments: Any) -> Node:
    """`apply`, giving the node."""
    op = OPS[name]
    inputs: dict[str, Tensor] = {}
    for argument in op.inputs:
        value = arguments.pop(argument.name, None)
        if value is None:
            if argument.optional:
                continue
            raise TypeError(f"{name}: argument {argument.name!r} is missing")
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name}: argument {argument.name!r} must be a Tensor, got {type(value).__name__}"
            )
        inputs[argument.name] = value
    if not arguments.keys() <= op.option_names:
        unknown = next(k for k in arguments if k not in op.option_names)
        raise TypeError(f"{name}: no argument {unknown!r}")
    shapes = infer_shapes(op, {k: t.shape for k, t in inputs.items()}, arguments)
    outputs = {a.name: Tensor(shapes[a.name], a.dtype) for a in op.outputs if a.name not in without}
    return record(Node(op, inputs, arguments, outputs))


def infer_shapes(op: Op, shapes: dict[str, Shape], options: dict[str, Any]) -> dict[str, Shape]:
    """Holds the shapes of inputs against the table; returns the shapes of the outputs."""
    lead: Shape | None = None
    lengths: dict[str, int | None] = {}
    for argument in op.inputs:
        shape = shapes.get(argument.name)
        if shape is None:
            continue
        batched, axes = argument.batched, argument.own_axes
        n = len(shape) - len(axes)
        if n < (1 if batched and axes else 0) or (not batched and n):
            if batched or len(axes) > 1 or axes[0] != "N":
                raise ValueError(
                    f"{op.name}: argument {argument.name!r} must have shape "
                    f"({', '.join(argument.axes)}), got {shape}"
                )
            shape, n = (math.prod(s or 1 for s in shape),), 0  # updates take weights flat
        if batched:
            if lead is None:
                lead = shape[:n]
            elif shape[:n] != lead:
                raise ValueError(
                    f"{op.name}: argument {argument.name!r} has shape {shape}, but its leading "
                    f"axes must be {lead}"
                )
        for axis, length in zip(axes, shape[n:], strict=True):
            wanted = _length(axis, lengths)
            if wanted is None and "+" not in axis:
                lengths[axis] = length
            elif wanted is not None and wanted != length:
                pattern = f"({', '.join(argument.axes)})"
                raise ValueError(
                    f"{op.name}: argument {argument.name!r} has shape {shape}, but axis {axis} of "
                    f"{pattern} must be {wanted}"
                )
    if op.geometry is not None:
        known = {letter: length for letter, length in lengths.items() if length is not None}
        op.derive(known, op.defaults | options)
        lengths.update(known)
    result: dict[str, Shape] = {}
    for argument in op.outputs:
        tail = tuple([_length(axis, lengths) for axis in argument.own_axes])
        result[argument.name] = (lead or ()) + tail if argument.batched else tail
    return result


def _length(axis: str, lengths: dict[str, int | None]) -> int | None:
    if axis.isalpha():
        return lengths.get(axis)
    if axis.isdigit():
        return int(axis)
    parts = [lengths.get(letter) for letter in axis.split("+")]
    return None if None in parts else sum(p for p in parts if p is not None)


def reshape(x: Tensor, shape: Shape) -> Tensor:
    """The same elements in another shape; costs nothing.

    Parameters
    ----------
    x : Tensor
    shape : tuple
        With None in front if x has it; one other entry may be -1.

    Raises
    ------
    ValueError
        If the shapes hold different numbers of elements.
    """
    old = math.prod(s for s in x.shape if s is not None)
    new = [s for s in shape if s is not None]
    if new.count(-1) == 1:
        rest = math.prod(s for s in new if s != -1)
        new[new.index(-1)] = old // rest if rest else 0
    batched = bool(x.shape) and x.shape[0] is None
    if math.prod(new) != old or any(s < 0 for s in new):
        raise ValueError(f"reshape: {x.shape} does not fit into {shape}")
    out = Tensor(((None,) if batched else ()) + tuple(new), x.dtype)
    record(Node(None, {"x": x}, {}, {"out": out}))
    return out
