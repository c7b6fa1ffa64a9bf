"""Layers that are random in training and do nothing afterwards."""

from __future__ import annotations

from typing import Any

from fastdl.layers.base import Layer
from fastdl.tensor import Tensor, apply, current_trace

__all__ = ["Dropout", "GaussianNoise"]


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
