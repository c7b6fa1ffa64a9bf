"""Denormals are flushed inside a call, on every thread, and the caller's own arithmetic is not."""

import numpy as np
import pytest
from cases import NAMES, call, small_case

from fastdl import kernels
from fastdl.kernels import runner


def keeps_denormals():
    return np.float32(1e-40) * np.float32(0.5) > 0 and np.float64(1e-310) * 0.5 > 0


@pytest.mark.parametrize("name", NAMES)
def test_state_of_the_caller_is_restored(name, forced_threads):
    runner.set_num_threads(3)
    assert keeps_denormals()
    call(small_case(name), **small_case(name).outputs())
    assert keeps_denormals()


@pytest.mark.skipif("scale" not in NAMES, reason="no kernel of scale")
@pytest.mark.parametrize("dtype, value", [(np.float32, 1e-40), (np.float64, 1e-310)])
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_flushed_on_every_thread(dtype, value, threads, forced_threads):
    runner.set_num_threads(threads)
    assert not kernels.scale(np.full(60000, value, dtype), factor=0.5).any()
