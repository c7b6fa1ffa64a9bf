"""Programs, for the courses that run them."""

from libc.stdint cimport int64_t

from fastdl.kernels.ops cimport Ops
from fastdl.kernels.runner cimport Context, Ready, Stage, Team


cdef extern from "pace.h" nogil:
    enum: ALONE_BELOW
    ctypedef struct Pace:
        double cost
        bint warm
        int64_t until_look
    void pace_start(Pace *pace, double cost)
    bint pace_is_certain(const Pace *pace)
    bint pace_together(const Pace *pace)
    int64_t pace_few(const Pace *pace)
    void pace_note(Pace *pace, bint together, double nanoseconds)
    void pace_plan_look(Pace *pace, bint before)


# An answer that takes longer than this, in nanoseconds, lets others have the GIL meanwhile.
cdef enum: WORTH_RELEASING = 50000


# The batches that a program's ops are cut for: a full one, the last one, that of an answer.
cdef enum: FULL, LAST, ANSWER, KINDS

# What the threads need of a program: the stages for each of them.
cdef struct Plan:
    Stage *stages[KINDS]
    Ready *ready[KINDS]     # of those stages: what they have worked out
    int count[KINDS]
    int64_t rows[KINDS]
    int threads


# A stretch of batches over `total` rows.
cdef struct Stretch:
    int64_t batch       # rows of a full batch
    int64_t total       # rows in all
    int64_t first       # the first batch
    int64_t count       # batches
    Context context     # of the first batch: order, step, seed, learning rate
    const double *rates     # the learning rate of each batch; NULL: that of the context for all


cdef class Program(Ops):
    cdef Plan plan_
    cdef int planned_threads
    cdef Pace pace
    cdef list bound
    cdef bint busy

    # Takes the program for one thread, and gives it back.
    cdef int enter(self) except -1
    cdef int leave(self) except -1

    # The rows of the arrays that are bound.
    cdef int64_t bound_rows(self) except -1

    # Cuts the ops into stages for full batches and for the last one; `in_order`: rows are taken as they lie.
    cdef int prepare(self, int64_t batch, int64_t total, bint in_order) except -1 nogil
    cdef int cut(self, int kind, int64_t rows, int threads) except -1 nogil

    # On how many threads.
    cdef bint together(self) noexcept nogil
    cdef void run_part(self, const Stretch *stretch, bint together) noexcept nogil
    cdef void run_timed(self, const Stretch *stretch, bint together) noexcept nogil

    # Runs some batches, on all the threads that were prepared for or on this one.
    cdef void run_stretch(self, const Stretch *stretch) noexcept nogil


# One thread's share of all batches of a stretch.
cdef void share_of_stretch(
    const Plan *cut, const Stretch *stretch, Team *team, int thread, int size
) noexcept nogil
