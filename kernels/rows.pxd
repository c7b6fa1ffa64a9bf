"""Rows in and out, for the programs that run them as ops."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport Op, Stage


# Where an address is kept that is so far behind the beginning of a feed's buffer.
cdef struct Reader:
    char **address
    int64_t offset


# The buffer of a feed, and who reads it. Rows that lie in memory as they would in the buffer need not be
# copied: its readers are sent to them instead.
cdef struct Feed:
    char *buffer
    int64_t bytes, type
    bint written            # by an op: then readers must find what that has made of the rows
    bint alike              # the source's rows lie as the buffer's would
    bint in_place           # readers read those
    char *at                # where readers now find the batch's first row
    Reader *readers
    int lasting             # the readers that are ops' arguments ...
    int count, room         # ... and with those that stages have worked out

# Makes an op that gathers rows into the buffer, or one that hands rows of it out.
cdef int gather_into(Op *op, Feed *feed, cnp.ndarray buffer, int64_t capacity) except -1
cdef int scatter_from(Op *op, cnp.ndarray buffer, int64_t capacity) except -1

# Whether the gather op can read rows of the source into the buffer; and to have it do so.
cdef bint fits(cnp.ndarray source, cnp.ndarray buffer) noexcept
cdef void point_at(Op *gather, cnp.ndarray source) noexcept

# Notes an address that an op reads from, or writes to, if it is in the feed's buffer.
cdef int note_address(Feed *feed, char **address, bint written) except -1

# Has the rows copied into the buffer, whatever was before.
cdef void copy_rows(Feed *feed) noexcept nogil

# Has the stages' addresses sent to the rows as well, of a feed that is read in place.
cdef int note_stages(Feed *feed, const Stage *stages, int count) except -1 nogil

# Where the rows that are handed out go.
cdef void point_to(Op *scatter, cnp.ndarray result) noexcept
