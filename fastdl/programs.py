"""What a model runs: its network, losses, metrics and optimizer as one Program each for training,
evaluation and prediction.

Here the whole way can be read: trace the network, add losses and metrics, differentiate, add the
updates, fuse, lay out. A program is kept with the model and made again only when something that it
depends on has changed.
"""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import runtime
from fastdl.graph import differentiate, fuse, pools_first, prune, root
from fastdl.kernels import dispatch
from fastdl.layers.base import flatten
from fastdl.layout import Lowered, lower
from fastdl.tensor import Tensor, Trace, Variable, apply

if TYPE_CHECKING:
    from fastdl.model import Model

__all__ = ["Compiled", "compiled", "making", "model_dtype", "training_program"]

#: Held while a model is built or a program made: several threads may ask for the same one.
making = threading.RLock()


@dataclass
class Compiled:
    """A program and how to read its totals.

    Attributes
    ----------
    columns : list of (name, weight)
        What each row of the totals is: the name in the logs, and for losses the factor with which
        it counts in "loss" (0 for metrics).
    structure : tuple
        What the program depended on when it was made.
    lock : Lock
        Held by the thread that runs the program.
    """

    lowered: Lowered
    columns: list[tuple[str, float]]
    structure: tuple[Any, ...] = ()
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def capacity(self) -> int:
        """The most rows of a batch."""
        return self.lowered.program.capacity

    def logs(self, totals: np.ndarray) -> dict[str, Any]:
        """The means that these totals say: floats, or arrays for totals of many epochs.

        Parameters
        ----------
        totals : array, shape (..., rows of the program's totals, 2)
        """
        if totals.ndim == 2:  # of one epoch or batch: plain numbers, as NumPy's overhead would show
            means: Any = np.array([total / count if count else math.nan for total, count in totals])
        else:
            means = totals[..., 0] / totals[..., 1]
        logs = {"loss": sum(means[..., i] * w for i, (_, w) in enumerate(self.columns) if w)}
        for i, (name, _) in enumerate(self.columns):
            if name:
                logs[name] = means[..., i]
        return logs


def compiled(model: Model, kind: str, capacity: int, weighted: bool = False) -> Compiled:
    """The model's program of a kind, made where there is none that is right.

    Parameters
    ----------
    kind : {"train", "validate", "evaluate", "predict"}
        A fit validates by a program of its own, as others may evaluate meanwhile.
    capacity : int
        The most rows of a batch; the program may have room for more.
    weighted : bool
        Whether there are sample weights.
    """
    key = kind, weighted
    structure = _structure(model, kind)
    found = model._programs.get(key)
    if found is not None and found.structure == structure and found.capacity >= capacity:
        return found
    runtime.check_backend(runtime.get_backend())
    with making:
        found = model._programs.get(key)
        if found is not None and found.structure == structure:
            if found.capacity >= capacity:
                return found
            capacity = max(capacity, 2 * found.capacity)  # sizes that creep up: few programs
        made = _MAKERS[kind](model, capacity, weighted)
        made.structure = structure
        model._programs[key] = made
        return made


def _structure(model: Model, kind: str) -> tuple[Any, ...]:
    """What a program depends on. A forked process makes its own, whatever its parent was doing."""
    structure = (dispatch.isa(), os.getpid(), *model.structure())
    if kind != "train":
        return structure
    options = model.optimizer.get_config()
    del options["learning_rate"]
    return (*structure, *options.values())


def model_dtype(model: Model) -> np.dtype:
    """The float type of a model's weights; the default one where it has none.

    Raises
    ------
    TypeError
        If weights have different types.
    """
    types = {w.value.dtype for w in model.weights}
    if len(types) > 1:
        raise TypeError(
            f"{model.name}: its weights have different types: {', '.join(sorted(map(str, types)))}"
        )
    return types.pop() if types else np.dtype(runtime.floatx())


# --- the three kinds ----------------------------------------------------------------------------


def _placeholders(model: Model) -> list[Tensor]:
    return [Tensor((None, *shape), name=f"input {i}") for i, shape in enumerate(model.row_shapes)]


def _prediction(model: Model, capacity: int, weighted: bool) -> Compiled:
    inputs = _placeholders(model)
    with Trace(training=False) as trace:
        outputs = flatten(model.call_flat(inputs, training=False))
        # What is handed out must be the result of an op, not an input or a weight itself.
        outputs = [
            apply("scale", x=t) if root(t) in inputs or isinstance(root(t), Variable) else t
            for t in outputs
        ]
    nodes = pools_first(trace.nodes, outputs, model.fuse)
    steps = fuse(prune(nodes, outputs), model.fuse)
    lowered = lower(
        steps,
        capacity=capacity,
        dtype=model_dtype(model),
        feeds=inputs,
        fetches=outputs,
        totals=[],
    )
    return Compiled(lowered, [])


class _Objective:
    """The losses and metrics of a trace: their feeds, their totals, and what to differentiate."""

    def __init__(
        self, model: Model, outputs: list[Tensor], weighted: bool, gradients: bool
    ) -> None:
        self.feeds: list[Tensor] = []
        self.totals: list[Tensor] = []
        self.columns: list[tuple[str, float]] = []
        self.seeds: list[tuple[Tensor, Tensor]] = []
        weight = Tensor((None,), name="sample_weight") if weighted else None
        several = len(outputs) > 1
        metrics = []
        for target, output in zip(model.targets, outputs, strict=True):
            placeholder = Tensor(
                (None, *target.shape), "label" if target.classes else "real", name="target"
            )
            self.feeds.append(placeholder)
            spread = None if weight is None else _spread(weight, output)
            values, source, gradient = target.loss.apply(
                output, placeholder, spread, target.weight, gradients
            )
            if gradient is not None:
                self.seeds.append((source, gradient))
            self._total(values, f"{target.name}_loss" if several else "", target.weight, spread)
            metrics += [(target, m, output, source, placeholder) for m in target.metrics]
        self._penalties(model, values)
        for target, metric, output, source, placeholder in metrics:
            # The largest of softmax's outputs is that of its inputs: the softmax is not needed.
            monotone = source if metric.op.endswith("categorical_accuracy") else output
            name = f"{target.name}_{metric.name}" if several else metric.name
            self._total(metric.apply(monotone, placeholder), name, 0.0, None)
        if weight is not None:
            self.feeds.append(weight)

    def _new_total(self, name: str, weight: float) -> Tensor:
        total = Tensor((2,), "float64", name=f"total of {name}")
        self.totals.append(total)
        self.columns.append((name, weight))
        return total

    def _total(self, values: Tensor, name: str, weight: float, rows: Tensor | None) -> None:
        total = self._new_total(name, weight)
        apply("accumulate", total=total, values=values, sample_weight=rows)

    def _penalties(self, model: Model, values: Tensor) -> None:
        """What the regularizers add to the loss; the updates add their gradients."""
        penalised = [w for w in model.trainable_weights if w.regularizer is not None]
        if not penalised:
            return
        total = self._new_total("", 1.0)
        apply("accumulate", total=total, values=apply("scale", x=values, factor=0.0))
        for variable in penalised:
            r = variable.regularizer
            apply("penalty", total=total, param=variable, values=values, l1=r.l1, l2=r.l2)


def _spread(weight: Tensor, output: Tensor) -> Tensor:
    """One weight for each row of the loss; a loss over (batch, time) has more than one a sample."""
    if len(output.shape) == 2:
        return weight
    raise ValueError(
        f"sample weights need outputs of shape (batch, features), but the output is {output.shape}"
    )


def _evaluation(model: Model, capacity: int, weighted: bool) -> Compiled:
    inputs = _placeholders(model)
    with Trace(training=False) as trace:
        outputs = flatten(model.call_flat(inputs, training=False))
        objective = _Objective(model, outputs, weighted, gradients=False)
    nodes = pools_first(trace.nodes, (), model.fuse)
    return _with_totals(model, nodes, inputs, objective, capacity)


def training_program(
    model: Model, capacity: int, weighted: bool = False, fused: bool = True
) -> Compiled:
    """The program of one training step: forward, losses, metrics, backward, updates."""
    inputs = _placeholders(model)
    variables = model.trainable_weights
    with Trace(training=True) as forward:
        outputs = flatten(model.call_flat(inputs, training=True))
        objective = _Objective(model, outputs, weighted, gradients=True)
    ahead = pools_first(forward.nodes, (), fused and model.fuse)
    backward, gradients = differentiate(ahead, objective.seeds, variables)
    with Trace(training=True) as updates:
        own = _own_memory(gradients, objective)
        model.optimizer.apply({v: own[v] for v in variables if v in own})
    nodes = [*ahead, *backward, *updates.nodes]
    return _with_totals(model, nodes, inputs, objective, capacity, fused)


def _own_memory(gradients: dict[Tensor, Tensor], objective: _Objective) -> dict[Tensor, Tensor]:
    """The gradients, copied where one is a view or stands for several: each needs its own place."""
    taken = {root(gradient) for _, gradient in objective.seeds}
    own = {}
    for variable, gradient in gradients.items():
        if root(gradient) is not gradient or gradient in taken:
            gradient = apply("scale", x=gradient)
        taken.add(gradient)
        own[variable] = gradient
    return own


def _with_totals(
    model: Model,
    nodes: list[Any],
    inputs: list[Tensor],
    objective: _Objective,
    capacity: int,
    fused: bool = True,
) -> Compiled:
    lowered = lower(
        fuse(prune(nodes, ()), fused and model.fuse),
        capacity=capacity,
        dtype=model_dtype(model),
        feeds=[*inputs, *objective.feeds],
        fetches=[],
        totals=objective.totals,
    )
    return Compiled(lowered, objective.columns)


_MAKERS = {
    "train": training_program,
    "validate": _evaluation,
    "evaluate": _evaluation,
    "predict": _prediction,
}
