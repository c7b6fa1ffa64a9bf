"""Activations, softmax, and their gradients.

Elementwise ones: every argument is (B,), that is, all elements of an array in one row. Pieces are
spans of SPAN elements; each writes only its own stretch of the output. A forward reads and writes
each element once (8 bytes in float32), a backward reads two and writes one (12 bytes); relu takes
two operations an element, gelu about sixty.

softmax: out and x are (B, C). Pieces are groups of rows, of about SPAN elements, so that a piece
stays in the cache for its passes over each row; about twenty-five operations an element.
"""

from libc.stdint cimport int64_t

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


cdef extern from "simd/activation.h" nogil:
    enum:
        RELU
        LEAKY_RELU
        ELU
        SELU
        GELU
        GELU_TANH
        SIGMOID
        TANH
        SOFTPLUS
        SILU
        ELEMENTWISE_ACTIVATIONS


cdef enum: OUT, X                       # forward
cdef enum: GRAD_X, GRAD_OUT, SAVED      # backward

# Name, number among the C bodies, nanoseconds an element forward and backward, what backward reads
# beside grad_out, option.
ACTIVATIONS = (
    ("relu", RELU, 0.1, 0.1, "out", ""),
    ("leaky_relu", LEAKY_RELU, 0.1, 0.1, "x", "alpha"),
    ("elu", ELU, 0.3, 0.4, "x", "alpha"),
    ("selu", SELU, 0.3, 0.1, "out", ""),
    ("gelu", GELU, 0.8, 0.8, "x", ""),
    ("gelu_tanh", GELU_TANH, 0.6, 0.8, "x", ""),
    ("sigmoid", SIGMOID, 0.5, 0.1, "out", ""),
    ("tanh", TANH, 0.5, 0.1, "out", ""),
    ("softplus", SOFTPLUS, 1.1, 0.7, "x", ""),
    ("silu", SILU, 0.6, 0.8, "x", ""),
)

cdef Kernel[ELEMENTWISE_ACTIVATIONS] forward_kernels, backward_kernels
cdef Kernel softmax_forward_kernel, softmax_backward_kernel


# Without an option of its own, options[0] is 0 and the body does not look at it.

cdef void forward_span(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t at = start * op.itemsize
    op.bodies.activation.forward[op.kernel.variant](
        op.arguments[OUT] + at, op.arguments[X] + at, op.options[0].number, count)


cdef void backward_span(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t at = start * op.itemsize
    op.bodies.activation.backward[op.kernel.variant](
        op.arguments[GRAD_X] + at, op.arguments[GRAD_OUT] + at, op.arguments[SAVED] + at,
        op.options[0].number, count)


cdef int64_t softmax_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), rows_in_span(op.sizes[0]))


cdef double softmax_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op.kernel.nanoseconds * op_rows(op, context) * op.sizes[0]


cdef void softmax_forward(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t rows = rows_in_span(op.sizes[0]), row = piece * rows
    cdef int64_t at = row * op.sizes[0] * op.itemsize
    op.bodies.activation.softmax_forward(
        op.arguments[OUT] + at, op.arguments[X] + at,
        smaller(rows, op_rows(op, context) - row), op.sizes[0])


cdef void softmax_backward(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t rows = rows_in_span(op.sizes[0]), row = piece * rows
    cdef int64_t at = row * op.sizes[0] * op.itemsize
    op.bodies.activation.softmax_backward(
        op.arguments[GRAD_X] + at, op.arguments[GRAD_OUT] + at, op.arguments[SAVED] + at,
        smaller(rows, op_rows(op, context) - row), op.sizes[0])


cdef void define_softmax(
    Kernel *kernel,
    void (*run_piece)(const Op *, const Context *, int, int64_t) noexcept nogil,
    double nanoseconds,
) noexcept:
    kernel.phases = 1
    kernel.pieces = softmax_pieces
    kernel.run_piece = run_piece
    kernel.cost = softmax_cost
    kernel.nanoseconds = nanoseconds


for name, i, forward_time, backward_time, saved, option in ACTIVATIONS:
    forward_kernels[<int> i].variant = i
    backward_kernels[<int> i].variant = i
    register_elementwise(
        f"{name}_forward", &forward_kernels[<int> i], forward_span, forward_time, "out x", option)
    register_elementwise(
        f"{name}_backward", &backward_kernels[<int> i], backward_span, backward_time,
        f"grad_x grad_out {saved}", option)

define_softmax(&softmax_forward_kernel, softmax_forward, 0.5)
define_softmax(&softmax_backward_kernel, softmax_backward, 0.3)
register("softmax_forward", &softmax_forward_kernel, "out x")
register("softmax_backward", &softmax_backward_kernel, "grad_x grad_out out")
