"""Attention over several blocks, on the GPU's kernels: the tests of the CPU's."""

import cases
import numpy as np
import pytest
import test_attention as shared


@pytest.fixture(autouse=True)
def elsewhere(on, monkeypatch):
    if on in ("forward", "reverse"):
        pytest.skip("done in random order")
    monkeypatch.setattr(shared, "kernels", cases.kernels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", shared.SIZES, ids=str)
def test_blocks_give_what_the_formula_gives(sizes, dtype):
    for masked in (False, True):
        shared.test_blocks_give_what_the_formula_gives(sizes, dtype, masked, None)


@pytest.mark.parametrize("causal", [False, True])
def test_equals_pytorch(causal):
    shared.test_equals_pytorch(causal)


def test_large_scores_do_not_overflow():
    shared.test_large_scores_do_not_overflow()
