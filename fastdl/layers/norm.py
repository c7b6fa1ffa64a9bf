"""Normalisation over the batch and over the features."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fastdl import initializers, ops, regularizers
from fastdl.layers.base import Layer, axis_length
from fastdl.tensor import Shape, Tensor, apply

__all__ = ["BatchNormalization", "LayerNormalization"]


class _Normalization(Layer):
    """What both share: gamma and beta over the last axis, and the convention."""

    supports_masking = True

    _epsilons: ClassVar = {"keras": 1e-3, "torch": 1e-5}

    def __init__(
        self,
        epsilon: float | None = None,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        convention: str = "keras",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if convention not in self._epsilons:
            raise ValueError(
                f"{self.name}: convention must be 'keras' or 'torch', got {convention!r}"
            )
        self.convention = convention
        self.epsilon = self._epsilons[convention] if epsilon is None else float(epsilon)
        if not self.epsilon >= 0:
            raise ValueError(f"{self.name}: epsilon must be >= 0, got {epsilon!r}")
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)

    def build(self, input_shape: Shape) -> None:
        """Makes ``gamma`` and ``beta``."""
        features = (self._features(input_shape),)
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(
                "gamma", features, self.gamma_initializer, self.gamma_regularizer
            )
        if self.center:
            self.beta = self.add_weight(
                "beta", features, self.beta_initializer, self.beta_regularizer
            )

    def _features(self, shape: Shape) -> int:
        return axis_length(self, shape)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
            "convention": self.convention,
        }


class BatchNormalization(_Normalization):
    """Normalises each feature over the batch (Ioffe & Szegedy 2015).

    In training it uses the batch's mean and biased variance and moves the running ones towards
    them; afterwards, and where ``trainable`` is False, it uses the running ones. Masked time steps
    do not count.

    Parameters
    ----------
    axis : int, default -1
        Which axis the features are: 1 with channels first.
    momentum : float, 0 ... 1
        running = momentum*running + (1 - momentum)*batch; default 0.99, or 0.9 with
        ``convention="torch"`` (which PyTorch calls 0.1).
    epsilon : float >= 0
        Default 1e-3, or 1e-5 with ``convention="torch"``.
    center, scale : bool, default True
        Whether there are ``beta`` and ``gamma``.
    convention : {"keras", "torch"}
        PyTorch keeps the unbiased variance in the running statistics.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float | None = None,
        epsilon: float | None = None,
        center: bool = True,
        scale: bool = True,
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        **kwargs: Any,
    ) -> None:
        super().__init__(epsilon, center, scale, **kwargs)
        if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)) or axis == 0:
            raise ValueError(f"{self.name}: axis must be a whole number but 0, got {axis!r}")
        self.axis = int(axis)
        default = 0.99 if self.convention == "keras" else 0.9
        self.momentum = default if momentum is None else float(momentum)
        if not 0.0 <= self.momentum <= 1.0:
            raise ValueError(f"{self.name}: momentum must be from 0 to 1, got {momentum!r}")
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def build(self, input_shape: Shape) -> None:
        """Makes the weights and the running statistics."""
        super().build(input_shape)
        features = (self._features(input_shape),)
        self.moving_mean = self.add_weight(
            "moving_mean", features, self.moving_mean_initializer, trainable=False
        )
        self.moving_variance = self.add_weight(
            "moving_variance", features, self.moving_variance_initializer, trainable=False
        )

    def _place(self, shape: Shape) -> int:
        """The number of the axis of features."""
        place = self.axis + len(shape) * (self.axis < 0)
        if not 1 <= place < len(shape) or shape[place] is None:
            raise ValueError(
                f"{self.name}: inputs of shape {shape} have no features on {self.axis}"
            )
        return place

    def _features(self, shape: Shape) -> int:
        return shape[self._place(shape)] or 0

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """See the class."""
        place, last = self._place(x.shape), len(x.shape) - 1
        if place == last:
            return self._normalized(x, training)
        behind = [*range(place), *range(place + 1, last + 1), place]
        out = self._normalized(ops.transpose(x, behind), training)
        return ops.transpose(out, [*range(place), last, *range(place, last)])

    def _normalized(self, x: Tensor, training: bool) -> Tensor:
        """The same, on features in the last axis."""
        weights = {"gamma": self.gamma, "beta": self.beta, "epsilon": self.epsilon}
        if not training or not self.trainable:
            return apply(
                "batchnorm_inference",
                x=x,
                mean=self.moving_mean,
                variance=self.moving_variance,
                **weights,
            )
        mask: Tensor | None = x.mask
        if mask is None:
            mean, variance = apply("batchnorm_statistics", x=x)
        else:  # over the time steps that count
            inside = x.shape[2:-1]  # of images, say
            counted = ops.maximum(ops.sum(mask) * math.prod(n or 0 for n in inside), 1.0)
            share = ops.reshape(mask / counted, (*mask.shape, *(1 for _ in inside), 1))
            axes = tuple(range(len(x.shape) - 1))
            mean = ops.sum(x * share, axes)
            distance = x - mean
            variance = ops.sum(distance * distance * share, axes)
        apply(
            "batchnorm_update",
            running_mean=self.moving_mean,
            running_variance=self.moving_variance,
            mean=mean,
            variance=variance,
            x=x,
            momentum=self.momentum,
            unbiased=self.convention == "torch",
        )
        if mask is None:
            return apply("batchnorm_forward", x=x, mean=mean, variance=variance, **weights)
        out = distance / ops.sqrt(variance + self.epsilon)
        out = out if self.gamma is None else out * self.gamma
        return out if self.beta is None else out + self.beta

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
        }


class LayerNormalization(_Normalization):
    """Normalises each row over its features (Ba, Kiros & Hinton 2016).

    Parameters
    ----------
    epsilon : float >= 0
        Default 1e-3, or 1e-5 with ``convention="torch"``.
    center, scale : bool, default True
        Whether there are ``beta`` and ``gamma``.
    """

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        out, _, _ = apply(
            "layernorm_forward", x=x, gamma=self.gamma, beta=self.beta, epsilon=self.epsilon
        )
        return out
