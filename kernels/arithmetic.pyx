"""Functions of elements: of one number, of two, of a number and an option.

Every argument is (B,), that is, all elements of an array in one row. Pieces are spans of SPAN
elements, and each writes only its own stretch of the outputs. Most only wait for memory: 12 bytes
an element in float32 where two arrays are read and one is written.
"""

from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport Context, Kernel, Op, register_elementwise


cdef extern from "simd/tensors.h" nogil:
    enum: EXP, LOG, SQRT, SQUARE, ABS, UNARY_FUNCTIONS
    enum: SUBTRACT, DIVIDE, POWER, MAXIMUM, MINIMUM, ARITHMETIC_FUNCTIONS
    enum: LESS, LESS_EQUAL, EQUAL, NOT_EQUAL, COMPARISONS


cdef inline char *at(char *array, int64_t bytes) noexcept nogil:
    """An argument from some byte on; one that was left out stays so."""
    return array + bytes if array != NULL else NULL


# --- sums and products ---------------------------------------------------------------------------

cdef enum: OUT, A, B                                # add, multiply
cdef enum: X = 1                                    # scale: OUT, X
cdef enum: GRAD_A, GRAD_B, GRAD_OUT, SAVED_A, SAVED_B

cdef Kernel add_kernel, multiply_kernel, multiply_backward_kernel, scale_kernel
cdef Kernel scale_backward_kernel


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


add_kernel.adds = True
register_elementwise("add", &add_kernel, add, 0.15, "out a b")
register_elementwise("multiply", &multiply_kernel, multiply, 0.15, "out a b")
register_elementwise(
    "multiply_backward", &multiply_backward_kernel, multiply_backward, 0.3,
    "grad_a grad_b grad_out a b")
register_elementwise("scale", &scale_kernel, scale, 0.1, "out x", "factor")
register_elementwise(
    "scale_backward", &scale_backward_kernel, scale, 0.1, "grad_x grad_out", "factor")


# --- other functions -----------------------------------------------------------------------------

# Name, number among the C bodies, nanoseconds an element forward and backward, what backward reads.
UNARY = (
    ("exp", EXP, 0.4, 0.15, "out"),
    ("log", LOG, 0.6, 0.3, "x"),
    ("sqrt", SQRT, 0.3, 0.3, "out"),
    ("square", SQUARE, 0.1, 0.15, "x"),
    ("abs", ABS, 0.1, 0.15, "x"),
)
BINARY = (
    ("subtract", SUBTRACT, 0.15),
    ("divide", DIVIDE, 0.3),
    ("power", POWER, 10.0),
    ("maximum", MAXIMUM, 0.15),
    ("minimum", MINIMUM, 0.15),
)
COMPARED = (
    ("less", LESS), ("less_equal", LESS_EQUAL), ("equal", EQUAL), ("not_equal", NOT_EQUAL),
)

cdef Kernel[UNARY_FUNCTIONS] unary_kernels, unary_backward_kernels
cdef Kernel[ARITHMETIC_FUNCTIONS] binary_kernels, binary_backward_kernels
cdef Kernel[COMPARISONS] compare_kernels
cdef Kernel sign_kernel, clip_kernel, clip_backward_kernel, where_kernel, where_backward_kernel
cdef Kernel scalar_kernel, scalar_backward_kernel, scalar_compare_kernel


cdef void unary(const Op *op, const Context *context, int64_t start, int64_t count) noexcept nogil:
    cdef int64_t first = start * op.itemsize
    op.bodies.tensor.unary[op.kernel.variant](
        op.arguments[0] + first, op.arguments[1] + first, count)


cdef void unary_backward(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t first = start * op.itemsize
    op.bodies.tensor.unary_backward[op.kernel.variant](
        op.arguments[0] + first, op.arguments[1] + first, op.arguments[2] + first, count)


cdef void sign(const Op *op, const Context *context, int64_t start, int64_t count) noexcept nogil:
    cdef int64_t first = start * op.itemsize
    op.bodies.tensor.sign(op.arguments[0] + first, op.arguments[1] + first, count)


cdef void clip(const Op *op, const Context *context, int64_t start, int64_t count) noexcept nogil:
    cdef int64_t first = start * op.itemsize
    op.bodies.tensor.clip(
        op.arguments[0] + first, op.arguments[1] + first, op.options[0].number,
        op.options[1].number, count)


cdef void clip_backward(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t first = start * op.itemsize
    op.bodies.tensor.clip_backward(
        op.arguments[0] + first, op.arguments[1] + first, op.arguments[2] + first,
        op.options[0].number, op.options[1].number, count)


cdef void binary(const Op *op, const Context *context, int64_t start, int64_t count) noexcept nogil:
    cdef int64_t first = start * op.itemsize
    op.bodies.tensor.arithmetic[op.kernel.variant](
        op.arguments[0] + first, op.arguments[1] + first, op.arguments[2] + first, count)


cdef void binary_backward(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t first = start * op.itemsize
    op.bodies.tensor.arithmetic_backward[op.kernel.variant](
        at(op.arguments[0], first), at(op.arguments[1], first), op.arguments[2] + first,
        op.arguments[3] + first, op.arguments[4] + first, count)


cdef void compare(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t first = start * op.itemsize
    op.bodies.tensor.compare[op.kernel.variant](
        op.arguments[0] + first, op.arguments[1] + first, op.arguments[2] + first, count)


cdef void where(const Op *op, const Context *context, int64_t start, int64_t count) noexcept nogil:
    cdef int64_t first = start * op.itemsize
    op.bodies.tensor.where(
        op.arguments[0] + first, op.arguments[1] + first, at(op.arguments[2], first),
        at(op.arguments[3], first), op.options[0].number, op.options[1].number, count)


cdef void where_backward(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t first = start * op.itemsize
    op.bodies.tensor.where_backward(
        at(op.arguments[0], first), at(op.arguments[1], first), op.arguments[2] + first,
        op.arguments[3] + first, count)


cdef enum: VALUE, SCALAR_FUNCTION, SCALAR_SWAPPED       # options of the scalar ops


cdef void scalar(const Op *op, const Context *context, int64_t start, int64_t count) noexcept nogil:
    cdef int64_t first = start * op.itemsize
    op.bodies.tensor.scalar(
        op.bodies.tensor.arithmetic[op.options[SCALAR_FUNCTION].whole], op.arguments[0] + first,
        op.arguments[1] + first, op.options[VALUE].number, op.options[SCALAR_SWAPPED].whole, count)


cdef void scalar_backward(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t first = start * op.itemsize
    op.bodies.tensor.scalar_backward(
        op.bodies.tensor.arithmetic_backward[op.options[SCALAR_FUNCTION].whole],
        op.arguments[0] + first, op.arguments[1] + first, op.arguments[2] + first,
        op.options[VALUE].number, op.options[SCALAR_SWAPPED].whole, count)


cdef void scalar_compare(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t first = start * op.itemsize
    op.bodies.tensor.scalar(
        op.bodies.tensor.compare[op.options[SCALAR_FUNCTION].whole], op.arguments[0] + first,
        op.arguments[1] + first, op.options[VALUE].number, op.options[SCALAR_SWAPPED].whole, count)


for name, i, forward_time, backward_time, saved in UNARY:
    unary_kernels[<int> i].variant = unary_backward_kernels[<int> i].variant = i
    register_elementwise(
        f"{name}_forward", &unary_kernels[<int> i], unary, forward_time, "out x")
    register_elementwise(
        f"{name}_backward", &unary_backward_kernels[<int> i], unary_backward, backward_time,
        f"grad_x grad_out {saved}")
for name, i, time in BINARY:
    binary_kernels[<int> i].variant = binary_backward_kernels[<int> i].variant = i
    register_elementwise(name, &binary_kernels[<int> i], binary, time, "out a b")
    register_elementwise(
        f"{name}_backward", &binary_backward_kernels[<int> i], binary_backward, 3 * time,
        "grad_a grad_b grad_out a b")
for name, i in COMPARED:
    compare_kernels[<int> i].variant = i
    register_elementwise(name, &compare_kernels[<int> i], compare, 0.15, "out a b")
register_elementwise("sign", &sign_kernel, sign, 0.1, "out x")
register_elementwise("clip_forward", &clip_kernel, clip, 0.1, "out x", "low high")
register_elementwise(
    "clip_backward", &clip_backward_kernel, clip_backward, 0.15, "grad_x grad_out x", "low high")
register_elementwise(
    "where_forward", &where_kernel, where, 0.2, "out condition a b", "a_value b_value")
register_elementwise(
    "where_backward", &where_backward_kernel, where_backward, 0.2,
    "grad_a grad_b grad_out condition")
register_elementwise(
    "scalar_forward", &scalar_kernel, scalar, 0.3, "out x", "value function swapped")
register_elementwise(
    "scalar_backward", &scalar_backward_kernel, scalar_backward, 0.3, "grad_x grad_out x",
    "value function swapped")
register_elementwise(
    "scalar_compare", &scalar_compare_kernel, scalar_compare, 0.2, "out x",
    "value function swapped")
