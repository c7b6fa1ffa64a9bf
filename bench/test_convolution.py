"""Convolutions beside PyTorch's: first checked against float64 NumPy, then timed.

`extra_info` holds the share of one thread's multiply-add peak. Images lie channels last on both
sides, which is PyTorch's faster format.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from bench.test_kernels import close, draw

#: (batch, height, width, channels, filters, padding) of 3x3 kernels
SHAPES = (
    (32, 28, 28, 1, 32, 0),
    (32, 13, 13, 32, 64, 0),
    (32, 5, 5, 64, 64, 0),
    (32, 16, 16, 64, 64, 1),
    (64, 32, 32, 3, 32, 1),
    (64, 8, 8, 64, 128, 1),
)
KINDS = ("forward", "input", "weight")


def naive(x, weight, grad_out, padding):
    """In float64: the convolution, and its gradients by images and weight."""
    x, weight, grad_out = (a.astype(np.float64) for a in (x, weight, grad_out))
    ends = (padding, padding)
    x = np.pad(x, [(0, 0), ends, ends, (0, 0)])
    height, width = grad_out.shape[1:3]
    out, grad_x = np.zeros(grad_out.shape), np.zeros(x.shape)
    grad_weight = np.zeros(weight.shape)
    for r, s in np.ndindex(3, 3):
        window = np.s_[:, r : r + height, s : s + width]
        out += x[window] @ weight[r, s]
        grad_x[window] += grad_out @ weight[r, s].T
        grad_weight[r, s] = np.einsum("nhwi,nhwo->io", x[window], grad_out, optimize=True)
    inside = slice(padding, -padding or None)
    return {"forward": out, "input": grad_x[:, inside, inside], "weight": grad_weight}


@lru_cache(1)
def peak():
    """Multiply-adds a second of one thread, in float32."""
    from fastdl.kernels import calibrate

    return calibrate.fma_peak(threads=1)


def ours(backend, kind, arrays, padding):
    k = backend.kernels
    x, weight, grad_out = map(backend.array, arrays)
    options = dict.fromkeys(("top", "bottom", "left", "right"), padding)
    made = backend.array(arrays[{"forward": 2, "input": 0, "weight": 1}[kind]])

    def run():
        if kind == "forward":
            k.conv2d_forward(x, weight, out=made, **options)
        elif kind == "input":
            k.conv2d_backward_input(grad_out, weight, grad_x=made, **options)
        else:
            k.conv2d_backward_weight(x, grad_out, grad_weight=made, **options)
        backend.wait()

    run()
    return run, backend.numpy(made)


def theirs(torch, kind, arrays, padding):
    x, grad_out = (torch.from_numpy(a).permute(0, 3, 1, 2) for a in (arrays[0], arrays[2]))
    weight = torch.from_numpy(arrays[1]).permute(3, 2, 0, 1)
    weight = weight.contiguous(memory_format=torch.channels_last)
    which = kind == "weight"
    options = (None, [1, 1], [padding] * 2, [1, 1], False, [0, 0], 1, [not which, which, False])

    def run():
        if kind == "forward":
            return torch.nn.functional.conv2d(x, weight, padding=padding)
        return torch.ops.aten.convolution_backward(grad_out, x, weight, *options)[which]

    return run, run().permute((2, 3, 1, 0) if which else (0, 2, 3, 1)).numpy()


@pytest.mark.parametrize("library", ["fastdl", "torch"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_convolution(benchmark, library, kind, shape, rng, request):
    batch, height, width, channels, filters, padding = shape
    less = 2 - 2 * padding
    arrays = (
        draw(rng, batch, height, width, channels),
        draw(rng, 3, 3, channels, filters),
        draw(rng, batch, height - less, width - less, filters),
    )
    if library == "fastdl":
        run, got = ours(request.getfixturevalue("backend"), kind, arrays, padding)
    else:
        run, got = theirs(request.getfixturevalue("torch"), kind, arrays, padding)
    close(got, naive(*arrays, padding)[kind])
    benchmark.group = f"convolution, {kind}, {shape}"
    benchmark(run)
    if benchmark.stats:
        products = 2 * arrays[2].size * 9 * channels
        benchmark.extra_info["share_of_peak"] = products / benchmark.stats.stats.min / peak()
