"""The base of all layers: weights, building on first use, and the record of calls."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar

import numpy as np

from fastdl import initializers, regularizers, runtime
from fastdl._locks import Lock
from fastdl._names import refuse_unknown, snake_case
from fastdl._nested import flatten, map_structure
from fastdl.kernels import values
from fastdl.tensor import Shape, Tensor, Variable, changes
from fastdl.trace import Call, Trace, current_trace, inside, reshape

__all__ = ["Layer", "LayerCall"]

_names: Counter[str] = Counter()
_names_lock = Lock()


class _Budget:
    """How many elements the weights of a model that is being loaded may still have."""

    def __init__(self, elements: int) -> None:
        self.elements = elements

    def take(self, count: int) -> None:
        self.elements -= count
        if self.elements < 0:
            raise ValueError("its layers want larger weights than there are in the file")


_loading: ContextVar[_Budget | None] = ContextVar("_loading", default=None)


@contextlib.contextmanager
def loading(elements: int) -> Iterator[None]:
    """Let layers make weights of zeros, ``elements`` in all at most: a file is about to fill them.

    A file's architecture then cannot claim more memory than the file has.
    """
    token = _loading.set(_Budget(elements))
    try:
        yield
    finally:
        _loading.reset(token)


def unique_name(base: str) -> str:
    """``base``, with a number from its second use on: dense, dense_1, dense_2 ..."""
    with _names_lock:
        count = _names[base]
        _names[base] += 1
    return f"{base}_{count}" if count else base


class LayerCall:
    """One call of a layer on tensors, kept on its outputs so that a Model can repeat it."""

    def __init__(self, layer: Layer, inputs: Any, outputs: list[Tensor]) -> None:
        self.layer = layer
        self.inputs = inputs
        self.outputs = outputs


class Layer:
    """A part of a network: parameters, and a ``call`` written in ops.

    A subclass makes its weights in ``build(input_shape)`` with `add_weight` and computes in
    ``call(x)`` with the functions of `fastdl.ops`; gradients follow from the ops. A ``call`` that
    takes ``training`` is told whether the network is in training.

    Parameters
    ----------
    name : str, optional
    trainable : bool, default True
        Whether an optimizer may change the weights; read at the start of every fit. Setting it sets
        it for the layers inside too.
    input_shape : tuple, optional
        The shape of one row of the input, for the first layer of a Sequential.

    Examples
    --------
    >>> from fastdl import Layer, ops, Input
    >>> class Twice(Layer):
    ...     def call(self, x):
    ...         return ops.add(x, x)
    >>> Twice()(Input((3,))).shape
    (None, 3)
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        input_shape: Sequence[int] | None = None,
        **unknown: Any,
    ) -> None:
        refuse_unknown(self, unknown)
        self._weights: list[Variable] = []
        self.name = name or unique_name(snake_case(type(self).__name__))
        self.trainable = trainable
        self.built = False
        self.given_input_shape: tuple[int, ...] | None = None
        if input_shape is not None:
            self.given_input_shape = as_shape(f"{self.name}: input_shape", input_shape)

    #: The layers inside, for models that keep a list; otherwise they are found by `layers`.
    _layers: list[Layer] | None = None

    #: The number of the last change; layers that are made while a step is traced have none.
    _version = 0

    #: Whether ``from_config`` takes the classes of the user's own layers, for those inside.
    holds_layers: ClassVar[bool] = False

    #: Whether the output's time steps are those of the input: it has the input's mask then.
    supports_masking: ClassVar[bool] = False

    #: Attributes that no program depends on.
    _unwatched: ClassVar[frozenset[str]] = frozenset()

    def __setattr__(self, key: str, value: Any) -> None:
        if isinstance(value, Layer) and "_weights" not in self.__dict__:
            name = type(self).__name__
            raise RuntimeError(f"{name}: call super().__init__() before making layers")
        super().__setattr__(key, value)
        if key[0] != "_" and key not in self._unwatched and current_trace() is None:
            self._version = changes.note()

    @property
    def trainable(self) -> bool:
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self.layers:
            layer.trainable = value

    # --- weights --------------------------------------------------------------------------------

    def add_weight(
        self,
        name: str,
        shape: Sequence[int],
        initializer: Any = "glorot_uniform",
        regularizer: Any = None,
        trainable: bool = True,
    ) -> Variable:
        """Makes a weight of this layer, of the float type that `fastdl.set_floatx` chose.

        Parameters
        ----------
        name : str
            Within the layer.
        shape : tuple of int
        initializer : str, dict or callable
            What its first values are; see `fastdl.initializers.get`.
        regularizer : str, dict or callable, optional
            What it adds to the loss; see `fastdl.regularizers.get`.
        trainable : bool, default True
            Whether an optimizer may change it.

        Raises
        ------
        ValueError
            If a name is unknown, the initializer gives another shape, or there would be 2**31
            elements or more.
        """
        init: Any = initializers.get(initializer)
        shape = tuple(shape)
        if math.prod(shape) >= 2**31:
            raise ValueError(f"{self.name}: {name} of shape {shape} is more than 2**31 elements")
        budget = _loading.get()
        if budget is None:
            value = initializers.first_values(init, shape, runtime.rng(), f"{self.name}/{name}")
        else:
            budget.take(math.prod(shape))
            value = np.zeros(shape, runtime.floatx())
        variable = Variable(value, f"{self.name}/{name}", trainable, regularizers.get(regularizer))
        self._weights.append(variable)
        changes.note()
        return variable

    @property
    def layers(self) -> list[Layer]:
        """The layers that this one is made of: its attributes, also those in lists and dicts."""
        inside = self._layers
        if inside is None:
            inside = []
            for value in vars(self).values():
                if isinstance(value, Layer):
                    inside.append(value)
                elif isinstance(value, (list, tuple, dict)):
                    inside += [v for v in flatten(value) if isinstance(v, Layer)]
        return list(dict.fromkeys(inside))

    @property
    def weights(self) -> list[Variable]:
        """All weights, trainable or not: the layer's own, then those of the layers inside."""
        inside = (w for layer in self.layers for w in layer.weights)
        return list(dict.fromkeys([*self._weights, *inside]))

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that an optimizer may change."""
        seen, known = self.__dict__.get("_known_trainable", (-1, ()))
        latest = changes.latest
        if seen != latest:
            known = tuple(self._find_trainable())
            self.__dict__["_known_trainable"] = latest, known
        return list(known)

    def _find_trainable(self) -> list[Variable]:
        if not self.trainable:
            return []
        inside = (w for layer in self.layers for w in layer.trainable_weights)
        return list(dict.fromkeys([*(w for w in self._weights if w.trainable), *inside]))

    @property
    def trainable_variables(self) -> list[Variable]:
        """`trainable_weights`, by its other name."""
        return self.trainable_weights

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that no optimizer changes: statistics, and all of a frozen layer."""
        trainable = set(self.trainable_weights)
        return [w for w in self.weights if w not in trainable]

    @property
    def losses(self) -> list[Tensor]:
        """What the regularizers of the trainable weights add to the loss: a tensor for each.

        `fit` adds them by itself; in a loop of your own, add them to the loss on the tape.
        """
        weights = self.trainable_weights
        return [w.regularizer(w) for w in weights if w.regularizer is not None]

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights, in the order of `weights`."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, values: Sequence[Any]) -> None:
        """Sets all weights, in the order of `weights`.

        Raises
        ------
        ValueError, TypeError
            If the number or a shape differs; no weight has been changed then.
        """
        weights = self.weights
        if len(values) != len(weights):
            hint = "" if self.built else " (it has not been built)"
            raise ValueError(
                f"{self.name}: has {len(weights)} weights{hint}, got {len(values)} arrays"
            )
        arrays = [w.fitting(v) for w, v in zip(weights, values, strict=True)]
        for weight, array in zip(weights, arrays, strict=True):
            weight.assign(array)

    def count_params(self) -> int:
        """The number of weights' elements."""
        return sum(w.value.size for w in self.weights)

    # --- calling --------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Makes the weights for inputs of this shape; called once, before the first `call`."""

    def call(self, x: Any) -> Any:
        """Computes the output from input tensors."""
        raise TypeError(f"{type(self).__name__} has no call(self, x)")

    def __call__(self, x: Any, *, training: bool | None = None) -> Any:
        """Applies the layer to tensors: builds it on first use, then calls ``call``.

        Parameters
        ----------
        x : Tensor or array, or a list or dictionary of them
            Eager tensors and arrays give eager tensors, symbolic ones symbolic tensors.
        training : bool, optional
            Whether to behave as in training; by default as the layer around it, else not.
        """
        if not values.is_tracing():
            if type(x) is not Tensor:
                x = self._take(x)
                symbolic = any(t._value is None for t in flatten(x))
            else:
                symbolic = x._value is None
            if not symbolic:
                return self._compute(x, training)
        trace = current_trace()
        if isinstance(trace, Trace):
            with trace.call_of(self, training):
                return self._trace(x, training)
        before = values.set_tracing(True)
        try:
            return self._trace(x, training)
        finally:
            values.set_tracing(before)

    def _trace(self, x: Any, training: bool | None) -> Any:
        """`__call__` on symbolic tensors."""
        tensors = flatten(x)
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"{self.name}: wants tensors where a network is traced, got "
                    f"{type(tensor).__name__}; fastdl.constant makes one of an array"
                )
        if not self.built:
            self.build(map_structure(lambda t: t.shape, x))
            self.built = True
        if self._takes_training():
            trace = current_trace()
            if training is None:
                training = trace.training if trace is not None else False
            with inside(self):
                result = self.call(x, training=training)  # type: ignore[call-arg]
        else:
            with inside(self):
                result = self.call(x)
        if not all(isinstance(t, Tensor) for t in flatten(result)):
            raise TypeError(f"{self.name}: call must return tensors, got {type(result).__name__}")
        # What is handed through gets a name of its own, so that a Model finds this call again.
        result = map_structure(lambda t: reshape(t, t.shape) if t in tensors else t, result)
        outputs = flatten(result)
        if self.supports_masking:
            self._hand_on_mask(x, result)
        call = LayerCall(self, x, outputs)
        for tensor in outputs:
            tensor.layer_call = call
        return result

    # --- on values ------------------------------------------------------------------------------

    def _take(self, x: Any) -> Any:
        """The input with arrays and numbers as eager tensors of the weights' type."""
        if isinstance(x, Tensor):
            return x
        if isinstance(x, dict):
            return {key: self._take(part) for key, part in x.items()}
        if isinstance(x, (list, tuple)) and any(
            isinstance(leaf, (Tensor, np.ndarray)) for leaf in flatten(x)
        ):
            return [self._take(part) for part in x]
        try:
            array = np.asarray(x)
        except ValueError as error:
            raise TypeError(f"{self.name}: wants tensors or arrays: {error}") from None
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"{self.name}: wants tensors or arrays of real numbers, got "
                f"{type(x).__name__ if array.dtype.kind == 'O' else array.dtype}"
            )
        return values.wrap(np.asarray(array, self._float_type(), order="C"))

    def _float_type(self) -> Any:
        """The float type of the weights; the default one where there are none."""
        seen, dtype = self.__dict__.get("_known_type", (-1, None))
        if seen != changes.latest:
            seen = changes.latest
            weights = self.weights
            dtype = weights[0].value.dtype if weights else np.dtype(runtime.floatx())
            if self.built:
                self._known_type = seen, dtype
        return dtype

    def _compute(self, x: Any, training: bool | None) -> Any:
        """`__call__` on eager tensors."""
        if not self.built:
            self._build_for_values(x)
        call = current_trace()
        if call is not None:
            return self._call_on_values(x, call.training if training is None else training)
        with Call(bool(training), self):
            return self._call_on_values(x, bool(training))

    def _call_on_values(self, x: Any, training: bool) -> Any:
        if self.__dict__.get("_training_argument", True) and self._takes_training():
            result = self.call(x, training=training)  # type: ignore[call-arg]
        else:
            result = self.call(x)
        if self.supports_masking:
            self._hand_on_mask(x, result)
        return result

    def _hand_on_mask(self, x: Any, result: Any) -> None:
        mask = x.mask if type(x) is Tensor else self._mask_of(x)
        if mask is not None:
            for tensor in flatten(result):
                tensor.mask = mask

    def _mask_of(self, x: Any) -> Tensor | None:
        """The mask of the output, where the input is no single tensor."""
        return next((t.mask for t in flatten(x) if t.mask is not None), None)

    def _build_for_values(self, x: Any) -> None:
        self.build(map_structure(lambda t: (None, *t.shape[1:]), x))
        self.built = True
        changes.note()

    def coming_draw(self, later: int = 0) -> tuple[int, int]:
        """Seed and step of the random numbers of the user's next call, or so many later."""
        known = self.__dict__
        if "seed" not in known and "_seed" not in known:
            known["_seed"] = runtime.draw_seed()
        step = known.get("_draws", 0) + 1 + later
        return known["seed"] if "seed" in known else known["_seed"], step

    def note_draw(self) -> None:
        """The user's call has drawn its random numbers."""
        self.__dict__["_draws"] = self.__dict__.get("_draws", 0) + 1

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_known_type", "_known_trainable")}

    def _takes_training(self) -> bool:
        cached = self.__dict__.get("_training_argument")
        if cached is None:
            cached = _takes_training(getattr(self.call, "__func__", self.call))
            self.__dict__["_training_argument"] = cached
        return cached

    # --- configuration --------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer, as JSON can hold them."""
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable}
        if self.given_input_shape is not None:
            config["input_shape"] = list(self.given_input_shape)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """Makes a layer from what `get_config` gave."""
        try:
            return cls(**config)
        except TypeError as error:
            if cls.get_config is not Layer.get_config:
                raise
            raise TypeError(
                f"{cls.__name__}: to be made again it needs a get_config() that gives all "
                f"arguments of __init__: {error}"
            ) from error

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def versions_of(layer: Layer) -> list[int]:
    """What tells a layer, and each inside it, from what it was before a change."""
    return [layer._version, *(v for inner in layer.layers for v in versions_of(inner))]


@functools.lru_cache(512)
def _takes_training(call: Any) -> bool:
    return "training" in inspect.signature(call).parameters


def as_shape(what: str, shape: Any, batch: bool = False) -> tuple[int, ...]:
    """A shape as a tuple; with ``batch`` its first length may be anything.

    Raises
    ------
    ValueError
        If it is no tuple or list of positive whole numbers.
    """
    lengths = shape[1:] if batch and isinstance(shape, (tuple, list)) else shape
    whole = isinstance(shape, (tuple, list)) and all(
        isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n > 0 for n in lengths
    )
    if not whole or (batch and not shape):
        raise ValueError(f"{what} must be a tuple of positive whole numbers, got {shape!r}")
    return (*shape[: len(shape) - len(lengths)], *(int(n) for n in lengths))


def axis_length(layer: Layer, shape: Shape) -> int:
    """The length of the last axis, or an error that names the layer."""
    if len(shape) < 2 or shape[-1] is None:
        raise ValueError(f"{layer.name}: wants inputs of shape (batch, ..., features), got {shape}")
    return shape[-1]


def at_least_one(layer: Layer, name: str, value: Any) -> int:
    """``value`` as an int, or an error that names the layer and the argument."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(
            f"{layer.name}: {name} must be a whole number of at least 1, got {value!r}"
        )
    return int(value)
