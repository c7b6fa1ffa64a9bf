"""Pooling: the largest element or the mean of each window, and their gradients.

Shapes: x and grad_x are (B, H, W, C), out, index and grad_out (B, P, Q, C). Pieces are groups of
rows, of about SPAN elements of x: a forward's of rows of out, counted through all images, a
backward's of rows of grad_x. Each writes only those. A forward reads x once where windows do not
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
    ceil_divide,
    op_rows,
    register,
    rows_in_span,
    run_tails,
    smaller,
)


cdef enum: OUT, INDEX, X                            # max_pool_forward
cdef enum: AVERAGE_X = 1                            # average_pool_forward: OUT, X
cdef enum: GRAD_X, GRAD_OUT, SAVED_INDEX            # backward

# --- forward -----------------------------------------------------------------------------------

cdef int64_t forward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    return forward_piece_count(&pool, op_rows(op, context))


cdef void forward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    cdef int64_t first = piece * forward_rows(&pool), width = pool.Q * pool.C
    cdef int64_t rows = smaller(forward_rows(&pool), op_rows(op, context) * pool.P - first)
    if op.kernel.variant == MAX:
        op.bodies.pooling.max_forward(
            op.arguments[OUT], op.arguments[INDEX], op.arguments[X], &pool, first, rows)
    else:
        op.bodies.pooling.average_forward(
            op.arguments[OUT], op.arguments[AVERAGE_X], &pool, first, rows)
    run_tails(op, context, first * width, 1, rows * width, rows * width)


cdef double forward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    cdef double elements = <double> pool.P * pool.Q * pool.C * pool.pool_height * pool.pool_width
    return op_rows(op, context) * elements * op.kernel.nanoseconds * op.itemsize / 4


# --- backward ----------------------------------------------------------------------------------

cdef int64_t backward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef int64_t width = op.sizes[1] * op.sizes[2]
    if width == 0:
        return 0
    return ceil_divide(op_rows(op, context) * op.sizes[0], rows_in_span(width))


cdef void backward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Pool pool = backward_pool(op)
    cdef int64_t rows = rows_in_span(pool.W * pool.C), first = piece * rows
    rows = smaller(rows, op_rows(op, context) * pool.H - first)
    if op.kernel.variant == MAX:
        op.bodies.pooling.max_backward(
            op.arguments[GRAD_X], op.arguments[GRAD_OUT], op.arguments[SAVED_INDEX], &pool,
            first, rows)
    else:
        op.bodies.pooling.average_backward(
            op.arguments[GRAD_X], op.arguments[GRAD_OUT], &pool, first, rows)


cdef double backward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = backward_pool(op)
    cdef double windows = <double> pool.P * pool.Q * pool.pool_height * pool.pool_width
    cdef double elements = (<double> pool.H * pool.W + windows) * pool.C
    return op_rows(op, context) * elements * op.kernel.nanoseconds * op.itemsize / 4


cdef enum: MAX, AVERAGE

cdef Kernel max_forward_kernel = Kernel(
    phases=1, pieces=forward_pieces, run_piece=forward_piece, cost=forward_cost, workspace=NULL,
    span=NULL, tile=NULL, run_range=NULL, prepare=NULL, nanoseconds=0.1, variant=MAX, backwards=0,
    reads=0, adds=0)
cdef Kernel max_backward_kernel = Kernel(
    phases=1, pieces=backward_pieces, run_piece=backward_piece, cost=backward_cost,
    workspace=NULL, span=NULL, tile=NULL, run_range=NULL, prepare=NULL, nanoseconds=0.05, variant=MAX, backwards=0,
    reads=0, adds=0)
cdef Kernel average_forward_kernel = Kernel(
    phases=1, pieces=forward_pieces, run_piece=forward_piece, cost=forward_cost, workspace=NULL,
    span=NULL, tile=NULL, run_range=NULL, prepare=NULL, nanoseconds=0.1, variant=AVERAGE, backwards=0,
    reads=0, adds=0)
cdef Kernel average_backward_kernel = Kernel(
    phases=1, pieces=backward_pieces, run_piece=backward_piece, cost=backward_cost,
    workspace=NULL, span=NULL, tile=NULL, run_range=NULL, prepare=NULL, nanoseconds=0.05, variant=AVERAGE, backwards=0,
    reads=0, adds=0)

register(
    "max_pool_forward", &max_forward_kernel, "out index x",
    "pool_height pool_width stride_height stride_width padding")
register(
    "max_pool_backward", &max_backward_kernel, "grad_x grad_out index",
    "pool_height pool_width stride_height stride_width padding")
register(
    "average_pool_forward", &average_forward_kernel, "out x",
    "pool_height pool_width stride_height stride_width padding")
register(
    "average_pool_backward", &average_backward_kernel, "grad_x grad_out",
    "pool_height pool_width stride_height stride_width padding")
