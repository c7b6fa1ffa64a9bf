"""Loops in Programs: arguments that move by blocks, tails, threads, and the short last batch."""

import numpy as np
import pytest

from fastdl.kernels import runner
from fastdl.kernels.program import Program

CAPACITY, WIDTH, TIMES = 5, 40, 7
BLOCK = (4 * WIDTH, 0)  # bytes for each row, and others


def chain(period, times=TIMES, fused=True):
    """state = tanh(state @ weight + x) `times` over; gives out the last state."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 6
    x, z = (np.zeros((CAPACITY, WIDTH), np.float32) for _ in range(2))
    states = np.zeros((period, CAPACITY, WIDTH), np.float32)
    out = np.zeros((CAPACITY, WIDTH), np.float32)
    before, after = states[0], states[1]
    body = [
        ("dense_forward", [z, before, weight, None], {}, 1, False),
        ("add", [z, z, x], {}, WIDTH, fused),
        ("tanh_forward", [after, z], {}, WIDTH, fused),
    ]
    moving = [(0, 1, states, (0, 1, period), BLOCK), (2, 0, states, (1, 1, period), BLOCK)]
    first = ("scale", [before, x], {"factor": 0.5}, WIDTH, False)
    last = ("scale", [out, states[times % period]], {}, WIDTH, False)
    ends = [(0, 1, states, (times, 0, period), BLOCK)]
    steps = [first, (times, body, moving), (1, [last], ends)]
    return Program(CAPACITY, steps, [x], [out], np.zeros(0)), weight


def wanted(x, weight, times=TIMES):
    state = 0.5 * x
    for _ in range(times):
        state = np.tanh(state.astype(np.float64) @ weight + x)
    return state


def run(program, x, batch=CAPACITY):
    out = np.full_like(x, np.nan)
    program.bind([x], [out])
    program.run(batch)
    program.unbind()
    return out


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("period", [2, TIMES + 1])
def test_a_loop_is_its_body_many_times_over(period, fused):
    program, weight = chain(period, fused=fused)
    x = np.random.default_rng(1).normal(size=(13, WIDTH)).astype(np.float32)  # 5 + 5 + 3 rows
    np.testing.assert_allclose(run(program, x), wanted(x, weight), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("times", [1, 2, 3, 50])
def test_the_number_of_iterations(times):
    program, weight = chain(2, times)
    x = np.random.default_rng(2).normal(size=(4, WIDTH)).astype(np.float32)
    np.testing.assert_allclose(run(program, x), wanted(x, weight, times), rtol=1e-4, atol=1e-5)


def test_any_number_of_threads_gives_the_same_bits():
    program, _ = chain(2)
    x = np.random.default_rng(3).normal(size=(13, WIDTH)).astype(np.float32)
    results = []
    try:
        for threads in (1, 2, 3, 7):
            runner.set_num_threads(threads)
            runner.force_threads(threads > 1)
            results.append(run(program, x).tobytes())
    finally:
        runner.force_threads(False)
        runner.set_num_threads(None)
    assert len(set(results)) == 1


def test_an_answer_runs_loops_as_well():
    program, weight = chain(2)
    x = np.random.default_rng(4).normal(size=(2, WIDTH)).astype(np.float32)
    out = program.answer(x)
    assert out is not None
    np.testing.assert_allclose(out, wanted(x, weight), rtol=1e-5, atol=1e-6)
    assert out.tobytes() == run(program, x).tobytes()


def test_arguments_that_would_leave_their_array_are_refused():
    states = np.zeros((3, CAPACITY, WIDTH), np.float32)
    step = ("tanh_forward", [states[1], states[0]], {}, WIDTH, False)
    for place in ((0, 1, 9), (2, 1, 4), (1, -1, 9), (0, 1, 0)):
        with pytest.raises(ValueError, match="leaves its array"):
            moving = [(0, 1, states, place, BLOCK)]
            Program(CAPACITY, [(4, [step], moving)], [], [], np.zeros(0))
