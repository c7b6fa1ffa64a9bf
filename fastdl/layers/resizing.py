"""Images and sequences made larger or smaller: padding, cropping, upsampling."""

from __future__ import annotations

from typing import Any, ClassVar

from fastdl import ops
from fastdl.layers.base import Layer
from fastdl.layers.geometry import format_of, one_of, pairs, shape_of, whole_numbers
from fastdl.tensor import Tensor

__all__ = [
    "Cropping1D", "Cropping2D", "UpSampling1D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D",
]  # fmt: skip


class _Resizing(Layer):
    """What all share: which axes they change."""

    _axes: ClassVar[int]

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = format_of(self, data_format)

    def _positions(self, x: Tensor) -> list[int]:
        """The axes of positions; an error where the input has others."""
        shape_of(self, x.shape, self._axes, self.data_format)
        first = 1 if self.data_format == "channels_last" else 2
        return list(range(first, first + self._axes))

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "data_format": self.data_format}


class _ZeroPadding(_Resizing):
    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.padding = pairs(self, "padding", padding, self._axes)

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        width = [(0, 0)] * len(x.shape)
        for axis, both in zip(self._positions(x), self.padding, strict=True):
            width[axis] = both
        return ops.pad(x, width)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "padding": [list(both) for both in self.padding]}


class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after the steps.

    Parameters
    ----------
    padding : int or (int, int), default 1
        How many before and after.
    data_format : {"channels_last", "channels_first"}, optional

    Notes
    -----
    Input shape (batch, steps, channels), output shape (batch, padded steps, channels).

    Raises
    ------
    ValueError
        If the padding is none of these, or negative.
    """

    _axes = 1


class ZeroPadding2D(_ZeroPadding):
    """Zeros around images.

    Parameters
    ----------
    padding : int, (int, int) or ((int, int), (int, int)), default 1
        For all sides; for height and width; or for top and bottom, left and right.
    data_format : {"channels_last", "channels_first"}, optional

    Notes
    -----
    Input shape (batch, height, width, channels), output shape (batch, padded height, padded width,
    channels).

    Raises
    ------
    ValueError
        If the padding is none of these, or negative.

    Examples
    --------
    >>> from fastdl import Input
    >>> from fastdl.layers import ZeroPadding2D
    >>> ZeroPadding2D(((1, 0), (2, 2)))(Input((28, 28, 1))).shape
    (None, 29, 32, 1)
    """

    _axes = 2


class _Cropping(_Resizing):
    def __init__(self, cropping: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.cropping = pairs(self, "cropping", cropping, self._axes)

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        key = [slice(None)] * len(x.shape)
        for axis, (before, after) in zip(self._positions(x), self.cropping, strict=True):
            length = x.shape[axis] or 0
            if before + after >= length:
                raise ValueError(
                    f"{self.name}: cropping {self.cropping} leaves nothing of inputs of shape "
                    f"{x.shape}"
                )
            if before or after:
                key[axis] = slice(before, length - after)
        return x[tuple(key)]

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "cropping": [list(both) for both in self.cropping]}


class Cropping1D(_Cropping):
    """The steps without the first and last ones.

    Parameters
    ----------
    cropping : int or (int, int), default 1
        How many at the beginning and at the end.
    data_format : {"channels_last", "channels_first"}, optional

    Notes
    -----
    Input shape (batch, steps, channels), output shape (batch, cropped steps, channels).

    Raises
    ------
    ValueError
        If the cropping is none of these, or leaves nothing.
    """

    _axes = 1

    def __init__(self, cropping: Any = (1, 1), data_format: str | None = None, **kwargs: Any):
        super().__init__(cropping, data_format, **kwargs)


class Cropping2D(_Cropping):
    """Images without their margins.

    Parameters
    ----------
    cropping : int, (int, int) or ((int, int), (int, int)), default 0
        Of all sides; of height and width; or of top and bottom, left and right.
    data_format : {"channels_last", "channels_first"}, optional

    Notes
    -----
    Input shape (batch, height, width, channels), output shape (batch, cropped height, cropped
    width, channels).

    Raises
    ------
    ValueError
        If the cropping is none of these, or leaves nothing.

    Examples
    --------
    >>> from fastdl import Input
    >>> from fastdl.layers import Cropping2D
    >>> Cropping2D(((2, 2), (4, 0)))(Input((28, 28, 1))).shape
    (None, 24, 24, 1)
    """

    _axes = 2

    def __init__(
        self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(cropping, data_format, **kwargs)


class _UpSampling(_Resizing):
    def __init__(
        self,
        size: Any = 2,
        data_format: str | None = None,
        interpolation: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.size = whole_numbers(self, "size", size, self._axes)
        self.interpolation = one_of(self, "interpolation", interpolation, ("nearest", "bilinear"))

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        grow = ops.repeat if self.interpolation == "nearest" else ops.interpolate
        # The last axis first: the copies that are made of copies are the longer ones.
        for axis, size in reversed([*zip(self._positions(x), self.size, strict=True)]):
            x = grow(x, size, axis)
        return x


class UpSampling1D(_UpSampling):
    """Each step several times.

    Parameters
    ----------
    size : int, default 2
        How often.

    Notes
    -----
    Input shape (batch, steps, channels), output shape (batch, steps * size, channels).

    Raises
    ------
    ValueError
        If the size is no positive whole number.
    """

    _axes = 1

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(size, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        config = super().get_config()
        del config["data_format"]
        return {**config, "size": self.size[0]}


class UpSampling2D(_UpSampling):
    """Larger images, by whole factors.

    Parameters
    ----------
    size : int or (int, int), default 2
        By which factor height and width grow.
    data_format : {"channels_last", "channels_first"}, optional
    interpolation : {"nearest", "bilinear"}
        "nearest" repeats each pixel; "bilinear" puts the new ones on the lines between the centres
        of the old ones, and goes on beyond the outermost as they are.

    Notes
    -----
    Input shape (batch, height, width, channels), output shape (batch, height * size, width * size,
    channels).

    Raises
    ------
    ValueError
        If an argument is none of these.

    Examples
    --------
    >>> from fastdl import Input
    >>> from fastdl.layers import UpSampling2D
    >>> UpSampling2D((2, 3), interpolation="bilinear")(Input((7, 7, 16))).shape
    (None, 14, 21, 16)
    """

    _axes = 2

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        config = {**super().get_config(), "size": list(self.size)}
        return {**config, "interpolation": self.interpolation}
