"""Normalisation where it is hard, on the GPU's kernels: the tests of the CPU's."""

import cases
import pytest
import test_norm as shared


@pytest.fixture(autouse=True)
def elsewhere(on, monkeypatch):
    if on in ("reverse", "random"):
        pytest.skip("the order of threads does not matter to rounding")
    monkeypatch.setattr(shared, "kernels", cases.kernels)


@pytest.mark.parametrize("dtype", shared.DTYPES)
@pytest.mark.parametrize("shape", shared.SHAPES)
def test_statistics(dtype, shape):
    shared.test_statistics(None, dtype, shape)


@pytest.mark.parametrize("rows", [3, 64, 1000, 30_000])
def test_a_small_spread_around_a_large_mean(rows):
    shared.test_a_small_spread_around_a_large_mean(None, rows)


@pytest.mark.parametrize("case", ["drift", "first rows", "last row", "blocks", "alternating"])
def test_merging_of_blocks_that_have_little_in_common(case):
    shared.test_merging_of_blocks_that_have_little_in_common(None, case)


@pytest.mark.parametrize("epsilon", [1e-3, 0.0])
@pytest.mark.parametrize("rows", [1, 9, 2000])
def test_constant_columns_give_exactly_beta_and_finite_gradients(rows, epsilon):
    for dtype in shared.DTYPES:
        shared.test_constant_columns_give_exactly_beta_and_finite_gradients(
            None, dtype, rows, epsilon
        )


@pytest.mark.parametrize("epsilon", [1e-3, 0.0])
@pytest.mark.parametrize("columns", [1, 7, 40, 1500])
def test_constant_rows_give_exactly_beta(columns, epsilon):
    for dtype in shared.DTYPES:
        shared.test_constant_rows_give_exactly_beta(None, dtype, columns, epsilon)


@pytest.mark.parametrize("shape", [(32, 16), (128, 512), (1000, 33)])
def test_numeric_bounds(shape):
    shared.test_numeric_bounds(None, shape)


@pytest.mark.parametrize("columns", [5, 300, 5000])
def test_layer_norm_of_a_small_spread_around_a_large_mean(columns):
    shared.test_layer_norm_of_a_small_spread_around_a_large_mean(None, columns)


def test_layer_norm_of_a_row_that_begins_with_an_outlier():
    shared.test_layer_norm_of_a_row_that_begins_with_an_outlier(None)


def test_an_empty_batch_has_sums_of_0():
    shared.test_an_empty_batch_has_sums_of_0()
