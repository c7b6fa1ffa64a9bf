"""What is special about products: exactness, error bounds, edges, tails, pieces.

That each op agrees with its oracle is tested with all the others; here are the promises that only
products make.
"""

import numpy as np
import pytest

import fastdl
from fastdl import kernels
from fastdl.kernels import dispatch, runner
from fastdl.kernels.program import Program
from fastdl.kernels.table import OPS

TYPES = (np.float32, np.float64)
SIZES = (0, 1, 2, 3, 7, 10, 15, 16, 17, 31, 33, 65, 100)

# Shapes (M, K, N) that take the different ways: one row, one column, one step, tiles with every
# kind of rest, several blocks, a depth cut into parts, operands that are copied or stay in L1.
SHAPES = (
    *((1, 784, 128), (1, 3000, 40), (3, 5, 1), (700, 90, 1), (33, 1, 65), (1, 1, 1), (2, 4000, 3)),
    *((32, 784, 128), (128, 128, 10), (61, 400, 47), (350, 33, 70), (10, 10, 10), (5, 4096, 7)),
    *((530, 66, 515), (65, 512, 530), (47, 30, 483), (341, 838, 49), (90, 1700, 70), (64, 300, 80)),
    (200, 60, 90),
)


@pytest.fixture(params=dispatch.available())
def isa(request):
    before = dispatch.isa()
    dispatch.set_isa(request.param)
    yield request.param
    dispatch.set_isa(before)


@pytest.fixture
def threads():
    """Sets a number of threads that all phases use, however small."""

    def use(count):
        runner.set_num_threads(count)
        runner.force_threads(True)

    yield use
    runner.set_num_threads(None)
    runner.force_threads(False)


def transposed(x):
    return np.ascontiguousarray(x.T)


def all_forms(a, b):
    """a @ b by each of the three forms."""
    return {
        "nn": kernels.matmul_nn(a, b),
        "tn": kernels.matmul_tn(transposed(a), b),
        "nt": kernels.matmul_nt(a, transposed(b)),
    }


def whole_numbers(rng, shape, dtype):
    return rng.integers(-8, 9, shape).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_whole_numbers_are_exact(isa, dtype):
    rng = np.random.default_rng(1)
    shapes = [*SHAPES, *(tuple(map(int, rng.choice(SIZES, 3))) for _ in range(150))]
    for M, K, N in shapes:
        a, b, bias = (whole_numbers(rng, shape, dtype) for shape in ((M, K), (K, N), N))
        exact = a.astype(np.float64) @ b.astype(np.float64)
        for form, out in all_forms(a, b).items():
            np.testing.assert_array_equal(out, exact, f"{form} {M, K, N}")
        out = kernels.dense_forward(a, b, bias)
        np.testing.assert_array_equal(out, exact + bias, f"bias {M, K, N}")
        out = kernels.dense_backward_bias(a)
        np.testing.assert_array_equal(out, a.sum(axis=0), f"column sums {M, K}")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (1, 100_000, 1), (3, 50_000, 5)], ids=str)
def test_error_bound(isa, dtype, shape):
    M, K, N = shape
    rng = np.random.default_rng(2)
    for positive in (False, True):
        a, b = rng.standard_normal((M, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
        if positive:
            a, b = np.abs(a), np.abs(b)
        wide = np.longdouble if dtype == np.float64 else np.float64
        exact = a.astype(wide) @ b.astype(wide)
        bound = np.abs(a).astype(wide) @ np.abs(b).astype(wide)
        bound = bound * 4 * max(1, np.ceil(np.log2(K))) * np.finfo(dtype).eps
        for form, out in all_forms(a, b).items():
            assert np.all(np.abs(out - exact) <= bound), form


# The last is cut both ways into many pieces, whose panels of b are copied together.
@pytest.mark.parametrize("shape", (*SHAPES, (1100, 300, 1030)), ids=str)
def test_same_bits_for_any_number_of_threads(isa, threads, shape):
    M, K, N = shape
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((M, K)), rng.standard_normal((K, N))
    bias = rng.standard_normal(N)
    results = []
    for count in (1, 2, 3, 7):
        threads(count)
        results.append(
            {
                **all_forms(a, b),
                "dense": kernels.dense_forward(a, b, bias, activation="relu"),
                "column sums": kernels.dense_backward_bias(a),
            }
        )
    for other in results[1:]:
        for name, out in other.items():
            np.testing.assert_array_equal(out, results[0][name], name)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row_or_column(isa, dtype, bad):
    rng = np.random.default_rng(4)
    for M, K, N in ((13, 20, 19), (1, 40, 33), (30, 40, 1), (2, 3, 2), (40, 500, 35)):
        a, b = rng.standard_normal((M, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
        clean = all_forms(a, b)
        row, step, column = rng.integers(M), rng.integers(K), rng.integers(N)
        spoilt = a.copy()
        spoilt[row, step] = bad
        others = np.arange(M) != row
        for form, out in all_forms(spoilt, b).items():
            assert not np.isfinite(out[row]).any(), form
            np.testing.assert_array_equal(out[others], clean[form][others], form)
        spoilt = b.copy()
        spoilt[step, column] = bad
        others = np.arange(N) != column
        for form, out in all_forms(a, spoilt).items():
            assert not np.isfinite(out[:, column]).any(), form
            np.testing.assert_array_equal(out[:, others], clean[form][:, others], form)


@pytest.mark.parametrize("dtype", TYPES)
def test_memory_beyond_the_arrays_is_neither_used_nor_written(isa, dtype):
    rng = np.random.default_rng(5)

    def framed(shape, values=None):
        """An array in the middle of NaNs, and the whole of it."""
        size = int(np.prod(shape))
        whole = np.full(size + 256, np.nan, dtype)
        inner = whole[128 : 128 + size].reshape(shape)
        inner[...] = 0 if values is None else values
        return inner, whole

    for M, K, N in SHAPES:
        a, b, bias = (whole_numbers(rng, shape, dtype) for shape in ((M, K), (K, N), N))
        exact = a.astype(np.float64) @ b.astype(np.float64)
        inner = {
            name: framed(x.shape, x)[0]
            for name, x in {"a": a, "b": b, "at": a.T, "bt": b.T, "bias": bias}.items()
        }
        for call, want in (
            (lambda out, i=inner: kernels.matmul_nn(i["a"], i["b"], out=out), exact),
            (lambda out, i=inner: kernels.matmul_tn(i["at"], i["b"], out=out), exact),
            (lambda out, i=inner: kernels.matmul_nt(i["a"], i["bt"], out=out), exact),
            (
                lambda out, i=inner: kernels.dense_forward(i["a"], i["b"], i["bias"], out=out),
                exact + bias,
            ),
        ):
            out, whole = framed((M, N))
            call(out)
            np.testing.assert_array_equal(out, want)
            assert np.isnan(whole[:128]).all()
            assert np.isnan(whole[128 + M * N :]).all()


def elementwise_activations():
    return [
        name.removesuffix("_forward")
        for name in runner.registered_ops()
        if OPS[name].elementwise
        and f"{name.removesuffix('_forward')}_backward" in OPS
        and name.removesuffix("_forward") in OPS["dense_forward"].tail.choices
    ]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("activation", elementwise_activations())
def test_tail_is_the_unfused_op_once_on_each_element(isa, threads, dtype, activation):
    """An activation applied twice, or not at all, would show: few are their own fixed point."""
    rng = np.random.default_rng(6)
    apply = getattr(kernels, f"{activation}_forward")
    for M, K, N in (*SHAPES, (5, 0, 7), (70, 900, 130)):
        x, weight, bias = (
            rng.standard_normal(shape).astype(dtype) / 8 for shape in ((M, K), (K, N), N)
        )
        for count in (1, 3):
            threads(count)
            fused = kernels.dense_forward(x, weight, bias, activation=activation)
            np.testing.assert_array_equal(fused, apply(kernels.dense_forward(x, weight, bias)))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["dense_forward", "dense_backward_input"])
def test_a_sum_as_tail_is_the_sum_behind_the_product(isa, threads, dtype, name):
    """Where it can, the product begins from what is added, or it is added at the end: same bits."""
    rng = np.random.default_rng(8)
    for M, K, N in (*SHAPES, (16, 128, 512), (28, 48, 300)):
        x, other = (rng.standard_normal(shape).astype(dtype) for shape in ((M, K), (M, N)))
        weight = rng.standard_normal((K, N) if name == "dense_forward" else (N, K)).astype(dtype)
        results = set()
        for fused, count in ((False, 1), (True, 1), (True, 3)):
            threads(count)
            out, result = np.zeros((2, M, N), dtype)
            arrays = [out, x, weight, *([None] if name == "dense_forward" else [])]
            terms = [other, out] if M % 2 else [out, other]
            steps = [(name, arrays, {}, 1, False), ("add", [out, *terms], {}, N, fused)]
            steps.append(("relu_forward", [out, out], {}, N, fused))
            program = Program(M, steps, [], [out], np.zeros(0))
            program.bind([], [result])
            program.run(M)
            results.add(result.tobytes())
        assert len(results) == 1, (M, K, N)


def test_no_depth_gives_zeros_or_the_bias():
    x, weight, bias = np.zeros((3, 0)), np.zeros((0, 5)), np.arange(5.0)
    np.testing.assert_array_equal(kernels.matmul_nn(x, weight), np.zeros((3, 5)))
    np.testing.assert_array_equal(kernels.dense_forward(x, weight, bias), np.tile(bias, (3, 1)))
    np.testing.assert_array_equal(kernels.dense_backward_bias(np.zeros((0, 5))), np.zeros(5))


def test_a_short_batch_may_be_cut_where_a_full_one_is_not():
    """One row of the last batch is a product of long depth, 300 rows are many short pieces."""
    rng = np.random.default_rng(7)
    model = fastdl.Sequential([fastdl.layers.Dense(10)])
    x = rng.integers(-2, 3, (301, 60_000)).astype(np.float32)
    prediction = model.predict(x, batch_size=300, verbose=0)
    np.testing.assert_allclose(prediction[300:], model.predict(x[300:], verbose=0), rtol=1e-5)


def test_scratch_memory_is_kept_for_the_next_call():
    """A copy of a: 2 MB, which the system would give page by page, at 512 faults a call."""
    resource = pytest.importorskip("resource")
    a, b = np.ones((512, 1024), np.float32), np.ones((1024, 600), np.float32)
    out = np.empty((512, 600), np.float32)

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        kernels.matmul_nn(a, b, out=out)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    kernels.matmul_nn(a, b, out=out)
    assert min(faults() for _ in range(5)) < 100
    np.testing.assert_array_equal(out, np.full_like(out, 1024))
