"""Every op of the GPU backend against the oracle: the tests of the CPU's kernels, elsewhere."""

import inspect
import math

import cases as cases_module
import numpy as np
import pytest
import test_against_oracle as shared
from cases import DTYPES, NAMES, assert_close, call, cases, needs_outputs, small_case
from emulator import Emulator
from test_bad_input import bad_calls

from fastdl import gpu, kernels
from fastdl.gpu import device, metrics, moves, sources
from fastdl.gpu.core import HOSTS
from fastdl.kernels.table import OPS

#: Elements of the largest array that is tried: the emulator takes its time.
MOST = {"forward": 3000, "reverse": 3000, "random": 300_000, "gpu": math.inf}


def test_every_op_has_a_host_side():
    assert HOSTS.keys() == OPS.keys()
    assert {host.family for host in HOSTS.values()} <= set(sources.families())


@pytest.mark.parametrize("name", OPS)
def test_signature_is_the_cpu_s(name):
    assert inspect.signature(getattr(gpu, name)) == inspect.signature(getattr(kernels, name))
    assert getattr(gpu, name).__doc__ == getattr(kernels, name).__doc__


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_matches_oracle(name, dtype, on):
    for case in cases(name, dtype, MOST[on]):
        assert_close(case, call(case, **case.outputs()), case.expected())


@pytest.mark.parametrize("name", [n for n in NAMES if not needs_outputs(OPS[n])])
def test_fresh_outputs_equal_given_ones(name, on):
    shared.test_fresh_outputs_equal_given_ones(name)


@pytest.mark.parametrize("name", [n for n in NAMES if any(a.optional for a in OPS[n].outputs)])
def test_optional_outputs_can_be_left_out(name, on):
    shared.test_optional_outputs_can_be_left_out(name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_nan_in_each_argument(name, dtype, on):
    if on == "forward":
        pytest.skip("done in the other orders")
    shared.test_nan_in_each_argument(name, dtype, on)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", shared.UPDATES)
def test_nan_in_updates(name, dtype, on):
    shared.test_nan_in_updates(name, dtype, on)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", shared.SPECIAL)
def test_special_values(name, dtype, on):
    shared.test_special_values(name, dtype, on)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_threads_does_not_matter(name, on):
    """The same bits as with threads in order; on a GPU, twice the same."""
    for case in (small_case(name), small_case(name, lengths=(40, 70, 33))):
        first = call(case, **case.outputs())
        if on != "gpu":
            device.use(Emulator("forward"))
        second = call(case, **case.outputs())
        for key, value in first.items():
            assert value.tobytes() == second[key].tobytes(), f"{case}: {key}"


@pytest.mark.parametrize("name", NAMES)
def test_errors_are_the_cpu_s(name, on):
    """The same type and words, whatever is wrong."""
    if on != "forward":
        pytest.skip("nothing is launched")
    for bad in bad_calls(name):
        errors = []
        for module in (kernels, gpu):
            try:
                getattr(module, name)(*bad.args, **bad.kwargs)
            except (ValueError, TypeError) as error:
                errors.append((type(error), str(error)))
        assert len(errors) == 2, f"{name}: {bad.what} is accepted"
        assert errors[0] == errors[1], f"{name}: {bad.what}"


def test_dropout_draws_the_cpu_s_mask(on):
    for dtype in DTYPES:
        x = np.ones(10_001, dtype)
        for options in ({"seed": 5}, {"seed": 2**40 + 1, "step": 77, "stream": 3}):
            got = cases_module.kernels.dropout_forward(x, rate=0.3, **options)
            wanted = kernels.dropout_forward(x, rate=0.3, **options)
            assert got.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("sizes", [(300, 200, 5000), (1, 1000, 900), (2100, 2100, 17)])
def test_products_cut_along_the_depth_and_in_large_tiles(sizes, on):
    """Whole numbers: the sums are exact, however they are cut."""
    if on in ("forward", "reverse") and sizes[0] > 2000:
        pytest.skip("large, and done in another order")
    M, N, K = sizes
    generator = np.random.default_rng(0)
    a = generator.integers(-9, 10, (M, K)).astype(np.float32)
    b = generator.integers(-9, 10, (K, N)).astype(np.float32)
    bias = np.arange(N, dtype=np.float32)
    module = cases_module.kernels
    np.testing.assert_array_equal(module.dense_forward(a, b, bias), a @ b + bias)
    np.testing.assert_array_equal(module.matmul_tn(np.ascontiguousarray(a.T), b), a @ b)
    np.testing.assert_array_equal(module.matmul_nt(a, np.ascontiguousarray(b.T)), a @ b)


def test_rows_by_label_in_several_stretches(on, monkeypatch):
    """Sums of the rows of each label, which are looked for among a part of the rows at a time."""
    monkeypatch.setattr(moves, "_ROWS", 100)
    monkeypatch.setattr(metrics, "_CHUNK", 100)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 7, 250)
    grad_out, pred = (generator.integers(-9, 10, (250, n)).astype(np.float32) for n in (150, 7))
    module = cases_module.kernels
    for own in (True, False):
        weights = generator.integers(0, 5, 250).astype(np.float32) if own else None
        got, wanted = np.ones((7, 7)), np.ones((7, 7))
        module.confusion_update(got, pred, labels, weights)
        kernels.confusion_update(wanted, pred, labels, weights)
        np.testing.assert_array_equal(got, wanted)
    got, wanted = np.empty((9, 150), np.float32), np.empty((9, 150), np.float32)
    module.take_backward(grad_out, labels, grad_weight=got)
    kernels.take_backward(grad_out, labels, grad_weight=wanted)
    np.testing.assert_array_equal(got, wanted)


def test_a_reduction_in_many_parts(on):
    """Whole numbers, and so many rows that their parts are many too."""
    x = np.random.default_rng(0).integers(-9, 10, (20_000, 32)).astype(np.float32)
    module = cases_module.kernels
    np.testing.assert_array_equal(module.sum_rows_forward(x), x.sum(0))
    np.testing.assert_array_equal(module.max_forward(x[None]), x.max(0)[None])
