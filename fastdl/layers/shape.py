"""Layers that only change the shape; they cost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastdl import ops
from fastdl.layers.base import Layer
from fastdl.tensor import Tensor

__all__ = ["Flatten", "Reshape"]


class Flatten(Layer):
    """All axes but the batch become one."""

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        return ops.reshape(x, (None, -1))


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
