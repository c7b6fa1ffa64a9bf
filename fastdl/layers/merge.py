"""Layers that make one tensor of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

from fastdl import ops
from fastdl.layers.base import Layer
from fastdl.tensor import Tensor

__all__ = ["Add", "Concatenate", "Multiply"]


class _Merge(Layer):
    def _several(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        if not isinstance(inputs, (list, tuple)) or len(inputs) < 2:
            raise ValueError(f"{self.name}: wants a list of at least two tensors")
        return inputs


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
        ndim = len(tensors[0].shape)
        axis = self.axis + ndim if self.axis < 0 else self.axis
        shapes = [t.shape for t in tensors]
        if not 0 < axis < ndim or any(
            len(s) != ndim or s[:axis] != shapes[0][:axis] or s[axis + 1 :] != shapes[0][axis + 1 :]
            for s in shapes
        ):
            raise ValueError(f"{self.name}: cannot join {shapes} along axis {self.axis}")
        # The op joins last axes: what stands behind the axis becomes part of it meanwhile.
        inner = math.prod(length or 0 for length in shapes[0][axis + 1 :])
        lengths = [s[axis] or 0 for s in shapes]
        rows = [
            ops.reshape(t, (*t.shape[:axis], n * inner))
            for t, n in zip(tensors, lengths, strict=True)
        ]
        joined = reduce(ops.concatenate, rows)
        total = sum(lengths)
        return ops.reshape(joined, (*shapes[0][:axis], total, *shapes[0][axis + 1 :]))

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "axis": self.axis}
