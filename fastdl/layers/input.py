"""The inputs of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastdl.layers.base import Layer, LayerCall, as_shape
from fastdl.tensor import Tensor

__all__ = ["Input", "InputLayer"]


class InputLayer(Layer):
    """Says the shape of one row of the input; computes nothing.

    Parameters
    ----------
    shape : tuple of int
        Without the batch axis.
    """

    def __init__(self, shape: Sequence[int], **kwargs: Any) -> None:
        shape = as_shape("Input: shape", shape)
        super().__init__(**{**kwargs, "input_shape": shape})
        self.built = True
        self.output = Tensor((None, *shape), name=self.name)
        self.output.layer_call = LayerCall(self, [], [self.output])

    def call(self, x: Tensor) -> Tensor:
        """x itself."""
        return x

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {"shape": list(self.given_input_shape or ()), "name": self.name}


def Input(shape: Sequence[int], name: str | None = None) -> Tensor:
    """A symbolic input to build a `Model` from.

    Parameters
    ----------
    shape : tuple of int
        The shape of one row, without the batch axis.

    Examples
    --------
    >>> from fastdl import Input, Model
    >>> from fastdl.layers import Dense
    >>> x = Input((4,))
    >>> Model(x, Dense(3)(x)).output_shape
    (None, 3)
    """
    return InputLayer(shape, name=name).output
