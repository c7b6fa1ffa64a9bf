"""The graph: what is done to a traced list of nodes before it becomes a Program.

1. `rewritten` (rewrites.py) changes the forward pass: the same results by less work.
2. `differentiate` walks the list backwards and adds the backward ops of the table.
3. `fuse` makes elementwise nodes tails of the product that feeds them: they then run on each tile
   while it is in the cache, with the same bits as on their own.
4. `prune` drops what nothing needs.

Each is a function from nodes to nodes; `lowering.py` then makes the Program of them, in memory that
`layout.py` has planned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fastdl.arena import is_small
from fastdl.kernels.table import OPS, Op
from fastdl.repeat import Repeat, filled
from fastdl.tensor import Tensor, Variable, apply
from fastdl.trace import Node, Trace, apply_node, inside, readers_of, reshape, root

__all__ = ["Step", "differentiate", "fuse", "label_count", "prune", "root"]


def label_count(nodes: Iterable[Node], tensor: Tensor) -> int | None:
    """How many labels the ops that read a tensor know; None where it holds no labels."""
    counts = []
    for node in nodes:
        for argument in node.op.inputs if node.op is not None else ():
            if argument.below and root(node.inputs[argument.name]) is tensor:
                counts.append(_length_of(node, argument.below))
    return min(counts, default=None)


def _length_of(node: Node, letter: str) -> int:
    """The length of an axis of a node's arguments."""
    assert node.op is not None
    for argument in (*node.op.inputs, *node.op.outputs):
        found = node.argument(argument.name)
        if letter in argument.own_axes and found is not None:
            at = argument.own_axes.index(letter) - len(argument.own_axes)
            return found.shape[at] or 0
    raise ValueError(f"{node.name}: nothing says how long axis {letter} is")


# --- gradients ----------------------------------------------------------------------------------


def differentiate(
    nodes: list[Node], seeds: list[tuple[Tensor, Tensor]], wanted: Sequence[Tensor]
) -> tuple[list[Node], dict[Tensor, Tensor]]:
    """Adds the ops that compute gradients.

    Parameters
    ----------
    nodes : list of Node
        The forward pass in order.
    seeds : list of (tensor, gradient)
        What the losses read, and the gradient of each loss by it.
    wanted : tensors
        What gradients are asked for; ops that lead to none of them get no backward op.

    Returns
    -------
    nodes : list of Node
        The backward ops in order.
    gradients : dict
        The gradient of each wanted tensor that the loss depends on.
    """
    needed = set(wanted)
    for node in nodes:
        if any(node.inputs[name] in needed for name in _differentiable(node)):
            needed.update(node.outputs.values())
    parts: dict[Tensor, list[Tensor]] = {}
    for tensor, seed in seeds:
        if tensor in needed:
            parts.setdefault(tensor, []).append(seed)

    def gradient(tensor: Tensor) -> Tensor | None:
        """The sum of the contributions so far."""
        found = parts.get(tensor)
        if not found:
            return None
        while len(found) > 1:
            found[:2] = [apply("add", a=found[0], b=found[1])]
        return found[0]

    def contribute(tensor: Tensor, value: Tensor) -> None:
        if tensor in needed:
            parts.setdefault(tensor, []).append(value)

    with Trace(training=True) as trace:
        for node in reversed(nodes):
            found = {t: g for t in node.outputs.values() if (g := gradient(t)) is not None}
            if found:
                trace.owner = node.owner
            if isinstance(node, Repeat) and found:
                with inside(node.layer):
                    for tensor, value in node.gradients(found, needed, differentiate):
                        contribute(tensor, value)
            elif found:
                out_grads = {
                    f"grad_{name}": found[t] for name, t in node.outputs.items() if t in found
                }
                with inside(node.layer):
                    for name, value in _backward(node, out_grads, needed):
                        contribute(node.inputs[name], value)
        gradients = {t: g for t in wanted if (g := gradient(t)) is not None}
    for node in trace.nodes:
        node.backward = True
    return trace.nodes, gradients


def _differentiable(node: Node) -> list[str]:
    """The names of the inputs that a gradient can flow to."""
    if node.op is None and node.options.get("stop"):
        return []
    if node.op is None or isinstance(node, Repeat):
        return list(node.inputs)
    names = set(node.op.passes)
    for backward in node.op.backward:
        names.update(a.name.removeprefix("grad_") for a in OPS[backward].outputs)
    return [name for name in node.inputs if name in names]


def _backward(
    node: Node, out_grads: dict[str, Tensor], needed: set[Tensor]
) -> Iterable[tuple[str, Tensor]]:
    """Applies the backward ops of one node; gives (input name, gradient)."""
    if node.op is None:
        x = node.inputs["x"]
        yield "x", reshape(out_grads["grad_out"], x.shape)
        return
    for name in node.op.passes:
        if node.inputs[name] in needed:
            yield name, out_grads["grad_out"]
    for backward in node.op.backward:
        op = OPS[backward]
        targets = [
            (a.name, name)
            for a in op.outputs
            if (name := a.name.removeprefix("grad_")) in node.inputs
        ]
        if not any(node.inputs[name] in needed for _, name in targets):
            continue
        arguments = {
            a.name: out_grads[a.name] if a.name in out_grads else node.argument(a.name)
            for a in op.inputs
        }
        for argument in op.inputs:
            out = node.outputs.get(argument.name.removeprefix("grad_"))
            if arguments[argument.name] is None and not argument.optional and out is not None:
                arguments[argument.name] = filled(out.shape)  # nobody has read this output
        options = {o.name: node.options[o.name] for o in op.options if o.name in node.options}
        wanted = {key for key, name in targets if node.inputs[name] in needed}
        without = [a.name for a in op.outputs if a.optional and a.name not in wanted]
        outputs = apply_node(op.name, without, **arguments, **options).outputs
        for key, name in targets:
            if key in without:
                continue
            outputs[key].shape = node.inputs[name].shape  # also where no input says a letter
            yield name, outputs[key]


# --- dead code ----------------------------------------------------------------------------------


def prune(nodes: list[Node], keep: Iterable[Tensor]) -> list[Node]:
    """The nodes that compute a kept tensor or update something in place, and what they read;
    without those optional outputs that nobody reads."""
    kept, alive = _needed(nodes, keep)
    for node in kept:
        if node.op is not None:
            optional = {a.name for a in node.op.outputs if a.optional}
            for name in [n for n in node.outputs if n in optional]:
                if node.outputs[name] not in alive:
                    del node.outputs[name]
    return kept


def _needed(nodes: list[Node], keep: Iterable[Tensor]) -> tuple[list[Node], set[Tensor]]:
    """The nodes that are needed, and the tensors."""
    alive = {root(t) for t in keep}
    kept = []
    for node in reversed(nodes):
        if _changes_something(node) or any(
            t in alive or root(t) in alive for t in node.outputs.values()
        ):
            kept.append(node)
            if isinstance(node, Repeat):
                node.prune(alive, _needed, prune)
            alive.update(root(t) for t in node.inputs.values())
            alive.update(node.inputs.values())
    return kept[::-1], alive


def _changes_something(node: Node) -> bool:
    if isinstance(node, Repeat):
        return any(map(_changes_something, node.body))
    return node.op is not None and bool(node.op.updates)


# --- fusion -------------------------------------------------------------------------------------


class Step:
    """An op of the program: a node, and the elementwise nodes that run on its finished tiles; the
    steps of its body where it is a repeat."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.tails: list[Node] = []
        self.body: list[Step] = []

    @property
    def nodes(self) -> list[Node]:
        return [self.node, *self.tails]


def fuse(
    nodes: list[Node], enabled: bool = True, one_of: Callable[[Op, Op], bool] | None = None
) -> list[Step]:
    """Lists the ops to run, elementwise ones behind the product that feeds them if enabled.

    With ``one_of`` a product has one such op at most, and that only where ``one_of(product, op)``.

    A node may become a tail where

    - it is elementwise, and one of its inputs is what the product (or its last tail) has just
      written, element for element;
    - its other inputs are ready when the product runs;
    - nothing between the product and the node's own place reads or writes what it updates: so an
      optimizer's update waits for all that still need the old weight, and one that needs a norm of
      the whole gradient is never moved, as the norm is not ready;
    - it does not update a small variable: one op updates those together (see lowering.py).
    """
    nodes = [n for n in nodes if n.op is not None]
    place = {n: i for i, n in enumerate(nodes)}
    readers = readers_of(nodes)
    moved: set[Node] = set()
    steps = []
    for i, node in enumerate(nodes):
        if node in moved:
            continue
        step = Step(node)
        steps.append(step)
        if isinstance(node, Repeat):
            step.body = fuse(node.body, enabled, one_of)
        if not enabled or not node.op or not node.op.runs_tails:
            continue
        end = next(iter(node.outputs.values()))
        while (tail := _next_tail(end, i, nodes, place, readers, moved)) is not None:
            assert tail.op is not None
            if one_of is not None and (step.tails or not one_of(node.op, tail.op)):
                break
            moved.add(tail)
            step.tails.append(tail)
            place[tail] = i
            if not tail.outputs:
                break
            end = next(iter(tail.outputs.values()))
    return steps


def _updates_little(node: Node) -> bool:
    variable = node.inputs.get("param") if node.name.endswith("_update") else None
    return isinstance(variable, Variable) and is_small(variable)


def _next_tail(
    end: Tensor,
    at: int,
    nodes: list[Node],
    place: dict[Node, int],
    readers: dict[Tensor, list[Node]],
    moved: set[Node],
) -> Node | None:
    for node in readers.get(end, ()):
        assert node.op is not None
        if node in moved or not node.op.elementwise or _updates_little(node):
            continue
        others = [t for t in node.inputs.values() if root(t) is not end]
        if any(t.node is not None and place.get(t.node, -1) > at for t in map(root, others)):
            continue
        updated = {root(node.inputs[name]) for name in node.op.updates if name in node.inputs}
        between = [n for n in nodes[at : nodes.index(node)] if n is not node and place[n] >= at]
        if any(root(t) in updated for n in between for t in n.inputs.values()):
            continue
        return node
    return None
