"""What changes in loops over time where groups of a batch's rows go through them by themselves.

`take_in` moves products that need no state back into the loop, `turn_weights` has it multiply by
weights that were transposed before it. Both are worth it from so many rows on that each group uses
a weight often; they give the same results but for the order of some sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from fastdl.kernels.table import OPS
from fastdl.repeat import Repeat
from fastdl.shaping import transpose
from fastdl.tensor import Tensor
from fastdl.trace import Node, Trace, readers_of, root

__all__ = ["take_in", "turn_weights"]

#: Rows of a batch that make two groups, and what these may read together in each iteration: see
#: GROUP_ROWS in kernels/op.h and SHARED_BYTES in kernels/program.pyx.
ROWS, SHARED_ELEMENTS = 32, 1 << 18

#: From so many iterations on a transposed weight is worth its making.
ITERATIONS = 8


def take_in(nodes: list[Node], keep: Iterable[Tensor], rows: int) -> list[Node]:
    """The nodes, with dense products that only a loop reads computed in it, step by step.

    All time steps at once are one large product, but it is written to, and read again from, beyond
    the caches: where its input is narrow that takes longer than the multiplying. In the loop a
    step's part stays in L1 and L2, and needs no memory of all steps.

    Parameters
    ----------
    nodes : list of Node
        Without any that nobody needs.
    keep : tensors
        What is wanted of them.
    rows : int
        The most of a batch.
    """
    if rows < ROWS:
        return nodes
    readers = readers_of(nodes)
    kept = {root(t) for t in keep}
    gone: set[Node] = set()
    for loop in nodes:
        if not isinstance(loop, Repeat) or not loop.states:
            continue
        for part, whole in list(loop.slices.items()):
            source = root(whole)
            product = source.node
            if product is None or product.name != "dense_forward" or source in kept:
                continue
            if readers[source] != [loop] or not _fits(loop, product):
                continue
            x = product.inputs["x"]
            step = Tensor((None, *x.shape[2:]), x.dtype, name="slice")
            del loop.slices[part]
            loop.slices[step] = x
            loop.body.insert(0, product.on({**product.inputs, "x": step}, {"out": part}))
            loop.refresh()
            gone.add(product)
    return [node for node in nodes if node not in gone]


def _fits(loop: Repeat, product: Node) -> bool:
    """Whether what the loop then reads in each iteration stays in the caches."""
    shared = {root(t) for n in (*loop.body, product) for t in n.inputs.values()}
    sizes = [math.prod(s for s in t.shape if s) for t in shared if t.shape[:1] != (None,)]
    return sum(sizes) <= SHARED_ELEMENTS


def turn_weights(nodes: list[Node], rows: int) -> list[Node]:
    """The nodes, with weights transposed in front of loops that multiply by their transpose.

    Such a product of few rows turns its rows and its result in each iteration, and fills but one
    vector in each step of the depth; a transposed weight serves all groups in all iterations.
    """
    if rows < ROWS:
        return nodes
    before: dict[Node, list[Node]] = {}
    for loop in nodes:
        if not isinstance(loop, Repeat) or loop.count < ITERATIONS:
            continue
        constants = set(loop.constants())
        for at, node in enumerate(loop.body):
            if node.name != "dense_backward_input" or node.inputs["weight"] not in constants:
                continue
            with Trace(training=True) as trace:
                inputs = {"x": node.inputs["grad_out"], "weight": transpose(node.inputs["weight"])}
            loop.body[at] = node.on(inputs, {"out": node.outputs["grad_x"]})
            loop.body[at].op = OPS["dense_forward"]
            before.setdefault(loop, []).extend(trace.nodes)
        loop.refresh()
    return [new for node in nodes for new in (*before.get(node, ()), node)]
