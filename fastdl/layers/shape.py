"""Layers that change the shape; Flatten and Reshape cost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastdl import ops
from fastdl.layers.base import Layer, at_least_one
from fastdl.layers.geometry import channels_last, format_of
from fastdl.tensor import Tensor

__all__ = ["Flatten", "Permute", "RepeatVector", "Reshape"]


class Flatten(Layer):
    """All axes but the batch become one.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, optional
        With channels first they are moved behind the other axes, so that the order of the output
        is that of channels last.
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = format_of(self, data_format)

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        if len(x.shape) > 2:
            x = channels_last(x, len(x.shape) - 2, self.data_format)
        return ops.reshape(x, (None, -1))

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "data_format": self.data_format}


class RepeatVector(Layer):
    """The input, once for each of n time steps.

    Parameters
    ----------
    n : int

    Notes
    -----
    Input shape (batch, features), output shape (batch, n, features).

    Examples
    --------
    >>> from fastdl import Input
    >>> from fastdl.layers import RepeatVector
    >>> RepeatVector(10)(Input((32,))).shape
    (None, 10, 32)
    """

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = at_least_one(self, "n", n)

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        if len(x.shape) != 2:
            raise ValueError(f"{self.name}: wants inputs of shape (batch, features), got {x.shape}")
        return ops.repeat(ops.expand_dims(x, 1), self.n, 1)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "n": self.n}


class Permute(Layer):
    """The axes in another order.

    Parameters
    ----------
    dims : tuple of int
        Which axis of the input comes first, second, ... behind the batch; they are counted from 1.

    Examples
    --------
    >>> from fastdl import Input
    >>> from fastdl.layers import Permute
    >>> Permute((2, 1))(Input((10, 64))).shape
    (None, 64, 10)
    """

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(int(d) for d in dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"{self.name}: dims must be 1 to n in some order, got {dims!r}")

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        if len(x.shape) != len(self.dims) + 1:
            raise ValueError(
                f"{self.name}: wants {len(self.dims)} axes behind the batch, got {x.shape}"
            )
        return ops.transpose(x, (0, *self.dims))

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "dims": list(self.dims)}


class Reshape(Layer):
    """Another shape for the same elements.

    Parameters
    ----------
    target_shape : tuple of int
        Without the batch axis; one entry may be -1.
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = tuple(int(s) for s in target_shape)

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        return ops.reshape(x, (None, *self.target_shape))

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "target_shape": list(self.target_shape)}
