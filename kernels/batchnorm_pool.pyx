"""Batch normalisation and the max-pool behind it, as one op.

Shapes: x and grad_x are (B, H, W, C); out, picked, index and grad_out (B, P, Q, C); all else (C,).

A channel's normalisation is monotone, so what becomes the largest of a window is known before: the
largest where gamma is positive, the smallest where it is negative, `picked`. So only picked elements
are normalised, to the same bits, and what has the size of x is never written: a forward reads x once
and writes three arrays of the pooled size (7 bytes for each element of x in float32, with windows of
2 x 2). The sums over the gradient, which is 0 but at picked elements, read two pooled arrays; then
two of them and x are read and grad_x is written (12 bytes in all).

    forward   SCALE: pieces are stretches of channels. POOL: rows of windows, counted through all
              images, as in a pooling of its own; the tail runs on each.
    backward  SUM: blocks of the pooled matrices, MERGE: stretches of channels, both as in batch norm.
              SPREAD: groups of rows of grad_x. The gradient of a group by what was normalised is
              made in a room that stays in L1, and goes from there to grad_x.
"""

from libc.stdint cimport int64_t

from fastdl.kernels.norm cimport (
    NORM_MERGE, Cut, block_count, cut_of, is_far, panel_count, panel_start, shifted,
)
from fastdl.kernels.pooling cimport (
    PADDING, backward_pool, forward_piece_count, forward_pool, forward_rows,
)
from fastdl.kernels.runner cimport (
    SPAN, Context, Kernel, Op, Pool, ceil_divide, op_rows, register, rows_in_span, run_tails,
    smaller,
)


cdef enum: EPSILON = PADDING + 1    # the option behind those of the window
cdef enum: CHANNELS = 2             # the place of C among the sizes, of both ops


cdef char *channels_of(const Op *op, int64_t array) noexcept nogil:
    """The array-th of the arrays (C,) in the workspace."""
    return <char *> op.workspace + array * op.sizes[CHANNELS] * op.itemsize


# --- forward -----------------------------------------------------------------------------------

cdef enum: OUT, PICKED, INDEX, X, MEAN, VARIANCE, GAMMA, BETA
cdef enum: SCALE, POOL              # phases; in the workspace: the scale, then the signs of gamma


cdef int64_t forward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    if phase == SCALE:
        return ceil_divide(pool.C, SPAN)
    return forward_piece_count(&pool, op_rows(op, context))


cdef void forward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    cdef int64_t first, rows, at, width = pool.Q * pool.C
    if phase == SCALE:
        first = piece * SPAN
        at = first * op.itemsize
        rows = smaller(SPAN, pool.C - first)
        op.bodies.norm.batch_scale(
            channels_of(op, 0) + at, op.arguments[VARIANCE] + at,
            shifted(op.arguments[GAMMA], at), op.options[EPSILON].number, rows)
        if op.arguments[GAMMA] != NULL:
            op.bodies.pooling.signs(channels_of(op, 1) + at, op.arguments[GAMMA] + at, rows)
        return
    first = piece * forward_rows(&pool)
    rows = smaller(forward_rows(&pool), op_rows(op, context) * pool.P - first)
    if op.arguments[GAMMA] != NULL:
        op.bodies.pooling.extreme_forward(
            op.arguments[PICKED], op.arguments[INDEX], op.arguments[X], channels_of(op, 1), &pool,
            first, rows)
    else:
        op.bodies.pooling.max_forward(
            op.arguments[PICKED], op.arguments[INDEX], op.arguments[X], &pool, first, rows)
    normalise(op, first * pool.Q, rows * pool.Q)
    run_tails(op, context, first * width, 1, rows * width, rows * width)


cdef void normalise(const Op *op, int64_t first, int64_t rows) noexcept nogil:
    """Rows of `out`, as of a matrix, from those of `picked`."""
    cdef int64_t C = op.sizes[CHANNELS], panel, column, at, to
    for panel in range(panel_count(C)):
        column = panel_start(C, panel)
        at = column * op.itemsize
        to = first * C * op.itemsize + at
        op.bodies.norm.batch_forward(
            op.arguments[OUT] + to, op.arguments[PICKED] + to, op.arguments[MEAN] + at,
            channels_of(op, 0) + at, shifted(op.arguments[BETA], at), rows,
            panel_start(C, panel + 1) - column, C, False)


cdef double forward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    cdef double elements = <double> pool.P * pool.Q * pool.C
    if phase == SCALE:
        return 2.0 * pool.C
    return op_rows(op, context) * elements * op.itemsize / 4 * (
        0.1 * pool.pool_height * pool.pool_width + 0.2)


cdef size_t forward_workspace(const Op *op, int64_t rows) noexcept nogil:
    return 2 * op.sizes[CHANNELS] * op.itemsize


# --- backward ----------------------------------------------------------------------------------

cdef enum: GRAD_X, GRAD_GAMMA, GRAD_BETA, GRAD_OUT, SAVED_PICKED, SAVED_INDEX
cdef enum: BACKWARD_X = 6, BACKWARD_MEAN, BACKWARD_VARIANCE, BACKWARD_GAMMA
cdef enum: SUM, MERGE, SPREAD                           # phases
cdef enum: BY_SCALE, CENTER, SLOPE, SUMS                # arrays in the workspace

# grad_x is what the layer before reads next: it goes past the caches only where it is so many times
# larger than what leaves them otherwise.
cdef enum: SOON = 8


cdef int64_t pooled_rows(const Pool *pool, int64_t images) noexcept nogil:
    return images * pool.P * pool.Q


cdef int64_t backward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = backward_pool(op)
    cdef int64_t images = op_rows(op, context), width = pool.W * pool.C
    if phase == SUM:
        return block_count(pooled_rows(&pool, images), pool.C) * panel_count(pool.C)
    if phase == MERGE:
        return ceil_divide(pool.C, NORM_MERGE)
    return ceil_divide(images * pool.H, rows_in_span(width)) if width > 0 else 0


cdef void backward_sums(
    const Op *op, const Pool *pool, int64_t images, int64_t piece
) noexcept nogil:
    cdef int64_t rows = pooled_rows(pool, images)
    cdef Cut cut = cut_of(rows, pool.C, op.itemsize, piece)
    op.bodies.norm.batch_sums(
        channels_of(op, SUMS + 2 * cut.block) + cut.column_bytes,
        channels_of(op, SUMS + 2 * cut.block + 1) + cut.column_bytes,
        op.arguments[GRAD_OUT] + cut.bytes, op.arguments[SAVED_PICKED] + cut.bytes,
        op.arguments[BACKWARD_MEAN] + cut.column_bytes, cut.rows, cut.columns, cut.stride,
        is_far(rows, pool.C, op.itemsize))


cdef void backward_merge(
    const Op *op, const Pool *pool, int64_t images, int64_t piece
) noexcept nogil:
    cdef int64_t at = piece * NORM_MERGE * op.itemsize
    op.bodies.norm.batch_backward_merge(
        op.arguments[GRAD_GAMMA] + at, op.arguments[GRAD_BETA] + at, channels_of(op, BY_SCALE) + at,
        channels_of(op, CENTER) + at, channels_of(op, SLOPE) + at, channels_of(op, SUMS) + at,
        op.arguments[BACKWARD_VARIANCE] + at, shifted(op.arguments[BACKWARD_GAMMA], at),
        op.options[EPSILON].number, images * pool.H * pool.W,
        block_count(pooled_rows(pool, images), pool.C),
        smaller(NORM_MERGE, pool.C - piece * NORM_MERGE), pool.C)


cdef void backward_spread(
    const Op *op, const Pool *pool, int64_t images, int64_t piece
) noexcept nogil:
    cdef double room[SPAN]
    cdef int64_t width = pool.W * pool.C, rows = rows_in_span(width), first = piece * rows
    cdef int64_t bytes = first * width * op.itemsize, panel, column, at
    cdef int64_t rows_in_all = images * pool.H * pool.W
    cdef char *grad_x = op.arguments[GRAD_X] + bytes
    cdef char *grad = <char *> room if width <= SPAN else grad_x    # a long row: in place
    rows = smaller(rows, images * pool.H - first)
    # rows of an array are counted from its beginning, where the room's would have to be
    op.bodies.pooling.max_backward(
        <char *> (<size_t> grad - <size_t> bytes), op.arguments[GRAD_OUT],
        op.arguments[SAVED_INDEX], pool, first, rows)
    for panel in range(panel_count(pool.C)):
        column = panel_start(pool.C, panel)
        at = column * op.itemsize
        op.bodies.norm.batch_backward(
            grad_x + at, grad + at, op.arguments[BACKWARD_X] + bytes + at,
            op.arguments[BACKWARD_MEAN] + at, channels_of(op, BY_SCALE) + at,
            channels_of(op, CENTER) + at, channels_of(op, SLOPE) + at, rows * pool.W,
            panel_start(pool.C, panel + 1) - column, pool.C,
            width <= SPAN and is_far(rows_in_all // SOON, pool.C, op.itemsize))


cdef void backward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Pool pool = backward_pool(op)
    cdef int64_t images = op_rows(op, context)
    if phase == SUM:
        backward_sums(op, &pool, images, piece)
    elif phase == MERGE:
        backward_merge(op, &pool, images, piece)
    else:
        backward_spread(op, &pool, images, piece)


cdef double backward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = backward_pool(op)
    cdef int64_t images = op_rows(op, context), rows = pooled_rows(&pool, images)
    if phase == SUM:
        return 0.3 * rows * pool.C * op.itemsize / 4
    if phase == MERGE:
        return pool.C * (2 + 0.4 * block_count(rows, pool.C))
    return 0.4 * images * pool.H * pool.W * pool.C * op.itemsize / 4


cdef size_t backward_workspace(const Op *op, int64_t images) noexcept nogil:
    cdef Pool pool = backward_pool(op)
    return ((SUMS + 2 * block_count(pooled_rows(&pool, images), pool.C))
            * pool.C * op.itemsize)


cdef Kernel forward_kernel
forward_kernel.phases = 2
forward_kernel.pieces = forward_pieces
forward_kernel.run_piece = forward_piece
forward_kernel.cost = forward_cost
forward_kernel.workspace = forward_workspace
register(
    "batchnorm_max_pool_forward", &forward_kernel,
    "out picked index x mean variance gamma beta",
    "pool_height pool_width stride_height stride_width padding epsilon")

cdef Kernel backward_kernel
backward_kernel.phases = 3
backward_kernel.pieces = backward_pieces
backward_kernel.run_piece = backward_piece
backward_kernel.cost = backward_cost
backward_kernel.workspace = backward_workspace
register(
    "batchnorm_max_pool_backward", &backward_kernel,
    "grad_x grad_gamma grad_beta grad_out picked index x mean variance gamma",
    "pool_height pool_width stride_height stride_width padding epsilon")
