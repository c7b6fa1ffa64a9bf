"""The ops of a program, for `program.pyx`."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from fastdl.kernels.rows cimport Feed
from fastdl.kernels.runner cimport Context, Loop, Op


cdef class Ops:
    cdef Op *ops
    cdef int count
    cdef int feeds, heads, fetches      # of them: feeds first, then the heads of tails, then fetches
    cdef Op *tails
    cdef Loop *loops
    cdef int loop_count
    cdef int copies_for                 # threads that the loops have copies of their ops for
    cdef int stage_room                 # stages that they may be cut into, at most
    cdef size_t workspace_bytes
    cdef size_t *scratch                # of each op, in bytes: the most that it has needed
    cdef Feed *sources                  # of each feed
    cdef set written                    # the memory that ops write to
    cdef readonly int64_t capacity
    cdef bint roomy                     # behind all that ops write, to the end of its cache line
    cdef readonly object totals
    cdef double *totals_at
    cdef int64_t totals_count
    cdef list keep
    cdef readonly tuple feed_buffers, fetch_buffers

    cdef int add_steps(self, list steps, Op *heads, Op *tails) except -1
    cdef int add(self, Op *op, Context *context, str name, list arrays, dict options,
                 int64_t per_item) except -1
    cdef int add_loop(self, Op *op, int64_t iterations, list steps, list moving) except -1
    cdef int note(self, char **address, cnp.ndarray array, bint written) except -1
    cdef int find_rows(self, Loop *loop, list steps, list places) except -1

    # Makes the scratch memory large enough for batches of so many rows; whether ops have it elsewhere now.
    cdef int give_workspace(self, int64_t rows) except -1 nogil

    # Makes room for the copies of the ops in loops: of each thread, or each group of rows.
    cdef int give_copies(self, int threads) except -1 nogil


# Where the memory begins and ends that an array is a part of.
cdef tuple block_of(cnp.ndarray array)
