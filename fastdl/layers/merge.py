"""Layers that make one tensor of several."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from fastdl import ops
from fastdl.layers.base import Layer
from fastdl.repeat import filled
from fastdl.tensor import Tensor

__all__ = ["Add", "Concatenate", "Multiply"]


class _Merge(Layer):
    supports_masking = True

    def _several(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        if not isinstance(inputs, (list, tuple)) or len(inputs) < 2:
            raise ValueError(f"{self.name}: wants a list of at least two tensors")
        return inputs

    def _mask_of(self, x: Sequence[Tensor]) -> Tensor | None:
        """A time step counts where it does in any of them."""
        masks = [t.mask for t in x]
        return None if None in masks else reduce(_either, masks)


def _either(a: Tensor, b: Tensor) -> Tensor:
    return a if a is b else ops.maximum(a, b)


class Add(_Merge):
    """The sum of a list of tensors of one shape."""

    def call(self, x: Sequence[Tensor]) -> Tensor:
        """See the class."""
        return reduce(ops.add, self._several(x))


class Multiply(_Merge):
    """The elementwise product of a list of tensors of one shape."""

    def call(self, x: Sequence[Tensor]) -> Tensor:
        """See the class."""
        return reduce(ops.multiply, self._several(x))


class Concatenate(_Merge):
    """A list of tensors side by side.

    Parameters
    ----------
    axis : int, default -1
        Any but the batch axis; the other axes must agree.
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = int(axis)

    def call(self, x: Sequence[Tensor]) -> Tensor:
        """See the class."""
        tensors = self._several(x)
        try:
            return ops.concatenate(tensors, self.axis)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None

    def _mask_of(self, x: Sequence[Tensor]) -> Tensor | None:
        """Of steps one after the other that of each, else as in other layers."""
        if self.axis % len(x[0].shape) != 1 or all(t.mask is None for t in x):
            return super()._mask_of(x)
        masks = [filled((None, t.shape[1] or 0), 1.0, t) if t.mask is None else t.mask for t in x]
        return ops.concatenate(masks, 1)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "axis": self.axis}
