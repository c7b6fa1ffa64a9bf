"""The checked form of an op, for the modules that build runs of them."""

from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport (
    MAX_ARGUMENTS, MAX_OPTIONS, Context, Kernel, Op,
)


cdef enum: IN, OUT, INOUT
cdef enum: REAL, LABEL, FLOAT64
cdef enum: NUMBER, WHOLE, FLAG, CHOICE
cdef enum: LEARNING_RATE, STEP, SEED, STATIC
cdef enum: MAX_AXES = 4

cdef struct ArgumentSpec:
    int role
    int type
    bint optional
    bint batched            # the first axis is B
    int axes                # the axes after B
    int letter[MAX_AXES]    # index into the sizes, or -1
    int addend[MAX_AXES]    # a second letter whose length is added, or -1
    int64_t length[MAX_AXES]  # where letter is -1
    int below               # labels: the letter whose length they stay under


cdef struct OptionSpec:
    int kind
    int target              # LEARNING_RATE ... STATIC
    double low, high
    bint open_low, open_high


cdef class Function:
    cdef dict __dict__
    cdef readonly object op
    cdef const Kernel *kernel
    cdef int arguments, options, sizes, results
    cdef ArgumentSpec argument[MAX_ARGUMENTS]
    cdef OptionSpec option[MAX_OPTIONS]
    cdef int inputs
    cdef int input[MAX_ARGUMENTS]   # which arguments are inputs
    cdef int needed_options     # a bit for each option that has no default
    cdef bint inplace
    cdef dict slots             # keyword: index of the argument, or MAX_ARGUMENTS + the option's
    cdef list choices           # of each option: {name: index}, or None
    cdef list needs             # (argument, option): the one must be given where the other is on
    cdef Op blank               # with all defaults
    cdef Context blank_context

    cdef object run(self, Op *ops, Context *context, list arrays, object activation)

    # Checks one option's value and puts it into the op; a dynamic one into the context.
    cdef int set_option(self, Op *op, Context *context, int i, object value) except -1

    cdef dict options_of(self, const Op *op)
    cdef int derive(self, Op *op) except -1

    # Puts the arrays (one entry an argument) into the op and allocates outputs that are None.
    # Returns 0 where an array has to be converted or refused first.
    cdef int set_arrays(self, Op *op, list arrays, bint check_labels) except -1

    cdef bint overlaps(self, Op *op, list arrays)


# So much memory, aligned to a cache line, for the caller to free; MemoryError where there is none.
cdef void *allocate(size_t bytes) except NULL nogil
