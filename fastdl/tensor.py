"""Tensors: what layers compute with.

A Tensor is eager, an array that ops compute with at once, or symbolic: a shape, whose first axis
is None where it is the batch, and the node (one call of an op) that computes it. A Variable has a
value, and is symbolic wherever others are. An eager tensor among symbolic ones is a constant.
`fastdl.trace` has how symbolic ones are written down.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import runtime
from fastdl.kernels import values
from fastdl.kernels.eager import apply
from fastdl.kernels.values import Value

if TYPE_CHECKING:
    from fastdl.trace import Node

__all__ = ["Shape", "Tensor", "Variable", "apply", "changes", "constant", "from_dlpack"]

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

    def __array_function__(
        self, function: Any, types: Any, arguments: Any, options: dict[str, Any]
    ) -> Any:
        """See `fastdl._ufuncs`: functions of NumPy that are no ufuncs, such as ``np.mean``."""
        from fastdl._ufuncs import call_function

        return call_function(function, arguments, options)

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
        RuntimeError
            In a compiled step, which would do it only when it is traced.
        """
        if values.is_tracing():
            from fastdl.trace import current_trace

            trace: Any = current_trace()
            trace.note_assignment(self)
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
    return values.wrap(np.array(_as_value(value, dtype)))


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

    Raises
    ------
    TypeError
        If it does not have the protocol, or holds no real numbers.

    >>> import numpy as np
    >>> from_dlpack(np.ones(2, np.float32)).numpy()
    array([1., 1.], dtype=float32)
    """
    if not hasattr(array, "__dlpack__"):
        raise TypeError(f"from_dlpack: {type(array).__name__} has no __dlpack__")
    return values.wrap(_as_value(np.from_dlpack(array), None))
