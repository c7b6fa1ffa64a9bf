"""Rows in and out, for the programs that run them as ops."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport Op

# Makes an op that gathers rows into the buffer, or one that hands rows of it out.
cdef int gather_into(Op *op, cnp.ndarray buffer, int64_t capacity) except -1
cdef int scatter_from(Op *op, cnp.ndarray buffer, int64_t capacity) except -1

# Whether the gather op can read rows of the source into the buffer; and to have it do so.
cdef bint fits(cnp.ndarray source, cnp.ndarray buffer) noexcept
cdef void point_at(Op *gather, cnp.ndarray source) noexcept

# Where the rows that are handed out go.
cdef void point_to(Op *scatter, cnp.ndarray result) noexcept
