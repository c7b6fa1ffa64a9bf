"""Workers sleep soon after a Program has ended: they take no processor from others."""

import statistics
import time

import numpy as np
import pytest

import fastdl
from fastdl import Input, Sequential
from fastdl.kernels import runner
from fastdl.layers import Dense

SLEEP = 0.1


@pytest.fixture
def all_threads():
    fastdl.set_num_threads(2)
    runner.force_threads(True)
    yield
    runner.force_threads(False)
    fastdl.set_num_threads(None)


@pytest.mark.skipif(not runner.has_openmp(), reason="this build uses one thread")
def test_workers_sleep_when_a_program_has_ended(all_threads):
    model = Sequential([Input((512,)), Dense(256, "relu"), Dense(10)])
    model.compile(optimizer="adam", loss="mean_squared_error")
    x, y = np.ones((256, 512), np.float32), np.ones((256, 10), np.float32)
    used = []
    for _ in range(10):
        model.fit(x, y, batch_size=64, verbose=0)
        assert runner.last_threads() == 2
        begin = time.process_time()
        time.sleep(SLEEP)
        used.append(time.process_time() - begin)
    # Of all the process's threads; a worker that spins to the end would take all of SLEEP. The
    # first are left out: other libraries' workers may be waiting, from what was computed before.
    assert statistics.median(used[4:]) < 0.05 * SLEEP
