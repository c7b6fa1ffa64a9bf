"""Normalisation where it is hard: large offsets, constant columns, one row, many blocks."""

import numpy as np
import oracle
import pytest

from fastdl import kernels

DTYPES = (np.float32, np.float64)

#: Narrow (folded rows), odd, several panels, several blocks, tall, wide.
SHAPES = ((1, 1), (7, 3), (200, 10), (129, 127), (300, 128), (65, 513), (2, 3000), (40000, 5),
          (1500, 64), (70, 1100))  # fmt: skip


def drawn(shape, dtype, mean=0.0, std=1.0, seed=0):
    return (mean + std * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def exact_statistics(x):
    x = x.astype(np.longdouble)
    mean = x.mean(0)
    return mean, ((x - mean) ** 2).mean(0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_statistics(isa, dtype, shape):
    x = drawn(shape, dtype, 2, 3)
    mean, variance = kernels.batchnorm_statistics(x)
    exact_mean, exact_variance = exact_statistics(x)
    eps = np.finfo(dtype).eps
    assert np.all(np.abs(mean - exact_mean) <= eps * (np.abs(exact_mean) + np.sqrt(exact_variance)))
    assert np.all(np.abs(variance - exact_variance) <= 4 * eps * exact_variance)


@pytest.mark.parametrize("rows", [3, 64, 1000, 30_000])
def test_a_small_spread_around_a_large_mean(isa, rows):
    """Every float32 of these has one or two digits that vary: naive sums of squares have none."""
    x = drawn((rows, 9), np.float32, 1e4, 1e-2)
    mean, variance = kernels.batchnorm_statistics(x)
    exact_mean, exact_variance = exact_statistics(x)
    assert np.array_equal(mean, exact_mean.astype(np.float32))
    assert np.all(np.abs(variance / exact_variance - 1) < 1e-6)


@pytest.mark.parametrize("case", ["drift", "first rows", "last row", "blocks", "alternating"])
def test_merging_of_blocks_that_have_little_in_common(isa, case):
    x = drawn((20_000, 6), np.float32)
    row = np.arange(len(x))[:, None]
    x += {
        "drift": row * 0.01,
        "first rows": np.where(row < 8, 1e4, 0),
        "last row": np.where(row == len(x) - 1, 1e5, 0),
        "blocks": (row // 4096) * 1e3,
        "alternating": np.where(row % 2, 1e3, -1e3),
    }[case].astype(np.float32)
    mean, variance = kernels.batchnorm_statistics(x)
    exact_mean, exact_variance = exact_statistics(x)
    assert np.all(np.abs(variance / exact_variance - 1) < 2e-6)
    assert np.all(np.abs(mean - exact_mean) < 3e-7 * (np.abs(exact_mean) + np.sqrt(exact_variance)))


@pytest.mark.parametrize("epsilon", [1e-3, 0.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 5, 8, 9, 2000])
def test_constant_columns_give_exactly_beta_and_finite_gradients(isa, dtype, rows, epsilon):
    x = np.repeat(drawn((1, 37), dtype, 3, 10), rows, axis=0)
    gamma, beta = drawn(37, dtype, seed=1), drawn(37, dtype, seed=2)
    grad_out = drawn(x.shape, dtype, seed=3)
    mean, variance = kernels.batchnorm_statistics(x)
    assert np.array_equal(mean, x[0])
    assert not variance.any()
    out = kernels.batchnorm_forward(x, mean, variance, gamma, beta, epsilon=epsilon)
    assert np.array_equal(out, np.broadcast_to(beta, x.shape))
    grads = kernels.batchnorm_backward(grad_out, x, mean, variance, gamma, epsilon=epsilon)
    assert all(np.isfinite(grad).all() for grad in grads)
    assert not grads[1].any()
    if rows == 1:
        assert not grads[0].any()


@pytest.mark.parametrize("epsilon", [1e-3, 0.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 7, 40, 1500])
def test_constant_rows_give_exactly_beta(isa, dtype, columns, epsilon):
    x = np.repeat(drawn((11, 1), dtype, 3, 10), columns, axis=1)
    beta = drawn(columns, dtype)
    out, mean, rstd = kernels.layernorm_forward(x, beta=beta, epsilon=epsilon)
    assert np.array_equal(out, np.broadcast_to(beta, x.shape))
    assert np.array_equal(mean, x[:, 0])
    grads = kernels.layernorm_backward(drawn(x.shape, dtype), x, mean, rstd)
    assert all(np.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("shape", [(32, 16), (128, 512), (1000, 33), (4096, 100)])
def test_numeric_bounds(isa, shape):
    """6e-7 for batch norm and 5e-7 for layer norm, relative to outputs of unit variance."""
    x = drawn(shape, np.float32, 0.5, 2)
    mean, variance = kernels.batchnorm_statistics(x)
    out = kernels.batchnorm_forward(x, mean, variance)
    exact = x.astype(float)
    wanted = oracle.batchnorm_forward(exact, *oracle.batchnorm_statistics(exact))
    assert np.abs(out - wanted).max() <= 6e-7 * max(1, np.abs(wanted).max())
    out, _, _ = kernels.layernorm_forward(x)
    wanted = oracle.layernorm_forward(exact)[0]
    assert np.abs(out - wanted).max() <= 5e-7 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("columns", [5, 300, 5000])
def test_layer_norm_of_a_small_spread_around_a_large_mean(isa, columns):
    x = drawn((20, columns), np.float32, 1e4, 1e-2)
    out, _, _ = kernels.layernorm_forward(x, epsilon=0.0)
    wanted, _, _ = oracle.layernorm_forward(x.astype(float), epsilon=0.0)
    assert np.abs(out - wanted).max() <= 2e-6 * np.abs(wanted).max()


def test_layer_norm_of_a_row_that_begins_with_an_outlier(isa):
    x = drawn((4, 777), np.float32)
    x[:, 0] = 3e4
    out, mean, rstd = kernels.layernorm_forward(x)
    wanted = oracle.layernorm_forward(x.astype(float))
    for got, value in zip((out, mean, rstd), wanted, strict=True):
        assert np.abs(got / value - 1).max() < 1e-5


def test_a_pooled_gradient_of_more_than_the_caches_hold(isa):
    """From 32 MB on it is written past them, in lines that no row of 31 x 33 ends with."""
    x, gamma = drawn((270, 33, 31, 33), np.float32, 1, 2), drawn(33, np.float32, seed=1)
    mean, variance = kernels.batchnorm_statistics(x.reshape(-1, 33))
    window = {"pool_height": 2, "pool_width": 2, "stride_height": 2, "stride_width": 2}
    out, picked, index = kernels.batchnorm_max_pool_forward(x, mean, variance, gamma, **window)
    grad_out = drawn(out.shape, np.float32, seed=2)
    grad = kernels.max_pool_backward(grad_out, index, grad_x=np.empty_like(x), **window)
    wanted = kernels.batchnorm_backward(
        grad.reshape(-1, 33), x.reshape(-1, 33), mean, variance, gamma
    )
    got = kernels.batchnorm_max_pool_backward(
        grad_out, picked, index, x, mean, variance, gamma, **window
    )
    for a, b in zip(got, wanted, strict=True):
        assert np.allclose(a.reshape(b.shape), b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


def test_an_empty_batch_has_sums_of_0():
    x = np.zeros((0, 5), np.float32)
    mean, variance = kernels.batchnorm_statistics(x)
    assert not mean.any()
    assert not variance.any()
    grad_x, grad_gamma, grad_beta = kernels.batchnorm_backward(x, x, mean, variance)
    assert grad_x.shape == (0, 5)
    assert not grad_gamma.any()
    assert not grad_beta.any()


@pytest.mark.parametrize("shape", [(64, 10), (33, 128), (8, 9, 7, 32)])
def test_agrees_with_torch(shape):
    torch = pytest.importorskip("torch")
    columns = shape[-1]
    x, grad_out = drawn(shape, np.float64, 1, 2), drawn(shape, np.float64, seed=1)
    gamma, beta = drawn(columns, np.float64, seed=2), drawn(columns, np.float64, seed=3)
    running = np.zeros(columns), np.ones(columns)

    def parameters():
        return [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]

    theirs = parameters()
    their_running = [torch.tensor(a) for a in running]
    out = torch.nn.functional.batch_norm(
        theirs[0].reshape(-1, columns), *their_running, *theirs[1:], training=True, eps=1e-5
    ).reshape(shape)
    out.backward(torch.tensor(grad_out))
    mean, variance = kernels.batchnorm_statistics(x)
    ours = kernels.batchnorm_forward(x, mean, variance, gamma, beta, epsilon=1e-5)
    grads = kernels.batchnorm_backward(grad_out, x, mean, variance, gamma, epsilon=1e-5)
    kernels.batchnorm_update(*running, mean, variance, x, momentum=0.9, unbiased=True)
    for a, b in ((ours, out.detach()), *zip(running, their_running, strict=True),
                 *zip(grads, [t.grad for t in theirs], strict=True)):  # fmt: skip
        assert np.allclose(a, b.numpy(), rtol=1e-11, atol=1e-11)

    theirs = parameters()
    out = torch.nn.functional.layer_norm(theirs[0], (columns,), *theirs[1:], eps=1e-5)
    out.backward(torch.tensor(grad_out))
    ours, mean, rstd = kernels.layernorm_forward(x, gamma, beta, epsilon=1e-5)
    grads = kernels.layernorm_backward(grad_out, x, mean, rstd, gamma)
    for a, b in ((ours, out.detach()), *zip(grads, [t.grad for t in theirs], strict=True)):
        assert np.allclose(a, b.numpy(), rtol=1e-11, atol=1e-11)
