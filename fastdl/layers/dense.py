"""The fully connected layer."""

from __future__ import annotations

from typing import Any

from fastdl import initializers, ops, regularizers
from fastdl._names import unknown_name
from fastdl.kernels.table import ACTIVATIONS
from fastdl.layers.base import Layer, at_least_one, axis_length
from fastdl.tensor import Shape, Tensor

__all__ = ["Dense"]


def activation_name(activation: Any) -> str:
    """The name of an activation; None is linear."""
    if activation is None:
        return "linear"
    if not isinstance(activation, str):
        raise TypeError(f"activation must be a name, got {type(activation).__name__}")
    if activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    return activation


class Dense(Layer):
    """``activation(x @ kernel + bias)`` over the last axis.

    Parameters
    ----------
    units : int
        The length of the output's last axis.
    activation : str, optional
        One of `fastdl.kernels.table.ACTIVATIONS`; None is linear.
    use_bias : bool, default True
    kernel_initializer, bias_initializer : default "glorot_uniform", "zeros"
    kernel_regularizer, bias_regularizer : Regularizer or name, optional

    Notes
    -----
    Input shape (batch, ..., features), output shape (batch, ..., units); ``kernel`` has shape
    (features, units), ``bias`` (units,).

    Raises
    ------
    ValueError
        If units is no positive whole number or a name is unknown.
    """

    supports_masking = True

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = at_least_one(self, "units", units)
        self.activation = activation_name(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def build(self, input_shape: Shape) -> None:
        """Makes ``kernel`` and ``bias``."""
        features = axis_length(self, input_shape)
        self.kernel = self.add_weight(
            "kernel", (features, self.units), self.kernel_initializer, self.kernel_regularizer
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                "bias", (self.units,), self.bias_initializer, self.bias_regularizer
            )

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        if x.shape[-1] != self.kernel.shape[0]:
            raise ValueError(
                f"{self.name}: was built for inputs of {self.kernel.shape[0]} features, got shape "
                f"{x.shape}"
            )
        return ops.activation(ops.dense(x, self.kernel, self.bias), self.activation)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
        }
