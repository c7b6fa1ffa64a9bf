"""Attention over several blocks of queries and keys, beside the formula and PyTorch."""

import numpy as np
import oracle
import pytest

from fastdl import kernels
from fastdl.kernels import runner

#: B, T, H, D, S, V: below, at and above a block, and several of them.
SIZES = (
    (2, 64, 4, 16, 64, 16), (1, 63, 1, 5, 65, 3), (1, 130, 2, 70, 200, 33), (1, 300, 1, 8, 129, 65),
    (2, 1, 3, 4, 257, 4), (1, 257, 2, 1, 1, 1),
)  # fmt: skip

OPTIONS = (
    {}, {"causal": True}, {"rate": 0.3, "seed": 7, "step": 2, "stream": 3},
    {"causal": True, "rate": 0.5, "scale": 2.0},
)  # fmt: skip


def draw(sizes, dtype, masked):
    B, T, H, D, S, V = sizes
    rng = np.random.default_rng(sum(sizes))
    q, k, v = (rng.normal(size=s).astype(dtype)
               for s in ((B, T, H, D), (B, S, H, D), (B, S, H, V)))  # fmt: skip
    mask = key_mask = None
    if masked:
        mask = (rng.random((B, T, S)) < 0.8).astype(dtype)
        mask[0, 0] = 0
        key_mask = (rng.random((B, S)) < 0.8).astype(dtype)
    grad_out = rng.normal(size=(B, T, H, V)).astype(dtype)
    return {"q": q, "k": k, "v": v, "mask": mask, "key_mask": key_mask}, grad_out


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_blocks_give_what_the_formula_gives(sizes, dtype, masked, isa):
    given, grad_out = draw(sizes, dtype, masked)
    exact = {k: None if x is None else x.astype(np.float64) for k, x in given.items()}
    near = {"rtol": 1e-4, "atol": 2e-5} if dtype is np.float32 else {"rtol": 1e-11, "atol": 1e-13}
    for options in OPTIONS:
        out, lse = kernels.attention_forward(**given, **options)
        with np.errstate(divide="ignore"):
            wanted, wanted_lse = oracle.attention_forward(**exact, **options)
            slopes = oracle.attention_backward(
                grad_out.astype(float), **exact, out=wanted, lse=wanted_lse, **options
            )
        np.testing.assert_allclose(out, wanted, **near)
        np.testing.assert_allclose(lse, wanted_lse, **near)
        got = kernels.attention_backward(grad_out, **given, out=out, lse=lse, **options)
        for gradient, slope in zip(got, slopes, strict=True):
            np.testing.assert_allclose(gradient, slope, near["rtol"], 20 * near["atol"])


@pytest.mark.parametrize("causal", [False, True])
def test_equals_pytorch(causal):
    torch = pytest.importorskip("torch")
    given, grad_out = draw((2, 96, 4, 16, 96, 16), np.float64, False)
    q, k, v = given["q"], given["k"], given["v"]
    leaves = [torch.tensor(x.swapaxes(1, 2), requires_grad=True) for x in (q, k, v)]
    theirs = torch.nn.functional.scaled_dot_product_attention(*leaves, is_causal=causal)
    theirs.backward(torch.tensor(grad_out.swapaxes(1, 2)))
    options = {"scale": 0.25, "causal": causal}
    out, lse = kernels.attention_forward(q, k, v, **options)
    np.testing.assert_allclose(out, theirs.detach().numpy().swapaxes(1, 2), 1e-10, 1e-12)
    gradients = kernels.attention_backward(grad_out, q, k, v, out=out, lse=lse, **options)
    for gradient, leaf in zip(gradients, leaves, strict=True):
        np.testing.assert_allclose(gradient, leaf.grad.numpy().swapaxes(1, 2), 1e-9, 1e-11)


def test_any_number_of_threads_gives_the_same_bits(forced_threads):
    given, grad_out = draw((3, 600, 2, 8, 70, 9), np.float32, True)
    results = []
    for threads in (1, 2, 5):
        runner.set_num_threads(threads)
        out, lse = kernels.attention_forward(**given, rate=0.2)
        gradients = kernels.attention_backward(grad_out, **given, out=out, lse=lse, rate=0.2)
        results.append(b"".join(x.tobytes() for x in (out, lse, *gradients)))
    runner.set_num_threads(None)
    assert results[0] == results[1] == results[2]


def test_large_scores_do_not_overflow():
    q = np.full((1, 70, 1, 4), 40.0, np.float32)
    out, lse = kernels.attention_forward(q, q, q)
    np.testing.assert_allclose(out, q, 1e-6)
    np.testing.assert_allclose(lse, 6400 + np.log(70), 1e-6)
