"""Vectors for whole numbers, and for places in a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl import initializers, ops, regularizers, runtime
from fastdl.layers.base import Layer, at_least_one
from fastdl.shaping import as_labels
from fastdl.tensor import Shape, Tensor, constant

__all__ = ["Embedding", "PositionalEncoding"]


class Embedding(Layer):
    """A vector for each whole number, learned.

    Parameters
    ----------
    input_dim : int
        How many numbers there are: inputs lie from 0 to input_dim - 1.
    output_dim : int
        The length of the vectors.
    embeddings_initializer : str or Initializer, default "uniform"
    embeddings_regularizer : str or Regularizer, optional
    mask_zero : bool, default False
        Whether 0 stands for padding: layers behind that know masks then pass over its places.

    Notes
    -----
    Input shape (batch, ...) of whole numbers of any type, output shape (batch, ..., output_dim);
    ``embeddings`` has shape (input_dim, output_dim). The gradient adds up the rows of equal numbers
    in the order of the batch, so that it has the same bits for any number of threads.

    Raises
    ------
    ValueError
        From a fit, a prediction or a call with a number that is out of range; the first row that
        holds one is named.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdl import Sequential
    >>> from fastdl.layers import Embedding
    >>> Sequential([Embedding(10, 4)]).predict(np.array([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        mask_zero: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_dim = at_least_one(self, "input_dim", input_dim)
        self.output_dim = at_least_one(self, "output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.mask_zero = bool(mask_zero)

    def build(self, input_shape: Shape) -> None:
        """Makes ``embeddings``."""
        self.embeddings = self.add_weight(
            "embeddings",
            (self.input_dim, self.output_dim),
            self.embeddings_initializer,
            self.embeddings_regularizer,
        )

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        labels = as_labels(self.name, x)
        out = ops.take(self.embeddings, labels)
        if self.mask_zero:
            counts = np.ones((self.input_dim, 1))
            counts[0] = 0
            mask = ops.take(constant(counts, runtime.floatx()), labels)
            out.mask = ops.reshape(mask, mask.shape[:-1])
        return out

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.serialize(self.embeddings_regularizer),
            "mask_zero": self.mask_zero,
        }


class PositionalEncoding(Layer):
    """Adds to each place of a sequence a pattern of waves that tells it apart.

    Place t gets sin(t / w) in the even and cos(t / w) in the odd features, the wave lengths w going
    from 1 to max_wavelength in a geometric series (Vaswani et al. 2017).

    Parameters
    ----------
    max_wavelength : float, default 10000

    Notes
    -----
    Input and output shape (batch, places, features).
    """

    def __init__(self, max_wavelength: float = 10000.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_wavelength = float(max_wavelength)
        if not self.max_wavelength >= 1.0:
            raise ValueError(f"{self.name}: max_wavelength must be >= 1, got {max_wavelength!r}")

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        if len(x.shape) != 3:
            raise ValueError(f"{self.name}: wants shape (batch, places, features), got {x.shape}")
        _, places, features = x.shape
        return ops.add(x, self.encoding(places or 0, features or 0))

    def encoding(self, places: int, features: int) -> np.ndarray:
        """The pattern, shape (places, features)."""
        pairs = np.arange(features) // 2
        waves = self.max_wavelength ** (2 * pairs / features)
        angles = np.arange(places)[:, None] / waves
        return np.where(np.arange(features) % 2 == 0, np.sin(angles), np.cos(angles))

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "max_wavelength": self.max_wavelength}
