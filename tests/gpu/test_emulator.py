"""The emulator notices what it is there for: barriers that are missing, threads that never meet."""

import numpy as np
import pytest
from emulator import COMPILER, ORDERS, Emulator

from fastdl import gpu, kernels
from fastdl.gpu import device, sources

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


@pytest.fixture(autouse=True)
def restored():
    before = device.use(None)
    yield
    device.use(before)


def without(source: str, text: str, which: int) -> str:
    """The source without one occurrence of a text."""
    parts = source.split(text)
    assert len(parts) > which + 1
    return text.join(parts[: which + 1]) + text.join(parts[which + 1 :])


def loss_is_right():
    generator = np.random.default_rng(0)
    pred = generator.random((3, 1500))  # wide: a block of eight warps a row, and three sums
    labels = np.array([3, 1200, 700])
    given = {"pred": pred, "labels": labels, "label_smoothing": 0.1}
    results = [m.sparse_categorical_crossentropy(**given) for m in (gpu, kernels)]
    return all(np.allclose(a, b) for a, b in zip(*results, strict=True))


def product_is_right():
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((20, 70)), generator.standard_normal((70, 30))
    return np.allclose(gpu.matmul_nn(a, b), a @ b)


def gradient_is_right():
    generator = np.random.default_rng(0)
    x, grad_out = generator.random((2, 50, 40))
    given = (grad_out, x, x.mean(0), x.var(0))
    results = [m.batchnorm_backward(*given) for m in (gpu, kernels)]
    return all(np.allclose(a, b) for a, b in zip(*results, strict=True))


def sum_is_right():
    x = np.random.default_rng(0).random((1, 300, 3))
    return np.allclose(gpu.sum_forward(x), x.sum(1))


def moves_are_right():
    generator = np.random.default_rng(0)
    x, grad_out = generator.random((1, 40, 50, 1)), generator.random((300, 40))
    labels = generator.integers(0, 5, 300)
    gradients = [np.empty((5, 40)), np.empty((5, 40))]
    for module, gradient in zip((gpu, kernels), gradients, strict=True):
        module.take_backward(grad_out, labels, grad_weight=gradient)
    transposed = np.array_equal(gpu.transpose_forward(x), x.swapaxes(1, 2))
    return transposed and np.allclose(*gradients)


def counts_are_right():
    pred, target = np.random.default_rng(0).random((2, 300, 3))
    totals = [np.zeros((4, 3)), np.zeros((4, 3))]
    for module, total in zip((gpu, kernels), totals, strict=True):
        module.threshold_counts_update(total, pred, target)
    return np.allclose(*totals)


def attention_is_right():
    q, k, v = np.random.default_rng(0).random((3, 1, 70, 1, 20))
    results = [m.attention_forward(q, k, v) for m in (gpu, kernels)]
    return all(np.allclose(a, b) for a, b in zip(*results, strict=True))


#: How many of its own barriers, from the first, each check needs; the loss those of common.cuh.
BARRIERS = {
    "losses": (loss_is_right, 0), "products": (product_is_right, 2),
    "norms": (gradient_is_right, 2), "reductions": (sum_is_right, 1),
    "moves": (moves_are_right, 4), "metrics": (counts_are_right, 1),
    "attention": (attention_is_right, 4),
}  # fmt: skip


@pytest.mark.parametrize("family", BARRIERS)
def test_every_barrier_is_needed(family):
    barrier = "__syncthreads();"
    is_right, own = BARRIERS[family]
    source = sources.text(family)
    inside = source[: source.index("ROW_REDUCTION(real, row_sum")].count(barrier)
    chosen = range(inside, inside + own) if own else range(inside)
    for order in ORDERS:
        device.use(Emulator(order))
        assert is_right()
    for which in chosen:
        wrong = []
        for order in ORDERS:
            changed = {source: without(source, barrier, which)}
            device.use(Emulator(order, lambda s, changed=changed: changed.get(s, s)))
            try:
                wrong.append(not is_right())
            except RuntimeError:  # threads that part ways and wait in vain
                wrong.append(True)
        assert any(wrong), f"{family}: barrier {which} can be left out unnoticed"


LONELY = """
KERNEL relu_forward(real *out, const real *x, int64 n) {
    if (threadIdx.x == 3) __shfl_xor_sync(0xffffffffu, 1, 1);
    out[0] = x[0];
}
"""


def test_threads_that_never_meet_are_an_error():
    device.use(Emulator(change=lambda source: sources.text("arithmetic") + LONELY))
    with pytest.raises(RuntimeError, match="relu_forward: threads wait for others"):
        gpu.relu_forward(np.ones(5))


def test_a_launch_with_a_wrong_number_of_arguments_is_an_error():
    emulator = Emulator()
    kernel = emulator.kernel("activations", 64, "relu_forward")
    with pytest.raises(AssertionError, match="takes 3 arguments, was given 2"):
        emulator.launch(kernel, (1, 1, 1), (32, 1, 1), (np.ones(3), np.ones(3)))
