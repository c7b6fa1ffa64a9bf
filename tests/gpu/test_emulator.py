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


@pytest.mark.parametrize(
    ("family", "is_right"),
    [("losses", loss_is_right), ("products", product_is_right), ("norms", gradient_is_right)],
)
def test_every_barrier_is_needed(family, is_right):
    barrier = "__syncthreads();"
    reductions = sources.text(family).index("ROW_REDUCTION(real, row_sum")
    inside = sources.text(family)[:reductions].count(barrier)
    # the loss needs those of common.cuh; the others their own first two (a product's come before
    # those of `column_sums`)
    chosen = range(inside) if family == "losses" else range(inside, inside + 2)
    for order in ORDERS:
        device.use(Emulator(order))
        assert is_right()
    for which in chosen:
        wrong = []
        for order in ORDERS:
            device.use(Emulator(order, lambda s, which=which: without(s, barrier, which)))
            wrong.append(not is_right())
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
