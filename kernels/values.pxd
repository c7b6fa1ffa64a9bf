"""Values, plans and the log, for the modules that work on them."""

cimport numpy as cnp
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from fastdl.kernels.call cimport Function
from fastdl.kernels.runner cimport MAX_ARGUMENTS, MAX_OPTIONS, Context, Op, Option


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


cdef class Plan:
    cdef readonly Function function
    cdef int passes                 # a bit for each input that takes over the output's gradient
    cdef int differentiable         # a bit for each input that a gradient can flow to
    cdef bint random
    cdef bint squashes              # a softmax or sigmoid: losses want to know its input
    cdef bint opaque                # a gradient itself: its own is not known
    cdef list steps


cdef class Step:
    cdef Plan plan
    cdef int from_gradient[MAX_ARGUMENTS]   # the forward output whose gradient it is, or -1
    cdef int from_argument[MAX_ARGUMENTS]   # the forward argument that it is, or -1
    cdef int to_argument[MAX_ARGUMENTS]     # outputs: the forward input that it is the gradient of
    cdef int option[MAX_OPTIONS]            # the forward op's option that it is, or -1
    cdef int targets                        # a bit for each forward input


cdef class Entry:
    cdef Plan plan
    cdef list values                # of each argument: a Value or None
    cdef Option options[MAX_OPTIONS]
    cdef int64_t seed, step
    cdef int64_t versions[MAX_ARGUMENTS]
    cdef object pullback


cdef class Log:
    cdef list entries
    cdef int64_t mark
    cdef bint weights
    cdef bint paused
    cdef PyObject *before


# A tensor with this array as its value.
cdef Value make(cnp.ndarray array)

# Whether calls on weights alone are symbolic in this thread.
cdef bint is_traced() noexcept

# What is known of the op of this name; KeyError where there is none.
cdef Plan plan_of(str name)

# The log that wants to know of calls made now, or None.
cdef Log listening()

# Adds a call, if something followed goes into it where a gradient can flow.
cdef int write_down(
    Log log, Plan plan, list values, const Op *op, const Context *context) except -1


cdef inline bint follows(Log log, Value value) noexcept:
    return value.mark == log.mark or (value.trainable and log.weights)
