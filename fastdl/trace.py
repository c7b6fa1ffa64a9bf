"""The record of the ops that made a tensor: nodes, and the traces that they are written down in.

`apply` calls an op of the table on tensors. On symbolic ones what stands here checks the shapes,
makes the outputs and, inside a `Trace`, writes the node down; on eager ones it runs the kernel.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fastdl._locks import local
from fastdl.kernels import eager, values
from fastdl.kernels.table import OPS, Op
from fastdl.tensor import Shape, Tensor, Variable, constant

__all__ = [
    "Call", "Node", "Trace", "apply_node", "batch_hint", "current_trace", "infer_shapes", "inside",
    "readers_of", "record", "reshape", "root", "rows_of", "stop_gradient", "wrong_batch",
]  # fmt: skip


class Node:
    """One call of an op on tensors. ``op`` is None for a reshape, which computes nothing."""

    #: The layer in whose ``call`` it stands; None outside of layers.
    layer: Any = None
    #: Whether it computes a gradient; its layer is then that of what it is the gradient of.
    backward = False
    #: In a compiled step: the update or the call whose step, seed and learning rate it has.
    owner: Any = None

    def __init__(
        self,
        op: Op | None,
        inputs: dict[str, Tensor],
        options: dict[str, Any],
        outputs: dict[str, Tensor],
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.options = options
        self.outputs = outputs

    @property
    def name(self) -> str:
        return self.op.name if self.op else "reshape"

    def argument(self, name: str) -> Tensor | None:
        """The tensor of an argument, input or output."""
        return self.inputs[name] if name in self.inputs else self.outputs.get(name)

    def on(self, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> Node:
        """The same call of the op on other tensors; the outputs know that they come from it."""
        node = Node(self.op, inputs, self.options, outputs)
        node.layer, node.backward, node.owner = self.layer, self.backward, self.owner
        for tensor in outputs.values():
            tensor.node = node
        return node


def root(tensor: Tensor) -> Tensor:
    """The tensor whose memory this one is: itself, or what was reshaped."""
    while tensor.node is not None and tensor.node.op is None:
        tensor = tensor.node.inputs["x"]
    return tensor


def readers_of(nodes: Iterable[Node]) -> dict[Tensor, list[Node]]:
    """Which nodes read a tensor, or a reshape of it."""
    readers: dict[Tensor, list[Node]] = {}
    for node in nodes:
        for tensor in node.inputs.values():
            readers.setdefault(root(tensor), []).append(node)
    return readers


# --- recording ----------------------------------------------------------------------------------


class _State(local):
    trace: Trace | Call | None = None
    layer: Any = None


_state = _State()


@contextlib.contextmanager
def inside(layer: Any) -> Iterator[None]:
    """Has what is recorded in the block belong to this layer."""
    before, _state.layer = _state.layer, layer
    try:
        yield
    finally:
        _state.layer = before


class Call:
    """One eager call of a layer or model by the user; the layers inside find it open.

    Parameters
    ----------
    training : bool
        Whether layers are to behave as in training.
    owner : Layer
        Whose random numbers are drawn.
    """

    __slots__ = ("_before", "draws", "owner", "streams", "training")

    def __init__(self, training: bool, owner: Any) -> None:
        self.training = training
        self.owner = owner
        #: Tells the uses of random numbers apart.
        self.streams = itertools.count()
        self.draws: tuple[int, int] | None = None

    def __enter__(self) -> Call:
        self._before = _state.trace
        _state.trace = self
        return self

    def __exit__(self, *exc: object) -> None:
        _state.trace = self._before


class Trace:
    """Writes down every op that is applied inside its ``with`` block, in order.

    Parameters
    ----------
    training : bool
        Whether layers are to behave as in training.
    """

    #: What the nodes written down now belong to; see Node.
    owner: Any = None

    def __init__(self, training: bool) -> None:
        self.training = training
        self.nodes: list[Node] = []
        #: Tells the uses of random numbers apart.
        self.streams = itertools.count()

    def __enter__(self) -> Trace:
        self._before = _state.trace
        self._traced_before = values.set_tracing(True)
        _state.trace = self
        return self

    def __exit__(self, *exc: object) -> None:
        _state.trace = self._before
        values.set_tracing(self._traced_before)

    def call_of(self, layer: Any, training: bool | None) -> contextlib.AbstractContextManager[Any]:
        """Is open while a layer is called."""
        return contextlib.nullcontext()

    def typed(self, tensor: Tensor, dtype: str) -> Tensor:
        """The tensor as one of this type, where the trace can have it as that."""
        return tensor

    def note_assignment(self, variable: Variable) -> None:
        """A weight is given a value while this trace is open, as layers do that are built."""

    def apply_gradients(self, optimizer: Any, gradients: dict[Variable, Tensor]) -> None:
        """What `Optimizer.apply_gradients` does while this trace is open."""
        raise RuntimeError(
            f"apply_gradients: {optimizer.name} cannot update weights inside a layer's call"
        )


def current_trace() -> Trace | Call | None:
    """The innermost trace, or call by the user, that is open in this thread."""
    return _state.trace


def _draw() -> tuple[int, int]:
    """Seed and step of the random numbers of an eager op: its owner's, a new step each call."""
    call = _state.trace
    if not isinstance(call, Call):
        return 0, 0
    if call.draws is None:
        call.draws = call.owner.coming_draw()
        call.owner.note_draw()
    return call.draws


def record(node: Node) -> Node:
    """Links the node to its outputs and adds it to the open trace."""
    node.layer = _state.layer
    for name, tensor in node.outputs.items():
        tensor.node = node
        tensor.name = tensor.name or f"{node.name}.{name}"
    if isinstance(_state.trace, Trace):
        node.owner = _state.trace.owner
        _state.trace.nodes.append(node)
    return node


# --- applying ops -------------------------------------------------------------------------------


def apply_node(name: str, without: Iterable[str] = (), /, **arguments: Any) -> Node:
    """`apply`, giving the node; that of an eager call stands in no trace."""
    outputs = eager.apply_eagerly(name, without, **arguments)
    if outputs is None:
        return _apply_symbolic(name, without, arguments)
    op = OPS[name]
    inputs = {a.name: t for a in op.inputs if (t := arguments.pop(a.name, None)) is not None}
    return Node(op, inputs, arguments, outputs)


def _call_symbolic(name: str, without: Iterable[str], arguments: dict[str, Any]) -> Any:
    """`apply` on symbolic tensors."""
    results = tuple(_apply_symbolic(name, without, arguments).outputs.values())
    return None if not results else results[0] if len(results) == 1 else results


def _apply_symbolic(name: str, without: Iterable[str], arguments: dict[str, Any]) -> Node:
    op = OPS[name]
    inputs: dict[str, Tensor] = {}
    for argument in op.inputs:
        value = arguments.pop(argument.name, None)
        if value is None:
            if argument.optional:
                continue
            raise TypeError(f"{name}: argument {argument.name!r} is missing")
        if not isinstance(value, Tensor):
            if not isinstance(value, (np.ndarray, np.generic, list, int, float)):
                raise TypeError(
                    f"{name}: argument {argument.name!r} must be a Tensor, got "
                    f"{type(value).__name__}"
                )
            value = constant(value)
        if value.dtype != argument.dtype and isinstance(_state.trace, Trace):
            value = _state.trace.typed(value, argument.dtype)
        inputs[argument.name] = value
    if not arguments.keys() <= op.option_names:
        unknown = next(k for k in arguments if k not in op.option_names)
        raise TypeError(f"{name}: no argument {unknown!r}")
    try:
        shapes = infer_shapes(op, {k: t.shape for k, t in inputs.items()}, arguments)
    except ValueError as error:
        if _state.layer is None:
            raise
        raise ValueError(f"{_state.layer.name}: {error}") from None
    outputs = {a.name: Tensor(shapes[a.name], a.dtype) for a in op.outputs if a.name not in without}
    return record(Node(op, inputs, arguments, outputs))


def batch_hint(one: Shape, other: Shape) -> str:
    """What to say where only one of two shapes has the batch."""
    if (None in one[:1]) == (None in other[:1]):
        return ""
    return "; None is the batch: what has a row for each of it must come with it"


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
            if axes != ("N",):
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
                    f"axes must be {lead}{batch_hint(lead, shape)}"
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
    batched = bool(x.shape) and x.shape[0] is None
    if x._value is not None and len(new) < len(shape) and x.shape:
        new = [x._value.shape[0], *new]
    if new.count(-1) == 1:
        rest = math.prod(s for s in new if s != -1)
        new[new.index(-1)] = old // rest if rest else 0
    if math.prod(new) != old or any(s < 0 for s in new):
        raise ValueError(f"reshape: {x.shape} does not fit into {shape}")
    if x._value is not None and not values.is_tracing():
        result: Tensor = values.wrap(_own_array(x).reshape(new))
        before = x.shape
        values.write_pullback([x], [result], lambda g: [reshape(g, before)])
        return result
    out = Tensor(((None,) if batched else ()) + tuple(new), x.dtype)
    record(Node(None, {"x": x}, {}, {"out": out}))
    return out


def rows_of(x: Variable) -> Tensor:
    """A weight that has something for each row of the batch, as a tensor with a batch axis."""
    out = Tensor((None, *x.shape[1:]), x.dtype)
    record(Node(None, {"x": x}, {}, {"out": out}))
    return out


def wrong_batch(rows: int, wanted: int | None) -> ValueError:
    """The error for a batch whose number of rows is not that of the states that are kept."""
    return ValueError(
        f"stateful layers keep a state for each of {wanted} rows: all batches must have {wanted} "
        f"rows, got {rows}"
    )


def stop_gradient(x: Tensor) -> Tensor:
    """The same values, through which no gradient flows."""
    if x._value is not None and not values.is_tracing():
        return values.wrap(_own_array(x))
    out = Tensor(x.shape, x.dtype)
    record(Node(None, {"x": x}, {"stop": True}, {"out": out}))
    return out


def _own_array(x: Tensor) -> np.ndarray:
    """The value of an eager tensor, which nobody changes; a copy of a weight's."""
    return x.numpy() if isinstance(x, Variable) else x._value


values.set_tensor_type(Tensor)
eager.set_hooks(_call_symbolic, _draw)
