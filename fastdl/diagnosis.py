"""Where a loss that is not finite comes from: the batch, the layer, the op.

A fit that is watched looks at its totals after each stretch of batches, natively. When they are not
finite any more it goes back to a copy of weights and optimizer state from a little before, finds
the first batch that did it (a fit has the same bits each time it is run), and runs that one again
op by op. The model is left as it was before that batch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastdl.graph import root
from fastdl.kernels.course import epoch_order
from fastdl.programs import Compiled, training_program
from fastdl.tensor import Tensor, Variable
from fastdl.trace import Node

if TYPE_CHECKING:
    from fastdl.training import Run

__all__ = ["Finding", "Watch"]

# A new copy is made when this many times the time that it takes has passed, in seconds at least.
_PAUSES, _PAUSE = 50, 0.5


@dataclass(frozen=True)
class Finding:
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

    def __init__(self, run: Run) -> None:
        begin = time.perf_counter()
        course, optimizer = run.course, run.model.optimizer
        slots = [twin for twins in optimizer.slots.values() for twin in twins.values()]
        self.values = [(v, v.numpy()) for v in (*run.model.weights, *slots)]
        self.batch, self.step, self.totals = course.batch, course.step, run.totals.copy()
        if not course.batch:
            self.totals.fill(0)  # they may still be those of the epoch before
        self.epoch = course.epoch
        self.taken = time.perf_counter()
        self.cost = self.taken - begin

    def restore(self, run: Run) -> None:
        for variable, value in self.values:
            variable.assign(value)
        run.course.go_to(self.batch, self.step, self.totals)

    def is_old(self) -> bool:
        return time.perf_counter() - self.taken > max(_PAUSE, _PAUSES * self.cost)


class Watch:
    """Looks after one fit.

    Parameters
    ----------
    run : Run
    """

    #: For so long a fit may go on without being asked whether a new copy is due, in seconds.
    interval = _PAUSE

    def __init__(self, run: Run) -> None:
        self.run = run
        run.course.watched = sum(column.weight != 0 for column in run.step.columns)
        self.snapshot = _Snapshot(run)

    def before(self, each: bool) -> None:
        """Makes a new copy where it is time to.

        Parameters
        ----------
        each : bool
            Whether Python is called between batches, and so may change anything.
        """
        if each or self.run.course.epoch != self.snapshot.epoch or self.snapshot.is_old():
            self.snapshot = _Snapshot(self.run)

    def find(self) -> Finding:
        """Says what happened, now that totals are not finite; the fit is before that batch then."""
        batch = self._first_bad_batch()
        self._go_to(batch)
        finding = None
        while batch > self.snapshot.batch and self._bad_weights():
            batch -= 1  # its update made them so, and only the next batch's loss showed it
            self._go_to(batch)
        finding = self._look_into(batch)
        self._go_to(batch)
        return finding

    # --- which batch ------------------------------------------------------------------------------

    def _first_bad_batch(self) -> int:
        course = self.run.course
        self.snapshot.restore(self.run)
        while course.advance("batch", 1e9, course.batch + 1) != "not finite":
            pass
        return course.batch - 1

    def _go_to(self, batch: int) -> None:
        """Trains from the copy to the beginning of this batch."""
        course = self.run.course
        self.snapshot.restore(self.run)
        if batch > course.batch:
            course.advance("batch", 1e9, batch)

    def _bad_weights(self) -> list[Variable]:
        return [v for v in self.run.model.weights if not np.isfinite(v.value).all()]

    # --- which op ---------------------------------------------------------------------------------

    def _look_into(self, batch: int) -> Finding:
        run, course = self.run, self.run.course
        slow = training_program(run.model, run.batch_size, run.data.rows.weighted, fused=False)
        order = epoch_order(run.rows, course.seed, course.epoch) if run.shuffle else None
        first = batch * run.batch_size
        rows = np.arange(first, min(first + run.batch_size, run.rows))
        rows = rows if order is None else order[rows]
        look = _Look(slow, len(rows), self._bad_weights())
        program = slow.lowered.program
        program.bind(run.data.rows.sources, slow.results(run.data.rows.count))
        try:
            program.step_through(
                look,
                run.batch_size,
                batch,
                order,
                step=course.step + 1,
                seed=course.seed,
                learning_rate=run.model.optimizer.learning_rate,
            )
        finally:
            program.unbind()
        part, layer, what, text = look.verdict(run, rows)
        place = f"epoch {course.epoch + 1}, batch {batch + 1}"
        return Finding(course.epoch, batch, course.step + 1, part, layer, what, f"{place}: {text}")


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

    def verdict(self, run: Run, rows: np.ndarray) -> tuple[str, str, str, str]:
        """(part, layer, what, text)."""
        if self.bad_feed is not None:
            return self._data(run, int(rows[self.bad_feed[1]]))
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

    def _data(self, run: Run, row: int) -> tuple[str, str, str, str]:
        assert self.bad_feed is not None
        index, inputs = self.bad_feed[0], run.model.input_names
        names = [f"the input {n!r}" if len(inputs) > 1 else "x" for n in inputs]
        names += [f"the target {t.name!r}" if len(run.model.targets) > 1 else "y"
                  for t in run.model.targets]  # fmt: skip
        name = [*names, *["sample_weight"] * len(run.model.targets)][index]
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
