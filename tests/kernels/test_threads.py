"""Results are the same bits for any number of threads."""

import numpy as np
import pytest
from cases import DTYPES, NAMES, call, complete, make_case, required, variants
from geometries import GEOMETRIES

from fastdl import kernels
from fastdl.kernels import runner
from fastdl.kernels.table import OPS

#: Several pieces for every way of cutting: by elements, rows, columns and along the sum.
SIZES = (((2300,), (70, 45, 130)), ((3,), (130, 1100, 2300)), ((97, 5), (33, 10, 64)))


def sizes(op):
    if op.name in GEOMETRIES:
        return [complete(op, *size) for size in GEOMETRIES[op.name].large]
    if not op.letters:
        return [{"B": (n,)} for n in (40000, 20481)]
    batched = any(a.batched and a.own_axes for a in op.arguments)
    if op.letters in (("N",), ("K",)) and not batched:
        return [{"B": (), op.letters[0]: n} for n in (40000, 20481)]
    return [complete(op, *size) for size in SIZES]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_threads_gives_the_same_bits(name, dtype, forced_threads):
    op = OPS[name]
    every = [options for options, optional in variants(op) if optional]
    for number, lengths in enumerate(sizes(op)):
        # the ordinary options at each size; the one with all of them changed at the first
        for options in [required(op)] + every[-1:] * (number == 0):
            case = make_case(op, lengths, options, dtype)
            results = {}
            for threads in (1, 2, 3, 7):
                runner.set_num_threads(threads)
                results[threads] = call(case, **case.outputs())
            for threads in (2, 3, 7):
                for key, value in results[1].items():
                    assert value.tobytes() == results[threads][key].tobytes(), (
                        f"{case}: {key} differs with {threads} threads"
                    )


@pytest.mark.skipif(not runner.has_openmp(), reason="built without OpenMP")
@pytest.mark.parametrize("name", [n for n in NAMES if OPS[n].elementwise])
def test_the_threads_that_were_asked_for_do_work(name, forced_threads):
    case = make_case(OPS[name], sizes(OPS[name])[0], required(OPS[name]), np.float32)
    for threads in (1, 2, 3, 7):
        runner.set_num_threads(threads)
        call(case)
        assert runner.last_threads() == threads


@pytest.mark.skipif(not runner.has_openmp(), reason="built without OpenMP")
@pytest.mark.parametrize("threads", (2, 3, 7))
def test_every_piece_is_run_once_whoever_takes_it(threads, forced_threads):
    # An update in place: a piece left out, or run twice, stays off the others. Pieces are short,
    # so that threads meet at the ends of each other's shares.
    runner.set_num_threads(threads)
    grad = np.ones(4096 * 31 + 5, np.float32)
    param = np.zeros_like(grad)
    for _ in range(400):
        kernels.sgd_update(param, grad, learning_rate=1.0)
    np.testing.assert_array_equal(param, np.full_like(param, -400))
