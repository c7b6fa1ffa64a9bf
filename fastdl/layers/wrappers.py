"""Layers around another layer: at each time step, in both directions; and masks of time steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from fastdl import ops
from fastdl._names import unknown_name
from fastdl._nested import flatten
from fastdl.layers.base import Layer
from fastdl.layers.recurrent import RNN
from fastdl.repeat import each_step, from_time_major, to_time_major
from fastdl.tensor import Tensor, apply
from fastdl.trace import Trace

__all__ = ["Bidirectional", "Masking", "TimeDistributed"]


class Masking(Layer):
    """Has recurrent layers pass over the time steps in which all features have one value.

    In such a step the states stay as they are and the output is that of the step before.

    Parameters
    ----------
    mask_value : float, default 0

    Notes
    -----
    Input shape (batch, time, features), and the output's.
    """

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = float(mask_value)

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        if len(x.shape) != 3:
            raise ValueError(
                f"{self.name}: wants inputs of shape (batch, time, features), got {x.shape}"
            )
        mask = apply("row_mask", x=x, value=self.mask_value)
        out = apply("choose_rows_forward", x=x, mask=mask)
        out.mask = mask
        return out

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "mask_value": self.mask_value}


class _Wrapper(Layer):
    holds_layers: ClassVar[bool] = True

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(layer, Layer):
            raise TypeError(f"{self.name}: layer must be a Layer, got {type(layer).__name__}")
        self.layer: Any = layer

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        from fastdl.serialization import serialize_layer

        return {**super().get_config(), "layer": serialize_layer(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom: Mapping[str, Any] | None = None) -> Layer:
        """See `Layer.from_config`."""
        from fastdl.serialization import deserialize_layer

        inside = ("layer", "backward_layer")
        made = {k: deserialize_layer(config[k], custom) for k in inside if config.get(k)}
        return cls(**{**config, **made})


class TimeDistributed(_Wrapper):
    """The same layer at each time step.

    Where it works row by row, as convolutions do, this is one call over all time steps together;
    otherwise it is repeated.

    Parameters
    ----------
    layer : Layer

    Notes
    -----
    Input shape (batch, time, ...).
    """

    supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Builds the layer for one time step."""
        if len(input_shape) < 3:
            raise ValueError(
                f"{self.name}: wants inputs of shape (batch, time, ...), got {input_shape}"
            )
        with Trace(training=False):
            self.layer(Tensor((None, *input_shape[2:])))

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """See the class."""
        return each_step(lambda step: self.layer(step, training=training), x)


#: How two directions become one output.
_MERGES = {
    "concat": lambda a, b: ops.concatenate([a, b]),
    "sum": ops.add,
    "mul": ops.multiply,
    "ave": lambda a, b: (a + b) * 0.5,
}


def _without_masked(x: Tensor, mask: Tensor) -> Tensor:
    """The sequence with zeros where the mask is 0."""
    flat = x if len(x.shape) == 3 else ops.reshape(x, (None, x.shape[1], -1))
    out = apply("choose_rows_forward", x=flat, mask=mask)
    return out if out.shape == x.shape else ops.reshape(out, x.shape)


class Bidirectional(_Wrapper):
    """A recurrent layer, and an equal one that begins with the last time step.

    Parameters
    ----------
    layer : recurrent layer
    merge_mode : {"concat", "sum", "mul", "ave", None}
        How the two outputs become one; None gives both.
    backward_layer : recurrent layer, optional
        Which to use for the way back: it must have ``go_backwards=True``.

    Notes
    -----
    Outputs of masked time steps are 0, where there are outputs of each step.
    """

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        backward_layer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, **kwargs)
        if not isinstance(layer, RNN):
            raise TypeError(
                f"{self.name}: layer must be a recurrent layer, got {type(layer).__name__}"
            )
        if merge_mode is not None and merge_mode not in _MERGES:
            raise unknown_name("merge_mode", merge_mode, _MERGES)
        if backward_layer is None:
            config = layer.get_config()
            config["name"] = f"backward_{layer.name}"
            config["go_backwards"] = not layer.go_backwards
            own = {type(inner).__name__: type(inner) for inner in layer.layers}
            backward_layer = type(layer).from_config(config, own)
        self.merge_mode = merge_mode
        self.backward_layer = backward_layer
        for name in ("return_sequences", "return_state"):
            if getattr(layer, name) != getattr(backward_layer, name):
                raise ValueError(f"{self.name}: the two layers differ in {name}")
        if layer.go_backwards == backward_layer.go_backwards:
            raise ValueError(f"{self.name}: the two layers go in the same direction")

    def build(self, input_shape: Any) -> None:
        """Builds both layers."""
        shape = input_shape[0] if isinstance(input_shape, list) else input_shape
        for layer in (self.layer, self.backward_layer):
            if not layer.built:
                layer.build(shape)
                layer.built = True

    def reset_state(self) -> None:
        """Has the next batch begin with zeros; for stateful layers."""
        self.layer.reset_state()
        self.backward_layer.reset_state()

    def call(self, x: Any, training: bool = False) -> Any:
        """See the class."""
        sequence, *states = flatten(x)
        half = len(states) // 2
        ahead = flatten(self.layer([sequence, *states[:half]], training=training))
        back = flatten(self.backward_layer([sequence, *states[half:]], training=training))
        outputs = [ahead[0], back[0]]
        if self.layer.return_sequences:  # in the order of the input
            turned = 0 if self.layer.go_backwards else 1
            outputs[turned] = from_time_major(to_time_major(outputs[turned]), reverse=True)
            if sequence.mask is not None:
                outputs = [_without_masked(t, sequence.mask) for t in outputs]
        if self.merge_mode is not None:
            outputs = [_MERGES[self.merge_mode](*outputs)]
        if self.layer.return_sequences:
            for output in outputs:
                output.mask = sequence.mask
        results = [*outputs, *ahead[1:], *back[1:]]
        return results[0] if len(results) == 1 else results

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        from fastdl.serialization import serialize_layer

        backward = serialize_layer(self.backward_layer)
        return {
            **super().get_config(),
            "merge_mode": self.merge_mode,
            "backward_layer": backward,
        }
