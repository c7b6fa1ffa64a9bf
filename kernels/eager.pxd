"""Values, for the modules that work on them."""

cimport numpy as cnp
from libc.stdint cimport int64_t


cdef class Value:
    cdef object __weakref__
    cdef tuple _shape
    cdef str _dtype
    cdef public str name
    cdef public object node         # what computes it, where it is symbolic
    cdef public object layer_call
    cdef public object logits       # of what a softmax or sigmoid gave: the op and its input
    cdef public object mask         # of a sequence: which time steps count
    cdef cnp.ndarray array          # None: symbolic
    cdef public bint trainable      # a log follows it from the start
    cdef bint weight                # symbolic as well, wherever others are
    cdef int64_t mark               # the log that follows it
    cdef int64_t walk               # the walk that looks for its gradient
    cdef int64_t version            # how often a weight has been changed


# A tensor with this array as its value.
cdef Value make(cnp.ndarray array)

# Whether calls on weights alone are symbolic in this thread.
cdef bint is_traced() noexcept
