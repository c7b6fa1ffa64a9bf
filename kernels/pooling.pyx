"""Pooling: the largest element or the mean of each window, and their gradients.

Shapes: x and grad_x are (B, H, W, C), out, index and grad_out (B, P, Q, C). Pieces are rows of an
image, or whole images, of about SPAN elements of x: a forward's of rows of out, a backward's of rows
of grad_x. Each writes only those. A forward reads x once where windows do not
overlap, and writes out and index (6 bytes for each element of x in float32, with 2 x 2 windows);
a backward reads grad_out and index and writes grad_x (again 6). A maximum needs about five
operations an element, a mean one.
"""

from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport (
    Context,
    Kernel,
    Op,
    Pool,
    common_groups,
    op_rows,
    register,
    run_tails,
)
from fastdl.kernels.pooling cimport (
    ImageRows,
    backward_pool,
    forward_pool,
    image_groups,
    image_pieces,
    image_rows,
    window_width,
)


cdef enum: OUT, INDEX, X                            # max_pool_forward
cdef enum: AVERAGE_X = 1                            # average_pool_forward: OUT, X
cdef enum: GRAD_X, GRAD_OUT, SAVED_INDEX            # backward

# --- forward -----------------------------------------------------------------------------------

cdef int64_t forward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    return image_pieces(op_rows(op, context), pool.P, window_width(&pool))


cdef int64_t forward_groups(const Op *op, const Context *context) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    cdef int64_t images = op_rows(op, context)
    return common_groups(images, image_groups(images, pool.P, window_width(&pool)))


cdef void forward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    cdef int64_t width = pool.Q * pool.C
    cdef ImageRows rows = image_rows(op_rows(op, context), pool.P, window_width(&pool), piece)
    if op.kernel.variant == MAX:
        op.bodies.pooling.max_forward(
            op.arguments[OUT], op.arguments[INDEX], op.arguments[X], &pool, rows.first, rows.count)
    else:
        op.bodies.pooling.average_forward(
            op.arguments[OUT], op.arguments[AVERAGE_X], &pool, rows.first, rows.count)
    run_tails(
        op, context, rows.first * width, 1, rows.count * width, rows.count * width, NULL, 0)


cdef double forward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    cdef double elements = <double> pool.P * pool.Q * pool.C * pool.pool_height * pool.pool_width
    return op_rows(op, context) * elements * op.kernel.nanoseconds * op.itemsize / 4


# --- backward ----------------------------------------------------------------------------------

cdef int64_t backward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = backward_pool(op)
    return image_pieces(op_rows(op, context), pool.H, pool.W * pool.C)


cdef int64_t backward_groups(const Op *op, const Context *context) noexcept nogil:
    cdef Pool pool = backward_pool(op)
    cdef int64_t images = op_rows(op, context)
    return common_groups(images, image_groups(images, pool.H, pool.W * pool.C))


cdef void backward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Pool pool = backward_pool(op)
    cdef ImageRows rows = image_rows(op_rows(op, context), pool.H, pool.W * pool.C, piece)
    if op.kernel.variant == MAX:
        op.bodies.pooling.max_backward(
            op.arguments[GRAD_X], op.arguments[GRAD_OUT], op.arguments[SAVED_INDEX], &pool,
            rows.first, rows.count)
    else:
        op.bodies.pooling.average_backward(
            op.arguments[GRAD_X], op.arguments[GRAD_OUT], &pool, rows.first, rows.count)


cdef double backward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = backward_pool(op)
    cdef double windows = <double> pool.P * pool.Q * pool.pool_height * pool.pool_width
    cdef double elements = (<double> pool.H * pool.W + windows) * pool.C
    return op_rows(op, context) * elements * op.kernel.nanoseconds * op.itemsize / 4


cdef enum: MAX, AVERAGE, KINDS

cdef Kernel forward_kernels[KINDS]
cdef Kernel backward_kernels[KINDS]
for kind in range(KINDS):
    forward_kernels[kind].variant = backward_kernels[kind].variant = kind
    forward_kernels[kind].phases = backward_kernels[kind].phases = 1
    forward_kernels[kind].nanoseconds, backward_kernels[kind].nanoseconds = 0.1, 0.05
    forward_kernels[kind].pieces, backward_kernels[kind].pieces = forward_pieces, backward_pieces
    forward_kernels[kind].run_piece, backward_kernels[kind].run_piece = forward_piece, backward_piece
    forward_kernels[kind].cost, backward_kernels[kind].cost = forward_cost, backward_cost
    forward_kernels[kind].row_groups = forward_groups
    backward_kernels[kind].row_groups = backward_groups

register(
    "max_pool_forward", &forward_kernels[MAX], "out index x",
    "pool_height pool_width stride_height stride_width padding")
register(
    "max_pool_backward", &backward_kernels[MAX], "grad_x grad_out index",
    "pool_height pool_width stride_height stride_width padding")
register(
    "average_pool_forward", &forward_kernels[AVERAGE], "out x",
    "pool_height pool_width stride_height stride_width padding")
register(
    "average_pool_backward", &backward_kernels[AVERAGE], "grad_x grad_out",
    "pool_height pool_width stride_height stride_width padding")
