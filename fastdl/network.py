"""A network of layers: its inputs and outputs, and how it is built and called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fastdl._names import unknown_name
from fastdl._nested import flatten
from fastdl.arena import consolidate
from fastdl.data import as_array, as_rows, by_dlpack
from fastdl.functional import Functional
from fastdl.graph import label_count
from fastdl.layers.base import Layer, as_shape
from fastdl.programs import making
from fastdl.tensor import Shape, Tensor, Variable
from fastdl.trace import Trace

__all__ = ["Network"]


class Network(Layer):
    """What a `Model` is before it is compiled.

    Parameters
    ----------
    name : str, optional
    """

    #: Whether a list of arrays is one input for each rather than one input's rows.
    _lists_are_inputs: ClassVar[bool] = True

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name)
        self._row_shapes: list[tuple[int, ...]] | None = None
        self._input_classes: list[int | None] = []
        self._input_keys: list[str] | None = None
        self._output_shapes: list[Shape] = []
        self._output_names: list[str] = []
        self._functional: Functional | None = None

    def _connect(self, inputs: Any, outputs: Any) -> None:
        """Makes it the calls that led from these inputs to these outputs."""
        self._functional = Functional(inputs, outputs)
        self._layers = self._functional.layers
        self._set_rows([t.shape[1:] for t in self._functional.inputs])

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs: those that `Input` was given, or of the dictionary of data."""
        if self._functional is not None:
            return [t.layer_call.layer.name for t in self._functional.inputs]
        return self._input_keys or [f"input_{i}" for i in range(len(self.row_shapes))]

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs: those of the layers that make them."""
        return list(self._output_names)

    @property
    def row_shapes(self) -> list[tuple[int, ...]]:
        """The shape of one row of each input."""
        if self._row_shapes is None:
            raise RuntimeError(
                f"{self.name} has not been built: give its first layer an input_shape, call "
                f"build(input_shape), or fit it"
            )
        return self._row_shapes

    @property
    def input_classes(self) -> list[int | None]:
        """Of each input that holds labels, how many there are; None of one of real numbers."""
        self.row_shapes  # noqa: B018 - raises where the model is not built
        return self._input_classes

    @property
    def input_shape(self) -> Any:
        """The shape of the input, None for the batch; a list where there are several."""
        shapes = [(None, *s) for s in self.row_shapes]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        """The shape of the output, None for the batch; a list where there are several."""
        self.row_shapes  # noqa: B018 - raises where the model is not built
        return self._output_shapes[0] if len(self._output_shapes) == 1 else self._output_shapes

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """One of the `layers`, by its name or its place.

        Raises
        ------
        ValueError
            If there is no such layer; the message gives the nearest name, and all of them.
        """
        if (name is None) == (index is None):
            raise ValueError(f"{self.name}: get_layer wants a name or an index")
        layers = self.layers
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise ValueError(f"{self.name}: has {len(layers)} layers, none is number {index}")
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        raise unknown_name(f"layer of {self.name}", str(name), (layer.name for layer in layers))

    def build(self, input_shape: Any) -> None:
        """Makes all weights.

        Parameters
        ----------
        input_shape : tuple; a list or a dictionary of tuples where there are several inputs
            With the batch axis in front, of any length or None.
        """
        if isinstance(input_shape, Mapping):
            self._input_keys = list(input_shape)
            input_shape = list(input_shape.values())
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
        self._set_rows([as_shape(f"{self.name}: input_shape", s, batch=True)[1:] for s in shapes])

    def build_for(self, x: Any) -> None:
        """Builds the model for these arrays, if that has not been done."""
        if self._row_shapes is not None:
            return
        with making:
            if self._row_shapes is None:
                parts = self._parts(x)
                shapes = []
                for part in parts:
                    array = as_array("x", part)
                    array = as_rows("x", array, (None,) * max(array.ndim - 1, 0))
                    shapes.append(array.shape[1:] if array.ndim > 1 else (1,))
                self._input_keys = list(x) if isinstance(x, Mapping) else None
                self._set_rows(shapes)

    def _parts(self, x: Any) -> list[Any]:
        """The inputs that x holds, where no shape says how many there are."""
        if isinstance(x, Mapping):
            return list(x.values())
        several = self._lists_are_inputs and isinstance(x, (list, tuple)) and len(x) > 1
        if several and all(isinstance(part, np.ndarray) and part.ndim > 1 for part in x):
            return list(x)
        return [by_dlpack(x)]

    def _set_rows(self, shapes: list[Any]) -> None:
        """Traces the network once: builds every layer, finds the outputs' shapes."""
        inputs = [Tensor((None, *shape)) for shape in shapes]
        with Trace(training=False) as trace:
            outputs = flatten(self.call_flat(inputs, training=False))
        self._row_shapes = [tuple(s) for s in shapes]
        self._input_classes = [label_count(trace.nodes, tensor) for tensor in inputs]
        self._output_shapes = [t.shape for t in outputs]
        calls = [t.layer_call for t in outputs]
        names = [c.layer.name if c else f"output_{i}" for i, c in enumerate(calls)]
        unique = len(set(names)) == len(names)
        self._output_names = names if unique else [f"output_{i}" for i in range(len(names))]
        self.built = True
        consolidate(self.weights)

    def call_flat(self, inputs: list[Tensor], training: bool) -> Any:
        """`call` on a list of inputs."""
        x: Any = inputs
        if self._functional is None:
            if self._input_keys is not None:
                x = dict(zip(self._input_keys, inputs, strict=True))
            elif len(inputs) == 1:
                x = inputs[0]
        return self.call(x, training=training) if self._takes_training() else self.call(x)

    def _take(self, x: Any) -> Any:
        if isinstance(x, Mapping) and self._functional is not None:
            for name in self.input_names:
                if name not in x:
                    raise ValueError(f"{self.name}: input {name!r} is missing")
            x = [x[name] for name in self.input_names]
        x = super()._take(x)
        if any(t.shape == () for t in flatten(x)):
            raise ValueError(f"{self.name}: wants rows, got a number")
        return x

    def _build_for_values(self, x: Any) -> None:
        self._input_keys = list(x) if isinstance(x, dict) else None
        self._set_rows([t.shape[1:] for t in flatten(x)])

    def call(self, x: Any, training: bool = False) -> Any:
        """Repeats the calls that led from the inputs to the outputs; subclasses write their own."""
        if self._functional is None:
            raise TypeError(f"{type(self).__name__} has no call(self, x)")
        return self._functional.call(x, training)

    def named_weights(self) -> dict[str, Variable]:
        """The weights by name, made unique where two layers have the same."""
        named: dict[str, Variable] = {}
        for weight in self.weights:
            name, k = weight.name, 1
            while name in named:
                name, k = f"{weight.name}#{k}", k + 1
            named[name] = weight
        return named
