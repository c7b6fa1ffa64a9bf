"""What a program computes beside the network: losses, penalties and metrics, and their totals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl.arithmetic import broadcast_to
from fastdl.losses import mask_of_losses, masked_weights
from fastdl.metrics.base import Metric, NativeMetric, split
from fastdl.tensor import Tensor, Variable, apply, constant
from fastdl.trace import reshape

if TYPE_CHECKING:
    from fastdl.model import Model

__all__ = ["Column", "Kept", "Objective"]


class Column:
    """Where the totals hold the sums of a loss or a metric, and what is made of them.

    Attributes
    ----------
    name : str
        In the logs; empty where it is part of the loss only.
    weight : float
        The factor with which it counts in "loss"; 0 for metrics.
    at : slice
        Of the program's totals.
    metric : NativeMetric, optional
        What makes a number of them. Without it they are a sum and a count.
    shapes : dict
        The shapes of the metric's accumulators.
    """

    def __init__(
        self,
        name: str,
        weight: float,
        at: slice,
        metric: NativeMetric | None = None,
        shapes: dict[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.name = name
        self.weight = weight
        self.at = at
        self.metric = metric
        self.shapes = shapes or {}

    def value(self, totals: np.ndarray) -> Any:
        """What these totals say, or an array where they are of many epochs."""
        own = totals[..., self.at]
        if own.ndim > 1 and self.shapes.keys() - {"total"}:
            return np.array([self.value(epoch) for epoch in totals])
        if self.metric is not None:
            return self.metric.compute(
                **({"total": own} if own.ndim > 1 else split(own, self.shapes))
            )
        if own.ndim > 1:
            return own[..., 0] / own[..., 1]
        return own[0] / own[1] if own[1] else math.nan


class Kept:
    """A metric in plain Python, and which of the program's fetches it wants.

    Attributes
    ----------
    name : str
        In the logs.
    fetches : tuple of int
        Of targets, outputs and, where it wants them, weights.
    """

    def __init__(self, name: str, metric: Metric, fetches: tuple[int, ...]) -> None:
        self.name = name
        self.metric = metric
        self.fetches = fetches


class Objective:
    """The losses and metrics of a trace: their feeds, their totals, and what to differentiate."""

    def __init__(
        self, model: Model, outputs: list[Tensor], weighted: bool, gradients: bool
    ) -> None:
        self.feeds: list[Tensor] = []
        self.totals: list[Tensor] = []
        self.columns: list[Column] = []
        self.fetches: list[Tensor] = []
        self.kept: list[Kept] = []
        self.seeds: list[tuple[Tensor, Tensor]] = []
        self._names = {"loss"}
        self._size = 0
        several = len(outputs) > 1
        weights: list[Tensor | None] = [None] * len(outputs)
        if weighted:
            weights = [Tensor((None, *t.rows), name="sample_weight") for t in model.targets]
        parts = []
        for target, output, weight in zip(model.targets, outputs, weights, strict=True):
            placeholder = Tensor(
                (None, *target.shape), "label" if target.classes else "real", name="target"
            )
            self.feeds.append(placeholder)
            mask = mask_of_losses(output, (None, *target.rows))
            share = weight if mask is None else masked_weights(mask, weight)
            values, source, gradient = target.loss.apply(
                output, placeholder, share, target.weight, gradients
            )
            if gradient is not None:
                self.seeds.append((source, gradient))
            total = self._mean(f"{target.name}_loss" if several else "", target.weight)
            apply("accumulate", total=total, values=values, sample_weight=share)
            counted = weight if mask is None else mask if weight is None else mask * weight
            parts.append((target, output, source, placeholder, mask, counted))
        self._penalties(model, values)
        for target, output, source, placeholder, mask, counted in parts:
            prefix = f"{target.name}_" if several else ""
            for k, metric in enumerate(target.metrics):
                own = counted if k >= target.unweighted else mask
                self._metric(metric, prefix, output, source, placeholder, own)
        self.feeds += [w for w in weights if w is not None]

    def _unique(self, name: str) -> str:
        """The name, or another one where there is a column of that name, as in Keras."""
        if name in self._names:
            name = f"weighted_{name}"
        self._names.add(name)
        return name

    def _new_total(self, shape: tuple[int, ...]) -> Tensor:
        total = Tensor(shape, "float64", name="total")
        self.totals.append(total)
        self._size += math.prod(shape)
        return total

    def squares(self, name: str, values: Tensor) -> None:
        """Adds up the squares of these numbers, of every batch; they are not in the logs."""
        total = self._new_total((2,))
        total.name = f"squares of {name}"
        apply("accumulate_squares", total=total, values=values)

    def _mean(self, name: str, weight: float) -> Tensor:
        self.columns.append(Column(name, weight, slice(self._size, self._size + 2)))
        return self._new_total((2,))

    def _metric(
        self,
        metric: Metric,
        prefix: str,
        output: Tensor,
        source: Tensor,
        target: Tensor,
        weight: Tensor | None,
    ) -> None:
        name = self._unique(prefix + metric.name)
        if not isinstance(metric, NativeMetric):
            wanted = [target, output, *([] if weight is None else [weight])]
            self.kept.append(Kept(name, metric, tuple(map(self._fetch, wanted))))
            return
        shapes, first = metric.accumulators(output.shape), self._size
        totals = {key: self._new_total(shape) for key, shape in shapes.items()}
        # The largest of softmax's outputs is that of its inputs: the softmax is not needed.
        ordered = metric.by_order and source.shape == output.shape
        metric.add(totals, source if ordered else output, target, weight)
        self.columns.append(Column(name, 0.0, slice(first, self._size), metric, shapes))

    def _fetch(self, tensor: Tensor) -> int:
        """Which of the fetches a tensor is."""
        for i, known in enumerate(self.fetches):
            if known is tensor:
                return i
        self.fetches.append(tensor)
        return len(self.fetches) - 1

    def _penalties(self, model: Model, values: Tensor) -> None:
        """What the regularizers add to the loss. Where factors say all, the updates add their
        gradients; what the user's own compute is differentiated with the rest."""
        penalised = [w for w in model.trainable_weights if w.regularizer is not None]
        simple = [(w, w.regularizer.factors) for w in penalised if w.regularizer.factors]
        if simple:
            total = self._mean("", 1.0)
            apply("accumulate", total=total, values=apply("scale", x=values, factor=0.0))
        for variable, (l1, l2) in simple:
            apply("penalty", total=total, param=variable, values=values, l1=l1, l2=l2)
        for variable in penalised:
            if variable.regularizer.factors is None:
                self._own_penalty(variable, values)

    def _own_penalty(self, variable: Variable, values: Tensor) -> None:
        penalty = variable.regularizer(variable)
        if not isinstance(penalty, Tensor) or math.prod(s or 0 for s in penalty.shape) != 1:
            raise TypeError(
                f"the regularizer {variable.regularizer!r} must give a tensor of one number, got "
                f"{penalty!r}"
            )
        self.seeds.append((penalty, constant(np.ones(penalty.shape), variable.value.dtype)))
        rows = broadcast_to(reshape(penalty, (1,)), (None, 1), like=values)
        apply("accumulate", total=self._mean("", 1.0), values=reshape(rows, (None,)))
