"""Single kernels beside PyTorch's: each first checked against float64 NumPy, then timed.

Both sides of a group write into arrays that exist. PyTorch's side runs its autograd, which is the
only public way to its backward kernels; its optimizers are the fastest of its implementations.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

both = pytest.mark.parametrize("library", ["fastdl", "torch"])


def draw(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def close(got, true, tolerance=1e-5):
    """Within a tolerance of the largest true value."""
    true = np.asarray(true)
    assert got.shape == true.shape
    assert np.abs(got - true).max() <= tolerance * np.abs(true).max()


def prepare(request, library, ours, theirs, *arrays):
    """(what to time, what it computed) of one side."""
    if library == "fastdl":
        return ours(request.getfixturevalue("backend"), *arrays)
    return theirs(request.getfixturevalue("torch"), *arrays)


def measure(benchmark, group, run):
    benchmark.group = group
    benchmark(run)


# --- dense + relu, forward and backward -----------------------------------------------------------


def dense_fastdl(backend, x, weight, bias, grad_out):
    k = backend.kernels
    x, weight, bias, grad_out = map(backend.array, (x, weight, bias, grad_out))
    out, grad, grad_x = (backend.array(a) for a in (grad_out, grad_out, x))
    grad_weight, grad_bias = backend.array(weight), backend.array(bias)

    def run():
        k.dense_forward(x, weight, bias, activation="relu", out=out)
        k.relu_backward(grad_out, out, grad_x=grad)
        k.dense_backward_weight(x, grad, grad_weight=grad_weight)
        k.dense_backward_bias(grad, grad_bias=grad_bias)
        k.dense_backward_input(grad, weight, grad_x=grad_x)
        backend.wait()

    run()
    return run, [backend.numpy(a) for a in (out, grad_x, grad_weight, grad_bias)]


def dense_torch(torch, x, weight, bias, grad_out):
    x, weight, bias = (torch.tensor(a, requires_grad=True) for a in (x, weight.T.copy(), bias))
    grad_out = torch.tensor(grad_out)

    def run():
        x.grad = weight.grad = bias.grad = None
        out = torch.nn.functional.linear(x, weight, bias).relu()
        out.backward(grad_out)
        return out

    out = run().detach().numpy()
    return run, [out, x.grad.numpy(), weight.grad.numpy().T, bias.grad.numpy()]


@both
@pytest.mark.parametrize("sizes", [(32, 784, 128), (128, 1024, 1024), (512, 1024, 1024)], ids=str)
def test_dense_relu(benchmark, library, sizes, rng, request):
    b, i, o = sizes
    arrays = draw(rng, b, i), draw(rng, i, o), draw(rng, o), draw(rng, b, o)
    run, got = prepare(request, library, dense_fastdl, dense_torch, *arrays)
    x, weight, bias, grad_out = (a.astype(np.float64) for a in arrays)
    out = np.maximum(x @ weight + bias, 0)
    # Where rounding decides which side of 0 an element is on, take the side that was taken.
    grad = grad_out * (got[0] > 0)
    for mine, true in zip(got, (out, grad @ weight.T, x.T @ grad, grad.sum(axis=0)), strict=True):
        close(mine, true)
    measure(benchmark, f"dense + relu, forward + backward, {b}x{i}x{o}", run)


# --- updates --------------------------------------------------------------------------------------


def adam_fastdl(backend, start, grad):
    param, g, m, v = (backend.array(a) for a in (start, grad, 0 * grad, 0 * grad))

    def run():
        backend.kernels.adam_update(param, g, m, v, epsilon=1e-8, convention="torch")
        backend.wait()

    run()
    return run, backend.numpy(param).copy()


def rmsprop_fastdl(backend, start, grad):
    param, g, square = (backend.array(a) for a in (start, grad, 0 * grad))

    def run():
        backend.kernels.rmsprop_update(param, g, square, rho=0.99, epsilon=1e-8, convention="torch")
        backend.wait()

    run()
    return run, backend.numpy(param).copy()


def optimizer_torch(torch, start, grad, kind, **options):
    param = torch.tensor(start)
    param.grad = torch.tensor(grad)
    run = getattr(torch.optim, kind)([param], lr=1e-3, **options).step
    run()
    return run, param.numpy().copy()


@both
@pytest.mark.parametrize("n", [1_000, 100_000, 10_000_000])
def test_adam(benchmark, library, n, rng, request):
    start, grad = draw(rng, n), draw(rng, n)
    theirs = partial(optimizer_torch, kind="Adam", fused=True)
    run, got = prepare(request, library, adam_fastdl, theirs, start, grad)
    close(got, start - 1e-3 * grad / (np.abs(grad) + 1e-8), 1e-6)
    measure(benchmark, f"Adam, {n:,} parameters", run)


@both
@pytest.mark.parametrize("n", [10_000_000])
def test_rmsprop(benchmark, library, n, rng, request):
    start, grad = draw(rng, n), draw(rng, n)
    theirs = partial(optimizer_torch, kind="RMSprop", foreach=True)
    run, got = prepare(request, library, rmsprop_fastdl, theirs, start, grad)
    close(got, start - 1e-3 * grad / (np.sqrt(0.01 * grad**2) + 1e-8), 1e-6)
    measure(benchmark, f"RMSprop, {n:,} parameters", run)


# --- batch normalisation --------------------------------------------------------------------------


def batchnorm_fastdl(backend, x, gamma, beta, grad_out):
    k, channels = backend.kernels, x.shape[-1:]
    x, gamma, beta, grad_out = map(backend.array, (x, gamma, beta, grad_out))
    out, grad_x, mean, variance, grad_gamma, grad_beta = (
        backend.array(np.empty(shape, np.float32)) for shape in [x.shape] * 2 + [channels] * 4
    )
    running_mean = backend.array(np.zeros(channels, np.float32))
    running_variance = backend.array(np.ones(channels, np.float32))

    def run():
        k.batchnorm_statistics(x, mean=mean, variance=variance)
        k.batchnorm_forward(x, mean, variance, gamma, beta, out=out)
        k.batchnorm_update(running_mean, running_variance, mean, variance, x)
        k.batchnorm_backward(
            grad_out, x, mean, variance, gamma,
            grad_x=grad_x, grad_gamma=grad_gamma, grad_beta=grad_beta,
        )  # fmt: skip
        backend.wait()

    run()
    return run, [backend.numpy(a) for a in (out, grad_x, grad_gamma, grad_beta)]


def batchnorm_torch(torch, x, gamma, beta, grad_out, *, channels_last):
    def given(a):
        a = torch.tensor(np.moveaxis(a, -1, 1).copy())
        return a.contiguous(memory_format=torch.channels_last) if channels_last else a

    x, grad_out = given(x).requires_grad_(), given(grad_out)
    gamma, beta = (torch.tensor(a, requires_grad=True) for a in (gamma, beta))
    running = torch.zeros(len(gamma)), torch.ones(len(gamma))

    def run():
        x.grad = gamma.grad = beta.grad = None
        out = torch.nn.functional.batch_norm(
            x, *running, gamma, beta, training=True, momentum=0.01, eps=1e-3
        )
        out.backward(grad_out)
        return out

    out = np.moveaxis(run().detach().numpy(), 1, -1)
    return run, [out, np.moveaxis(x.grad.numpy(), 1, -1), gamma.grad.numpy(), beta.grad.numpy()]


@pytest.mark.parametrize(
    ("shape", "library"),
    [
        (shape, library)
        for shape in ((256, 1024), (4096, 512), (64, 28, 28, 32))
        for library in ("fastdl", "torch", "torch channels_last")
        if len(shape) == 4 or "last" not in library
    ],
    ids=str,
)
def test_batchnorm(benchmark, library, shape, rng, request):
    arrays = draw(rng, *shape), draw(rng, shape[-1]), draw(rng, shape[-1]), draw(rng, *shape)
    theirs = partial(batchnorm_torch, channels_last="last" in library)
    run, got = prepare(request, library, batchnorm_fastdl, theirs, *arrays)
    x, gamma, beta, grad_out = (a.astype(np.float64) for a in arrays)
    rows = tuple(range(len(shape) - 1))
    rstd = 1 / np.sqrt(x.var(axis=rows) + 1e-3)
    xhat = (x - x.mean(axis=rows)) * rstd
    along = (grad_out * xhat).mean(axis=rows)
    grad_x = gamma * rstd * (grad_out - grad_out.mean(axis=rows) - xhat * along)
    n = x.size / shape[-1]
    for mine, true in zip(
        got, (gamma * xhat + beta, grad_x, along * n, grad_out.sum(axis=rows)), strict=True
    ):
        close(mine, true, 1e-4)
    measure(benchmark, f"BatchNorm, forward + backward, {shape}", run)


# --- pooling --------------------------------------------------------------------------------------


def max_pool_fastdl(backend, x, grad_out):
    k, window = backend.kernels, dict.fromkeys(("pool_height", "pool_width"), 2)
    window |= dict.fromkeys(("stride_height", "stride_width"), 2)
    x, grad_out = map(backend.array, (x, grad_out))
    out, index, grad_x = (backend.array(a) for a in (grad_out, grad_out, x))

    def run():
        k.max_pool_forward(x, out=out, index=index, **window)
        k.max_pool_backward(grad_out, index, grad_x=grad_x, **window)
        backend.wait()

    run()
    return run, [backend.numpy(a) for a in (out, grad_x)]


def max_pool_torch(torch, x, grad_out, *, channels_last):
    def given(a):
        a = torch.tensor(np.moveaxis(a, -1, 1).copy())
        return a.contiguous(memory_format=torch.channels_last) if channels_last else a

    x, grad_out = given(x).requires_grad_(), given(grad_out)

    def run():
        x.grad = None
        out = torch.nn.functional.max_pool2d(x, 2)
        out.backward(grad_out)
        return out

    out = run().detach().numpy()
    return run, [np.moveaxis(a, 1, -1) for a in (out, x.grad.numpy())]


@pytest.mark.parametrize("library", ["fastdl", "torch", "torch channels_last"])
@pytest.mark.parametrize("shape", [(32, 26, 26, 32), (128, 11, 11, 64), (32, 28, 28, 1)], ids=str)
def test_max_pool(benchmark, library, shape, rng, request):
    b, h, w, c = shape
    x, grad_out = draw(rng, *shape), draw(rng, b, h // 2, w // 2, c)
    theirs = partial(max_pool_torch, channels_last="last" in library)
    run, (out, grad_x) = prepare(request, library, max_pool_fastdl, theirs, x, grad_out)
    inner = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
    np.testing.assert_array_equal(out, inner.max((2, 4)))
    largest = inner == inner.max((2, 4), keepdims=True)
    wanted = np.zeros_like(x)
    wanted[:, : h // 2 * 2, : w // 2 * 2] = (largest * grad_out[:, :, None, :, None]).reshape(
        b, h // 2 * 2, w // 2 * 2, c
    )
    np.testing.assert_array_equal(grad_x, wanted)
    measure(benchmark, f"MaxPool 2x2, forward + backward, {shape}", run)


# --- softmax + cross-entropy ----------------------------------------------------------------------


def crossentropy_fastdl(backend, logits, labels):
    pred, labels, grad = map(backend.array, (logits, labels, logits))
    loss = backend.array(logits[:, 0].copy())

    def run():
        backend.kernels.sparse_categorical_crossentropy(
            pred, labels, from_logits=True, loss=loss, grad_pred=grad
        )
        backend.wait()

    run()
    return run, [backend.numpy(loss).mean(), backend.numpy(grad)]


def crossentropy_torch(torch, logits, labels):
    pred, labels = torch.tensor(logits, requires_grad=True), torch.tensor(labels)

    def run():
        pred.grad = None
        loss = torch.nn.functional.cross_entropy(pred, labels)
        loss.backward()
        return loss

    return run, [run().detach().numpy(), pred.grad.numpy()]


@both
def test_softmax_crossentropy(benchmark, library, rng, request):
    logits, labels = 3 * draw(rng, 128, 1000), rng.integers(0, 1000, 128)
    run, got = prepare(request, library, crossentropy_fastdl, crossentropy_torch, logits, labels)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(128)
    true_grad = np.exp(log_p)
    true_grad[rows, labels] -= 1
    close(got[0], -log_p[rows, labels].mean())
    close(got[1], true_grad / 128)
    measure(benchmark, "softmax + cross-entropy, forward + gradient, (128, 1000)", run)
