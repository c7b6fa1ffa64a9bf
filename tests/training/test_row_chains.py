"""Ops that go through the rows of a batch together compute what they do one after the other."""

import itertools

import numpy as np
import pytest

import fastdl
from fastdl import kernels, lowering, programs, row_chains
from fastdl.kernels import runner
from fastdl.layers import (
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Conv2DTranspose,
    Dense,
    Flatten,
    Input,
    MaxPooling2D,
    ReLU,
)  # fmt: skip
from fastdl.layout import touched
from fastdl.trace import root

RNG = np.random.default_rng(3)
ROWS = 24
X = RNG.normal(size=(ROWS, 18, 18, 3)).astype(np.float32)
Y = RNG.integers(0, 4, ROWS)

NETWORKS = {
    "norms": lambda: [
        *(Conv2D(8, 3, padding="same"), BatchNormalization(), ReLU(), MaxPooling2D()),
        *(Conv2D(20, 3, padding="same"), BatchNormalization(), ReLU(), MaxPooling2D(3, 2)),
    ],
    "pools": lambda: [
        *(Conv2D(8, 3, activation="relu"), MaxPooling2D()),
        *(Conv2D(20, 3, activation="tanh"), AveragePooling2D(2, padding="same")),
        Conv2D(6, 2, groups=2),
    ],
    "transposed": lambda: [
        *(Conv2D(8, 3, strides=2), Conv2DTranspose(6, 3, activation="relu")),
        *(Conv2D(5, 5), MaxPooling2D((3, 2))),
    ],
}


def network(layers):
    fastdl.set_seed(1)
    model = fastdl.Sequential([Input(X.shape[1:]), *layers(), Flatten(), Dense(4)])
    loss = fastdl.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    return model


def fitted(layers, batch):
    model = network(layers)
    model.fit(X, Y, batch_size=batch, epochs=2, verbose=0)
    return b"".join(w.tobytes() for w in model.get_weights())


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_the_bits_are_those_of_one_op_after_the_other(layers, monkeypatch):
    runner.force_threads(True)
    try:
        for batch in (16, 9):  # and last batches of 8 and 6
            results = set()
            for threads in (1, 2, 3, 7):
                fastdl.set_num_threads(threads)
                results.add(fitted(layers, batch))
            with monkeypatch.context() as patch:
                patch.setattr(lowering, "row_chains", lambda steps: [0] * len(steps))
                results.add(fitted(layers, batch))
            assert len(results) == 1
    finally:
        runner.force_threads(False)
        fastdl.set_num_threads(None)


@pytest.fixture
def chains(monkeypatch):
    """The chains of a training step, as lists of steps; and its arrays."""
    found = []

    def spy(steps):
        counts = row_chains.row_chains(steps)
        found[:] = [steps[i : i + 1 + n] for i, n in enumerate(counts) if n]
        return counts

    monkeypatch.setattr(lowering, "row_chains", spy)
    lowered = programs.compiled(network(NETWORKS["norms"]), "train", 8).lowered
    return found, lowered.array_of


def test_a_chain_is_an_op_and_those_that_read_its_output(chains):
    assert [[step.node.name for step in chain] for chain in chains[0]] == [
        ["conv2d_statistics_forward", "batchnorm_update", "batchnorm_max_pool_forward"],
        ["conv2d_statistics_forward", "batchnorm_update", "batchnorm_max_pool_forward"],
        ["batchnorm_max_pool_backward", "conv2d_backward_input", "conv2d_backward_weight"],
        ["batchnorm_max_pool_backward", "conv2d_backward_weight"],
    ]


def test_no_step_of_a_chain_takes_over_the_memory_of_one_before(chains):
    pairs = 0
    for chain in chains[0]:
        for first, second in itertools.combinations(chain, 2):
            read = set(touched(first.nodes))
            written = {root(t) for node in second.nodes for t in node.outputs.values()}
            for a, b in itertools.product(read, written - read):
                assert not np.shares_memory(chains[1](a), chains[1](b))
                pairs += 1
    assert pairs > 20


def test_every_op_by_rows_says_which_arguments_its_phases_touch():
    for name in kernels.table.OPS:
        op = kernels.table.OPS[name]
        assert op.by_rows or not (op.early or op.late)
        assert {*op.early, *op.late} <= {a.name for a in op.arguments}
