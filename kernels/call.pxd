"""The checked form of an op, for the modules that build runs of them."""

from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport (
    MAX_ARGUMENTS, MAX_OPTIONS, Context, Kernel, Op,
)


cdef enum: IN, OUT, INOUT
cdef enum: REAL, LABEL, FLOAT64
cdef enum: NUMBER, WHOLE, FLAG, CHOICE
cdef enum: LEARNING_RATE, STEP, SEED, STATIC
cdef enum: MAX_AXES = 3

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
    cdef dict slots             # keyword: index of the argument, or MAX_ARGUMENTS + the option's
    cdef list positional        # indices of the inputs
    cdef list choices           # of each option: {name: index}, or None
    cdef tuple defaults         # of each option
    cdef bint inplace

    cdef object run(self, list arrays, list values, object activation)

    # Checks the option values and puts them into the op, dynamic ones into the context.
    cdef int set_options(self, Op *op, Context *context, list values) except -1

    # Puts the arrays (one entry an argument) into the op and allocates outputs that are None.
    # Returns 0 where an array has to be converted or refused first.
    cdef int set_arrays(self, Op *op, list arrays, bint check_labels) except -1

    cdef bint overlaps(self, Op *op, list arrays)


# Allocates the scratch memory that the op wants for its rows; the caller frees op.workspace.
cdef int give_workspace(Op *op) except -1
