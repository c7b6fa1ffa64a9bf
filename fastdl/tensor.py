"""Tensors: what layers compute with, and the record of the ops that made them.

A Tensor is eager, an array that ops compute with at once, or symbolic: a shape, whose first axis
is None where it is the batch, and the node (one call of an op) that computes it. `apply` calls an
op of the table on tensors. On symbolic ones it checks the shapes, makes the outputs and, inside a
`Trace`, writes the node down; on eager ones it runs the kernel. A Variable has a value, and is
symbolic wherever others are. An eager tensor among symbolic ones is a constant.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdl import runtime
from fastdl.kernels import eager
from fastdl.kernels.eager import Value, apply
from fastdl.kernels.table import OPS, Op

__all__ = [
    "Call", "Node", "Tensor", "Trace", "Variable", "apply", "apply_node", "changes", "constant",
    "from_dlpack", "reshape", "root", "stop_gradient",
]  # fmt: skip

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


class Tensor(Value):
    """An array with a value, or a symbolic one.

    Parameters
    ----------
    value : array, or tuple of lengths
        A tuple makes a symbolic tensor of that shape; `constant` takes one as numbers.
    dtype : {"real", "label", "float64"}
        Of a symbolic one; as in the op table.
    node : Node, optional
        What computes it.
    name : str

    Attributes
    ----------
    shape : tuple
        The lengths of the axes; None in front for the batch of a symbolic one.
    dtype : {"real", "label", "float64"}
        As in the op table; real is float32 or float64.
    node : Node or None
        What computes it; None for inputs, variables and eager tensors.
    mask : Tensor or None
        Of a sequence whose steps do not all count: 0 for those that layers are to pass over.

    Examples
    --------
    >>> import fastdl
    >>> x = fastdl.Tensor([1.0, 2.0])
    >>> (x + x).numpy()
    array([2., 4.], dtype=float32)
    """

    __slots__ = ()

    def __init__(
        self, value: Any, dtype: str = "real", node: Node | None = None, name: str = ""
    ) -> None:
        self.name = name
        if isinstance(value, tuple):
            self.shape = value
            self.dtype = dtype
            self.node = node
        else:
            self._value = _as_value(value, None)

    def __repr__(self) -> str:
        if self._value is not None:
            return f"<Tensor {self._value.dtype} {self.shape}: {self._value!s}>"
        return f"<Tensor {self.name or (self.node and self.node.name) or 'input'} {self.shape}>"

    # --- values ---------------------------------------------------------------------------------

    @property
    def value(self) -> np.ndarray:
        """The array itself; `numpy` gives a copy."""
        if self._value is None:
            raise TypeError(
                f"{self!r} is symbolic and has no value yet: a traced layer or step is computed "
                f"later. Write it in ops (fastdl.ops, operators), without NumPy, and let nothing "
                f"in it depend on data"
            )
        return self._value

    def numpy(self) -> np.ndarray:
        """A copy of the value."""
        return self.value.copy()

    def item(self) -> float | int:
        """The value of a tensor of one element as a Python number."""
        return self.value.item()

    def __int__(self) -> int:
        return int(self._single())

    def __bool__(self) -> bool:
        if self._value is None:
            raise TypeError(
                "a symbolic tensor has no truth value: what a layer or a compiled step computes "
                "may not depend on data"
            )
        return bool(self._single())

    def _single(self) -> Any:
        if self.value.size != 1:
            raise TypeError(f"only a tensor of one element is a number; this one is {self.shape}")
        return self._value.item()

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        return format(self._single(), spec)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy:
            return np.array(self.value, dtype)
        return np.asarray(self.value, dtype)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.value.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.value.__dlpack_device__()

    __iter__ = None

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """See `fastdl._ufuncs`: also where an array or a NumPy number stands on the left."""
        from fastdl._ufuncs import call

        return call(ufunc, method, inputs, options)

    def __getstate__(self) -> dict[str, Any]:
        if self._value is not None:
            return {"name": self.name, "_value": self._value}
        names = ("shape", "dtype", "name", "node", "layer_call")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    # --- arithmetic -----------------------------------------------------------------------------

    # Arithmetic as in NumPy, with numbers, arrays and tensors of shapes that fit: `fastdl.ops`.
    # ``==`` asks whether two tensors are the same one; ops.equal compares elements.

    def __add__(self, other: Any) -> Tensor:
        return _operate("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _operate("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return _operate("subtract", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _operate("subtract", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _operate("multiply", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return _operate("multiply", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return _operate("divide", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _operate("divide", other, self)

    def __pow__(self, other: Any) -> Tensor:
        return _operate("power", self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return _operate("power", other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return _operate("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return _operate("matmul", other, self)

    def __lt__(self, other: Any) -> Tensor:
        return _operate("less", self, other)

    def __le__(self, other: Any) -> Tensor:
        return _operate("less_equal", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return _operate("greater", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return _operate("greater_equal", self, other)

    def __neg__(self) -> Tensor:
        return _operate("multiply", self, -1.0)

    def __abs__(self) -> Tensor:
        return apply("abs_forward", x=self)

    def __getitem__(self, key: Any) -> Tensor:
        from fastdl.shaping import getitem

        return getitem(self, key)


def _operate(name: str, a: Any, b: Any) -> Any:
    """What an operator gives: a function of `fastdl.ops`, which is made of this module."""
    from fastdl import arithmetic

    if not all(isinstance(x, (Tensor, int, float, np.number, np.ndarray)) for x in (a, b)):
        return NotImplemented
    return getattr(arithmetic, name)(a, b)


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

    __slots__ = ("arena", "offset", "regularizer")

    def __init__(
        self, value: np.ndarray, name: str = "", trainable: bool = True, regularizer: Any = None
    ) -> None:
        array = np.array(value, order="C", ndmin=1)
        if not isinstance(value, np.ndarray) or array.dtype.kind != "f":
            array = array.astype(runtime.floatx())
        self._value = array
        self.become_weight()
        self.name = name
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
        self.note_change()

    def move(self, arena: Any, offset: int) -> None:
        """Makes this place of the arena, which holds the value already, that of the weight."""
        place = arena.flat[offset : offset + self._value.size].reshape(self._value.shape)
        self._value, self.arena, self.offset = place, arena, offset

    # Copies and pickles keep weights in their arenas, where their optimizer's state lies parallel.

    def __getstate__(self) -> dict[str, Any]:
        names = ("shape", "name", "trainable", "regularizer", "arena", "offset")
        state = {name: getattr(self, name) for name in names}
        return state if self.arena is not None else {**state, "_value": self._value}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.become_weight()
        for name, value in state.items():
            setattr(self, name, value)
        if self.arena is not None:
            end = self.offset + int(np.prod(state["shape"]))
            self._value = self.arena.flat[self.offset : end].reshape(state["shape"])


@dataclass(eq=False)
class Node:
    """One call of an op on tensors. ``op`` is None for a reshape, which computes nothing.

    ``layer`` is the layer in whose ``call`` it stands, and None outside of layers; what is computed
    for a gradient (``backward``) has the layer of what it is the gradient of.
    """

    op: Op | None
    inputs: dict[str, Tensor]
    options: dict[str, Any]
    outputs: dict[str, Tensor]
    layer: Any = None
    backward: bool = False
    #: In a compiled step: the update or the call whose step, seed and learning rate it has.
    owner: Any = None

    @property
    def name(self) -> str:
        return self.op.name if self.op else "reshape"

    def argument(self, name: str) -> Tensor | None:
        """The tensor of an argument, input or output."""
        return self.inputs[name] if name in self.inputs else self.outputs.get(name)


def root(tensor: Tensor) -> Tensor:
    """The tensor whose memory this one is: itself, or what was reshaped."""
    while tensor.node is not None and tensor.node.op is None:
        tensor = tensor.node.inputs["x"]
    return tensor


# --- recording ----------------------------------------------------------------------------------


class _State(threading.local):
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
        self._traced_before = eager.set_tracing(True)
        _state.trace = self
        return self

    def __exit__(self, *exc: object) -> None:
        _state.trace = self._before
        eager.set_tracing(self._traced_before)

    def call_of(self, layer: Any, training: bool | None) -> contextlib.AbstractContextManager[Any]:
        """Is open while a layer is called."""
        return contextlib.nullcontext()

    def typed(self, tensor: Tensor, dtype: str) -> Tensor:
        """The tensor as one of this type, where the trace can have it as that."""
        return tensor

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
    batched = bool(x.shape) and x.shape[0] is None
    if x._value is not None and len(new) < len(shape) and x.shape:
        new = [x._value.shape[0], *new]
    if new.count(-1) == 1:
        rest = math.prod(s for s in new if s != -1)
        new[new.index(-1)] = old // rest if rest else 0
    if math.prod(new) != old or any(s < 0 for s in new):
        raise ValueError(f"reshape: {x.shape} does not fit into {shape}")
    if x._value is not None and not eager.is_tracing():
        result: Tensor = eager.wrap(_own_array(x).reshape(new))
        before = x.shape
        eager.write_pullback([x], [result], lambda g: [reshape(g, before)])
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


# --- eager tensors ------------------------------------------------------------------------------


def constant(value: Any, dtype: Any = None) -> Tensor:
    """An eager tensor with a copy of these numbers.

    Parameters
    ----------
    value : array-like of numbers
    dtype : {"float32", "float64", "int64"}, optional
        By default floats become what `fastdl.floatx` says, whole numbers and booleans int64.

    Raises
    ------
    TypeError
        If it holds no real numbers.

    >>> constant([1, 2]).numpy()
    array([1, 2])
    """
    return eager.wrap(np.array(_as_value(value, dtype)))


_TYPES = frozenset(map(np.dtype, ("float32", "float64", "int64")))


def _as_value(value: Any, dtype: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"a tensor wants real numbers, got {array.dtype}")
    if dtype is None:
        dtype = runtime.floatx() if array.dtype.kind == "f" else np.int64
    elif (dtype := np.dtype(dtype)) not in _TYPES:
        raise ValueError(f"constant: dtype must be float32, float64 or int64, got {dtype!r}")
    return np.asarray(array, dtype, order="C")


def from_dlpack(array: Any) -> Tensor:
    """An eager tensor on the memory of another library's array, by the DLPack protocol.

    >>> import numpy as np
    >>> from_dlpack(np.ones(2, np.float32)).numpy()
    array([1., 1.], dtype=float32)
    """
    return eager.wrap(_as_value(np.from_dlpack(array), None))


def stop_gradient(x: Tensor) -> Tensor:
    """The same values, through which no gradient flows."""
    if x._value is not None and not eager.is_tracing():
        return eager.wrap(_own_array(x))
    out = Tensor(x.shape, x.dtype)
    record(Node(None, {"x": x}, {"stop": True}, {"out": out}))
    return out


def _own_array(x: Tensor) -> np.ndarray:
    """The value of an eager tensor, which nobody changes; a copy of a weight's."""
    return x.numpy() if isinstance(x, Variable) else x._value


eager.set_hooks(Tensor, _call_symbolic, _draw)
