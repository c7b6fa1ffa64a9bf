"""Recurrent cells: one time step of SimpleRNN, LSTM and GRU."""

from __future__ import annotations

from typing import Any, ClassVar

from fastdl import initializers, ops, regularizers
from fastdl._names import unknown_name
from fastdl.kernels.table.recurrence import GATE_ACTIVATIONS
from fastdl.layers.base import Layer, at_least_one, axis_length
from fastdl.layers.dense import activation_name
from fastdl.layers.dropout import stream
from fastdl.repeat import is_eager
from fastdl.tensor import Shape, Tensor, apply
from fastdl.trace import reshape

__all__ = ["Cell", "GRUCell", "LSTMCell", "SimpleRNNCell"]


def rate(layer: Layer, name: str, value: Any) -> float:
    """A share to drop, or an error that names the layer."""
    number = float(value)
    if not 0.0 <= number < 1.0:
        raise ValueError(f"{layer.name}: {name} must be >= 0 and < 1, got {value!r}")
    return number


class Cell(Layer):
    """What the cells share: kernels for the input and for the state, and dropout of both.

    ``call(x, states, training)`` gives the output and the list of new states.
    """

    gates: ClassVar[int] = 1

    #: What the argument for the number of units is called.
    _units: ClassVar[str] = "units"

    def __init__(
        self,
        units: int,
        activation: str | None = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = at_least_one(self, self._units, units)
        self.activation = activation_name(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.dropout = rate(self, "dropout", dropout)
        self.recurrent_dropout = rate(self, "recurrent_dropout", recurrent_dropout)

    @property
    def state_size(self) -> list[int]:
        """The lengths of the states."""
        return [self.units]

    @property
    def output_size(self) -> int:
        """The length of the output."""
        return self.units

    def build(self, input_shape: Shape) -> None:
        """Makes ``kernel``, ``recurrent_kernel`` and ``bias``."""
        features, width = axis_length(self, input_shape), self.gates * self.units
        self.kernel = self.add_weight(
            "kernel", (features, width), self.kernel_initializer, self.kernel_regularizer
        )
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel",
            (self.units, width),
            self.recurrent_initializer,
            self.recurrent_regularizer,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                "bias", self._bias_shape(), self.bias_initializer, self.bias_regularizer
            )

    def _bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def _kept(self, state: Tensor, training: bool) -> Tensor:
        """The state as the product reads it: one mask of dropout for all time steps."""
        if not training or self.recurrent_dropout == 0.0:
            return state
        return apply("dropout_forward", x=state, rate=self.recurrent_dropout, stream=stream())

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": regularizers.serialize(self.recurrent_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
        }


class SimpleRNNCell(Cell):
    """One step of a `SimpleRNN`: ``activation(x @ kernel + state @ recurrent_kernel + bias)``."""

    def call(  # type: ignore[override]
        self, x: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """See `Cell`."""
        product = ops.dense(self._kept(states[0], training), self.recurrent_kernel)
        total = ops.add(product, ops.dense(x, self.kernel, self.bias))
        out = ops.activation(total, self.activation)
        return out, [out]


class _GatedCell(Cell):
    def __init__(
        self,
        units: int,
        activation: str | None = "tanh",
        recurrent_activation: str | None = "sigmoid",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, *args, **kwargs)
        self.recurrent_activation = activation_name(recurrent_activation)
        for name in ("activation", "recurrent_activation"):
            if getattr(self, name) not in GATE_ACTIVATIONS:
                error = unknown_name(name, getattr(self, name), GATE_ACTIVATIONS)
                raise ValueError(f"{self.name}: {error}")

    def _activations(self) -> dict[str, str]:
        return {
            "activation": self.activation,
            "recurrent_activation": self.recurrent_activation,
        }

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "recurrent_activation": self.recurrent_activation}


class LSTMCell(_GatedCell):
    """One step of an `LSTM`; its states are the output and the carry."""

    gates: ClassVar[int] = 4

    def __init__(
        self,
        units: int,
        activation: str | None = "tanh",
        recurrent_activation: str | None = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            activation,
            recurrent_activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            **kwargs,
        )
        self.unit_forget_bias = bool(unit_forget_bias)

    @property
    def state_size(self) -> list[int]:
        """The lengths of the states: output and carry."""
        return [self.units, self.units]

    def build(self, input_shape: Shape) -> None:
        """See `Cell.build`; the forget gate's bias begins with 1 (Jozefowicz et al. 2015)."""
        super().build(input_shape)
        if self.bias is not None and self.unit_forget_bias:
            self.bias.value[self.units : 2 * self.units] = 1

    def call(  # type: ignore[override]
        self, x: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """See `Cell`."""
        product = ops.dense(self._kept(states[0], training), self.recurrent_kernel)
        total = ops.add(product, ops.dense(x, self.kernel, self.bias))
        step = apply("lstm_step_forward", x=total, carry=states[1], **self._activations())
        return step[0], list(step[:2])

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias}


class GRUCell(_GatedCell):
    """One step of a `GRU`."""

    gates: ClassVar[int] = 3

    def __init__(
        self,
        units: int,
        activation: str | None = "tanh",
        recurrent_activation: str | None = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        reset_after: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units,
            activation,
            recurrent_activation,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            **kwargs,
        )
        self.reset_after = bool(reset_after)

    def _bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def call(  # type: ignore[override]
        self, x: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """See `Cell`."""
        state = self._kept(states[0], training)
        if not self.reset_after:
            return self._reset_before(x, states[0], state)
        input_bias = recurrent_bias = None
        if self.bias is not None:
            halves = split(reshape(self.bias, (1, 6 * self.units)), 3 * self.units)
            input_bias, recurrent_bias = (reshape(t, (3 * self.units,)) for t in halves)
        product = ops.dense(state, self.recurrent_kernel, recurrent_bias)
        fed = ops.dense(x, self.kernel, input_bias)
        out, _ = apply(
            "gru_step_forward", x=fed, recurrent=product, state=states[0], **self._activations()
        )
        return out, [out]

    def _reset_before(self, x: Tensor, state: Tensor, kept: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The reset gate comes before the candidate's product (Cho et al. 2014, eq. 8)."""
        u = self.units
        fed_gates, fed = split(ops.dense(x, self.kernel, self.bias), 2 * u)
        kernel_gates, kernel = split(self.recurrent_kernel, 2 * u)
        gates = ops.activation(
            ops.add(ops.dense(kept, kernel_gates), fed_gates), self.recurrent_activation
        )
        update, reset = split(gates, u)
        product = ops.dense(ops.multiply(reset, kept), kernel)
        candidate = ops.activation(ops.add(product, fed), self.activation)
        out = candidate + ops.multiply(update, state - candidate)
        return out, [out]

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "reset_after": self.reset_after}


def split(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The first ``size`` elements of the last axis, and the rest."""
    if is_eager(x):
        return x[..., :size], x[..., size:]
    a, b = apply("split_forward", x=x)
    a.shape = (*x.shape[:-1], size)
    b.shape = (*x.shape[:-1], (x.shape[-1] or 0) - size)
    return a, b
