"""Where a loss that is not finite comes from: the batch, the layer, the op.

A fit that is watched looks at its totals after each stretch of batches, natively; one on batches
after each. When they are not finite any more it goes back to a copy of weights and optimizer state
from a little before, finds the first batch that did it (a fit has the same bits each time it is
run), and runs that one again op by op. The model is left as it was before that batch.
"""

from __future__ import annotations

import abc
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastdl.graph import root
from fastdl.kernels.course import epoch_order
from fastdl.programs import Compiled, training_program
from fastdl.tensor import Tensor, Variable
from fastdl.trace import Node

if TYPE_CHECKING:
    from fastdl.data import Rows
    from fastdl.model import Model
    from fastdl.streaming import StreamRun
    from fastdl.training import Run

__all__ = ["BatchWatch", "Finding", "Watch"]

# A new copy is made when this many times the time that it takes has passed, in seconds at least.
_PAUSES, _PAUSE = 50, 0.5

# Or, in a fit on batches, when those since the last copy hold more bytes than this.
_KEPT = 2**26


class Finding(NamedTuple):
    """Where the first value that is not finite was made.

    Attributes
    ----------
    epoch, batch, step : int
        Which batch: epoch and batch of it counted from 0, and its update counted from 1.
    part : {"data", "weights", "forward", "loss", "backward", "update"}
        Of the step.
    layer : str
        The layer's name; empty for data and loss.
    what : str
        The op, or the array.
    text : str
        All of it in a sentence.
    """

    epoch: int
    batch: int
    step: int
    part: str
    layer: str
    what: str
    text: str


class _Snapshot:
    """Weights, optimizer state and place of a fit, to go back to."""

    def __init__(
        self, model: Model, epoch: int, batch: int, step: int, totals: np.ndarray | None
    ) -> None:
        begin = time.perf_counter()
        slots = [twin for twins in model.optimizer.slots.values() for twin in twins.values()]
        self.values = [(v, v.numpy()) for v in (*model.weights, *slots)]
        self.epoch, self.batch, self.step = epoch, batch, step
        self.totals = None if totals is None else totals.copy()
        self.taken = time.perf_counter()
        self.cost = self.taken - begin

    def restore(self) -> None:
        for variable, value in self.values:
            variable.assign(value)

    def is_old(self) -> bool:
        return time.perf_counter() - self.taken > max(_PAUSE, _PAUSES * self.cost)


class _Watch(abc.ABC):
    """What looks after a fit, on arrays or on batches."""

    snapshot: _Snapshot

    def __init__(self, model: Model) -> None:
        self.model = model

    def find(self) -> Finding:
        """Says what happened, now that totals are not finite; the fit is before that batch then."""
        batch = self._first_bad_batch()
        self._go_to(batch)
        while batch > self.snapshot.batch and self._bad_weights():
            batch -= 1  # its update made them so, and only the next batch's loss showed it
            self._go_to(batch)
        finding = self._look_into(batch)
        self._go_to(batch)
        return finding

    @abc.abstractmethod
    def _first_bad_batch(self) -> int:
        """The batch whose loss is not finite."""

    @abc.abstractmethod
    def _go_to(self, batch: int) -> None:
        """Trains from the copy to the beginning of this batch."""

    @abc.abstractmethod
    def _look_into(self, batch: int) -> Finding:
        """Says where in this batch, whose beginning has been gone to."""

    def _bad_weights(self) -> list[Variable]:
        return [v for v in self.model.weights if not np.isfinite(v.value).all()]

    def _step_through(
        self, batch: int, data: Rows, numbers: np.ndarray, order: tuple[int, int, Any], seed: int
    ) -> Finding:
        """Runs a batch op by op.

        Parameters
        ----------
        batch : int
            Of the epoch.
        data : Rows
            What the program is to be bound to.
        numbers : array of int
            What each row of the batch is called.
        order : (int, int, array or None)
            Rows of a full batch, which of the data's batches this is, and the order of the rows.
        seed : int
        """
        slow = training_program(self.model, order[0], data.weighted, fused=False)
        look = _Look(slow, len(numbers), self._bad_weights())
        program, optimizer = slow.lowered.program, self.model.optimizer
        step = optimizer.iterations + 1
        program.bind(data.sources, slow.results(data.count))
        try:
            rate = optimizer.learning_rate
            program.step_through(look, *order, step=step, seed=seed, learning_rate=rate)
        finally:
            program.unbind()
        part, layer, what, text = look.verdict(self.model, numbers)
        epoch = self.snapshot.epoch
        place = f"epoch {epoch + 1}, batch {batch + 1}"
        return Finding(epoch, batch, step, part, layer, what, f"{place}: {text}")


class Watch(_Watch):
    """Looks after one fit on arrays.

    Parameters
    ----------
    run : Run
    """

    #: For so long a fit may go on without being asked whether a new copy is due, in seconds.
    interval = _PAUSE

    def __init__(self, run: Run) -> None:
        super().__init__(run.model)
        self.run = run
        run.course.watched = run.step.losses
        self._copy()

    def _copy(self) -> None:
        course, totals = self.run.course, self.run.totals
        if not course.batch:
            totals = np.zeros_like(totals)  # they may still be those of the epoch before
        self.snapshot = _Snapshot(self.model, course.epoch, course.batch, course.step, totals)

    def before(self, each: bool) -> None:
        """Makes a new copy where it is time to.

        Parameters
        ----------
        each : bool
            Whether Python is called between batches, and so may change anything.
        """
        if each or self.run.course.epoch != self.snapshot.epoch or self.snapshot.is_old():
            self._copy()

    def _restore(self) -> None:
        self.snapshot.restore()
        self.run.course.go_to(self.snapshot.batch, self.snapshot.step, self.snapshot.totals)

    def _first_bad_batch(self) -> int:
        course = self.run.course
        self._restore()
        while course.advance("batch", 1e9, course.batch + 1) != "not finite":
            pass
        return course.batch - 1

    def _go_to(self, batch: int) -> None:
        course = self.run.course
        self._restore()
        if batch > course.batch:
            course.advance("batch", 1e9, batch)
        self.model.optimizer.iterations = course.step

    def _look_into(self, batch: int) -> Finding:
        run, course = self.run, self.run.course
        order = epoch_order(run.rows, course.seed, course.epoch) if run.shuffle else None
        first = batch * run.batch_size
        rows = np.arange(first, min(first + run.batch_size, run.rows))
        rows = rows if order is None else order[rows]
        place = run.batch_size, batch, order
        return self._step_through(batch, run.data.rows, rows, place, course.seed)


class BatchWatch(_Watch):
    """Looks after one fit on batches, of which those since the copy are kept.

    Parameters
    ----------
    run : StreamRun
    """

    def __init__(self, run: StreamRun) -> None:
        super().__init__(run.model)
        self.run = run
        self.kept: list[Rows] = []
        self._copy()

    def _copy(self) -> None:
        run = self.run
        step, totals = self.model.optimizer.iterations, run.training.totals
        self.snapshot = _Snapshot(self.model, run.epoch, run.batch, step, totals)
        self.parts = len(run.training.kept)
        self.kept, self.bytes = [], 0

    def before(self, rows: Rows, each: bool) -> None:
        """Notes the batch that comes, and makes a new copy before it where it is time to.

        Parameters
        ----------
        rows : Rows
        each : bool
            Whether Python is called between batches, and so may change anything.
        """
        full = self.bytes > _KEPT
        if each or full or self.run.epoch != self.snapshot.epoch or self.snapshot.is_old():
            self._copy()
        self.kept.append(rows)
        self.bytes += sum(array.nbytes for array in rows.sources)

    def _first_bad_batch(self) -> int:
        return self.run.batch

    def _go_to(self, batch: int) -> None:
        run, snapshot = self.run, self.snapshot
        snapshot.restore()
        run.training.go_back(snapshot.totals, self.parts)
        self.model.optimizer.iterations = snapshot.step
        for rows in self.kept[: batch - snapshot.batch]:
            run.update(rows)
        run.batch = batch

    def _look_into(self, batch: int) -> Finding:
        rows = self.kept[batch - self.snapshot.batch]
        place = rows.count, 0, None
        return self._step_through(batch, rows, np.arange(rows.count), place, self.run.seed)


class _Look:
    """What is looked at after each op: which arrays have become not finite, and by which node."""

    def __init__(self, slow: Compiled, rows: int, bad_weights: list[Variable]) -> None:
        self.slow, self.rows = slow, rows
        self.feeds = len(slow.lowered.program.feed_buffers)
        #: The tensors that are not finite, what made them so, and how many of their numbers are.
        self.bad: dict[Tensor, tuple[Node | None, str]] = {}
        self.bad_feed: tuple[int, int] | None = None
        self.end: Node | None = None
        for variable in bad_weights:
            self.bad[variable] = None, _count(variable.value)

    def __call__(self, index: int) -> bool:
        if index < self.feeds:
            return self._look_at_feed(index)
        for node in self.slow.lowered.nodes[index - self.feeds]:
            if self._look_at(node):
                self.end = node
                return True
        return False

    def _look_at_feed(self, index: int) -> bool:
        buffer = self.slow.lowered.program.feed_buffers[index][: self.rows]
        if buffer.dtype.kind != "f" or np.isfinite(buffer).all():
            return False
        bad = ~np.isfinite(buffer.reshape(self.rows, -1)).all(axis=1)
        self.bad_feed = index, int(np.argmax(bad))
        return True

    def _look_at(self, node: Node) -> bool:
        """Notes what the node has made; whether this is where the step has gone bad."""
        assert node.op is not None
        made = [*node.outputs.values()]
        # Of what is changed in place, but not the optimizer's own: an infinite mean of squares only
        # stops a weight.
        changed = [name for name in node.op.updates if name in node.inputs]
        made += [node.inputs[name] for name in changed if "param" not in changed or name == "param"]
        for tensor in made:
            array = self.slow.lowered.array_of(tensor)
            if tensor.shape and tensor.shape[0] is None:
                array = array[: self.rows]
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                self.bad.setdefault(root(tensor), (node, _count(array)))
        ends = node.name in ("accumulate", "penalty") or node.name.endswith("_update")
        return ends and any(root(tensor) in self.bad for tensor in made)

    def verdict(self, model: Model, rows: np.ndarray) -> tuple[str, str, str, str]:
        """(part, layer, what, text)."""
        if self.bad_feed is not None:
            return self._data(model, int(rows[self.bad_feed[1]]))
        node = self.end
        if node is None:
            return (
                "loss",
                "",
                "",
                "the loss is not finite, but no op of the batch alone makes it so",
            )
        while True:
            earlier = [t for t in map(root, node.inputs.values()) if self._made_before(t, node)]
            if not earlier:
                break
            before, _ = self.bad[earlier[0]]
            if before is None:
                name = earlier[0].name
                text = f"the weights {name}, before that batch already"
                return "weights", name.partition("/")[0], name, text
            node = before
        count = next((c for n, c in self.bad.values() if n is node), "")
        return self._op(node, count)

    def _made_before(self, tensor: Tensor, node: Node) -> bool:
        return tensor in self.bad and self.bad[tensor][0] is not node

    def _data(self, model: Model, row: int) -> tuple[str, str, str, str]:
        assert self.bad_feed is not None
        index, inputs = self.bad_feed[0], model.input_names
        names = [f"the input {n!r}" if len(inputs) > 1 else "x" for n in inputs]
        names += [f"the target {t.name!r}" if len(model.targets) > 1 else "y"
                  for t in model.targets]  # fmt: skip
        name = [*names, *["sample_weight"] * len(model.targets)][index]
        return "data", "", name, f"the data, row {row} of {name}"

    def _op(self, node: Node, count: str) -> tuple[str, str, str, str]:
        if node.name.endswith("_update"):
            name = node.inputs["param"].name
            text = f"{count} after the update of {name} ({node.name})"
            return "update", name.partition("/")[0], node.name, text
        if node.layer is None:
            return "loss", "", node.name, f"{count} in the loss ({node.name})"
        part, kind = ("backward", "gradient") if node.backward else ("forward", "result")
        title = f"{node.layer.name} ({type(node.layer).__name__})"
        text = f"{count} in the {kind} of {title} ({node.name})"
        return part, node.layer.name, node.name, text


def _count(array: np.ndarray) -> str:
    """How many numbers are not finite, in words."""
    nans, infs = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    parts = [f"{n:,} {word}" for n, word in ((nans, "NaN"), (infs, "Inf")) if n]
    return f"{' and '.join(parts)} of {array.size:,}"
