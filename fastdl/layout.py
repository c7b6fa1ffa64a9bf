"""Memory of all that is no variable: one block, in which each tensor has a place for as long as it
is needed; and, of a loop, where its tensors are in each iteration.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

import numpy as np

from fastdl.arena import LINE, aligned, padded
from fastdl.graph import Step
from fastdl.repeat import Repeat, State
from fastdl.tensor import Tensor, Variable
from fastdl.trace import Node, root, wrong_batch

__all__ = ["Buffers", "Inside", "Place", "dtype_of", "touched"]

_FIRST = itemgetter(0)

_OTHER_TYPES = {"label": np.dtype(np.int64), "float64": np.dtype(np.float64)}


def dtype_of(tensor: Tensor, real: np.dtype) -> np.dtype:
    """The type of a tensor's elements, where that of real numbers is ``real``."""
    return real if tensor.dtype == "real" else _OTHER_TYPES[tensor.dtype]


class Buffers:
    """Gives every tensor of the steps its place in one block."""

    def __init__(
        self,
        steps: list[Step],
        capacity: int,
        dtype: np.dtype,
        fixed: dict[Tensor, np.ndarray],
        feeds: list[Tensor],
        fetches: list[Tensor],
        together: list[int],
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
        feed_bytes = self._place_feeds(feeds)
        first: dict[Tensor, int] = {}
        last: dict[Tensor, int] = {}
        self.shares: dict[Tensor, Tensor] = {}
        for i, step in enumerate(steps):
            for tensor in touched(step.nodes):
                owner = self.within[tensor][0] if tensor in self.within else tensor
                if owner._value is None and owner not in fixed:
                    first.setdefault(owner, i)
                    last[owner] = i
            for tensor in self._own_tensors(step, first):
                first[tensor] = last[tensor] = i
        for tensor in map(root, fetches):
            owner = self.within[tensor][0] if tensor in self.within else tensor
            if owner not in fixed:
                last[owner] = len(steps)
        self.shares.update(self._inplace(steps, first, last))
        for i, step in enumerate(steps):
            if isinstance(step.node, Repeat):
                self.shares.update(self._inplace_sequences(step, i, first, last))
        self.bytes_in_all = sum(self._bytes(t) for t in first) + feed_bytes
        offsets, arena_bytes = self._pack(first, self._until_chains_end(last, together))
        self.bytes = arena_bytes + feed_bytes
        block = aligned(arena_bytes, np.uint8)
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

    def _place_feeds(self, feeds: list[Tensor]) -> int:
        """Gives the feeds memory of their own; returns how many bytes that is. So it is known who
        reads them: those are sent to the user's rows where they need not be copied."""
        tensors = list(dict.fromkeys(map(root, feeds)))
        ends = np.cumsum([padded(self._bytes(t), LINE) for t in tensors], dtype=np.int64)
        total = int(ends[-1]) if tensors else 0
        block = aligned(total, np.uint8)
        for tensor, end in zip(tensors, ends, strict=True):
            size = self._bytes(tensor)
            at = int(end) - padded(size, LINE)
            array = block[at : at + size].view(self._dtype(tensor))
            self.fixed[tensor] = array.reshape(self._shape(tensor))
        return total

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
            for tensor in touched(inner.nodes):
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

    @staticmethod
    def _until_chains_end(last: dict[Tensor, int], together: list[int]) -> dict[Tensor, int]:
        """Steps of a chain run side by side: none takes over the memory of one before it."""
        ends = list(range(len(together)))
        for i, count in enumerate(together):
            ends[i : i + count] = [i + count] * count
        return {t: ends[i] if 0 <= i < len(ends) else i for t, i in last.items()}

    def _block_bytes(self, owner: Tensor) -> tuple[int, int]:
        """What a block takes for each row of the batch, and in all."""
        size = self._bytes(owner) // self.blocks[owner]
        return (size // self.capacity, 0) if owner.shape[0] is None else (0, size)

    def _shape(self, tensor: Tensor) -> tuple[int, ...]:
        if tensor in self.blocks:
            return (self._bytes(tensor) // self._dtype(tensor).itemsize,)
        return tuple([self.capacity if s is None else s for s in tensor.shape])

    def _dtype(self, tensor: Tensor) -> np.dtype:
        return dtype_of(tensor, self.dtype)

    def _bytes(self, tensor: Tensor) -> int:
        size = self._sizes.get(tensor)
        if size is None:
            size = math.prod(self._shape(tensor)) * self._dtype(tensor).itemsize
            self._sizes[tensor] = size
        return size

    def _inplace(
        self, steps: list[Step], first: dict[Tensor, int], last: dict[Tensor, int]
    ) -> dict[Tensor, Tensor]:
        """Which outputs take over the memory of an input that nobody needs afterwards.

        A tail's takes that of what it is a tail of, if it may: a product can then add for it.
        """
        shares: dict[Tensor, Tensor] = {}
        taken: set[Tensor] = set()
        for i, step in enumerate(steps):
            read_by_head = {root(t) for t in step.node.inputs.values()} if step.tails else set()
            for k, node in enumerate(step.nodes):
                assert node.op is not None
                if not node.op.inplace or len(node.outputs) != 1:
                    continue
                out = next(iter(node.outputs.values()))
                needed_later = {root(t) for n in step.nodes[k + 1 :] for t in n.inputs.values()}
                made = {t for n in step.nodes[:k] for t in n.outputs.values()}
                inputs = map(root, node.inputs.values())
                for tensor in sorted(inputs, key=lambda t, made=made: t not in made):  # type: ignore[misc]
                    if (
                        tensor in first
                        and last[tensor] == i
                        and tensor not in read_by_head
                        and tensor not in needed_later
                        and tensor not in taken
                        and out in first
                        and tensor.dtype == out.dtype
                        and self._bytes(tensor) == self._bytes(out)
                    ):
                        shares[out] = tensor
                        taken.add(tensor)
                        break
        return shares

    def _inplace_sequences(
        self, step: Step, at: int, first: dict[Tensor, int], last: dict[Tensor, int]
    ) -> dict[Tensor, Tensor]:
        """Which sequences that a repeat writes take over, block by block, the memory of one that it
        reads and nobody needs afterwards."""
        repeat: Any = step.node
        shares: dict[Tensor, Tensor] = {}
        read_whole = {root(t) for inner in step.body for t in touched(inner.nodes)}
        places = {id(node): i for i, inner in enumerate(step.body) for node in inner.nodes}
        for inner, whole in repeat.collected.items():
            for part, sequence in repeat.slices.items():
                source = root(sequence)
                parts = {t for t, other in repeat.slices.items() if root(other) is source}
                if (
                    whole in first
                    and source in first
                    and last[source] == at
                    and source not in read_whole
                    and source not in shares.values()
                    and part.dtype == inner.dtype
                    and self._bytes(part) == self._bytes(inner)
                    and (part.shape[0] is None) == (inner.shape[0] is None)
                    and all(
                        _precedes(node, inner, places)
                        for body in step.body
                        for node in body.nodes
                        if parts & {root(t) for t in node.inputs.values()}
                    )
                ):
                    shares[whole] = source
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
        placed: list[tuple[int, int, Tensor]] = []  # by where they begin
        offsets: dict[Tensor, int] = {}
        bases = dict.fromkeys(owner.values())
        for tensor in sorted(bases, key=lambda t: (-self._bytes(t), begin[t])):
            size = padded(self._bytes(tensor), LINE)
            at = 0
            for low, high, other in placed:
                if low >= at + size:
                    break
                if at < high and begin[tensor] <= end[other] and begin[other] <= end[tensor]:
                    at = high
            offsets[tensor] = at
            bisect.insort(placed, (at, at + size, tensor), key=_FIRST)
        total = max((high for _, high, _ in placed), default=0)
        return {t: offsets[base] for t, base in owner.items()}, total


def touched(nodes: Iterable[Node]) -> Iterator[Tensor]:
    """What nodes read and write."""
    for node in nodes:
        yield from map(root, (*node.inputs.values(), *node.outputs.values()))


def _precedes(node: Node, tensor: Tensor, places: dict[int, int]) -> bool:
    """Whether this op has read what it reads when the tensor is written, element by element."""
    maker = tensor.node
    if node is maker:
        return node.op is not None and node.op.inplace
    return places[id(node)] < places.get(id(maker), 0)


class Place:
    """A tensor's places in an array of blocks: see `Moving` in op.h."""

    def __init__(
        self, array: np.ndarray, start: int, step: int, period: int, block: tuple[int, int]
    ) -> None:
        self.array = array
        self.start, self.step, self.period = start, step, period
        self.block = block

    def entry(self, at: int, argument: int) -> tuple[Any, ...]:
        """What a Program wants to know of it."""
        return at, argument, self.array, (self.start, self.step, self.period), self.block


class Inside:
    """The arrays of a repeat's body, and where they move."""

    def __init__(self, repeat: Repeat, buffers: Buffers) -> None:
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
