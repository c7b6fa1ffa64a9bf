"""What is done to the nodes of a forward pass before they are differentiated, and after.

1. `pools_first` takes relu behind a max-pool that follows it.
2. `pooled_norms` has batch norm normalise only what a max-pool behind it picks.
3. `with_statistics` has a convolution form the statistics that a batch norm behind it needs.
4. `without_leftovers` lets a convolution leave out the rows and columns that no window of the
   pooling behind it reads.
5. `sums_of_pooled`, of the backward pass, sums a bias's gradient from fewer elements.
6. `drawn_once`, of the backward pass too, takes the mask of a dropout behind a relu from its
   output.

Each is a function from nodes to nodes, and done whether ops are fused or not: it decides in which
order sums are made, which fusing never does.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastdl.kernels.table import OPS
from fastdl.tensor import Tensor
from fastdl.trace import Node, readers_of, root

__all__ = [
    "drawn_once", "pooled_norms", "pools_first", "rewritten", "sums_of_pooled",
    "with_statistics", "without_leftovers",
]  # fmt: skip


def rewritten(nodes: list[Node], keep: Iterable[Tensor]) -> list[Node]:
    """A forward pass in which less is to be done for the same results."""
    kept = list(keep)
    nodes = with_statistics(pooled_norms(pools_first(nodes, kept), kept))
    return without_leftovers(nodes, kept)


def pools_first(nodes: list[Node], keep: Iterable[Tensor]) -> list[Node]:
    """The nodes, with each relu behind the max-pool that alone reads it, instead of before.

    The largest of a window commutes with relu, and so do the gradients: where the largest is not
    positive they are 0. Relu then has to do with the pooled elements alone, and nothing needs its
    larger output until the backward pass.
    """
    readers, kept = readers_of(nodes), {root(t) for t in keep}
    moved: dict[Node, list[Node]] = {}
    for relu in nodes:
        if relu.name != "relu_forward":
            continue
        out = relu.outputs["out"]
        pools = readers.get(out, [])
        if len(pools) != 1 or pools[0].name != "max_pool_forward" or out in kept:
            continue
        pool = pools[0]
        if pool.inputs["x"] is not out:
            continue
        pooled = pool.outputs["out"]
        largest = Tensor(pooled.shape)
        first = pool.on(relu.inputs, {**pool.outputs, "out": largest})
        then = relu.on({"x": largest}, {"out": pooled})
        moved[relu], moved[pool] = [], [first, then]
    return [new for node in nodes for new in moved.get(node, [node])]


def pooled_norms(nodes: list[Node], keep: Iterable[Tensor]) -> list[Node]:
    """The nodes, with each batch norm and the max-pool that alone reads it as one op.

    A channel's normalisation is monotone, so which elements are picked is known before it; the
    others are never normalised, and what has the size of the images is neither written nor read
    again. Of elements that differ and are the same when normalised and rounded, the larger one
    gets the gradient.
    """
    readers, kept = readers_of(nodes), {root(t) for t in keep}
    changed: dict[Node, list[Node]] = {}
    for norm in nodes:
        if norm.name != "batchnorm_forward":
            continue
        out, pools = norm.outputs["out"], readers.get(norm.outputs["out"], [])
        if len(pools) != 1 or pools[0].name != "max_pool_forward" or out in kept:
            continue
        pool = pools[0]
        if pool.inputs["x"] is not out:
            continue
        pooled, op = pool.outputs["out"], OPS["batchnorm_max_pool_forward"]
        index = pool.outputs.get("index", Tensor(pooled.shape))
        outputs = {"out": pooled, "picked": Tensor(pooled.shape), "index": index}
        both = norm.on(norm.inputs, outputs)
        both.op, both.options = op, op.defaults | norm.options | pool.options
        changed[norm], changed[pool] = [], [both]
    return [new for node in nodes for new in changed.get(node, [node])]


def with_statistics(nodes: list[Node]) -> list[Node]:
    """The nodes, with each convolution whose channels a batch norm normalises as an op that forms
    their mean and variance too, from blocks that are still in the cache."""
    changed: dict[Node, list[Node]] = {}
    for norm in nodes:
        if norm.name != "batchnorm_statistics":
            continue
        x = norm.inputs["x"]
        convolution, op = root(x).node, OPS["conv2d_statistics_forward"]
        if convolution is None or convolution.name != "conv2d_forward" or convolution in changed:
            continue
        out = convolution.outputs["out"]
        if convolution not in nodes or x.shape[-1] != out.shape[-1]:
            continue
        both = convolution.on(convolution.inputs, {"out": out, **norm.outputs})
        both.op = op
        changed[convolution], changed[norm] = [both], []
    return [new for node in nodes for new in changed.get(node, [node])]


def without_leftovers(nodes: list[Node], keep: Iterable[Tensor]) -> list[Node]:
    """The nodes, with convolutions that make no rows and columns which nobody reads.

    The windows of a pooling without padding often do not reach the last ones: those of 2 x 2 leave
    out a sixth of a map of 11 x 11. Ops of one element between the two become smaller with it.
    """
    readers, kept = readers_of(nodes), {root(t) for t in keep}
    changed: dict[Node, Node] = {}
    for pool in nodes:
        if not pool.name.endswith("_pool_forward") or pool.options.get("padding") == "same":
            continue
        chain = [pool]
        while (above := chain[-1].inputs["x"].node) is not None:
            out = above.outputs.get("out")
            if out is None or readers.get(out) != [chain[-1]] or out in kept:
                break
            chain.append(above)
            if above.name == "conv2d_forward":
                changed.update(_smaller(chain))
            if above.op is None or not above.op.elementwise or len(above.inputs) > 1:
                break
    return [changed.get(node, node) for node in nodes]


def _smaller(chain: list[Node]) -> dict[Node, Node]:
    """A pooling, ops of one element and a convolution, from the last to the first, renewed."""
    pool, convolution = chain[0], chain[-1]
    options = dict(convolution.options)
    shape = list(pool.inputs["x"].shape)
    for axis, length, end in ((-3, "height", "bottom"), (-2, "width", "right")):
        stride = pool.options[f"stride_{length}"]
        windows = pool.outputs["out"].shape[axis]
        assert windows is not None
        reached = (windows - 1) * stride + pool.options[f"pool_{length}"]
        left_over = (shape[axis] or 0) - reached
        options[end] = options.get(end, 0) - left_over * options.get(f"stride_{length}", 1)
        shape[axis] = reached
    if tuple(shape) == pool.inputs["x"].shape:
        return {}
    changed = {}
    inputs = convolution.inputs
    for node in reversed(chain[1:]):
        outputs = {"out": Tensor(tuple(shape))}
        changed[node] = node.on(inputs, outputs)
        if node is convolution:
            changed[node].options = options
        inputs = {"x": outputs["out"]}
    changed[pool] = pool.on(inputs, pool.outputs)
    return changed


def sums_of_pooled(nodes: list[Node]) -> list[Node]:
    """The nodes of a backward pass, with biases' gradients summed before max-pools spread them out:
    each element goes to one place, so the sum is the same."""
    changed = []
    for node in nodes:
        spread = node.inputs["grad_out"].node if node.name == "dense_backward_bias" else None
        if spread is not None and spread.name == "max_pool_backward":
            node = node.on({"grad_out": spread.inputs["grad_out"]}, node.outputs)
        changed.append(node)
    return changed


def drawn_once(forward: list[Node], backward: list[Node]) -> list[Node]:
    """The nodes of a backward pass, with what passes a dropout and then the relu before it decided
    by the dropout's output: that is 0 exactly where one of the two lets nothing pass. So the mask
    is not drawn again, which costs more than all the rest, and relu's own output need not be kept.
    The same bits."""
    readers = readers_of(backward)
    dropouts = {n.inputs["x"]: n for n in forward if n.name == "dropout_forward"}
    changed: dict[Node, list[Node]] = {}
    for relu in backward:
        if relu.name != "relu_backward":
            continue
        dropout, drawn = relu.inputs["grad_out"].node, dropouts.get(relu.inputs["out"])
        if dropout is None or dropout.name != "dropout_backward" or drawn is None:
            continue
        if dropout.options != drawn.options or readers[relu.inputs["grad_out"]] != [relu]:
            continue
        passed = Tensor(relu.outputs["grad_x"].shape)
        inputs = {"grad_out": dropout.inputs["grad_out"], "out": drawn.outputs["out"]}
        first = relu.on(inputs, {"grad_x": passed})
        then = dropout.on({"x": passed}, {"out": relu.outputs["grad_x"]})
        then.op = OPS["scale"]
        then.options = {"factor": 1.0 / (1.0 - drawn.options["rate"])}
        changed[dropout], changed[relu] = [], [first, then]
    return [new for node in backward for new in changed.get(node, [node])]
