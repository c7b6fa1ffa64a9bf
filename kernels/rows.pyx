"""Rows of the user's arrays into a program's buffers, and rows of its results out.

Gather: out (B, N) = source rows order[first ... first + B - 1], cast. Pieces are runs of rows, each
written by one piece alone. Scatter: the inverse without order and cast.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastdl.kernels.dispatch cimport bodies_of
from fastdl.kernels.runner cimport SPAN, Cast, Context, Kernel, Op, ceil_divide, smaller

cnp.import_array()


# NumPy's number of a type: the index of its cast in the bodies, counted from 1.
cdef enum: NUMPY_TYPES = 32
cdef int[NUMPY_TYPES] casts


def _find_casts():
    order = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
             "float32", "float64")
    for letter in "?bBhHiIlLqQfd":
        casts[np.dtype(letter).num] = 1 + order.index(np.dtype(letter).name)


_find_casts()


cdef enum: OUT, SOURCE                      # arguments of gather
cdef enum: DESTINATION, BUFFER              # arguments of scatter
cdef enum: COUNT, STRIDE                    # sizes: elements of a row (scatter: bytes); bytes apart
cdef enum: TYPE, TO_LABEL                   # options of gather


cdef int64_t rows_of_piece(const Op *op, const Context *context) noexcept nogil:
    if context.rows * (1 + op.sizes[COUNT]) <= SPAN:
        return context.rows     # without a division, which would take as long as the copying
    return 1 + SPAN // (1 + op.sizes[COUNT])


cdef int64_t row_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(context.rows, rows_of_piece(op, context))


cdef double row_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return context.rows * (5.0 + 0.1 * op.sizes[COUNT])


cdef void gather_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t most = rows_of_piece(op, context), row = piece * most, first = context.first + row
    cdef int64_t rows = smaller(most, context.rows - row), type = op.options[TYPE].whole
    cdef bint label = op.options[TO_LABEL].whole
    cdef Cast cast = op.bodies.data.to_label[type] if label else op.bodies.data.to_real[type]
    cdef char *out = op.arguments[OUT] + row * op.sizes[COUNT] * (8 if label else op.itemsize)
    if context.order != NULL:
        cast(out, op.arguments[SOURCE], op.sizes[STRIDE], context.order + first, rows,
             op.sizes[COUNT])
    else:
        cast(out, op.arguments[SOURCE] + first * op.sizes[STRIDE], op.sizes[STRIDE], NULL, rows,
             op.sizes[COUNT])


cdef void scatter_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t most = rows_of_piece(op, context), row = piece * most, bytes = op.sizes[COUNT]
    cdef int64_t rows = smaller(context.rows - row, most)
    memcpy(
        op.arguments[DESTINATION] + (context.first + row) * bytes,
        op.arguments[BUFFER] + row * bytes, <size_t> (rows * bytes))


cdef Kernel gather_kernel = Kernel(
    phases=1, pieces=row_pieces, run_piece=gather_piece, cost=row_cost, workspace=NULL, span=NULL,
    tile=NULL, run_range=NULL, prepare=NULL, nanoseconds=0, variant=0, backwards=0,
    reads=0)
cdef Kernel scatter_kernel = Kernel(
    phases=1, pieces=row_pieces, run_piece=scatter_piece, cost=row_cost, workspace=NULL, span=NULL,
    tile=NULL, run_range=NULL, prepare=NULL, nanoseconds=0, variant=0, backwards=0,
    reads=0)


cdef bint fits(cnp.ndarray source, cnp.ndarray buffer) noexcept:
    """Whether the gather op can read rows of the source into the buffer."""
    cdef int i, type = cnp.PyArray_TYPE(source)
    cdef int64_t stride
    if (source.ndim != buffer.ndim or not 0 <= type < NUMPY_TYPES or casts[type] == 0
            or not cnp.PyArray_ISNOTSWAPPED(source) or not cnp.PyArray_ISALIGNED(source)):
        return False
    stride = cnp.PyArray_ITEMSIZE(source)
    for i in range(source.ndim - 1, 0, -1):
        if source.shape[i] != buffer.shape[i]:
            return False
        if (source.shape[i] != 1 and cnp.PyArray_STRIDE(source, i) != stride
                and cnp.PyArray_SIZE(source) != 0):
            return False
        stride *= source.shape[i]
    return True


cdef int gather_into(Op *op, cnp.ndarray buffer, int64_t capacity) except -1:
    check_buffer(buffer, capacity)
    op.kernel = &gather_kernel
    op.bodies = bodies_of(buffer.dtype == np.float64)
    op.itemsize = buffer.itemsize
    op.options[TO_LABEL].whole = buffer.dtype == np.int64
    op.sizes[COUNT] = buffer.size // capacity
    op.arguments[OUT] = <char *> cnp.PyArray_DATA(buffer)
    return 0


cdef int scatter_from(Op *op, cnp.ndarray buffer, int64_t capacity) except -1:
    check_buffer(buffer, capacity)
    op.kernel = &scatter_kernel
    op.bodies = bodies_of(False)
    op.sizes[COUNT] = buffer.nbytes // capacity
    op.arguments[BUFFER] = <char *> cnp.PyArray_DATA(buffer)
    return 0


cdef void point_at(Op *gather, cnp.ndarray source) noexcept:
    gather.arguments[SOURCE] = <char *> cnp.PyArray_DATA(source)
    gather.sizes[STRIDE] = cnp.PyArray_STRIDE(source, 0)
    gather.options[TYPE].whole = casts[cnp.PyArray_TYPE(source)] - 1


cdef void point_to(Op *scatter, cnp.ndarray result) noexcept:
    scatter.arguments[DESTINATION] = <char *> cnp.PyArray_DATA(result)


cdef int check_buffer(cnp.ndarray buffer, int64_t capacity) except -1:
    if (buffer.ndim == 0 or buffer.shape[0] != capacity or not buffer.flags.c_contiguous
            or not buffer.flags.writeable
            or buffer.dtype not in (np.float32, np.float64, np.int64)):
        raise ValueError(f"Program: no buffer: {buffer.dtype} {(<object> buffer).shape}")
    return 0
