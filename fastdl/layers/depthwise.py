"""Convolutions of each channel by itself, and with the channels mixed afterwards."""

from __future__ import annotations

from typing import Any

from fastdl import initializers, ops, regularizers
from fastdl.layers.base import at_least_one
from fastdl.layers.convolution import Convolution, described
from fastdl.layers.geometry import shape_of
from fastdl.tensor import Shape, Tensor, apply

__all__ = ["DepthwiseConv2D", "SeparableConv2D"]


class DepthwiseConv2D(Convolution):
    """A convolution of each channel by itself, with kernels of its own.

    Parameters
    ----------
    kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias :
        As in `Conv2D`.
    depth_multiplier : int, default 1
        How many channels of the output each channel of the input makes.
    depthwise_initializer, bias_initializer : default "glorot_uniform", "zeros"
    depthwise_regularizer, bias_regularizer : Regularizer or name, optional

    Notes
    -----
    Input shape (batch, height, width, channels), output shape (batch, new height, new width,
    channels * depth_multiplier); ``kernel`` has shape (height, width, channels, depth_multiplier).

    Raises
    ------
    ValueError
        If an argument is none of these, or the kernel is larger than the padded image.

    Examples
    --------
    >>> from fastdl import Input
    >>> from fastdl.layers import DepthwiseConv2D
    >>> DepthwiseConv2D(3, padding="same")(Input((8, 8, 16))).shape
    (None, 8, 8, 16)
    """

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: str | None = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            bias_initializer, bias_regularizer, **kwargs,
        )  # fmt: skip
        self.depth_multiplier = at_least_one(self, "depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)

    def _add_depthwise(self, name: str, channels: int) -> Any:
        self._channels = channels
        return self.add_weight(
            name,
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            self.depthwise_regularizer,
        )

    def _depthwise(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        channels = x.shape[3]
        assert channels is not None
        # (height, width, channels, multiplier) lies in memory like a kernel of as many groups.
        kernel = ops.reshape(kernel, (*self.kernel_size, 1, channels * self.depth_multiplier))
        return self._convolved(x, kernel, bias, channels)

    def build(self, input_shape: Shape) -> None:
        """Makes ``kernel`` and ``bias``."""
        channels = shape_of(self, input_shape, 2, self.data_format)[-1]
        self.kernel = self._add_depthwise("kernel", channels)
        self._add_bias(channels * self.depth_multiplier)

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        return self._result(self._depthwise(self._images(x), self.kernel, self.bias))

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        config = {**super().get_config(), "depth_multiplier": self.depth_multiplier}
        return config | described(self, "depthwise_initializer", "depthwise_regularizer")


class SeparableConv2D(DepthwiseConv2D):
    """A `DepthwiseConv2D`, then a convolution of single pixels that mixes the channels.

    Parameters
    ----------
    filters : int
        The channels of the output.
    kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier :
        Of the first convolution, as in `DepthwiseConv2D`.
    activation, use_bias, bias_initializer, bias_regularizer :
        Of the second, as in `Conv2D`.
    depthwise_initializer, pointwise_initializer : default "glorot_uniform"
    depthwise_regularizer, pointwise_regularizer : Regularizer or name, optional

    Notes
    -----
    Input shape (batch, height, width, channels), output shape (batch, new height, new width,
    filters); ``depthwise_kernel`` has shape (height, width, channels, depth_multiplier),
    ``pointwise_kernel`` (1, 1, channels * depth_multiplier, filters).

    Raises
    ------
    ValueError
        If an argument is none of these, or the kernel is larger than the padded image.

    Examples
    --------
    >>> from fastdl import Input
    >>> from fastdl.layers import SeparableConv2D
    >>> SeparableConv2D(32, 3, strides=2, padding="same")(Input((8, 8, 16))).shape
    (None, 4, 4, 32)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: str | None = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, depth_multiplier, data_format, dilation_rate, activation,
            use_bias, depthwise_initializer, bias_initializer, depthwise_regularizer,
            bias_regularizer, **kwargs,
        )  # fmt: skip
        self.filters = at_least_one(self, "filters", filters)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)

    def build(self, input_shape: Shape) -> None:
        """Makes ``depthwise_kernel``, ``pointwise_kernel`` and ``bias``."""
        channels = shape_of(self, input_shape, 2, self.data_format)[-1]
        self.depthwise_kernel = self._add_depthwise("depthwise_kernel", channels)
        self.pointwise_kernel = self.add_weight(
            "pointwise_kernel",
            (1, 1, channels * self.depth_multiplier, self.filters),
            self.pointwise_initializer,
            self.pointwise_regularizer,
        )
        self._add_bias(self.filters)

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self._depthwise(self._images(x), self.depthwise_kernel, None)
        kernel = self.pointwise_kernel
        return self._result(apply("conv2d_forward", x=x, weight=kernel, bias=self.bias))

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        config = {**super().get_config(), "filters": self.filters}
        return config | described(self, "pointwise_initializer", "pointwise_regularizer")
