"""Layers that change the shape; all but Permute cost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastdl import ops
from fastdl.layers.base import Layer
from fastdl.tensor import Tensor

__all__ = ["Flatten", "Permute", "Reshape"]


class Flatten(Layer):
    """All axes but the batch become one."""

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        return ops.reshape(x, (None, -1))


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
