"""Layers that are random in training and do nothing afterwards."""

from __future__ import annotations

from typing import Any, ClassVar

from fastdl import ops
from fastdl.layers.base import Layer
from fastdl.layers.geometry import format_of, shape_of
from fastdl.repeat import filled
from fastdl.tensor import Tensor, apply
from fastdl.trace import current_trace

__all__ = ["Dropout", "GaussianNoise", "SpatialDropout1D", "SpatialDropout2D"]


def stream() -> int:
    """A number that tells this use of random numbers apart from the others in the model."""
    trace = current_trace()
    return 0 if trace is None else next(trace.streams)


class Dropout(Layer):
    """Zeroes a share of the elements in training and scales the rest up to keep the mean.

    Parameters
    ----------
    rate : float, 0 <= rate < 1
        The share that is dropped (Srivastava et al. 2014).
    """

    supports_masking = True

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = float(rate)
        if not 0.0 <= self.rate < 1.0:
            raise ValueError(f"{self.name}: rate must be >= 0 and < 1, got {rate!r}")

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """See the class."""
        if not training or self.rate == 0.0:
            return x
        return apply("dropout_forward", x=x, rate=self.rate, stream=stream())

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "rate": self.rate}


class _SpatialDropout(Dropout):
    """Dropout of whole channels."""

    _axes: ClassVar[int]

    def __init__(self, rate: float, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)
        self.data_format = format_of(self, data_format)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """See the class."""
        *_, channels = shape_of(self, x.shape, self._axes, self.data_format)
        if not training or self.rate == 0.0:
            return x
        ones = (1,) * self._axes
        last = self.data_format == "channels_last"
        kept = super().call(filled((None, channels), 1.0, x), training=True)
        return x * ops.reshape(kept, (None, *ones, channels) if last else (None, channels, *ones))

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "data_format": self.data_format}


class SpatialDropout1D(_SpatialDropout):
    """Zeroes a share of the channels in training, each in all steps, and scales the rest up.

    Parameters
    ----------
    rate : float, 0 <= rate < 1
        The share that is dropped (Tompson et al. 2015).

    Notes
    -----
    Input shape (batch, steps, channels).
    """

    _axes = 1

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        config = super().get_config()
        del config["data_format"]
        return config


class SpatialDropout2D(_SpatialDropout):
    """Zeroes a share of the channels in training, each in the whole image, and scales the rest up.

    Parameters
    ----------
    rate : float, 0 <= rate < 1
        The share that is dropped (Tompson et al. 2015).
    data_format : {"channels_last", "channels_first"}, optional

    Notes
    -----
    Input shape (batch, height, width, channels).
    """

    _axes = 2


class GaussianNoise(Layer):
    """Adds normal noise of mean 0 in training.

    Parameters
    ----------
    stddev : float >= 0
    """

    supports_masking = True

    def __init__(self, stddev: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stddev = float(stddev)
        if not self.stddev >= 0.0:
            raise ValueError(f"{self.name}: stddev must be >= 0, got {stddev!r}")

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """See the class."""
        if not training or self.stddev == 0.0:
            return x
        return apply("gaussian_noise_forward", x=x, stddev=self.stddev, stream=stream())

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "stddev": self.stddev}
