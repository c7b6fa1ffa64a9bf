"""Memory: blocks of variables, buffers by lifetime, and the Program that runs over them.

Variables of a model lie side by side in one `Arena`, and so does each kind of optimizer state, at
the same offsets: one update op then covers a whole range of weights. All other tensors share one
block, each for as long as it is needed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastdl.graph import Step
from fastdl.kernels import runner
from fastdl.kernels.program import Program
from fastdl.repeat import Repeat, State
from fastdl.tensor import Tensor, Variable
from fastdl.trace import Node, root, wrong_batch

__all__ = ["Arena", "Lowered", "consolidate", "lower", "update_steps"]

#: Variables and buffers begin at multiples of a cache line, counted in elements and in bytes.
_ELEMENTS, LINE = 16, 64

_OTHER_TYPES = {"label": np.dtype(np.int64), "float64": np.dtype(np.float64)}


def _aligned(count: int, dtype: Any) -> np.ndarray:
    """Zeros whose first byte stands at the beginning of a cache line."""
    bytes_ = count * np.dtype(dtype).itemsize
    raw = np.zeros(bytes_ + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + bytes_].view(dtype)


def _padded(size: int, unit: int = _ELEMENTS) -> int:
    return -(-size // unit) * unit


# --- variables ----------------------------------------------------------------------------------


class Arena:
    """One block of memory for many variables.

    Attributes
    ----------
    flat : array, shape (elements,)
    """

    def __init__(self, elements: int, dtype: Any) -> None:
        self.flat = _aligned(elements, dtype)

    def adopt(self, variable: Variable, offset: int) -> None:
        """Moves a variable's value to this offset."""
        value = variable.value
        self.flat[offset : offset + value.size] = value.reshape(-1)
        variable.move(self, offset)

    def __getstate__(self) -> np.ndarray:
        runner.bring_weights_home()
        return np.array(self.flat)

    def __setstate__(self, state: np.ndarray) -> None:
        self.flat = _aligned(state.size, state.dtype)
        self.flat[:] = state


def consolidate(variables: Iterable[Variable]) -> None:
    """Moves those variables that have no arena yet into a new one: those to be trained first, and
    matrices before vectors.

    Updates of matrices are fused into the products that compute their gradients; the vectors' then
    form one range, or all of them do where nothing is fused.
    """
    loose = [v for v in variables if v.arena is None]
    for dtype in {v.value.dtype for v in loose}:
        group = [v for v in loose if v.value.dtype == dtype]
        group.sort(key=lambda v: (not v.trainable, v.value.ndim < 2))
        arena = Arena(sum(_padded(v.value.size) for v in group), dtype)
        offset = 0
        for variable in group:
            arena.adopt(variable, offset)
            offset += _padded(variable.value.size)


def parallel(variables: Sequence[Variable], name: str, value: float) -> dict[Variable, Variable]:
    """One more variable for each, filled with ``value``, in arenas with the same offsets."""
    arenas: dict[int, Arena] = {}
    result = {}
    for variable in variables:
        arena = arenas.get(id(variable.arena))
        if arena is None:
            arena = arenas[id(variable.arena)] = Arena(
                variable.arena.flat.size, variable.arena.flat.dtype
            )
        twin = Variable(np.full_like(variable.value, value), f"{variable.name}/{name}", False)
        arena.adopt(twin, variable.offset)
        result[variable] = twin
    return result


# --- buffers ------------------------------------------------------------------------------------


class _Buffers:
    """Gives every tensor of the steps its place in one block."""

    def __init__(
        self,
        steps: list[Step],
        capacity: int,
        dtype: np.dtype,
        fixed: dict[Tensor, np.ndarray],
        feeds: list[Tensor],
        fetches: list[Tensor],
    ) -> None:
        self.capacity = capacity
        #: The rows that every batch must have, where states are kept for them.
        self.batch_rows: int | None = None
        self.dtype = dtype
        self.fixed = fixed
        self._sizes: dict[Tensor, int] = {}
        #: Parts of a repeat's states: tensor -> (the states' memory, the part's first block).
        self.within: dict[Tensor, tuple[Tensor, int]] = {}
        self.blocks: dict[Tensor, int] = {}
        self._place_states(steps, fetches)
        first: dict[Tensor, int] = {root(t): -1 for t in feeds}
        last: dict[Tensor, int] = dict(first)
        self.shares: dict[Tensor, Tensor] = {}
        for i, step in enumerate(steps):
            for tensor in _touched(step.nodes):
                owner = self.within[tensor][0] if tensor in self.within else tensor
                if owner._value is None and owner not in fixed:
                    first.setdefault(owner, i)
                    last[owner] = i
            for tensor in self._own_tensors(step, first):
                first[tensor] = last[tensor] = i
        for tensor in map(root, fetches):
            last[tensor] = len(steps)
        self.shares.update(self._inplace(steps, first, last))
        self.bytes_in_all = sum(self._bytes(t) for t in first)
        offsets, self.bytes = self._pack(first, last)
        block = _aligned(self.bytes, np.uint8)
        self.arrays = {
            t: block[at : at + self._bytes(t)].view(self._dtype(t)).reshape(self._shape(t))
            for t, at in offsets.items()
        }

    def __call__(self, tensor: Tensor) -> np.ndarray:
        """The array of a tensor, in the tensor's own shape."""
        base = root(tensor)
        if isinstance(base, Variable):
            array = base.value
            if tensor.shape[:1] == (None,):  # see `rows_of`
                self.batch_rows = len(array)
                if self.capacity != len(array):
                    raise wrong_batch(self.capacity, len(array))
        elif base._value is not None:  # a constant, in the program's own type
            if base not in self.fixed:
                self.fixed[base] = np.array(base._value, self._dtype(base), order="C")
            array = self.fixed[base]
        elif base in self.within:
            memory, start = self.within[base]
            return self._from_block(memory, start, self._shape(tensor))
        else:
            array = self.fixed[base] if base in self.fixed else self.arrays[base]
        shape = self._shape(tensor)
        return array if array.shape == shape else array.reshape(shape)

    def _place_states(self, steps: list[Step], fetches: list[Tensor]) -> None:
        """Where each state of a repeat lies, before and after each iteration."""
        read = {root(t) for step in steps for n in step.nodes for t in n.inputs.values()}
        read.update(map(root, fetches))
        for step in steps:
            if not isinstance(step.node, Repeat):
                continue
            for state in step.node.states:
                count = step.node.count
                all_of_them = state.previous in read or state.sequence in read
                blocks = count + 1 if all_of_them else min(2, count + 1)
                self.blocks[state.memory] = blocks
                self._sizes[state.memory] = blocks * self._bytes(state.before)
                start, end = (count, 0) if step.node.reverse else (0, count)
                self.within[state.initial] = state.memory, start % blocks
                self.within[state.final] = state.memory, end % blocks
                self.within[state.previous] = state.memory, int(step.node.reverse)
                self.within[state.sequence] = state.memory, int(not step.node.reverse)

    def _own_tensors(self, step: Step, first: dict[Tensor, int]) -> list[Tensor]:
        """The tensors that only the body of a repeat knows; they take over each other's memory."""
        repeat = step.node
        if not isinstance(repeat, Repeat):
            return []
        outside = {*repeat.slices, *repeat.collected}
        outside.update(t for s in repeat.states for t in (s.before, s.after))
        places: dict[Tensor, int] = {}
        until: dict[Tensor, int] = {}
        for i, inner in enumerate(step.body):
            for tensor in _touched(inner.nodes):
                here = tensor not in outside and tensor not in first and tensor not in self.fixed
                if here and tensor not in self.within and tensor._value is None:
                    places.setdefault(tensor, i)
                    until[tensor] = i
        self.shares.update(self._inplace(step.body, places, until))
        return list(places)

    def _from_block(self, owner: Tensor, block: int, shape: tuple[int, ...]) -> np.ndarray:
        """The part of an array of blocks that begins with this one."""
        array = self.arrays[owner].reshape(-1)
        start = block * (array.size // self.blocks[owner])
        return array[start : start + math.prod(shape)].reshape(shape)

    def moving(self, tensor: Tensor) -> Place | None:
        """Where a tensor outside of loops begins, if that depends on the rows of the batch."""
        base = root(tensor)
        if base not in self.within or self.within[base][1] == 0:
            return None
        memory, start = self.within[base]
        return Place(self(memory), start, 0, self.blocks[memory], self._block_bytes(memory))

    def _block_bytes(self, owner: Tensor) -> tuple[int, int]:
        """What a block takes for each row of the batch, and in all."""
        size = self._bytes(owner) // self.blocks[owner]
        return (size // self.capacity, 0) if owner.shape[0] is None else (0, size)

    def _shape(self, tensor: Tensor) -> tuple[int, ...]:
        if tensor in self.blocks:
            return (self._bytes(tensor) // self._dtype(tensor).itemsize,)
        return tuple([self.capacity if s is None else s for s in tensor.shape])

    def _dtype(self, tensor: Tensor) -> np.dtype:
        return self.dtype if tensor.dtype == "real" else _OTHER_TYPES[tensor.dtype]

    def _bytes(self, tensor: Tensor) -> int:
        size = self._sizes.get(tensor)
        if size is None:
            size = math.prod(self._shape(tensor)) * self._dtype(tensor).itemsize
            self._sizes[tensor] = size
        return size

    def _inplace(
        self, steps: list[Step], first: dict[Tensor, int], last: dict[Tensor, int]
    ) -> dict[Tensor, Tensor]:
        """Which outputs take over the memory of an input that nobody needs afterwards."""
        shares: dict[Tensor, Tensor] = {}
        for i, step in enumerate(steps):
            read_by_head = {root(t) for t in step.node.inputs.values()} if step.tails else set()
            for k, node in enumerate(step.nodes):
                assert node.op is not None
                if not node.op.inplace or len(node.outputs) != 1:
                    continue
                out = next(iter(node.outputs.values()))
                needed_later = {root(t) for n in step.nodes[k + 1 :] for t in n.inputs.values()}
                for tensor in map(root, node.inputs.values()):
                    if (
                        tensor in first
                        and last[tensor] == i
                        and tensor not in read_by_head
                        and tensor not in needed_later
                        and tensor not in shares.values()
                        and out in first
                        and tensor.dtype == out.dtype
                        and self._bytes(tensor) == self._bytes(out)
                    ):
                        shares[out] = tensor
                        break
        return shares

    def _pack(
        self, first: dict[Tensor, int], last: dict[Tensor, int]
    ) -> tuple[dict[Tensor, int], int]:
        """Offsets such that buffers that live at the same time do not overlap, large ones first."""
        begin, end = dict(first), dict(last)
        owner = {}
        for tensor in first:
            base = tensor
            while base in self.shares:
                base = self.shares[base]
            owner[tensor] = base
            begin[base] = min(begin[base], first[tensor])
            end[base] = max(end[base], last[tensor])
        placed: list[tuple[int, int, Tensor]] = []
        offsets: dict[Tensor, int] = {}
        for tensor in sorted(set(owner.values()), key=lambda t: (-self._bytes(t), begin[t])):
            size = _padded(self._bytes(tensor), LINE)
            at = 0
            for low, high, other in sorted(placed, key=lambda p: p[0]):
                together = begin[tensor] <= end[other] and begin[other] <= end[tensor]
                if together and low < at + size and at < high:
                    at = high
            offsets[tensor] = at
            placed.append((at, at + size, tensor))
        total = max((high for _, high, _ in placed), default=0)
        return {t: offsets[base] for t, base in owner.items()}, total


def _touched(nodes: Iterable[Node]) -> Iterator[Tensor]:
    """What nodes read and write."""
    for node in nodes:
        yield from map(root, (*node.inputs.values(), *node.outputs.values()))


@dataclass
class Place:
    """A tensor's places in an array of blocks: see `Moving` in op.h."""

    array: np.ndarray
    start: int
    step: int
    period: int
    block: tuple[int, int]

    def entry(self, at: int, argument: int) -> tuple[Any, ...]:
        """What a Program wants to know of it."""
        return at, argument, self.array, (self.start, self.step, self.period), self.block


class _Inside:
    """The arrays of a repeat's body, and where they move."""

    def __init__(self, repeat: Repeat, buffers: _Buffers) -> None:
        self.repeat = repeat
        self.buffers = buffers
        self.states: dict[Tensor, tuple[State, int]] = {}
        for state in repeat.states:
            self.states[state.before] = state, int(repeat.reverse)
            self.states[state.after] = state, int(not repeat.reverse)

    def __call__(self, tensor: Tensor) -> np.ndarray:
        """The array of a tensor as it is in the first iteration of a full batch."""
        place = self.moving(tensor)
        if place is None:
            return self.buffers(tensor)
        shape = self.buffers._shape(tensor)
        flat, size = place.array.reshape(-1), math.prod(shape)
        start = place.start % place.period * size
        return flat[start : start + size].reshape(shape)

    def moving(self, tensor: Tensor) -> Place | None:
        base, buffers, last = root(tensor), self.buffers, self.repeat.count - 1
        step = -1 if self.repeat.reverse else 1
        start = last if self.repeat.reverse else 0
        if base in self.states:
            state, shift = self.states[base]
            owner, blocks = state.memory, buffers.blocks[state.memory]
            block = buffers._block_bytes(owner)
            return Place(buffers(owner), start + shift, step, blocks, block)
        outer = self.repeat.slices.get(base, self.repeat.collected.get(base))
        if outer is None:
            return buffers.moving(tensor)
        outer = root(outer)
        size = buffers._bytes(base)
        block = (size // buffers.capacity, 0) if base.shape[0] is None else (0, size)
        if outer in buffers.within:
            memory, shift = buffers.within[outer]
            return Place(buffers(memory), start + shift, step, buffers.blocks[memory], block)
        return Place(buffers(outer), start, step, self.repeat.count, block)


# --- the program --------------------------------------------------------------------------------


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
        buffers: _Buffers,
        steps: list[Step],
        nodes: list[list[Node]],
        chains: list[list[list[Node]]],
        gradients: Iterable[np.ndarray],
    ) -> None:
        self.program = program
        self.nodes, self.chains, self.array_of = nodes, chains, buffers
        self.batch_rows = buffers.batch_rows
        self.arena_bytes = buffers.bytes
        self.buffer_bytes = buffers.bytes_in_all
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
    sizes = [math.prod(s or 0 for s in total.shape) for total in totals]
    sums, ends = np.zeros(sum(sizes)), np.cumsum(sizes)
    fixed = {t: sums[end - n : end] for t, n, end in zip(totals, sizes, ends, strict=True)}
    fixed.update(_constants(steps, dtype))
    steps = _updates_by_place(steps)
    gradients = _gradient_ranges(steps, dtype)
    fixed.update(gradients)
    buffers = _Buffers(steps, capacity, dtype, fixed, feeds, [*fetches, *kept])
    entries, nodes, chains = [], [], []
    at = 0
    while at < len(steps):
        count, entry = _merged_update(steps[at:], buffers)
        if entry is not None:
            entries.append(entry)
            chains.append([steps[at].nodes])
        else:
            entries += _entries(steps[at], buffers)
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
        program = Program(capacity, entries, *arrays)
    return Lowered(program, buffers, steps, nodes, chains, gradients.values())


def _constants(steps: list[Step], dtype: np.dtype) -> dict[Tensor, np.ndarray]:
    """The eager tensors among the inputs, as the program reads them."""
    constants = {}
    for step in steps:
        for node in step.nodes:
            for tensor in map(root, node.inputs.values()):
                if tensor.is_eager and tensor not in constants:
                    wanted = dtype if tensor.dtype == "real" else _OTHER_TYPES[tensor.dtype]
                    constants[tensor] = np.array(tensor._value, wanted, order="C")
    return constants


def _blocks_of_weights(steps: list[Step]) -> list[np.ndarray]:
    """The blocks of memory that hold the variables of these steps."""
    blocks = {}
    for step in steps:
        for inner in (step, *step.body):
            for tensor in _touched(inner.nodes):
                if isinstance(tensor, Variable):
                    flat = tensor.value if tensor.arena is None else tensor.arena.flat
                    blocks[id(flat)] = flat
    return list(blocks.values())


Entry = tuple[str, list[Any], dict[str, Any], int, bool]


def _all_nodes(step: Step) -> list[Node]:
    return [*step.nodes, *(node for inner in step.body for node in _all_nodes(inner))]


def _entries(step: Step, buffers: _Buffers) -> list[Any]:
    """What Program wants to know of a step: its op and the tails, or a loop."""
    if isinstance(step.node, Repeat):
        return [_loop(step.node.count, step.body, _Inside(step.node, buffers))]
    if any(buffers.moving(t) for t in _touched(step.nodes)):
        return [_loop(1, [step], buffers)]
    return [_entry(node, buffers, k > 0) for k, node in enumerate(step.nodes)]


def _loop(count: int, steps: list[Step], inside: _Buffers | _Inside) -> Any:
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

    def array_of(tensor: Tensor) -> np.ndarray:
        if isinstance(tensor, Variable):
            return tensor.value
        if tensor not in arrays:
            real = next(iter(gradients)).value.dtype
            dtype = real if tensor.dtype == "real" else _OTHER_TYPES[tensor.dtype]
            arrays[tensor] = np.empty([length or 0 for length in tensor.shape], dtype)
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
        high = max(v.offset + _padded(v.value.size) for v in variables)  # type: ignore[attr-defined]
        flat = _aligned(high - low, dtype)
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
    last = steps[count - 1].node.inputs["param"]
    length = last.offset + last.value.size - start  # type: ignore[attr-defined]
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
    return variable.offset + _padded(variable.value.size)  # type: ignore[attr-defined]


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
