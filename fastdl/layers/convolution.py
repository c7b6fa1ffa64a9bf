"""Convolutions over one and two axes of positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl import initializers, ops, regularizers
from fastdl.layers.base import Layer, at_least_one
from fastdl.layers.dense import activation_name
from fastdl.layers.geometry import (
    KernelGeometry,
    channels_first,
    channels_last,
    shape_of,
    transposed_length,
)
from fastdl.tensor import Shape, Tensor, apply

__all__ = ["Conv1D", "Conv2D", "Conv2DTranspose", "Convolution", "described"]


class Convolution(KernelGeometry):
    """What all convolutions share: weights, and the way to a convolution of images."""

    def __init__(
        self,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        dilation_rate: Any,
        activation: str | None,
        use_bias: bool,
        bias_initializer: Any,
        bias_regularizer: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_geometry(kernel_size, strides, padding, data_format, dilation_rate)
        self.activation = activation_name(activation)
        self.use_bias = bool(use_bias)
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self._channels: int | None = None

    def _add_bias(self, channels: int) -> None:
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                "bias", (channels,), self.bias_initializer, self.bias_regularizer
            )

    def _convolved(self, x: Tensor, kernel: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        """Images that are convolved with a kernel, without the activation."""
        paddings = self._paddings_of(x.shape[3 - self._axes : 3])  # type: ignore[arg-type]
        options = self._options(paddings)
        return apply("conv2d_forward", x=x, weight=kernel, bias=bias, groups=groups, **options)

    def _images(self, x: Tensor) -> Tensor:
        """The input as images with their channels last, of the channels it was built for."""
        shape = shape_of(self, x.shape, self._axes, self.data_format)
        if shape[-1] != self._channels:
            raise ValueError(
                f"{self.name}: was built for inputs of {self._channels} channels, got shape "
                f"{x.shape}"
            )
        x = channels_last(x, self._axes, self.data_format)
        return x if self._axes == 2 else ops.reshape(x, (None, 1, *shape))

    def _result(self, x: Tensor) -> Tensor:
        """What the layer returns for images of its output."""
        x = ops.activation(x, self.activation)
        if self._axes == 1:
            x = ops.reshape(x, (None, *x.shape[2:]))
        return channels_first(x, self._axes, self.data_format)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        config = {
            **super().get_config(),
            "activation": self.activation,
            "use_bias": self.use_bias,
        }
        return config | described(self, "bias_initializer", "bias_regularizer")


def described(layer: Layer, *names: str) -> dict[str, Any]:
    """Initializers and regularizers of a layer by attribute, for its configuration."""
    modules = {"initializer": initializers, "regularizer": regularizers}
    return {n: modules[n.rpartition("_")[2]].serialize(getattr(layer, n)) for n in names}


class _Conv(Convolution):
    """A convolution of one or two axes."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            bias_initializer, bias_regularizer, **kwargs,
        )  # fmt: skip
        self.filters = at_least_one(self, "filters", filters)
        self.groups = at_least_one(self, "groups", groups)
        if self.filters % self.groups:
            raise ValueError(
                f"{self.name}: {self.filters} filters cannot be divided into {self.groups} groups"
            )
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, input_shape: Shape) -> None:
        """Makes ``kernel`` and ``bias``."""
        channels = shape_of(self, input_shape, self._axes, self.data_format)[-1]
        if channels % self.groups:
            raise ValueError(
                f"{self.name}: {channels} channels cannot be divided into {self.groups} groups"
            )
        self._channels = channels
        self.kernel = self.add_weight(
            "kernel",
            (*self.kernel_size, channels // self.groups, self.filters),
            self.kernel_initializer,
            self.kernel_regularizer,
        )
        self._add_bias(self.filters)

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        kernel: Tensor = self.kernel
        if self._axes == 1:
            kernel = ops.reshape(kernel, (1, *kernel.shape))
        return self._result(self._convolved(self._images(x), kernel, self.bias, self.groups))

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        config = {**super().get_config(), "filters": self.filters, "groups": self.groups}
        return config | described(self, "kernel_initializer", "kernel_regularizer")


class Conv1D(_Conv):
    """``activation(convolution of the steps with kernel + bias)``.

    Parameters
    ----------
    filters : int
        The channels of the output.
    kernel_size, strides, dilation_rate : int or tuple of one
        How many steps the kernel sees; by how many it moves on; how far apart its steps are.
        Strides and dilation are 1 by default.
    padding : {"valid", "same", "causal"}
        "same" makes ceil(steps / stride) outputs, an odd step of zeros standing at the end; with
        "causal" an output sees no later step than its own.
    data_format : {"channels_last", "channels_first"}, optional
        Which axis the channels are. They are last by default, and first costs two copies.
    groups : int, default 1
        Parts into which channels and filters are divided, each convolved by itself.
    activation : str, optional
        One of `fastdl.kernels.table.ACTIVATIONS`; None is linear.
    use_bias : bool, default True
    kernel_initializer, bias_initializer : default "glorot_uniform", "zeros"
    kernel_regularizer, bias_regularizer : Regularizer or name, optional

    Notes
    -----
    Input shape (batch, steps, channels), output shape (batch, new steps, filters); ``kernel`` has
    shape (kernel_size, channels / groups, filters), ``bias`` (filters,).

    Raises
    ------
    ValueError
        If an argument is none of these, or the kernel reaches over more steps than there are.

    Examples
    --------
    >>> from fastdl import Input
    >>> from fastdl.layers import Conv1D
    >>> Conv1D(8, 3, padding="causal")(Input((100, 4))).shape
    (None, 100, 8)
    """

    _axes = 1
    _paddings = ("valid", "same", "causal")


class Conv2D(_Conv):
    """``activation(convolution of the images with kernel + bias)``.

    Parameters
    ----------
    filters : int
        The channels of the output.
    kernel_size, strides, dilation_rate : int or tuple of (height, width)
        The kernel; by how many rows and columns it moves on; how far apart its own are. Strides and
        dilation are 1 by default.
    padding : {"valid", "same"}
        "same" makes ceil(height / stride) rows, an odd row of zeros standing below the image, and
        likewise columns.
    data_format : {"channels_last", "channels_first"}, optional
        Which axis the channels are. They are last by default, and first costs two copies.
    groups : int, default 1
        Parts into which channels and filters are divided, each convolved by itself.
    activation : str, optional
        One of `fastdl.kernels.table.ACTIVATIONS`; None is linear.
    use_bias : bool, default True
    kernel_initializer, bias_initializer : default "glorot_uniform", "zeros"
    kernel_regularizer, bias_regularizer : Regularizer or name, optional

    Notes
    -----
    Input shape (batch, height, width, channels), output shape (batch, new height, new width,
    filters); ``kernel`` has shape (height, width, channels / groups, filters), ``bias`` (filters,).

    Raises
    ------
    ValueError
        If an argument is none of these, or the kernel is larger than the padded image.

    Examples
    --------
    >>> from fastdl import Input
    >>> from fastdl.layers import Conv2D
    >>> Conv2D(32, 3, activation="relu")(Input((28, 28, 1))).shape
    (None, 26, 26, 32)
    """


class Conv2DTranspose(Convolution):
    """``activation(images spread out by kernel + bias)``: the way back through a convolution.

    Each pixel puts the kernel, times its value, into the output; it is the gradient of a `Conv2D`
    with the same arguments.

    Parameters
    ----------
    filters : int
        The channels of the output.
    kernel_size, strides, dilation_rate : int or tuple of (height, width)
        The kernel; how far apart neighbouring pixels put it; how far apart its own rows and columns
        are. Strides and dilation are 1 by default.
    padding : {"valid", "same"}
        "same" makes height * stride rows, and likewise columns.
    output_padding : int or tuple, optional
        Rows and columns of the output beyond the least that there may be; less than the stride.
    data_format, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer,
    bias_regularizer
        As in `Conv2D`.

    Notes
    -----
    Input shape (batch, height, width, channels); ``kernel`` has shape (height, width, filters,
    channels), ``bias`` (filters,).

    Raises
    ------
    ValueError
        If an argument is none of these, or nothing of the output would be left.

    Examples
    --------
    >>> from fastdl import Input
    >>> from fastdl.layers import Conv2DTranspose
    >>> Conv2DTranspose(16, 3, strides=2, padding="same")(Input((7, 7, 32))).shape
    (None, 14, 14, 16)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            bias_initializer, bias_regularizer, **kwargs,
        )  # fmt: skip
        self.filters = at_least_one(self, "filters", filters)
        self.output_padding = self._fitting(output_padding)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def _fitting(self, output_padding: Any) -> tuple[int, ...] | None:
        """The output padding as a tuple of two."""
        if output_padding is None:
            return None
        both = output_padding if isinstance(output_padding, (tuple, list)) else [output_padding] * 2
        if len(both) == 2 and all(
            isinstance(n, (int, np.integer)) and 0 <= n < stride
            for n, stride in zip(both, self.strides, strict=True)
        ):
            return tuple(int(n) for n in both)
        raise ValueError(
            f"{self.name}: output_padding must be from 0 to less than the strides {self.strides}, "
            f"got {output_padding!r}"
        )

    def build(self, input_shape: Shape) -> None:
        """Makes ``kernel`` and ``bias``."""
        self._channels = shape_of(self, input_shape, 2, self.data_format)[-1]
        self.kernel = self.add_weight(
            "kernel",
            (*self.kernel_size, self.filters, self._channels),
            self.kernel_initializer,
            self.kernel_regularizer,
        )
        self._add_bias(self.filters)

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self._images(x)
        paddings = []
        for axis in (0, 1):
            extra = None if self.output_padding is None else self.output_padding[axis]
            length, padding = transposed_length(
                x.shape[1 + axis],  # type: ignore[arg-type]
                self.kernel_size[axis],
                self.strides[axis],
                self.dilation_rate[axis],
                self.padding,
                extra,
            )
            if length < 1:
                raise ValueError(
                    f"{self.name}: nothing would be left of inputs of shape {x.shape} with a "
                    f"kernel of {self.kernel_size} and padding {self.padding!r}"
                )
            paddings.append(padding)
        options = self._options(paddings)
        return self._result(
            apply("conv2d_transpose_forward", x=x, weight=self.kernel, bias=self.bias, **options)
        )

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        both = self.output_padding
        config = {
            **super().get_config(),
            "filters": self.filters,
            "output_padding": None if both is None else list(both),
        }
        return config | described(self, "kernel_initializer", "kernel_regularizer")
