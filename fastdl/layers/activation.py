"""Activations as layers."""

from __future__ import annotations

from typing import Any

from fastdl import ops
from fastdl.layers.base import Layer
from fastdl.layers.dense import activation_name
from fastdl.tensor import Tensor, apply

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "LeakyReLU",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]


class Activation(Layer):
    """An activation by name.

    Parameters
    ----------
    activation : str
        One of `fastdl.kernels.table.ACTIVATIONS`.
    """

    supports_masking = True

    def __init__(self, activation: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activation_name(activation)

    def call(self, x: Tensor) -> Tensor:
        """activation(x)."""
        return ops.activation(x, self.activation)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "activation": self.activation}


class _Named(Layer):
    """A layer for one activation without options."""

    supports_masking = True

    activation: str

    def call(self, x: Tensor) -> Tensor:
        """activation(x)."""
        return ops.activation(x, self.activation)


class ReLU(_Named):
    """max(x, 0)."""

    activation = "relu"


class SELU(_Named):
    """Scaled exponential linear unit (Klambauer et al. 2017)."""

    activation = "selu"


class Sigmoid(_Named):
    """1/(1 + exp(-x))."""

    activation = "sigmoid"


class Tanh(_Named):
    """tanh(x)."""

    activation = "tanh"


class Softplus(_Named):
    """log(1 + exp(x))."""

    activation = "softplus"


class SiLU(_Named):
    """x/(1 + exp(-x))."""

    activation = "silu"


class Softmax(_Named):
    """exp(x)/sum(exp(x)) over the last axis."""

    activation = "softmax"


class GELU(Layer):
    """x times the normal distribution's cumulative probability at x (Hendrycks & Gimpel 2016).

    Parameters
    ----------
    approximate : bool, default False
        Use the tanh form.
    """

    supports_masking = True

    def __init__(self, approximate: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.approximate = bool(approximate)

    def call(self, x: Tensor) -> Tensor:
        """gelu(x)."""
        return ops.activation(x, "gelu_tanh" if self.approximate else "gelu")

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "approximate": self.approximate}


class LeakyReLU(Layer):
    """x where x > 0, else negative_slope*x.

    Parameters
    ----------
    negative_slope : float
        It must be given: libraries disagree about a default.
    """

    supports_masking = True

    def __init__(self, negative_slope: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.negative_slope = float(negative_slope)

    def call(self, x: Tensor) -> Tensor:
        """leaky_relu(x)."""
        return apply("leaky_relu_forward", x=x, alpha=self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "negative_slope": self.negative_slope}


class ELU(Layer):
    """x where x > 0, else alpha*(exp(x) - 1).

    Parameters
    ----------
    alpha : float, default 1.0
    """

    supports_masking = True

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = float(alpha)

    def call(self, x: Tensor) -> Tensor:
        """elu(x)."""
        return apply("elu_forward", x=x, alpha=self.alpha)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "alpha": self.alpha}
