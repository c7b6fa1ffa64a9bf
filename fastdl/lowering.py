"""From steps to a Program: the arrays and options of every op, loops, and updates side by side.

Updates of variables that follow each other in memory become one op over all of them.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from fastdl.arena import aligned, padded
from fastdl.graph import Step
from fastdl.kernels.program import Program
from fastdl.layout import Buffers, Inside, dtype_of, touched
from fastdl.repeat import Repeat
from fastdl.row_chains import row_chains
from fastdl.tensor import Tensor, Variable, apply
from fastdl.trace import Node, Trace, root

__all__ = ["Lowered", "lower", "update_steps"]


class Lowered:
    """A Program and what is known about it.

    Attributes
    ----------
    program : Program
    batch_rows : int or None
        The rows that every batch must have, where layers are stateful.
    arena_bytes, buffer_bytes : int
        The block that all tensors share, and what they would take each on their own.
    gradient_bytes : int
        The gradients that are kept whole until the update, beside that block.
    scratch_bytes : int
        What the ops need while they run.
    ops : list of list of str
        The names of the ops in order, each with its tails; "repeat" with all in its body.
    nodes : list of list of Node
        What each op of the program computes: one node, with its tails, or updates side by side.
    chains : list of list of list of Node
        The same as kernels see it: of each op the node and its tails (of updates side by side, the
        first); of a loop those of each op in it.
    array_of : callable
        Gives the array of a tensor of the program, as long as it is alive there.
    """

    def __init__(
        self,
        program: Program,
        buffers: Buffers,
        steps: list[Step],
        nodes: list[list[Node]],
        chains: list[list[list[Node]]],
        gradients: Iterable[np.ndarray],
        handed: Iterable[np.ndarray],
    ) -> None:
        self.program = program
        self.nodes, self.chains, self.array_of = nodes, chains, buffers
        self.batch_rows = buffers.batch_rows
        self.arena_bytes = buffers.bytes
        self.buffer_bytes = buffers.bytes_in_all + sum(array.nbytes for array in handed)
        self.scratch_bytes = program.scratch_bytes() if isinstance(program, Program) else 0
        blocks = {id(g.base): g.base for g in gradients if g.base is not None}
        self.gradient_bytes = sum(block.nbytes for block in blocks.values())
        self.ops = [[n.name for n in _all_nodes(step)] for step in steps]


def lower(
    steps: list[Step],
    *,
    capacity: int,
    dtype: np.dtype,
    feeds: list[Tensor],
    fetches: list[Tensor],
    totals: list[Tensor],
    kept: Sequence[Tensor] = (),
    backend: str = "cpu",
    communicator: Any = None,
) -> Lowered:
    """Lays out the memory of the steps and makes their Program.

    Parameters
    ----------
    steps : list of Step
    capacity : int
        The most rows of a batch.
    dtype : numpy.dtype
        The float type.
    feeds, fetches : list of Tensor
        The tensors that are gathered from the user's data and handed out to him.
    totals : list of Tensor of float64
        Where ops add up from batch to batch: one behind the other in the program's totals.
    kept : list of Tensor
        What is read from the buffers after a run.
    backend : {"cpu", "gpu"}
    communicator : Communicator, optional
        On GPUs: with whom gradients are averaged.
    """
    steps, fetches = _with_final_states(steps, fetches)
    sizes = [math.prod(s or 0 for s in total.shape) for total in totals]
    sums, ends = np.zeros(sum(sizes)), np.cumsum(sizes)
    fixed = {t: sums[end - n : end] for t, n, end in zip(totals, sizes, ends, strict=True)}
    steps = _updates_by_place(steps)
    gradients = _gradient_ranges(steps, dtype)
    fixed.update(gradients)
    handed = _handed_on(steps, dtype, [*fetches, *kept]) if backend == "cpu" else {}
    fixed.update(handed)
    together = row_chains(steps) if backend == "cpu" else [0] * len(steps)
    buffers = Buffers(steps, capacity, dtype, fixed, feeds, [*fetches, *kept], together)
    entries, chains = [], []
    nodes: list[list[Node]] = []
    by_rows: list[int] = []
    at = 0
    while at < len(steps):
        count, entry = _merged_update(steps[at:], buffers)
        if entry is not None:
            entries.append(entry)
            chains.append([steps[at].nodes])
        else:
            entries += _entries(steps[at], buffers)
            by_rows += [0] * (len(nodes) - len(by_rows)) + [together[at]]
            chains.append([inner.nodes for inner in steps[at].body or steps[at : at + 1]])
        nodes.append([node for step in steps[at : at + count] for node in step.nodes])
        at += count
    arrays = [buffers(t) for t in feeds], [buffers(t) for t in fetches], sums
    program: Any
    if backend == "gpu":
        from fastdl.gpu.program import Program as ProgramOnGpu

        weights = _blocks_of_weights(steps)
        program = ProgramOnGpu(capacity, entries, *arrays, weights, communicator)
    else:
        program = Program(capacity, entries, *arrays, roomy=True, together=by_rows)
    return Lowered(program, buffers, steps, nodes, chains, gradients.values(), handed.values())


def _blocks_of_weights(steps: list[Step]) -> list[np.ndarray]:
    """The blocks of memory that hold the variables of these steps."""
    blocks = {}
    for step in steps:
        for inner in (step, *step.body):
            for tensor in touched(inner.nodes):
                if isinstance(tensor, Variable):
                    flat = tensor.value if tensor.arena is None else tensor.arena.flat
                    blocks[id(flat)] = flat
    return list(blocks.values())


Entry = tuple[str, list[Any], dict[str, Any], int, bool]


def _all_nodes(step: Step) -> list[Node]:
    return [*step.nodes, *(node for inner in step.body for node in _all_nodes(inner))]


def _with_final_states(steps: list[Step], fetches: list[Tensor]) -> tuple[list[Step], list[Tensor]]:
    """Both, with copies of final states that are fetched: these lie where the rows say."""
    finals = {s.final for t in steps if isinstance(t.node, Repeat) for s in t.node.states}
    with Trace(training=False) as trace:
        fetches = [apply("scale", x=t) if root(t) in finals else t for t in fetches]
    return [*steps, *map(Step, trace.nodes)], fetches


def _entries(step: Step, buffers: Buffers) -> list[Any]:
    """What Program wants to know of a step: its op and the tails, or a loop."""
    if isinstance(step.node, Repeat):
        return [_loop(step.node.count, step.body, Inside(step.node, buffers))]
    if buffers.within and any(buffers.moving(t) for t in touched(step.nodes)):
        return [_loop(1, [step], buffers)]
    return [_entry(node, buffers, k > 0) for k, node in enumerate(step.nodes)]


def _loop(count: int, steps: list[Step], inside: Buffers | Inside) -> Any:
    """A loop over the steps' ops, for Program."""
    entries: list[Entry] = []
    moving = []
    for step in steps:
        for k, node in enumerate(step.nodes):
            assert node.op is not None
            for i, argument in enumerate(node.op.arguments):
                tensor = node.argument(argument.name)
                place = None if tensor is None else inside.moving(tensor)
                if place is not None:
                    moving.append(place.entry(len(entries), i))
            entries.append(_entry(node, inside, k > 0))
    return count, entries, moving


def _entry(node: Node, array_of: Callable[[Tensor], np.ndarray], is_tail: bool) -> Entry:
    """What Program wants to know of one op."""
    op = node.op
    assert op is not None
    arrays: list[Any] = []
    per_item = 0
    for argument in op.arguments:
        tensor = node.argument(argument.name)
        if tensor is None:
            arrays.append(False if argument.role == "out" else None)
            continue
        array = array_of(tensor)
        arrays.append(array.reshape(-1) if array.ndim != 1 and argument.axes == ("N",) else array)
        if argument.batched and tensor.shape and tensor.shape[0] is None:
            per_item = math.prod(array.shape[1 : array.ndim - len(argument.own_axes)])
    return op.name, arrays, node.options, per_item, is_tail


def update_steps(
    nodes: list[Node], gradients: dict[Variable, Tensor]
) -> tuple[list[Any], list[Variable], list[Any]]:
    """What `Updates` wants to know of the updates of these variables.

    Parameters
    ----------
    nodes : list of Node
        In order.
    gradients : dict
        The tensors that stand for the gradients; they have no memory yet.
    """
    arrays: dict[Tensor, np.ndarray] = {}
    real = next(iter(gradients)).value.dtype

    def array_of(tensor: Tensor) -> np.ndarray:
        if isinstance(tensor, Variable):
            return tensor.value
        if tensor not in arrays:
            shape = [length or 0 for length in tensor.shape]
            arrays[tensor] = np.empty(shape, dtype_of(tensor, real))
        return arrays[tensor]

    steps = []
    places: dict[Tensor, list[tuple[int, int]]] = {t: [] for t in (*gradients, *gradients.values())}
    for at, node in enumerate(nodes):
        assert node.op is not None
        name, of_node, options, _, _ = _entry(node, array_of, False)
        steps.append((name, of_node, options))
        for k, argument in enumerate(node.op.arguments):
            tensor = node.argument(argument.name)
            if tensor in places:
                places[tensor].append((at, -1 - k if isinstance(tensor, Variable) else k))
    variables = list(gradients)
    return steps, variables, [places[v] + places[gradients[v]] for v in variables]


def _handed_on(steps: list[Step], dtype: np.dtype, kept: list[Tensor]) -> dict[Tensor, np.ndarray]:
    """What a product hands to the update behind it and nobody else reads, a weight's gradient: an
    array without strides stands for it, as it has no memory."""
    users = Counter(t for step in steps for t in set(touched(_all_nodes(step))))
    users.update(map(root, kept))
    handed = {}
    for step in steps:
        if len(step.tails) != 1 or step.node.op is None or not step.node.op.hands_on:
            continue
        out, tail = next(iter(step.node.outputs.values())), step.tails[0]
        if tail.name.endswith("_update") and users[out] == 1:
            shape = tuple(length or 0 for length in out.shape)
            handed[out] = np.broadcast_to(np.zeros((), dtype_of(out, dtype)), shape)
    return handed


# --- ranges of updates --------------------------------------------------------------------------


def _is_update(step: Step) -> bool:
    return step.node.name.endswith("_update") and "param" in step.node.inputs


def _updates_by_place(steps: list[Step]) -> list[Step]:
    """The steps, with updates that follow each other in the order of their variables in memory."""
    ordered: list[Step] = []
    for is_update, group in itertools.groupby(steps, _is_update):
        here = list(group)
        ordered += sorted(here, key=_place_of_update) if is_update else here
    return ordered


def _place_of_update(step: Step) -> tuple[int, int]:
    variable: Any = step.node.inputs["param"]
    return id(variable.arena), variable.offset


def _gradient_ranges(steps: list[Step], dtype: np.dtype) -> dict[Tensor, np.ndarray]:
    """Places for the gradients of updates that are not fused, parallel to their variables."""
    groups: dict[tuple[int, int], list[Step]] = {}
    for step in filter(_is_update, steps):
        variable = step.node.inputs["param"]
        assert isinstance(variable, Variable)
        groups.setdefault((id(variable.arena), id(step.node.owner)), []).append(step)
    fixed = {}
    for group in groups.values():
        variables = [step.node.inputs["param"] for step in group]
        low = min(v.offset for v in variables)  # type: ignore[attr-defined]
        high = max(v.offset + padded(v.value.size) for v in variables)  # type: ignore[attr-defined]
        flat = aligned(high - low, dtype)
        for step, variable in zip(group, variables, strict=True):
            at = variable.offset - low  # type: ignore[attr-defined]
            fixed[root(step.node.inputs["grad"])] = flat[at : at + variable.value.size]
    return fixed


def _merged_update(
    steps: list[Step], array_of: Callable[[Tensor], np.ndarray]
) -> tuple[int, Entry | None]:
    """One update op for all that follow each other in memory: (how many steps, the op)."""
    if not _is_update(steps[0]):
        return 1, None
    first = steps[0].node
    count, end = 1, _end(first)
    while count < len(steps) and _is_update(steps[count]):
        node = steps[count].node
        if not _continues(first, node, end):
            break
        end = _end(node)
        count += 1
    if count == 1:
        return 1, None
    start = first.inputs["param"].offset  # type: ignore[attr-defined]
    length = end - start  # whole vectors: what pads a variable, zeros, stays as it is
    arrays: list[Any] = []
    assert first.op is not None
    for argument in first.op.arguments:
        tensor = first.inputs.get(argument.name)
        if tensor is None:
            arrays.append(None)
        elif isinstance(tensor, Variable):
            arrays.append(tensor.arena.flat[start : start + length])
        elif argument.name == "grad":
            arrays.append(_extended(array_of(tensor), length))
        else:
            arrays.append(array_of(tensor))
    return count, (first.op.name, arrays, first.options, 0, False)


def _end(node: Node) -> int:
    variable = node.inputs["param"]
    return variable.offset + padded(variable.value.size)  # type: ignore[attr-defined]


def _continues(first: Node, node: Node, end: int) -> bool:
    """Whether ``node`` updates what lies right behind ``end``, in the same way as ``first``."""
    if node.op is not first.op or node.options != first.options or node.owner is not first.owner:
        return False
    if node.inputs["param"].offset != end:  # type: ignore[attr-defined]
        return False
    for name, tensor in first.inputs.items():
        other = node.inputs.get(name)
        if isinstance(tensor, Variable):
            if not isinstance(other, Variable) or other.arena is not tensor.arena:
                return False
        elif name != "grad" and other is not tensor:
            return False
    return len(node.inputs) == len(first.inputs)


def _extended(array: np.ndarray, length: int) -> np.ndarray:
    """The array's memory and what lies behind it in its range of gradients."""
    block = array
    while isinstance(block.base, np.ndarray):
        block = block.base
    start = array.ctypes.data - block.ctypes.data
    return block[start : start + length * array.itemsize].view(array.dtype)
