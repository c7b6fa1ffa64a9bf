"""What a model runs: its network, losses, metrics and optimizer as one Program each for training,
evaluation and prediction.

Here the whole way can be read: trace the network, add losses and metrics, differentiate, add the
updates, fuse, lay out. A program is kept with the model and made again only when something that it
depends on has changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import runtime
from fastdl._locks import Lock, RLock
from fastdl._nested import flatten
from fastdl.graph import Step, differentiate, fuse, prune, root
from fastdl.kernels import dispatch
from fastdl.loops import take_in, turn_weights
from fastdl.lowering import Lowered, lower
from fastdl.metrics.base import plain
from fastdl.objective import Column, Kept, Objective
from fastdl.rewrites import drawn_once, rewritten, sums_of_pooled
from fastdl.tensor import Tensor, Variable, apply
from fastdl.trace import Node, Trace, wrong_batch

if TYPE_CHECKING:
    from fastdl.model import Model

__all__ = [
    "Compiled", "compiled", "fused_for", "making", "model_dtype", "own_memory", "prepared_for",
    "training_program",
]  # fmt: skip

#: Held while a model is built or a program made: several threads may ask for the same one.
making = RLock()


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

    def __init__(
        self,
        lowered: Lowered,
        columns: Sequence[Column] = (),
        kept: Sequence[Kept] = (),
    ) -> None:
        self.lowered = lowered
        self.columns = columns
        self.kept = kept
        self.norms: list[Variable] = []
        self.structure: tuple[Any, ...] = ()
        self.lock = Lock()

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
        import copy  # here, because few metrics need it and importing fastdl must be quick

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
    return Compiled(lowered)


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


def _evaluation(model: Model, capacity: int, weighted: bool, backend: str) -> Compiled:
    inputs = _placeholders(model)
    with Trace(training=False) as trace:
        outputs = flatten(model.call_flat(inputs, training=False))
        objective = Objective(model, outputs, weighted, gradients=False)
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
        objective = Objective(model, outputs, weighted, gradients=True)
    ahead = rewritten(forward.nodes, ())
    backward, gradients = differentiate(ahead, objective.seeds, variables)
    with Trace(training=True) as updates:
        own = own_memory(gradients, {root(gradient) for _, gradient in objective.seeds})
        model.optimizer.apply({v: own[v] for v in variables if v in own})
        recorded = [v for v in variables if v in own] if norms else []
        for variable in recorded:
            objective.squares(f"gradient of {variable.name}", own[variable])
            objective.squares(variable.name, variable)
    nodes = [*ahead, *drawn_once(ahead, sums_of_pooled(backward)), *updates.nodes]
    fused = fused and model.fuse
    made = _with_totals(model, nodes, inputs, objective, capacity, fused, backend)
    made.norms = recorded
    return made


def own_memory(gradients: Mapping[Any, Tensor], taken: set[Tensor]) -> dict[Any, Tensor]:
    """The gradients, copied where one is a view, or stands for several or among those ``taken``: an
    update reads its gradient from a place of its own."""
    own = {}
    for variable, gradient in gradients.items():
        if root(gradient) is not gradient or gradient in taken or gradient.node is None:
            gradient = apply("scale", x=gradient)
        taken.add(gradient)
        own[variable] = gradient
    return own


def _with_totals(
    model: Model,
    nodes: list[Node],
    inputs: list[Tensor],
    objective: Objective,
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
