"""What a model runs: its network, losses, metrics and optimizer as one Program each for training,
evaluation and prediction.

Here the whole way can be read: trace the network, add losses and metrics, differentiate, add the
updates, fuse, lay out. A program is kept with the model and made again only when something that it
depends on has changed.
"""

from __future__ import annotations

import copy
import math
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import runtime
from fastdl.arithmetic import broadcast_to
from fastdl.graph import Step, differentiate, fuse, prune, root
from fastdl.kernels import dispatch
from fastdl.layers.base import flatten
from fastdl.loops import take_in, turn_weights
from fastdl.lowering import Lowered, lower
from fastdl.metrics.base import Metric, NativeMetric, plain, split
from fastdl.rewrites import rewritten, sums_of_pooled
from fastdl.tensor import Tensor, Variable, apply, constant
from fastdl.trace import Node, Trace, reshape, wrong_batch

if TYPE_CHECKING:
    from fastdl.model import Model

__all__ = ["Column", "Compiled", "Kept", "compiled", "making", "model_dtype", "training_program"]

#: Held while a model is built or a program made: several threads may ask for the same one.
making = threading.RLock()


@dataclass(eq=False)
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

    name: str
    weight: float
    at: slice
    metric: NativeMetric | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

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


@dataclass(eq=False)
class Kept:
    """A metric in plain Python, and which of the program's fetches it wants.

    Attributes
    ----------
    name : str
        In the logs.
    fetches : tuple of int
        Of targets, outputs and, where it wants them, weights.
    """

    name: str
    metric: Metric
    fetches: tuple[int, ...]


@dataclass(eq=False)
class Compiled:
    """A program and how to read its totals.

    Attributes
    ----------
    columns : list of Column
        What the totals are, one behind the other.
    kept : list of Kept
        The metrics that see all rows of an epoch at its end.
    norms : list of Variable
        The weights whose norms are added up: each has two pairs at the end of the totals, the
        squares of its gradient and of itself.
    structure : tuple
        What the program depended on when it was made.
    lock : Lock
        Held by the thread that runs the program.
    """

    lowered: Lowered
    columns: list[Column]
    kept: list[Kept] = field(default_factory=list)
    norms: list[Variable] = field(default_factory=list)
    structure: tuple[Any, ...] = ()
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def capacity(self) -> int:
        """The most rows of a batch."""
        return self.lowered.program.capacity

    def check_batches(self, rows: int, batch: int) -> Compiled:
        """Itself; an error where stateful layers want other batches.

        Parameters
        ----------
        rows, batch : int
            How many there are in all, and in each batch but the last.
        """
        wanted = self.lowered.batch_rows
        if wanted is not None and (batch != wanted or rows % wanted):
            raise wrong_batch(batch if batch != wanted else rows % wanted, wanted)
        return self

    @property
    def losses(self) -> int:
        """How many columns, the first ones, are losses: of each a sum and a count."""
        return sum(column.weight != 0 for column in self.columns)

    @property
    def names(self) -> list[str]:
        """What `logs` and `kept_logs` give."""
        return [*(c.name for c in self.columns), *(k.name for k in self.kept)]

    def squares(self, totals: np.ndarray) -> dict[str, tuple[float, float, float]]:
        """Of each of the ``norms``: the sums of squares of its gradients and of itself, and of how
        many batches."""
        rows = totals[len(totals) - 4 * len(self.norms) :].reshape(-1, 2).tolist()
        return {
            variable.name: (rows[2 * i][0], rows[2 * i + 1][0], rows[2 * i][1])
            for i, variable in enumerate(self.norms)
        }

    def results(self, rows: int) -> list[np.ndarray]:
        """Arrays for what the program hands out for so many rows."""
        buffers = self.lowered.program.fetch_buffers
        return [np.empty((rows, *b.shape[1:]), b.dtype) for b in buffers]

    def logs(self, totals: np.ndarray) -> dict[str, Any]:
        """The losses and metrics that these totals say, or arrays of them for many epochs.

        Parameters
        ----------
        totals : array, shape (..., of the program's totals)
        """
        values = [column.value(totals) for column in self.columns]
        pairs = list(zip(self.columns, values, strict=True))
        logs = {"loss": sum(value * c.weight for c, value in pairs if c.weight)}
        logs.update({c.name: value for c, value in pairs if c.name})
        return logs

    def kept_logs(self, results: list[np.ndarray]) -> dict[str, Any]:
        """The metrics that are made of all rows of an epoch.

        Parameters
        ----------
        results : list of array
            What the program has handed out.
        """
        logs = {}
        for one in self.kept:
            metric = copy.deepcopy(one.metric)  # others may use it meanwhile
            logs[one.name] = plain(metric(*(results[i] for i in one.fetches)))
        return logs


def compiled(
    model: Model, kind: str, capacity: int, weighted: bool = False, norms: bool = False
) -> Compiled:
    """The model's program of a kind, made where there is none that is right.

    Parameters
    ----------
    kind : {"train", "validate", "evaluate", "predict"}
        A fit validates by a program of its own, as others may evaluate meanwhile.
    capacity : int
        The most rows of a batch; the program may have room for more.
    weighted : bool
        Whether there are sample weights.
    norms : bool
        Whether the norms of weights and gradients are added up; for "train".
    """
    backend = model.backend
    key = kind, weighted, norms, backend
    structure = _structure(model, kind)
    found = model._programs.get(key)
    if found is not None and found.structure == structure and found.capacity >= capacity:
        return found
    runtime.check_backend(backend)
    with making:
        found = model._programs.get(key)
        if found is not None and found.structure == structure:
            if found.capacity >= capacity:
                return found
            if found.lowered.batch_rows is not None:
                raise wrong_batch(capacity, found.lowered.batch_rows)
            capacity = max(capacity, 2 * found.capacity)  # sizes that creep up: few programs
        more = {"norms": True} if norms else {}
        made = _MAKERS[kind](model, capacity, weighted, backend=backend, **more)
        made.structure = structure
        if kind == "train" and backend == "gpu":
            made.lowered.program.note_if_small(model.name)
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
    return [
        Tensor(
            (None, *shape), "real" if model.input_classes[i] is None else "label", name=f"input {i}"
        )
        for i, (shape, classes) in enumerate(
            zip(model.row_shapes, model.input_classes, strict=True)
        )
    ]


def _prediction(model: Model, capacity: int, weighted: bool, backend: str) -> Compiled:
    inputs = _placeholders(model)
    with Trace(training=False) as trace:
        outputs = flatten(model.call_flat(inputs, training=False))
        # What is handed out must be the result of an op, not an input or a weight itself.
        outputs = [
            apply("scale", x=t) if root(t) in inputs or root(t)._value is not None else t
            for t in outputs
        ]
    nodes = prepared_for(rewritten(trace.nodes, outputs), outputs, capacity, backend)
    steps = fused_for(nodes, model.fuse, backend)
    lowered = lower(
        steps,
        capacity=capacity,
        dtype=model_dtype(model),
        feeds=inputs,
        fetches=outputs,
        totals=[],
        backend=backend,
    )
    return Compiled(lowered, [])


def prepared_for(
    nodes: list[Node], keep: Sequence[Tensor], capacity: int, backend: str
) -> list[Node]:
    """What is needed of the nodes, as the backend best runs it for batches of so many rows."""
    nodes = prune(nodes, keep)
    return nodes if backend == "gpu" else turn_weights(take_in(nodes, keep, capacity), capacity)


def fused_for(nodes: list[Node], enabled: bool, backend: str) -> list[Step]:
    """The ops to run, with those behind a product that the backend's product can do as well."""
    if backend == "gpu":
        from fastdl.gpu.cut import can_be_tail

        return fuse(nodes, enabled, can_be_tail)
    return fuse(nodes, enabled)


class _Objective:
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
            values, source, gradient = target.loss.apply(
                output, placeholder, weight, target.weight, gradients
            )
            if gradient is not None:
                self.seeds.append((source, gradient))
            total = self._mean(f"{target.name}_loss" if several else "", target.weight)
            apply("accumulate", total=total, values=values, sample_weight=weight)
            parts.append((target, output, source, placeholder, weight))
        self._penalties(model, values)
        for target, output, source, placeholder, weight in parts:
            prefix = f"{target.name}_" if several else ""
            for k, metric in enumerate(target.metrics):
                own = weight if k >= target.unweighted else None
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


def _evaluation(model: Model, capacity: int, weighted: bool, backend: str) -> Compiled:
    inputs = _placeholders(model)
    with Trace(training=False) as trace:
        outputs = flatten(model.call_flat(inputs, training=False))
        objective = _Objective(model, outputs, weighted, gradients=False)
    nodes = rewritten(trace.nodes, ())
    return _with_totals(model, nodes, inputs, objective, capacity, model.fuse, backend)


def training_program(
    model: Model,
    capacity: int,
    weighted: bool = False,
    fused: bool = True,
    norms: bool = False,
    backend: str = "cpu",
) -> Compiled:
    """The program of one training step: forward, losses, metrics, backward, updates.

    With ``norms`` the squares of the gradients and of the weights are added up; see `Compiled`.
    """
    inputs = _placeholders(model)
    variables = model.trainable_weights
    with Trace(training=True) as forward:
        outputs = flatten(model.call_flat(inputs, training=True))
        objective = _Objective(model, outputs, weighted, gradients=True)
    ahead = rewritten(forward.nodes, ())
    backward, gradients = differentiate(ahead, objective.seeds, variables)
    with Trace(training=True) as updates:
        own = _own_memory(gradients, objective)
        model.optimizer.apply({v: own[v] for v in variables if v in own})
        recorded = [v for v in variables if v in own] if norms else []
        for variable in recorded:
            objective.squares(f"gradient of {variable.name}", own[variable])
            objective.squares(variable.name, variable)
    nodes = [*ahead, *sums_of_pooled(backward), *updates.nodes]
    fused = fused and model.fuse
    made = _with_totals(model, nodes, inputs, objective, capacity, fused, backend)
    made.norms = recorded
    return made


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
    nodes: list[Node],
    inputs: list[Tensor],
    objective: _Objective,
    capacity: int,
    fused: bool,
    backend: str,
) -> Compiled:
    lowered = lower(
        fused_for(prepared_for(nodes, objective.fetches, capacity, backend), fused, backend),
        capacity=capacity,
        dtype=model_dtype(model),
        feeds=[*inputs, *objective.feeds],
        fetches=objective.fetches,
        totals=objective.totals,
        backend=backend,
        communicator=model._communicator,
    )
    return Compiled(lowered, objective.columns, objective.kept)


_MAKERS: dict[str, Callable[..., Compiled]] = {
    "train": training_program,
    "validate": _evaluation,
    "evaluate": _evaluation,
    "predict": _prediction,
}
