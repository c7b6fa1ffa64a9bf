"""Sums, products and copies of whole arrays, and their gradients.

add, multiply, scale: every argument is (B,), all elements of an array in one row. Pieces are spans
of SPAN elements and each writes only its own stretch of the outputs. They only wait for memory: 12
bytes an element in float32 where two arrays are read and one is written.

concatenate: a (B, C) and b (B, D) lie side by side in rows of C + D. Pieces are groups of rows, of
about SPAN elements; 16 bytes for every two elements. split: the inverse, cut likewise.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastdl.kernels.runner cimport (
    Context,
    Kernel,
    Op,
    ceil_divide,
    op_rows,
    register,
    register_elementwise,
    rows_in_span,
    smaller,
)

cdef enum: OUT, A, B                                # add, multiply, concatenate
cdef enum: X = 1                                    # scale: OUT, X
cdef enum: GRAD_A, GRAD_B, GRAD_OUT, SAVED_A, SAVED_B

cdef Kernel add_kernel, multiply_kernel, multiply_backward_kernel
cdef Kernel scale_kernel, scale_backward_kernel, concatenate_kernel, concatenate_backward_kernel
cdef Kernel split_kernel, split_backward_kernel


cdef void add(const Op *op, const Context *context, int64_t start, int64_t count) noexcept nogil:
    cdef int64_t at = start * op.itemsize
    op.bodies.arithmetic.add(
        op.arguments[OUT] + at, op.arguments[A] + at, op.arguments[B] + at, count)


cdef void multiply(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t at = start * op.itemsize
    op.bodies.arithmetic.multiply(
        op.arguments[OUT] + at, op.arguments[A] + at, op.arguments[B] + at, count)


cdef void multiply_backward(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t at = start * op.itemsize
    cdef char *grad_out = op.arguments[GRAD_OUT] + at
    op.bodies.arithmetic.multiply(
        op.arguments[GRAD_A] + at, grad_out, op.arguments[SAVED_B] + at, count)
    op.bodies.arithmetic.multiply(
        op.arguments[GRAD_B] + at, grad_out, op.arguments[SAVED_A] + at, count)


cdef void scale(const Op *op, const Context *context, int64_t start, int64_t count) noexcept nogil:
    cdef int64_t at = start * op.itemsize
    op.bodies.arithmetic.scale(
        op.arguments[OUT] + at, op.arguments[X] + at, op.options[0].number, count)


cdef int64_t concatenate_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), rows_in_span(op.sizes[0] + op.sizes[1]))


cdef double concatenate_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op_rows(op, context) * (10 + 0.1 * (op.sizes[0] + op.sizes[1]))


cdef void concatenate(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t rows = rows_in_span(op.sizes[0] + op.sizes[1])
    cdef int64_t first = piece * rows, row
    cdef int64_t a = op.sizes[0] * op.itemsize, b = op.sizes[1] * op.itemsize
    for row in range(first, smaller(first + rows, op_rows(op, context))):
        memcpy(op.arguments[OUT] + row * (a + b), op.arguments[A] + row * a, a)
        memcpy(op.arguments[OUT] + row * (a + b) + a, op.arguments[B] + row * b, b)


cdef void concatenate_backward(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t rows = rows_in_span(op.sizes[0] + op.sizes[1])
    cdef int64_t first = piece * rows, row
    cdef int64_t a = op.sizes[0] * op.itemsize, b = op.sizes[1] * op.itemsize
    for row in range(first, smaller(first + rows, op_rows(op, context))):
        memcpy(op.arguments[GRAD_A] + row * a, op.arguments[GRAD_OUT] + row * (a + b), a)
        memcpy(op.arguments[GRAD_B] + row * b, op.arguments[GRAD_OUT] + row * (a + b) + a, b)


cdef void define_concatenate(
    Kernel *kernel, void (*run_piece)(const Op *, const Context *, int, int64_t) noexcept nogil
) noexcept:
    kernel.phases = 1
    kernel.pieces = concatenate_pieces
    kernel.run_piece = run_piece
    kernel.cost = concatenate_cost


register_elementwise("add", &add_kernel, add, 0.15, "out a b")
register_elementwise("multiply", &multiply_kernel, multiply, 0.15, "out a b")
register_elementwise(
    "multiply_backward", &multiply_backward_kernel, multiply_backward, 0.3,
    "grad_a grad_b grad_out a b")
register_elementwise("scale", &scale_kernel, scale, 0.1, "out x", "factor")
register_elementwise(
    "scale_backward", &scale_backward_kernel, scale, 0.1, "grad_x grad_out", "factor")

define_concatenate(&concatenate_kernel, concatenate)
define_concatenate(&concatenate_backward_kernel, concatenate_backward)
register("concatenate", &concatenate_kernel, "out a b")
register("concatenate_backward", &concatenate_backward_kernel, "grad_a grad_b grad_out")

define_concatenate(&split_kernel, concatenate_backward)
define_concatenate(&split_backward_kernel, concatenate)
register("split_forward", &split_kernel, "a b x")
register("split_backward", &split_backward_kernel, "grad_x grad_a grad_b")
