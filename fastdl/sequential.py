"""The simplest model: one layer after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastdl import serialization
from fastdl.data import as_array
from fastdl.layers.base import Layer, flatten
from fastdl.layers.input import InputLayer
from fastdl.model import Model
from fastdl.tensor import Tensor

__all__ = ["Sequential"]


class Sequential(Model):
    """A stack of layers, each with one input and one output.

    Parameters
    ----------
    layers : iterable of Layer, optional
        `Input(shape)` or an ``input_shape=`` of the first layer builds the model at once; otherwise
        the first data do.
    name : str, optional

    Examples
    --------
    >>> from fastdl import Sequential
    >>> from fastdl.layers import Dense
    >>> model = Sequential([Dense(8, activation="relu", input_shape=(4,)), Dense(3)])
    >>> model.count_params()
    67
    """

    _lists_are_inputs = False
    _layers: list[Layer]

    def __init__(self, layers: Iterable[Any] | None = None, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._layers = []
        if isinstance(layers, Layer):
            raise TypeError(f"Sequential: wants a list of layers, got the layer {layers.name}")
        for layer in layers or ():
            self._append(layer)
        self._build_if_known()

    @property
    def layers(self) -> list[Layer]:
        """The layers in order, without the one that `Input` stands for."""
        return [layer for layer in self._layers or () if not isinstance(layer, InputLayer)]

    def _append(self, layer: Any) -> None:
        if isinstance(layer, Tensor) and layer.layer_call is not None:
            layer = layer.layer_call.layer  # what Input() gave
        if not isinstance(layer, Layer):
            hint = " (a class: call it)" if isinstance(layer, type) else ""
            raise TypeError(f"Sequential: wants layers, got {layer!r}{hint}")
        if layer in self._layers:
            raise ValueError(f"Sequential: {layer.name} stands in it twice")
        self._layers.append(layer)

    def _build_if_known(self) -> None:
        if not self._layers:
            return
        first = self._layers[0]
        shape = first.given_input_shape
        if shape is None and isinstance(first, Model) and first.built:
            shape = first.row_shapes[0]
        if shape is not None:
            self._set_rows([shape])

    def add(self, layer: Any) -> None:
        """Adds a layer at the end.

        Raises
        ------
        TypeError, ValueError
            If it is no layer or does not fit; the model then stays as it was.
        """
        self._append(layer)
        try:
            self._rebuild()
        except BaseException:
            self._layers.pop()
            self._rebuild()
            raise

    def pop(self) -> Layer:
        """Takes the last layer away and returns it."""
        if not self._layers:
            raise ValueError("Sequential: there is no layer to pop")
        layer = self._layers.pop()
        self._rebuild()
        return layer

    def _rebuild(self) -> None:
        shapes = self._row_shapes
        self._row_shapes = None
        if shapes is not None and self._layers:
            self._set_rows(shapes)
        else:
            self._build_if_known()

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """See the class."""
        if not self._layers:
            raise ValueError(f"{self.name} has no layers")
        for layer in self.layers:
            x = layer(x, training=training)
        return x

    def _take(self, x: Any) -> Any:
        if isinstance(x, Mapping):
            raise TypeError(f"{self.name}: has one input, got a dictionary")
        if isinstance(x, (list, tuple)) and not any(isinstance(t, Tensor) for t in flatten(x)):
            x = as_array("x", x)  # rows
        return super()._take(x)

    def get_config(self) -> dict[str, Any]:
        """See `Model.get_config`."""
        shape = None if self._row_shapes is None else list(self._row_shapes[0])
        layers = [serialization.serialize_layer(layer) for layer in self._layers]
        return {"name": self.name, "layers": layers, "row_shape": shape}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Sequential:
        """See `Model.from_config`."""
        layers = [serialization.deserialize_layer(c, custom_objects) for c in config["layers"]]
        model = cls(layers, name=config.get("name"))
        if not model.built and config.get("row_shape") is not None:
            model._set_rows([tuple(config["row_shape"])])
        return model
