"""The three products on the shapes of training, as shares of the multiply-add peak.

Each is first checked against float64 NumPy, then timed, with the peak measured just before and
just after; `extra_info` holds the rate of the fastest round and its share of the higher peak.
Arrays are aligned to cache lines, as a program's are.
"""

from __future__ import annotations

import numpy as np
import pytest

LINE = 64

#: (form, M, K, N): out (M, N) summed over K
SHAPES = (
    ("nn", 32, 784, 128),
    ("nn", 128, 784, 128),
    ("tn", 784, 32, 128),
    ("tn", 784, 128, 128),
    ("nt", 32, 128, 784),
    ("nt", 128, 128, 784),
    ("nn", 512, 1024, 1024),
    ("tn", 1024, 512, 1024),
    ("nt", 512, 1024, 1024),
    ("nn", 2048, 2048, 2048),
    ("nn", 256, 4096, 4096),
    ("nn", 500, 1000, 1100),
    ("nn", 128, 128, 10),
    ("nn", 100, 10, 10),
    ("nn", 1, 784, 128),
)


def aligned(array):
    """A copy that begins at a cache line."""
    room = np.empty(array.nbytes + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.fixture
def threads(backend, request):
    if backend.name != "cpu":
        pytest.skip("shares of the CPU's peak")
    from fastdl.kernels import runner

    runner.set_num_threads(request.param)
    yield request.param
    runner.set_num_threads(None)


@pytest.mark.parametrize("threads", [1, 2], indirect=True, ids="{} threads".format)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]} {0[1]}x{0[2]}x{0[3]}".format)
def test_share_of_peak(benchmark, backend, threads, dtype, shape, rng):
    from fastdl.kernels import calibrate

    form, M, K, N = shape
    a = rng.standard_normal((K, M) if form == "tn" else (M, K)).astype(dtype)
    b = rng.standard_normal((N, K) if form == "nt" else (K, N)).astype(dtype)
    wide_a = (a.T if form == "tn" else a).astype(np.float64)
    wide_b = (b.T if form == "nt" else b).astype(np.float64)
    bound = 4 * np.ceil(np.log2(K)) * np.finfo(dtype).eps * (abs(wide_a) @ abs(wide_b))
    a, b, out = aligned(a), aligned(b), aligned(np.empty((M, N), dtype))
    product = getattr(backend.kernels, f"matmul_{form}")

    product(a, b, out=out)
    assert (abs(out - wide_a @ wide_b) <= 2 * bound).all()  # NumPy's own error beside ours

    peak = calibrate.fma_peak(dtype, threads)
    benchmark.group = f"{form} {M}x{K}x{N} {dtype}, {threads} threads"
    benchmark(product, a, b, out=out)
    peak = max(peak, calibrate.fma_peak(dtype, threads))
    if benchmark.stats is not None:  # None: run once, for correctness
        rate = 2 * M * K * N / benchmark.stats.stats.min
        benchmark.extra_info["GFLOP/s"] = round(rate / 1e9, 1)
        benchmark.extra_info["share of peak"] = round(rate / peak, 3)
