"""compiled_step: a training step written with a tape, traced once and run as a Program.

The function is called once with symbolic tensors in the place of its arrays. What layers, losses,
tapes and optimizers do is written down by a `StepTrace`; it is fused and laid out like the step of
a fit, and later calls run it without any of the function's Python.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastdl import runtime
from fastdl._locks import RLock
from fastdl._nested import flatten, map_structure
from fastdl.arena import consolidate
from fastdl.data import is_on_gpu, known_to
from fastdl.graph import prune, root
from fastdl.kernels import values
from fastdl.kernels.step import Caller, Step
from fastdl.layers.base import Layer, versions_of
from fastdl.lowering import lower
from fastdl.model import Model
from fastdl.programs import fused_for, own_memory, prepared_for
from fastdl.tensor import Tensor, Variable, changes
from fastdl.trace import Node, Trace, wrong_batch

__all__ = ["CompiledStep", "compiled_step"]


class _Update:
    """One apply_gradients of the step; ``before`` others of the same optimizer come first."""

    def __init__(self, optimizer: Any, before: int) -> None:
        self.optimizer = optimizer
        self.before = before

    def numbers(self) -> tuple[int, int, float]:
        """Step, seed and learning rate of the coming update."""
        made = self.optimizer.iterations + self.before
        schedule = self.optimizer.schedule
        if schedule is None:
            return made + 1, 0, self.optimizer.learning_rate
        return made + 1, 0, float(schedule.rates([made])[0])


class _Drawing:
    """One call of a layer or model by the step; ``before`` others that draw come first."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.before = 0

    def numbers(self) -> tuple[int, int, float]:
        """Step, seed and learning rate of the coming call."""
        seed, step = self.layer.coming_draw(self.before)
        return step, seed, 0.0


class StepTrace(Trace):
    """Writes down a whole step: calls of models, gradients, updates."""

    def __init__(self) -> None:
        super().__init__(training=False)
        self.feeds: list[Tensor] = []
        #: Which of the step's arrays each feed reads.
        self.sources: list[int] = []
        self.layers: dict[Layer, None] = {}
        self.updates: list[_Update] = []
        self._twins: dict[Tensor, Tensor] = {}
        self._taken: set[Tensor] = set()

    def feed(self, source: int, array: np.ndarray) -> Tensor:
        """The tensor that stands for an array of the step."""
        whole = array.dtype.kind != "f"
        tensor = Tensor((None, *array.shape[1:]), "label" if whole else "real", name="input")
        self._add_feed(tensor, source)
        return tensor

    def _add_feed(self, tensor: Tensor, source: int) -> None:
        self.feeds.append(tensor)
        self.sources.append(source)

    def typed(self, tensor: Tensor, dtype: str) -> Tensor:
        """An array of whole numbers is read as real ones where these are wanted, and vice versa."""
        base = root(tensor)
        if base not in self.feeds or {tensor.dtype, dtype} != {"real", "label"}:
            return tensor
        twin = self._twins.get(base)
        if twin is None:
            twin = Tensor(base.shape, dtype, name="input")
            self._twins[base] = twin
            self._add_feed(twin, self.sources[self.feeds.index(base)])
        out = Tensor(tensor.shape, dtype)
        node = Node(None, {"x": twin}, {}, {"out": out})
        out.node = node
        self.nodes.append(node)
        return out

    def note_assignment(self, variable: Variable) -> None:
        """Refused, but for layers that are built."""
        if self.owner is None:
            raise RuntimeError(
                f"a compiled step cannot assign to {variable.name}: it would happen once, when the "
                f"step is traced; assign outside of it, or update by an optimizer"
            )

    @contextlib.contextmanager
    def call_of(self, layer: Any, training: bool | None) -> Iterator[None]:
        """The outermost call of a layer has random numbers of its own."""
        if self.owner is not None:
            yield
            return
        self.layers[layer] = None
        self.owner, self.training = _Drawing(layer), bool(training)
        self.streams = itertools.count()
        try:
            yield
        finally:
            self.owner, self.training = None, False

    def apply_gradients(self, optimizer: Any, gradients: dict[Variable, Tensor]) -> None:
        """Adds an optimizer's updates."""
        consolidate(gradients)
        before = sum(update.optimizer is optimizer for update in self.updates)
        update = _Update(optimizer, before)
        self.updates.append(update)
        self.owner = update
        try:
            optimizer.apply(own_memory(gradients, self._taken), regularized=False)
        finally:
            self.owner = None


class _Traced:
    """A step for arguments of one signature."""

    def __init__(self, trace: StepTrace, results: Any) -> None:
        self.trace = trace
        self.results = results
        self.tensors = [t for t in flatten(results) if isinstance(t, Tensor)]
        self.backend = runtime.check_backend(self._backend())
        self.nodes = prune(trace.nodes, self.tensors)
        nodes = [n for node in trace.nodes for n in (node, *getattr(node, "body", ()))]
        owners = dict.fromkeys(n.owner for n in nodes if _has_numbers(n) and n.owner)
        #: The calls that draw random numbers, in order.
        self.drawings = [owner for owner in owners if isinstance(owner, _Drawing)]
        for i, drawing in enumerate(self.drawings):
            drawing.before = sum(other.layer is drawing.layer for other in self.drawings[:i])
        self.owners: list[_Update | _Drawing] = [*trace.updates, *self.drawings]
        self.structure = self._structure()
        self.seen = changes.latest
        self.native: Any = None
        self.plain = isinstance(results, Tensor)
        self.quick = False

    def _structure(self) -> tuple[Any, ...]:
        """What the trace depends on."""
        layers = [(*versions_of(layer), *layer.trainable_weights) for layer in self.trace.layers]
        return (*layers, os.getpid(), self._backend())

    def _backend(self) -> str:
        """What the step runs on: what its models do, or else `runtime.get_backend`."""
        models = {m.backend: m for m in self.trace.layers if isinstance(m, Model)}
        if len(models) > 1:
            names = " and ".join(f"{m.name} on {name!r}" for name, m in models.items())
            raise RuntimeError(f"the models of a compiled step must run on the same: {names}")
        return next(iter(models), runtime.get_backend())

    def arrange(self, results: list[Tensor]) -> Any:
        """The results in the structure that the function returned."""
        given = iter(results)
        return map_structure(
            lambda leaf: next(given) if isinstance(leaf, Tensor) else leaf, self.results
        )

    def is_current(self) -> bool:
        """Whether the function would do the same today."""
        if self.native is None or not self.native.is_current():
            return False
        if self.options != [u.optimizer.fixed_options() for u in self.trace.updates]:
            return False
        if self.seen != changes.latest:
            latest = changes.latest
            if self.structure != self._structure():
                return False
            self.seen = latest
        return True

    def lower(self, rows: int) -> None:
        """Makes the program, for batches of up to so many rows."""
        trace = self.trace
        types = {
            t.value.dtype
            for node in self.nodes
            for t in map(root, node.inputs.values())
            if isinstance(t, Variable)
        }
        if len(types) > 1:
            raise TypeError(
                f"compiled_step: its weights have different types: "
                f"{', '.join(sorted(map(str, types)))}"
            )
        dtype = types.pop() if types else np.dtype(runtime.floatx())
        self.nodes = prepared_for(self.nodes, self.tensors, rows, self.backend)
        lowered = lower(
            fused_for(self.nodes, True, self.backend),
            capacity=max(rows, 1),
            dtype=dtype,
            feeds=trace.feeds,
            fetches=[],
            totals=[],
            kept=self.tensors,
            backend=self.backend,
        )
        number = {owner: i for i, owner in enumerate(self.owners)}
        owners = [
            [[number.get(n.owner, -1) if _has_numbers(n) else -1 for n in chain] for chain in ops]
            for ops in lowered.chains
        ]
        results = [(_array(lowered, t), None in t.shape) for t in self.tensors]
        self.options = [u.optimizer.fixed_options() for u in trace.updates]
        if self.backend == "gpu":
            from fastdl.gpu.step import Step as StepOnGpu

            self.native = StepOnGpu(lowered.program, owners, results)
        else:
            self.native = Step(lowered.program, owners, results)
        self.capacity, self.batch_rows = rows, lowered.batch_rows

    def allow_quick(self, arrays: list[np.ndarray]) -> None:
        """Lets calls with such arrays take the short way, where it gives the same."""
        updates = self.trace.updates
        plain = self.backend == "cpu" and self.batch_rows is None
        if not plain or self.trace.sources != list(range(len(arrays))):
            return
        attributes = [vars(update.optimizer) for update in updates]
        checks = [
            (known, key, known[key])
            for known in attributes
            for key in known
            if key not in ("iterations", "_rate", "_prepared", "slots")
        ]
        checks += [
            (k["options"], key, value) for k in attributes for key, value in k["options"].items()
        ]
        if any(known["schedule"] is not None for known in attributes):
            return
        self.native.allow_quick(
            [(vars(update.optimizer), update.before) for update in updates],
            [(vars(drawing.layer), drawing.before) for drawing in self.drawings],
            checks,
            [array.dtype.kind != "f" for array in arrays],
            self.seen,
        )
        self.quick = True

    def run(self, sources: Any) -> Any:
        """The results, or None where the arrays do not fit the program."""
        numbers = [owner.numbers() for owner in self.owners]
        results = self.native.run(sources, numbers)
        if results is None:
            return None
        for update in self.trace.updates:
            update.optimizer.iterations += 1
        for drawing in self.drawings:
            drawing.layer.note_draw()
        return results


def _has_numbers(node: Node) -> bool:
    """Whether an op reads step, seed or learning rate."""
    return node.op is not None and not node.op.option_names.isdisjoint(
        ("step", "seed", "learning_rate")
    )


def _array(lowered: Any, tensor: Tensor) -> np.ndarray:
    base = root(tensor)
    if base.is_eager:
        return np.ascontiguousarray(base._value).reshape([n or 0 for n in tensor.shape])
    return lowered.array_of(tensor)


class CompiledStep(Caller):
    """What `compiled_step` makes of a function."""

    __call__: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        #: What errors call it.
        self.name = getattr(function, "__name__", type(function).__name__)
        self._traced: dict[Any, _Traced] = {}
        self._making = RLock()
        self.changes = changes

    def __repr__(self) -> str:
        return f"<compiled_step {self.name}>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the step, whatever it is called with."""
        if values.is_tracing():
            return self.function(*args, **kwargs)
        leaves = flatten(args) if not kwargs else [*flatten(args), *flatten(kwargs)]
        arrays: list[np.ndarray] = []
        key: list[Any] = []
        for leaf in leaves:
            leaf = _value_of(leaf)
            if _is_batch(leaf):
                arrays.append(leaf)
                key.append((leaf.shape[1:], leaf.dtype.kind == "f"))
            else:
                key.append(leaf)
        if kwargs or len(leaves) != len(args):
            key.append(repr(map_structure(lambda leaf: 0, [args, kwargs])))
        try:
            traced = self._traced.get(tuple(key))
        except TypeError:
            raise TypeError(
                f"{self.name}: arguments of a compiled step must be arrays, tensors, or "
                f"hashable; got {', '.join(type(leaf).__name__ for leaf in leaves)}"
            ) from None
        if traced is None or not traced.is_current():
            traced = self._trace(tuple(key), args, kwargs, arrays)
        results = self._run(traced, arrays)
        if not kwargs and len(arrays) == len(args):
            traced.allow_quick(arrays)
            self.step = traced.native if traced.quick else None
            self.arrange = None if traced.plain else traced.arrange
        return results[0] if traced.plain else traced.arrange(results)

    def _run(self, traced: _Traced, arrays: list[np.ndarray]) -> Any:
        sources = [known_to(traced.backend, arrays[i]) for i in traced.trace.sources]
        for array in arrays if traced.batch_rows is not None else []:
            if len(array) != traced.batch_rows:
                raise wrong_batch(len(array), traced.batch_rows)
        results = traced.run(sources)
        if results is not None:
            return results
        lengths = {len(array) for array in arrays}
        if len(lengths) > 1:
            raise ValueError(
                f"{self.name}: all arrays of a compiled step must have the same number of "
                f"rows, got {', '.join(str(array.shape) for array in arrays)}"
            )
        if lengths == {0}:
            raise ValueError(f"{self.name}: a batch must have at least one row")
        rows = lengths.pop() if lengths else 1
        with self._making:
            if rows > traced.capacity:
                traced.lower(max(rows, 2 * traced.capacity))
        results = traced.run([_plain(array) for array in sources])
        if results is None:
            raise SystemError(f"{self.name}: the arrays were not understood")  # a bug
        return results

    def _trace(self, key: Any, args: Any, kwargs: Any, arrays: list[np.ndarray]) -> _Traced:
        with self._making:
            found = self._traced.get(key)
            if found is not None and found.is_current():
                return found
            for array in arrays:
                if array.dtype.kind not in "biuf":
                    raise TypeError(
                        f"{self.name}: arrays must hold real numbers, got {array.dtype}"
                    )
            places = itertools.count()
            trace = StepTrace()

            def symbol(leaf: Any) -> Any:
                array = _value_of(leaf)
                if _is_batch(array):
                    return trace.feed(next(places), array)
                return leaf

            with trace:
                symbols = [map_structure(symbol, arg) for arg in args]
                named = {name: map_structure(symbol, arg) for name, arg in kwargs.items()}
                results = self.function(*symbols, **named)
            traced = _Traced(trace, results)
            traced.lower(len(arrays[0]) if arrays else 1)
            if traced.backend == "gpu":
                traced.native.program.note_if_small(self.name)
            self._traced[key] = traced
            return traced


def _value_of(leaf: Any) -> Any:
    """What an argument is to a step: of a tensor its array, of an array of a GPU CuPy's."""
    return leaf.value if isinstance(leaf, Tensor) else known_to("gpu", leaf)


def _is_batch(leaf: Any) -> bool:
    return (isinstance(leaf, np.ndarray) or is_on_gpu(leaf)) and leaf.ndim > 0


def _plain(array: np.ndarray) -> np.ndarray:
    """The array as a program reads it: native numbers, each row contiguous."""
    kind = array.dtype.newbyteorder("=")
    if kind == np.float16 or kind.itemsize > 8:
        kind = np.dtype(np.float64)
    if is_on_gpu(array):
        return array.astype(kind)
    return np.require(array, kind, ["C", "A", "ENSUREARRAY"])


def compiled_step(function: Callable[..., Any]) -> CompiledStep:
    """Makes a step that is written with a tape as fast as that of ``fit``.

    The function is called once for each combination of argument shapes, with symbolic tensors for
    its arrays; from then on its layers, losses, gradients and updates run without Python. The
    number of rows may vary from call to call. So

    - arrays and tensors among the arguments are batches, all with the same number of rows; other
      arguments must be hashable, and each new value has the function called again;
    - what Python does besides, such as printing or counting, is done only when it is called;
    - nothing may depend on values: ``float(loss)``, ``.numpy()`` and ``if loss > 1`` are errors;
    - NumPy arrays and eager tensors that the function sees besides are constants;
    - what it returns may hold tensors: those come back as eager ones.

    Changing a layer, ``trainable`` or an optimizer's options has the function called again.
    Learning rates, schedules and random numbers are read each time.

    It runs on the backend of the models in it. On a GPU weights stay there from call to call, until
    ``variable.value`` or something that computes on the CPU asks for them.

    Parameters
    ----------
    function : callable

    Returns
    -------
    CompiledStep
        To be called like the function.

    Examples
    --------
    >>> import numpy as np
    >>> import fastdl
    >>> model = fastdl.Sequential([fastdl.layers.Dense(1)])
    >>> optimizer, mse = fastdl.optimizers.SGD(0.1), fastdl.losses.MeanSquaredError()
    >>> @fastdl.compiled_step
    ... def step(x, y):
    ...     with fastdl.GradientTape() as tape:
    ...         loss = mse(y, model(x, training=True))
    ...     gradients = tape.gradient(loss, model.trainable_variables)
    ...     optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    ...     return loss
    >>> x = np.ones((8, 2))
    >>> losses = [float(step(x, x[:, :1])) for _ in range(20)]
    >>> losses[-1] < losses[0]
    True
    """
    return CompiledStep(function)
