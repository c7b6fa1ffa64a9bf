"""The ceilings of this machine, measured: what benchmarks state their figures against.

Private to the benchmarks. Each measurement runs one piece a thread, by the runner's own means, so
that threads start and wait as they do for any op; the best of several repeats counts.
"""

import numpy as np

from cython.parallel cimport parallel, threadid
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastdl.kernels.dispatch cimport bodies_of
from fastdl.kernels.runner cimport (
    Context, Kernel, Op, Stage, Team, now_ns, plan, team_size, team_start, threads_now, work,
)


cdef enum: FMA_PEAK, TRIAD, UPDATE
cdef enum: ITERATIONS = 2000000     # some milliseconds
cdef enum: ENOUGH = 1000000000      # work for all threads
cdef enum: ELEMENTS = 1 << 24       # 64 MB an array: more than most caches


cdef void run_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t start = op.sizes[1] * piece // op.sizes[2]
    cdef int64_t count = op.sizes[1] * (piece + 1) // op.sizes[2] - start
    start *= op.itemsize
    if op.sizes[0] == FMA_PEAK:
        op.bodies.calibrate.fma_peak(op.arguments[0] + 64 * piece, ITERATIONS)
    elif op.sizes[0] == TRIAD:
        op.bodies.calibrate.triad(
            op.arguments[0] + start, op.arguments[1] + start, op.arguments[2] + start, count)
    else:
        op.bodies.calibrate.update(
            op.arguments[0] + start, op.arguments[1] + start, op.arguments[2] + start,
            op.arguments[3] + start, count)


cdef int64_t pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return op.sizes[2]


cdef double cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return ENOUGH


cdef Kernel kernel
kernel.phases = 1
kernel.pieces = pieces
kernel.cost = cost
kernel.run_piece = run_piece


cdef int64_t time_once(const Op *op, int threads) noexcept nogil:
    cdef Stage stage
    cdef Context context
    cdef Team team
    cdef bint worked = False
    cdef int64_t began = now_ns()
    memset(&context, 0, sizeof(context))
    plan(op, 1, &context, threads, 1, &stage)
    team_start(&team)
    if threads == 1:
        work(&stage, 1, &context, &team, 0, 1, 1, &worked)
    else:
        with parallel(num_threads=threads):
            work(&stage, 1, &context, &team, threadid(), team_size(), 1, &worked)
    return now_ns() - began


cdef double best_seconds(int what, list arrays, bint float64, int threads, int repeats) except -1:
    cdef Op op
    cdef int64_t best, taken
    cdef int i
    cdef size_t address
    memset(&op, 0, sizeof(op))
    op.kernel, op.bodies = &kernel, bodies_of(float64)
    op.itemsize = 8 if float64 else 4
    op.sizes[0], op.sizes[1], op.sizes[2] = what, arrays[0].size, threads
    for i in range(len(arrays)):
        address = arrays[i].ctypes.data
        op.arguments[i] = <char *> address
    with nogil:
        best = time_once(&op, threads)
        for _ in range(repeats):
            taken = time_once(&op, threads)
            best = min(best, taken)
    return best * 1e-9


def _threads(threads: int | None) -> int:
    return threads_now() if threads is None else threads


def fma_peak(dtype=np.float32, threads: int | None = None, int repeats=10) -> float:
    """Multiply-adds in registers, counted as two operations each, per second."""
    count = _threads(threads)
    float64 = np.dtype(dtype) == np.float64
    sink = np.zeros(8 * count)
    cdef int64_t operations = bodies_of(float64).calibrate.fma_peak(
        <void *> <size_t> sink.ctypes.data, 1)
    return count * operations * <double> ITERATIONS / best_seconds(
        FMA_PEAK, [sink], float64, count, repeats)


def stream(threads: int | None = None, int repeats=5, int64_t elements=ELEMENTS) -> float:
    """The triad a = b + 3*c, 12 bytes an element, per second; by default beyond the caches."""
    arrays = [np.ones(elements, np.float32) for _ in range(3)]
    return 12.0 * elements / best_seconds(TRIAD, arrays, False, _threads(threads), repeats)


def update_stream(threads: int | None = None, int repeats=5, int64_t elements=ELEMENTS) -> float:
    """Four reads and three writes in place, as Adam makes them: 28 bytes an element, per second."""
    arrays = [np.zeros(elements, np.float32) for _ in range(4)]
    return 28.0 * elements / best_seconds(UPDATE, arrays, False, _threads(threads), repeats)
