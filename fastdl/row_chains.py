"""Which ops go through the rows of a batch together.

An op's output may be larger than a core's cache. Where the ops behind it read that output row by
row, a group of rows goes through all of them before the next one does, and each reads what is still
in the cache. The results are the same bits. Here it is decided which ops may: the order of what
they read and write must stay as it is. Into how many groups the rows are cut is found out when the
batch's size is known (runner.pyx).

An op by rows has phases before the one that goes by rows (a weight is packed, a gradient's sums are
made), and behind it (sums of groups are merged). Those before come before all rows of the chain,
those behind after them; and so do ops between that do not go by rows.
"""

from __future__ import annotations

import math

from fastdl.graph import Step
from fastdl.repeat import Repeat
from fastdl.tensor import Tensor
from fastdl.trace import Node, root

__all__ = ["row_chains"]

_EARLY, _ROWS, _LATE = range(3)


class _Use:
    """That a step reads or writes a tensor: between which phases, and whether row by row."""

    def __init__(self, tensor: Tensor, written: bool, first: int, last: int) -> None:
        self.tensor = tensor
        self.written = written
        self.first, self.last = first, last
        self.by_rows = first == last == _ROWS and tensor.shape[:1] == (None,)


def row_chains(steps: list[Step]) -> list[int]:
    """Of each step, how many that follow go through the rows together with it.

    A chain is an op by rows and those behind it that read its output by rows; but one that makes
    more than it reads begins a chain of its own.
    """
    uses = [_uses(step) for step in steps]
    counts = [0] * len(steps)
    apart = _states(steps)
    at = 0
    while at < len(steps):
        counts[at] = _chain(steps, uses, at, apart)
        at += 1 + counts[at]
    return counts


def _states(steps: list[Step]) -> set[Tensor]:
    """Tensors that are blocks of a repeat's memory: where they begin depends on the rows."""
    states = [s for step in steps if isinstance(step.node, Repeat) for s in step.node.states]
    return {root(t) for s in states for t in (s.initial, s.final, s.previous, s.sequence)}


def _chain(steps: list[Step], uses: list[list[_Use]], at: int, apart: set[Tensor]) -> int:
    last, made = at, _made(steps[at], uses[at])
    if not made:
        return 0
    before: dict[Tensor, list[_Use]] = {}
    for i in range(at, len(steps)):
        node, here = steps[i].node, uses[i]
        touched = {use.tensor for use in here}
        if isinstance(node, Repeat) or "param" in node.inputs or apart & touched:
            break  # (updates of weights are merged)
        if not all(_in_order(a, b) for b in here for a in before.get(b.tensor, ())):
            break
        if i > at and _goes_by_rows(steps[i]):
            if not made & touched or _largest(_made(steps[i], here)) > _largest(made):
                break
            last = i
        for use in here:
            before.setdefault(use.tensor, []).append(use)
    return last - at


def _made(step: Step, uses: list[_Use]) -> set[Tensor]:
    """What a step writes row by row."""
    if not _goes_by_rows(step):
        return set()
    outputs = {root(t) for node in step.nodes for t in node.outputs.values()}
    return outputs & {use.tensor for use in uses if use.by_rows}


def _largest(tensors: set[Tensor]) -> int:
    return max((math.prod(s or 0 for s in t.shape[1:]) for t in tensors), default=0)


def _goes_by_rows(step: Step) -> bool:
    return step.node.op is not None and step.node.op.by_rows


def _uses(step: Step) -> list[_Use]:
    late = not _goes_by_rows(step)
    uses = _of_node(step.node, late)
    out = next(iter(step.node.outputs), "")
    for tail in step.tails:
        uses += _of_node(tail, late or out in step.node.op.late)  # type: ignore[union-attr]
    return uses


def _of_node(node: Node, late: bool) -> list[_Use]:
    op = node.op
    assert op is not None
    uses = []
    for name, tensor in (*node.outputs.items(), *node.inputs.items()):
        first = _LATE if late or name in op.late else _EARLY if name in op.early else _ROWS
        written = name in node.outputs or name in op.updates or op.inplace
        uses.append(_Use(root(tensor), written, first, max(first, _ROWS)))
    return uses


def _in_order(a: _Use, b: _Use) -> bool:
    """Whether the use of a tensor by a step still comes before that by a later one."""
    if not (a.written or b.written):
        return True
    return a.last < b.first or a.last == b.first == _LATE or (a.by_rows and b.by_rows)
