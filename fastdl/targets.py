"""What each output of a model is held against: its loss, its metrics, and what its targets look
like. `compile` takes one entry for all outputs, a list, or a dictionary by name; here they become
one `Target` an output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastdl import losses, metrics
from fastdl._names import nearest
from fastdl.losses import Loss
from fastdl.metrics import Metric
from fastdl.tensor import Shape

__all__ = ["Setup", "Target"]


class Target:
    """One output's loss and metrics, and the shape that a row of its targets has."""

    def __init__(
        self,
        name: str,
        loss: Loss,
        weight: float,
        metrics: list[Metric],
        unweighted: int,
        shape: tuple[int, ...],
        classes: int,
    ) -> None:
        self.name = name
        self.loss = loss
        self.weight = weight
        self.metrics = metrics
        #: So many of the metrics, the first ones, do not look at sample weights.
        self.unweighted = unweighted
        self.shape = shape
        #: How many labels there are; 0 where targets are no labels.
        self.classes = classes

    @property
    def rows(self) -> tuple[int, ...]:
        """The shape of the losses of one row: () or, say, (time,)."""
        return self.shape if self.classes else self.shape[:-1]


class Setup:
    """What `compile` was given."""

    def __init__(self, loss: Any, metrics: Any, loss_weights: Any, weighted_metrics: Any) -> None:
        self.loss = loss
        self.metrics = metrics
        self.loss_weights = loss_weights
        self.weighted_metrics = weighted_metrics

    def check_names(self) -> None:
        """Raises ValueError for a loss or metric that nobody knows, before any shape is known."""
        chosen = [losses.get(one) for one in _leaves(self.loss) if one is not None]
        for one in [*_leaves(self.metrics), *_leaves(self.weighted_metrics)]:
            if one is not None:
                metrics.get(one, chosen[0], (None, 1))

    def targets(self, names: list[str], shapes: Sequence[Shape]) -> list[Target]:
        """One entry for each of these outputs."""
        loss = _by_output("loss", self.loss, names)
        weights = _by_output("loss_weights", self.loss_weights, names, 1.0)
        plain = _metrics_by_output("metrics", self.metrics, names)
        weighted = _metrics_by_output("weighted_metrics", self.weighted_metrics, names)
        parts = zip(names, shapes, loss, weights, plain, weighted, strict=True)
        return [_target(*one) for one in parts]


def _leaves(structure: Any) -> list[Any]:
    """The entries of nested lists and dictionaries; a configuration is one entry."""
    if isinstance(structure, Mapping) and "class_name" not in structure:
        structure = list(structure.values())
    if isinstance(structure, (list, tuple)):
        return [leaf for part in structure for leaf in _leaves(part)]
    return [structure]


def _metrics_by_output(what: str, wanted: Any, names: list[str]) -> list[list[Any]]:
    if wanted is not None and len(names) == 1 and not isinstance(wanted, Mapping):
        wanted = [wanted if isinstance(wanted, (list, tuple)) else [wanted]]
    listed = _by_output(what, wanted, names, [])
    return [[m for m in _leaves(one) if m is not None] for one in listed]


def _by_output(what: str, value: Any, names: list[str], default: Any = None) -> list[Any]:
    """One entry an output, from a single one, a list or a dictionary."""
    if value is None or (isinstance(value, (list, tuple)) and not value):
        return [default] * len(names)
    if isinstance(value, Mapping) and "class_name" not in value:
        for key in value:
            if key not in names:
                raise ValueError(
                    f"compile: {what} names {key!r}{nearest(str(key), names)}, but the outputs are "
                    f"{', '.join(names)}"
                )
        return [value.get(n, default) for n in names]
    if isinstance(value, (list, tuple)):
        if len(value) != len(names):
            raise ValueError(
                f"compile: {what} has {len(value)} entries, but there are {len(names)} outputs: "
                f"{', '.join(names)}"
            )
        return list(value)
    return [value] * len(names)


def _target(
    name: str, shape: Shape, loss_name: Any, weight: Any, plain: list[Any], weighted: list[Any]
) -> Target:
    if loss_name is None:
        raise ValueError(f"compile: output {name} has no loss")
    if len(shape) < 2:
        raise ValueError(f"output {name} has shape {shape}; losses want (batch, ..., outputs)")
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise TypeError(f"compile: the loss weight of {name} must be a number, got {weight!r}")
    loss = losses.get(loss_name)
    chosen = [metrics.get(m, loss, shape) for m in [*plain, *weighted]]
    for metric in chosen:
        if metric.targets not in ("any", "labels" if loss.labels else "arrays"):
            raise ValueError(
                f"metric {metric.name} and loss {loss!r} want different targets: labels for one, "
                f"an array like the output for the other"
            )
        metric.check(shape)
    target = tuple(s for s in loss.target_shape(shape)[1:] if s is not None)
    classes = (shape[-1] or 0) if loss.labels else 0
    return Target(name, loss, float(weight), chosen, len(plain), target, classes)
