"""Pooling: the largest element or the mean of each window, or of all positions."""

from __future__ import annotations

from typing import Any, ClassVar

from fastdl import ops
from fastdl.kernels.table.pooling import window_count
from fastdl.layers.base import Layer
from fastdl.layers.geometry import (
    channels_first,
    channels_last,
    format_of,
    one_of,
    shape_of,
    whole_numbers,
)
from fastdl.tensor import Tensor, apply

__all__ = [
    "AveragePooling1D",
    "AveragePooling2D",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "MaxPooling1D",
    "MaxPooling2D",
]


class _Windows(Layer):
    """What all share: the way to images with their channels last, and back."""

    _axes: ClassVar[int]
    _op: ClassVar[str]

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = format_of(self, data_format)

    def _images(self, x: Tensor) -> Tensor:
        """The input as images; one axis of positions is their width."""
        shape = shape_of(self, x.shape, self._axes, self.data_format)
        x = channels_last(x, self._axes, self.data_format)
        return x if self._axes == 2 else ops.reshape(x, (None, 1, *shape))

    def _pooled(self, x: Tensor, size: tuple[int, ...], strides: tuple[int, ...], padding: str):
        """The images that pooling makes of images."""
        height, width = (1, *size)[-2:]
        down, across = (1, *strides)[-2:]
        result = apply(
            self._op,
            x=x,
            pool_height=height,
            pool_width=width,
            stride_height=down,
            stride_width=across,
            padding=padding,
        )
        return result if isinstance(result, Tensor) else result[0]

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "data_format": self.data_format}


class _Pooling(_Windows):
    """Pooling of windows."""

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.pool_size = whole_numbers(self, "pool_size", pool_size, self._axes)
        self.strides = self.pool_size
        if strides is not None:
            self.strides = whole_numbers(self, "strides", strides, self._axes)
        self.padding = one_of(self, "padding", padding, ("valid", "same"))

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        lengths = shape_of(self, x.shape, self._axes, self.data_format)[:-1]
        try:
            for axis in zip(lengths, self.pool_size, self.strides, strict=True):
                window_count(*axis, self.padding)
        except ValueError as error:
            raise ValueError(
                f"{self.name}: pool_size {self.pool_size} does not fit into inputs of shape "
                f"{x.shape}: {error}; padding='same' would do"
            ) from None
        out = self._pooled(self._images(x), self.pool_size, self.strides, self.padding)
        if self._axes == 1:
            out = ops.reshape(out, (None, *out.shape[2:]))
        return channels_first(out, self._axes, self.data_format)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "pool_size": list(self.pool_size),
            "strides": list(self.strides),
            "padding": self.padding,
        }


class _GlobalPooling(_Windows):
    """Pooling of all positions."""

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.keepdims = bool(keepdims)

    @property
    def _channels_axis(self) -> int:
        return 1 if self.data_format == "channels_first" else -1

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        *lengths, channels = shape_of(self, x.shape, self._axes, self.data_format)
        size = tuple(lengths)
        out = self._pooled(self._images(x), size, size, "valid")
        shape: tuple[int, ...] = (channels,)
        if self.keepdims:
            ones = (1,) * self._axes
            last = self.data_format == "channels_last"
            shape = (*ones, channels) if last else (channels, *ones)
        return ops.reshape(out, (None, *shape))

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "keepdims": self.keepdims}


class MaxPooling1D(_Pooling):
    """The largest element of each window of steps; NaN where there is one.

    Parameters
    ----------
    pool_size : int, default 2
        The steps of a window.
    strides : int, optional
        How far the windows are apart; None: pool_size.
    padding : {"valid", "same"}
        "valid" takes the windows that lie inside, "same" one for each stride; what is outside the
        input does not count.
    data_format : {"channels_last", "channels_first"}, optional

    Notes
    -----
    Input shape (batch, steps, channels), output shape (batch, pooled steps, channels). Of equal
    elements the first has the gradient.

    Raises
    ------
    ValueError
        If an argument is no positive whole number or unknown, or a window does not fit.
    """

    _axes, _op = 1, "max_pool_forward"


class MaxPooling2D(_Pooling):
    """The largest element of each window of an image; NaN where there is one.

    Parameters
    ----------
    pool_size : int or (int, int), default 2
        Height and width of a window.
    strides : int or (int, int), optional
        How far the windows are apart; None: pool_size.
    padding : {"valid", "same"}
        "valid" takes the windows that lie inside, "same" one for each stride; what is outside the
        image does not count.
    data_format : {"channels_last", "channels_first"}, optional

    Notes
    -----
    Input shape (batch, height, width, channels), output shape (batch, pooled height, pooled width,
    channels). Of equal elements the first has the gradient.

    Raises
    ------
    ValueError
        If an argument is no positive whole number or unknown, or a window does not fit.

    Examples
    --------
    >>> from fastdl import Input
    >>> from fastdl.layers import MaxPooling2D
    >>> MaxPooling2D()(Input((26, 26, 32))).shape
    (None, 13, 13, 32)
    """

    _axes, _op = 2, "max_pool_forward"


class AveragePooling1D(_Pooling):
    """The mean of each window of steps; arguments as in `MaxPooling1D`.

    With padding "same", a window's mean is that of the steps that exist.
    """

    _axes, _op = 1, "average_pool_forward"


class AveragePooling2D(_Pooling):
    """The mean of each window of an image; arguments as in `MaxPooling2D`.

    With padding "same", a window's mean is that of the pixels that exist.
    """

    _axes, _op = 2, "average_pool_forward"


class GlobalMaxPooling1D(_GlobalPooling):
    """The largest element of each channel over all steps.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, optional
    keepdims : bool, default False
        Whether the axis of the steps stays, with length 1.

    Notes
    -----
    Input shape (batch, steps, channels), output shape (batch, channels).
    """

    _axes, _op = 1, "max_pool_forward"


class GlobalMaxPooling2D(_GlobalPooling):
    """The largest element of each channel over an image.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, optional
    keepdims : bool, default False
        Whether the axes of positions stay, with length 1.

    Notes
    -----
    Input shape (batch, height, width, channels), output shape (batch, channels).
    """

    _axes, _op = 2, "max_pool_forward"


class GlobalAveragePooling1D(_GlobalPooling):
    """The mean of each channel over all steps that are not masked; arguments as in
    `GlobalMaxPooling1D`."""

    _axes, _op = 1, "average_pool_forward"

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        mask = x.mask
        if mask is not None:
            counts = ops.maximum(ops.sum(mask, 1, keepdims=True), 1.0)
            share = ops.expand_dims(mask * (mask.shape[1] or 0) / counts, self._channels_axis)
            x = x * share
        return super().call(x)


class GlobalAveragePooling2D(_GlobalPooling):
    """The mean of each channel over an image; arguments as in `GlobalMaxPooling2D`."""

    _axes, _op = 2, "average_pool_forward"
