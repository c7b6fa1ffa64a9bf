"""Attention: each place of a sequence takes a weighted mean of what others hold."""

from __future__ import annotations

import math
from typing import Any

from fastdl import initializers, ops, regularizers
from fastdl.layers.base import Layer, at_least_one, axis_length
from fastdl.layers.dropout import stream
from fastdl.tensor import Shape, Tensor, Variable, apply

__all__ = ["Attention", "MultiHeadAttention"]


def _share(layer: Layer, value: float) -> float:
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{layer.name}: dropout must be >= 0 and < 1, got {value!r}")
    return float(value)


class _Attention(Layer):
    """What the two have in common: their inputs, masks and the op."""

    supports_masking = True

    dropout: float
    use_causal_mask: bool

    def _parts(self, x: Any) -> tuple[Any, Any, Any, Any]:
        """Query, value, key and attention mask, of whatever kind the leaves are."""
        if isinstance(x, dict):
            unknown = x.keys() - {"query", "value", "key", "attention_mask"}
            if unknown or not {"query", "value"} <= x.keys():
                raise ValueError(
                    f"{self.name}: wants query and value, and may have key and attention_mask, got "
                    f"{', '.join(map(str, x))}"
                )
            return x["query"], x["value"], x.get("key", x["value"]), x.get("attention_mask")
        if isinstance(x, list):
            if not 2 <= len(x) <= 3:
                raise ValueError(f"{self.name}: wants [query, value] or [query, value, key]")
            return x[0], x[1], x[-1] if len(x) == 3 else x[1], None
        return x, x, x, None

    def _mask_of(self, x: Any) -> Tensor | None:
        """The query's: there is an output for each of its places."""
        mask: Tensor | None = self._parts(list(x) if isinstance(x, tuple) else x)[0].mask
        return mask

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, value: Tensor, mask: Tensor | None,
        scale: float, training: bool,
    ) -> Tensor:  # fmt: skip
        """The op, on (batch, places, heads, features)."""
        if mask is not None and mask.shape != (q.shape[0], q.shape[1], k.shape[1]):
            raise ValueError(
                f"{self.name}: wants an attention_mask of shape (batch, {q.shape[1]}, "
                f"{k.shape[1]}), got {mask.shape}"
            )
        options: dict[str, Any] = {"scale": scale, "causal": self.use_causal_mask}
        if training and self.dropout > 0.0:
            options |= {"rate": self.dropout, "stream": stream()}
        out, _ = apply(
            "attention_forward", q=q, k=k, v=v, mask=mask, key_mask=value.mask, **options
        )
        return out

    def _check(self, query: Tensor, value: Tensor, key: Tensor) -> None:
        for name, x in (("query", query), ("value", value), ("key", key)):
            if len(x.shape) != 3:
                raise ValueError(
                    f"{self.name}: wants a {name} of shape (batch, places, features), got {x.shape}"
                )
        if key.shape[:2] != value.shape[:2]:
            raise ValueError(
                f"{self.name}: key {key.shape} and value {value.shape} differ in their places"
            )


class Attention(_Attention):
    """Dot-product attention, without weights of its own: softmax(query @ key.T) @ value.

    Parameters
    ----------
    use_scale : bool, default False
        Whether the scores are multiplied by a number that is learned.
    dropout : float, 0 <= dropout < 1
        The share of the weights that is dropped in training.
    use_causal_mask : bool, default False
        Whether a place looks at places up to its own only.

    Notes
    -----
    Called with ``[query, value]`` or ``[query, value, key]`` of shapes (batch, T, features),
    (batch, S, features of the output), (batch, S, features); key is value by default. Or with a
    dictionary that may have an ``attention_mask`` (batch, T, S), 0 where a place may not look. The
    mask of the value (see `Embedding`) counts too.
    """

    def __init__(
        self,
        use_scale: bool = False,
        dropout: float = 0.0,
        use_causal_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.use_scale = bool(use_scale)
        self.dropout = _share(self, dropout)
        self.use_causal_mask = bool(use_causal_mask)

    def build(self, input_shape: Any) -> None:
        """Makes ``scale`` if there is one."""
        self.scale: Variable | None = None
        if self.use_scale:
            self.scale = self.add_weight("scale", (1,), "ones")

    def call(self, x: Any, training: bool = False) -> Tensor:
        """See the class."""
        query, value, key, mask = self._parts(list(x) if isinstance(x, tuple) else x)
        self._check(query, value, key)
        if query.shape[-1] != key.shape[-1]:
            raise ValueError(
                f"{self.name}: query {query.shape} and key {key.shape} differ in their features"
            )
        if self.scale is not None:
            query = query * self.scale
        q, k, v = (ops.expand_dims(t, 2) for t in (query, key, value))
        return ops.squeeze(self._attend(q, k, v, value, mask, 1.0, training), 2)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "use_scale": self.use_scale,
            "dropout": self.dropout,
            "use_causal_mask": self.use_causal_mask,
        }


class MultiHeadAttention(_Attention):
    """Attention by several heads side by side, each on projections of its own.

    Parameters
    ----------
    num_heads : int
    key_dim : int
        The features of each head's queries and keys.
    value_dim : int, optional
        The features of each head's values; by default key_dim.
    dropout : float, 0 <= dropout < 1
        The share of the attention weights that is dropped in training.
    use_bias : bool, default True
    output_shape : int, optional
        The features of the output; by default those of the query.
    kernel_initializer, bias_initializer : str or Initializer
        Default "glorot_uniform", "zeros".
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
    use_causal_mask : bool, default False
        Whether a place looks at places up to its own only.

    Notes
    -----
    Called with one tensor (batch, T, features) it attends to itself. Otherwise with
    ``[query, value]``, ``[query, value, key]`` or a dictionary, as `Attention`. The weights are
    ``query_kernel``, ``key_kernel``, ``value_kernel``, of shape (features, heads*dim), and
    ``output_kernel`` (heads*value_dim, output features), each with its bias (Vaswani et al. 2017).

    Examples
    --------
    >>> from fastdl import Input
    >>> from fastdl.layers import MultiHeadAttention
    >>> MultiHeadAttention(num_heads=4, key_dim=16)(Input((10, 64))).shape
    (None, 10, 64)
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        use_causal_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = at_least_one(self, "num_heads", num_heads)
        self.key_dim = at_least_one(self, "key_dim", key_dim)
        self.value_dim = self.key_dim
        if value_dim is not None:
            self.value_dim = at_least_one(self, "value_dim", value_dim)
        self.dropout = _share(self, dropout)
        self.use_bias = bool(use_bias)
        self.output_features = None
        if output_shape is not None:
            self.output_features = at_least_one(self, "output_shape", output_shape)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.use_causal_mask = bool(use_causal_mask)

    def build(self, input_shape: Any) -> None:
        """Makes the four matrices and their biases."""
        # A list of shapes has the form of the inputs; one shape is a tuple.
        query, value, key, _ = self._parts(input_shape)
        keys, values = self.num_heads * self.key_dim, self.num_heads * self.value_dim
        features = axis_length(self, query)
        self._projections = {
            name: self._project(name, axis_length(self, shape), width)
            for name, shape, width in (
                ("query", query, keys),
                ("key", key, keys),
                ("value", value, values),
                ("output", (None, values), self.output_features or features),
            )
        }

    def _project(self, name: str, features: int, width: int) -> tuple[Variable, Variable | None]:
        kernel = self.add_weight(
            f"{name}_kernel", (features, width), self.kernel_initializer, self.kernel_regularizer
        )
        if not self.use_bias:
            return kernel, None
        return kernel, self.add_weight(
            f"{name}_bias", (width,), self.bias_initializer, self.bias_regularizer
        )

    def _projected(self, name: str, x: Tensor) -> Tensor:
        kernel, bias = self._projections[name]
        return apply("dense_forward", x=x, weight=kernel, bias=bias)

    def _heads(self, name: str, x: Tensor) -> Tensor:
        """(batch, places, heads, features of a head)."""
        out = self._projected(name, x)
        shape: Shape = (*out.shape[:2], self.num_heads, (out.shape[-1] or 0) // self.num_heads)
        return ops.reshape(out, shape)

    def call(self, x: Any, training: bool = False) -> Tensor:
        """See the class."""
        query, value, key, mask = self._parts(list(x) if isinstance(x, tuple) else x)
        self._check(query, value, key)
        q, k = self._heads("query", query), self._heads("key", key)
        v = self._heads("value", value)
        scale = 1 / math.sqrt(self.key_dim)
        out = self._attend(q, k, v, value, mask, scale, training)
        joined = ops.reshape(out, (*out.shape[:2], self.num_heads * self.value_dim))
        return self._projected("output", joined)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "output_shape": self.output_features,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "use_causal_mask": self.use_causal_mask,
        }
