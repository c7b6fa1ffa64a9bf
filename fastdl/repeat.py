"""Repetition: one node of the graph that stands for many runs of a body, one for each time step.

The body is traced once, on tensors that stand for one iteration's part of what lies outside:

- a *slice* is read from a sequence, whose memory is in the order of time;
- a *state* goes from each iteration to the next;
- a *collected* tensor is written to a sequence, for those who read it outside or in the gradient;
- all else that the body reads is constant: weights, say.

What a body computes from slices and constants alone does not wait for the state: it is taken out,
to one op over all time steps. So a cell may be written plainly, and its input's product is one
large product. In the gradient it is the other way round: what sums over the rows, as the gradient
of a weight does, moves out behind the loop and becomes one op over all time steps.

The gradient of a repeat is a repeat of the body's gradient in the reverse order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastdl.kernels import values
from fastdl.kernels.table import OPS, Op
from fastdl.shaping import getitem, stack
from fastdl.tensor import Shape, Tensor, apply
from fastdl.trace import Node, Trace, apply_node, current_trace, record, reshape, root

__all__ = [
    "Repeat", "State", "each_step", "filled", "from_time_major", "is_eager", "repeat",
    "to_time_major",
]  # fmt: skip

_REPEAT = Op("repeat", "A body of ops, once for each time step.", ())

Body = Callable[[list[Tensor], list[Tensor]], tuple[list[Tensor], list[Tensor]]]


def filled(shape: Shape, value: float = 0.0, like: Tensor | None = None) -> Tensor:
    """A tensor of this shape with the same value everywhere; eager where ``like`` is, with as many
    rows and of its type."""
    if like is not None and is_eager(like):
        rows = like.shape[0] or 0
        whole = tuple([rows if n is None else n for n in shape])
        return values.wrap(np.full(whole, value, like.value.dtype))
    return record(Node(OPS["fill"], {}, {"value": value}, {"out": Tensor(shape)})).outputs["out"]


def repeat(
    body: Body, sequences: Sequence[Tensor], states: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Runs a body for each time step.

    Parameters
    ----------
    body : callable
        ``body(slices, states)`` gives (outputs, new states): lists of tensors. It is called once.
    sequences : list of Tensor, shape (None, T, ...)
        Their memory in the order of time, as `fastdl.ops.to_time_major` makes it.
    states : list of Tensor
        Before the first step.

    Returns
    -------
    outputs : list of Tensor, shape (None, T, ...)
        What the body gave at each time step, in the order of time.
    states : list of Tensor
        After the last step.

    Raises
    ------
    ValueError
        If the sequences differ in length, or a state changes its shape.
    """
    lengths = {s.shape[1] for s in sequences}
    if len(lengths) != 1:
        raise ValueError(f"repeat: wants sequences of one length, got {sorted(map(str, lengths))}")
    if is_eager(sequences[0]):
        return _eagerly(body, sequences, states)
    node = Repeat(lengths.pop() or 0)
    slices = [Tensor((None, *s.shape[2:]), s.dtype, name="slice") for s in sequences]
    node.slices.update(zip(slices, sequences, strict=True))
    befores = [Tensor(s.shape, s.dtype, name="state") for s in states]
    with node.tracing() as trace:
        outputs, afters = body(slices, befores)
    if [t.shape for t in afters] != [t.shape for t in befores]:
        raise ValueError(
            f"repeat: the states have shapes {[t.shape for t in befores]}, but the body made "
            f"{[t.shape for t in afters]} of them"
        )
    node.take_out(trace.nodes, befores)
    initials = [apply("scale", x=s) for s in states]
    for before, after, initial in zip(befores, afters, initials, strict=True):
        node.add_state(before, after, initial)
    results = [node.all_of(t) for t in outputs]
    record(node.refresh())
    return results, [s.final for s in node.states]


def is_eager(x: Tensor) -> bool:
    """Whether ops on this tensor are computed at once."""
    return x._value is not None and not values.is_tracing()


def _same_draws(count: int) -> Iterator[int]:
    """The numbers of the time steps, each of which draws the same random numbers, as in a loop."""
    call = current_trace()
    if call is None:
        yield from range(count)
        return
    first = next(call.streams)
    for step in range(count):
        call.streams = itertools.count(first)
        yield step


def _eagerly(body: Body, sequences: Sequence[Tensor], states: Sequence[Tensor]) -> Any:
    """`repeat` on values: the body is called once for each time step."""
    rows, count = sequences[0].shape[:2]
    in_time = [reshape(s, (count, rows, *s.shape[2:])) for s in sequences]
    collected: list[list[Tensor]] = []
    for step in _same_draws(count or 0):
        outputs, states = body([getitem(s, step) for s in in_time], [*states])
        collected.append(outputs)
    joined = [stack(outputs) for outputs in zip(*collected, strict=True)]
    return [reshape(t, (rows, count, *t.shape[2:])) for t in joined], [*states]


# --- sequences ------------------------------------------------------------------------------------


def to_time_major(x: Tensor, reverse: bool = False) -> Tensor:
    """The sequence (None, T, ...) in the order of time; nothing to do where it comes from there."""
    source = root(x).node
    if source is not None and source.name == "from_time_major_forward":
        same = source.options["reverse"] == reverse and root(x).shape[1] == x.shape[1]
        if same:
            return reshape(source.inputs["x"], x.shape)
    rows = x if len(x.shape) == 3 else reshape(x, (None, x.shape[1], -1))
    out = apply("to_time_major_forward", x=rows, reverse=reverse)
    return out if out.shape == x.shape else reshape(out, x.shape)


def from_time_major(x: Tensor, reverse: bool = False) -> Tensor:
    """The inverse of `to_time_major`."""
    rows = x if len(x.shape) == 3 else reshape(x, (None, x.shape[1], -1))
    out = apply("from_time_major_forward", x=rows, reverse=reverse)
    return out if out.shape == x.shape else reshape(out, x.shape)


def each_step(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a function gives at each time step.

    Parameters
    ----------
    function : callable
        Takes the part of one time step and gives a tensor; it has no state.
    x : Tensor, shape (None, T, ...)
    """
    if is_eager(x):
        parts = [getitem(x, (slice(None), step)) for step in range(x.shape[1] or 0)]
        return stack([function(parts[step]) for step in _same_draws(len(parts))], 1)
    node = Repeat(x.shape[1] or 0)
    step = Tensor((None, *x.shape[2:]), x.dtype, name="slice")
    node.slices[step] = x
    with node.tracing() as trace:
        out = function(step)
    node.take_out(trace.nodes, [])
    if not any(n.op is not None for n in node.body):  # one op over all rows: in any order
        whole = node.sequence(out)
        if whole is not None:
            return whole
    outputs, _ = repeat(lambda parts, _: ([function(parts[0])], []), [to_time_major(x)], [])
    return from_time_major(outputs[0])


# --- the node -------------------------------------------------------------------------------------


class State:
    """A tensor that goes from iteration to iteration.

    Attributes
    ----------
    before, after : Tensor
        What the body reads, and what it makes of it.
    initial : Tensor
        Before the first iteration; the result of an op that nobody else reads.
    memory : Tensor
        All values one after the other, or, where nobody asks for those, the last two.
    previous, sequence : Tensor
        All values that were read, all that were made: in the order of the sequences' memory.
    final : Tensor
        After the last iteration.
    """

    def __init__(self, before: Tensor, after: Tensor, initial: Tensor, count: int) -> None:
        shape, dtype = before.shape, before.dtype
        self.before, self.after, self.initial = before, after, initial
        self.memory = Tensor(_stacked(shape, count + 1), dtype, name="states")
        self.previous = Tensor(_stacked(shape, count), dtype)
        self.sequence = Tensor(_stacked(shape, count), dtype)
        self.final = Tensor(shape, dtype)


def _stacked(shape: Shape, count: int) -> Shape:
    """The shape of a sequence of tensors of this shape."""
    return (None, count, *shape[1:]) if _is_batched(shape) else (count, *shape)


def _is_batched(shape: Shape) -> bool:
    return bool(shape) and shape[0] is None


class Repeat(Node):
    """The node.

    Attributes
    ----------
    count : int
        How many iterations.
    reverse : bool
        Whether the first iteration works on the last part of each sequence.
    body : list of Node
    slices, collected : dict of Tensor
        What the body reads and writes of sequences: its tensor -> the sequence.
    states : list of State
    """

    def __init__(self, count: int, reverse: bool = False) -> None:
        super().__init__(_REPEAT, {}, {}, {})
        self.count = count
        self.reverse = reverse
        self.body: list[Node] = []
        self.slices: dict[Tensor, Tensor] = {}
        self.collected: dict[Tensor, Tensor] = {}
        self.states: list[State] = []

    def tracing(self) -> Trace:
        """A trace for the body, which draws from the same random streams as the open one."""
        open_trace = current_trace()
        trace = Trace(open_trace is not None and open_trace.training)
        if open_trace is not None:
            trace.streams, trace.owner = open_trace.streams, open_trace.owner
        return trace

    def refresh(self) -> Repeat:
        """Says anew what the node reads and writes."""
        read = dict.fromkeys(root(t) for node in self.body for t in node.inputs.values())
        outer = [self.slices[t] for t in read if t in self.slices]
        outer += [*self.constants(), *(s.initial for s in self.states)]
        self.inputs = {f"x{i}": t for i, t in enumerate(dict.fromkeys(outer))}
        results = list(self.collected.values())
        for state in self.states:
            results += [state.previous, state.sequence, state.final]
        self.outputs = {f"out{i}": t for i, t in enumerate(results)}
        for tensor in results:
            tensor.node = self
            tensor.name = tensor.name or "repeat"
        return self

    def constants(self) -> list[Tensor]:
        """What the body reads and is the same in each iteration."""
        made = {t for node in self.body for t in node.outputs.values()} | set(self.slices)
        made.update(s.before for s in self.states)
        read = dict.fromkeys(t for node in self.body for t in node.inputs.values())
        return [t for t in read if root(t) not in made]

    # --- from inside to outside -------------------------------------------------------------------

    def sequence(self, tensor: Tensor) -> Tensor | None:
        """All iterations' values of a tensor of the body, collected if need be.

        None for constants.
        """
        base = root(tensor)
        outer = self.slices.get(base, self.collected.get(base))
        for state in self.states:
            if base is state.after:
                outer = state.sequence
            elif base is state.before:
                outer = state.previous
        if outer is None:
            if not any(base in node.outputs.values() for node in self.body):
                return None
            outer = Tensor(_stacked(base.shape, self.count), base.dtype, self)
            self.collected[base] = outer
            self.refresh()
        return outer if base is tensor else reshape(outer, _stacked(tensor.shape, self.count))

    def all_of(self, tensor: Tensor) -> Tensor:
        """`sequence`, of a copy that the body makes where it only passes on a constant."""
        found = self.sequence(tensor)
        if found is None:
            found = self.sequence(self._copy(tensor))
        assert found is not None
        return found

    def _copy(self, tensor: Tensor) -> Tensor:
        with self.tracing() as trace:
            copy = apply("scale", x=tensor)
        self.body += trace.nodes
        return copy

    def add_state(self, before: Tensor, after: Tensor, initial: Tensor) -> None:
        """``initial`` must be the result of an op that nobody else reads."""
        made = any(after in node.outputs.values() for node in self.body if node.op is not None)
        if not made or after in self.collected or any(after is s.after for s in self.states):
            after = self._copy(after)
        self.states.append(State(before, after, initial, self.count))

    def take_out(self, nodes: list[Node], befores: list[Tensor]) -> None:
        """Takes the body's nodes over, but for those that need no state: they are recorded outside,
        once for all iterations."""
        varying = set(befores)
        for node in nodes:
            if isinstance(node, Repeat):
                raise ValueError("repeat: a body may not contain another repeat: a recurrent layer")
            inputs = {name: root(t) for name, t in node.inputs.items()}
            if _changes(node) or any(t in varying for t in inputs.values()):
                pass
            elif not any(t in self.slices for t in inputs.values()):
                record(node)  # the same in each iteration
                continue
            elif node.op is None:
                self.body.append(node)
                continue
            elif self._is_by_rows(node):
                outer = _again(node, {name: self._everywhere(t) for name, t in node.inputs.items()})
                for name, tensor in node.outputs.items():
                    outer[name].shape = _stacked(tensor.shape, self.count)
                    self.slices[tensor] = outer[name]
                continue
            varying.update(node.outputs.values())
            self.body.append(node)

    def _everywhere(self, tensor: Tensor) -> Tensor:
        """All iterations' values of a slice; constants stay as they are."""
        found = self.sequence(tensor)
        return tensor if found is None else found

    def _is_by_rows(self, node: Node) -> bool:
        """Whether the node gives the same for the rows of all iterations together."""
        op = node.op
        assert op is not None
        if "stream" in op.option_names:
            return False  # a mask is the same in each iteration
        for argument in op.inputs:
            tensor = node.inputs.get(argument.name)
            if tensor is not None and argument.batched != (root(tensor) in self.slices):
                return False
        return all(a.batched for a in op.outputs if a.name in node.outputs)

    # --- gradients --------------------------------------------------------------------------------

    def gradients(
        self, out_grads: dict[Tensor, Tensor], needed: set[Tensor], differentiate: Any
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Records the repeat that computes gradients; gives (input, its gradient).

        Parameters
        ----------
        out_grads : dict
            The gradients of outputs.
        needed : set of Tensor
            What gradients are wanted for.
        differentiate : callable
            `fastdl.graph.differentiate`
        """
        inverse = Repeat(self.count, not self.reverse)
        seeds = []
        pairs = [*self.collected.items()]
        for state in self.states:
            pairs += [(state.after, state.sequence), (state.before, state.previous)]
        for inner, outer in pairs:
            if outer in out_grads:
                gradient = Tensor(inner.shape, inner.dtype, name="gradient")
                inverse.slices[gradient] = out_grads[outer]
                seeds.append((inner, gradient))
        carried = [Tensor(s.before.shape, s.before.dtype, name="gradient") for s in self.states]
        seeds += [(s.after, t) for s, t in zip(self.states, carried, strict=True)]
        read = dict.fromkeys(root(t) for node in self.body for t in node.inputs.values())
        slices = {t: outer for t, outer in self.slices.items() if t in read and outer in needed}
        constants = [t for t in self.constants() if t in needed]
        befores = [s.before for s in self.states]
        inverse.body, found = differentiate(self.body, seeds, [*befores, *slices, *constants])
        self._lend(inverse, carried)
        for state, before in zip(self.states, carried, strict=True):
            inverse._carry(before, found.get(state.before), out_grads.get(state.final))
        sums = inverse._sum({c: found[c] for c in constants if c in found})
        given = [(outer, inverse.all_of(found[t])) for t, outer in slices.items() if t in found]
        record(inverse.refresh())
        for state, inverse_state in zip(self.states, inverse.states, strict=False):
            yield state.initial, inverse_state.final
        yield from given
        for constant, gradient in sums.items():
            whole = inverse._summed_outside(gradient)
            if whole is None:
                total = next(s for s in inverse.states if s.after is gradient)
                whole = apply("scale", x=total.final)
            yield constant, whole

    def _lend(self, inverse: Repeat, carried: list[Tensor]) -> None:
        """Lets the gradient's body read, as slices, what this one computed."""
        made = {t for node in inverse.body for t in node.outputs.values()} | set(carried)
        for node in inverse.body:
            for tensor in map(root, node.inputs.values()):
                if tensor not in made and tensor not in inverse.slices:
                    outer = self.sequence(tensor)
                    if outer is not None:
                        inverse.slices[tensor] = outer

    def _carry(self, before: Tensor, after: Tensor | None, initial: Tensor | None) -> None:
        """A state of the gradient; None: zeros."""
        if after is None:
            with self.tracing() as trace:
                after = filled(before.shape)
            self.body += trace.nodes
        start = filled(before.shape) if initial is None else apply("scale", x=initial)
        self.add_state(before, after, start)

    def _sum(self, gradients: dict[Tensor, Tensor]) -> dict[Tensor, Tensor]:
        """Adds up, over the iterations, those gradients that cannot be computed outside at once."""
        sums = {}
        for constant, gradient in gradients.items():
            if not self._can_leave(gradient):
                total = Tensor(constant.shape, constant.dtype, name="sum")
                with self.tracing() as trace:
                    gradient = apply("add", a=total, b=gradient)
                self.body += trace.nodes
                self.add_state(total, gradient, filled(constant.shape))
            sums[constant] = gradient
        return sums

    def _can_leave(self, tensor: Tensor) -> bool:
        """Whether a sum over rows can be computed from all iterations' rows at once."""
        node = tensor.node
        if node not in self.body or _is_batched(tensor.shape):
            return False
        if node.op is None or node.op.name == "add":
            return all(map(self._can_leave, node.inputs.values()))
        return not node.op.updates and all(
            _is_batched(t.shape) and self.sequence(t) is not None and a.batched
            for a in node.op.inputs
            if (t := node.inputs.get(a.name)) is not None
        )

    def _summed_outside(self, tensor: Tensor) -> Tensor | None:
        """The same, computed outside; None where it cannot."""
        if not self._can_leave(tensor):
            return None
        node = tensor.node
        assert node is not None
        name = next(name for name, t in node.outputs.items() if t is tensor)
        if node.op is None or node.op.name == "add":
            given = {k: self._summed_outside(t) for k, t in node.inputs.items()}
        else:
            given = {k: self.sequence(t) for k, t in node.inputs.items()}
        if node.op is None:
            assert given["x"] is not None
            return reshape(given["x"], tensor.shape)
        outer = _again(node, given)
        for key, t in node.outputs.items():
            outer[key].shape = t.shape
        return outer[name]

    # --- dead code --------------------------------------------------------------------------------

    def prune(self, alive: set[Tensor], needed: Any, prune: Any) -> None:
        """Drops what nobody outside needs.

        Parameters
        ----------
        alive : set of Tensor
            What they need.
        needed, prune : callable
            Those of `fastdl.graph`, for a list of nodes and what to keep.
        """
        self.collected = {t: outer for t, outer in self.collected.items() if outer in alive}
        states = [s for s in self.states if {s.previous, s.sequence, s.final} & alive]
        while True:
            keep = [*self.collected, *(s.after for s in states)]
            body, _ = needed(self.body, keep)
            read = {root(t) for node in body for t in node.inputs.values()}
            states_now = [s for s in self.states if s in states or s.before in read]
            if states_now == states:
                break
            states = states_now
        self.body, self.states = prune(self.body, keep), states
        self.refresh()


def _changes(node: Node) -> bool:
    return node.op is not None and bool(node.op.updates)


def _again(node: Node, given: dict[str, Any]) -> dict[str, Tensor]:
    """The outputs of the same op on other tensors."""
    assert node.op is not None
    without = [a.name for a in node.op.outputs if a.name not in node.outputs]
    return apply_node(node.op.name, without, **given, **node.options).outputs
