"""Batch normalisation and the max-pool behind it, as one op.

Shapes: x and grad_x are (B, H, W, C); out, picked, index and grad_out (B, P, Q, C); all else (C,).

A channel's normalisation is monotone, so what becomes the largest of a window is known before: the
largest where gamma is positive, the smallest where it is negative, `picked`. So only picked elements
are normalised, to the same bits, and what has the size of x is never written: a forward reads x once
and writes three arrays of the pooled size (7 bytes for each element of x in float32, with windows of
2 x 2). The sums over the gradient, which is 0 but at picked elements, read two pooled arrays; then
two of them and x are read and grad_x is written (12 bytes in all).

    forward   SIGNS: pieces are stretches of channels. PICK: as in a pooling of its own. SCALE: as
              SIGNS. NORMALISE: rows of what is picked; the tail runs on each.
    backward  SUM: blocks of the pooled matrices, MERGE: stretches of channels, both as in batch norm.
              SPREAD: rows of grad_x.
"""

from libc.stdint cimport int64_t

from fastdl.kernels.norm cimport (
    NORM_MERGE, Cut, block_count, cut_of, is_far, panel_count, panel_start, shifted,
)
from fastdl.kernels.pooling cimport (
    PADDING, ImageRows, backward_pool, forward_pool, image_groups, image_pieces, image_rows,
    window_width,
)
from fastdl.kernels.runner cimport (
    SPAN, Context, Kernel, Op, Pool, ceil_divide, common_groups, op_rows, register, run_tails,
    smaller,
)


cdef enum: EPSILON = PADDING + 1    # the option behind those of the window
cdef enum: CHANNELS = 2             # the place of C among the sizes, of both ops


cdef char *channels_of(const Op *op, int64_t array) noexcept nogil:
    """The array-th of the arrays (C,) in the workspace."""
    return <char *> op.workspace + array * op.sizes[CHANNELS] * op.itemsize


# --- forward -----------------------------------------------------------------------------------

cdef enum: OUT, PICKED, INDEX, X, MEAN, VARIANCE, GAMMA, BETA
cdef enum: SIGNS, PICK, SCALE, NORMALISE    # phases; in the workspace: the signs of gamma, the scale


cdef int64_t forward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    cdef int64_t images = op_rows(op, context)
    if phase == SIGNS and op.arguments[GAMMA] == NULL:
        return 0
    if phase == PICK:
        return image_pieces(images, pool.P, window_width(&pool))
    if phase == NORMALISE:
        return image_pieces(images, pool.P, pool.Q * pool.C)
    return ceil_divide(pool.C, SPAN)


cdef int64_t forward_groups(const Op *op, const Context *context) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    cdef int64_t images = op_rows(op, context)
    return common_groups(images, image_groups(images, pool.P, window_width(&pool)))


cdef void forward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    cdef ImageRows rows
    cdef int64_t images = op_rows(op, context), width = pool.Q * pool.C
    cdef int64_t at = piece * SPAN * op.itemsize, channels = smaller(SPAN, pool.C - piece * SPAN)
    if phase == SIGNS:
        op.bodies.pooling.signs(channels_of(op, 0) + at, op.arguments[GAMMA] + at, channels)
    elif phase == PICK:
        rows = image_rows(images, pool.P, window_width(&pool), piece)
        if op.arguments[GAMMA] != NULL:
            op.bodies.pooling.extreme_forward(
                op.arguments[PICKED], op.arguments[INDEX], op.arguments[X], channels_of(op, 0),
                &pool, rows.first, rows.count)
        else:
            op.bodies.pooling.max_forward(
                op.arguments[PICKED], op.arguments[INDEX], op.arguments[X], &pool, rows.first,
                rows.count)
    elif phase == SCALE:
        op.bodies.norm.batch_scale(
            channels_of(op, 1) + at, op.arguments[VARIANCE] + at,
            shifted(op.arguments[GAMMA], at), op.options[EPSILON].number, channels)
    else:
        rows = image_rows(images, pool.P, width, piece)
        normalise(op, rows.first * pool.Q, rows.count * pool.Q)
        run_tails(
            op, context, rows.first * width, 1, rows.count * width, rows.count * width, NULL, 0)


cdef void normalise(const Op *op, int64_t first, int64_t rows) noexcept nogil:
    """Rows of `out`, as of a matrix, from those of `picked`."""
    cdef int64_t C = op.sizes[CHANNELS], panel, column, at, to
    for panel in range(panel_count(C)):
        column = panel_start(C, panel)
        at = column * op.itemsize
        to = first * C * op.itemsize + at
        op.bodies.norm.batch_forward(
            op.arguments[OUT] + to, op.arguments[PICKED] + to, op.arguments[MEAN] + at,
            channels_of(op, 1) + at, shifted(op.arguments[BETA], at), rows,
            panel_start(C, panel + 1) - column, C, False)


cdef double forward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = forward_pool(op)
    cdef double elements = <double> pool.P * pool.Q * pool.C
    if phase == SIGNS or phase == SCALE:
        return 2.0 * pool.C
    return op_rows(op, context) * elements * op.itemsize / 4 * (
        0.1 * pool.pool_height * pool.pool_width if phase == PICK else 0.2)


cdef size_t forward_workspace(const Op *op, int64_t rows) noexcept nogil:
    return 2 * op.sizes[CHANNELS] * op.itemsize


# --- backward ----------------------------------------------------------------------------------

cdef enum: GRAD_X, GRAD_GAMMA, GRAD_BETA, GRAD_OUT, SAVED_PICKED, SAVED_INDEX
cdef enum: BACKWARD_X = 6, BACKWARD_MEAN, BACKWARD_VARIANCE, BACKWARD_GAMMA
cdef enum: SUM, MERGE, SPREAD                           # phases
cdef enum: BY_SCALE, CENTER, SLOPE, SUMS                # arrays in the workspace

cdef int64_t pooled_rows(const Pool *pool, int64_t images) noexcept nogil:
    return images * pool.P * pool.Q


cdef int64_t backward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Pool pool = backward_pool(op)
    cdef int64_t images = op_rows(op, context)
    if phase == SUM:
        return block_count(pooled_rows(&pool, images), pool.C) * panel_count(pool.C)
    if phase == MERGE:
        return ceil_divide(pool.C, NORM_MERGE)
    return image_pieces(images, pool.H, pool.W * pool.C)


cdef int64_t backward_groups(const Op *op, const Context *context) noexcept nogil:
    cdef Pool pool = backward_pool(op)
    cdef int64_t images = op_rows(op, context)
    return common_groups(images, image_groups(images, pool.H, pool.W * pool.C))


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
    cdef ImageRows rows = image_rows(images, pool.H, pool.W * pool.C, piece)
    op.bodies.pooling.norm_max_backward(
        op.arguments[GRAD_X], op.arguments[GRAD_OUT], op.arguments[SAVED_INDEX],
        op.arguments[BACKWARD_X], op.arguments[BACKWARD_MEAN], channels_of(op, BY_SCALE),
        channels_of(op, CENTER), channels_of(op, SLOPE), pool, rows.first, rows.count)


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
forward_kernel.phases = 4
forward_kernel.row_groups, forward_kernel.by_rows = forward_groups, PICK
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
backward_kernel.row_groups, backward_kernel.by_rows = backward_groups, SPREAD
backward_kernel.pieces = backward_pieces
backward_kernel.run_piece = backward_piece
backward_kernel.cost = backward_cost
backward_kernel.workspace = backward_workspace
register(
    "batchnorm_max_pool_backward", &backward_kernel,
    "grad_x grad_gamma grad_beta grad_out picked index x mean variance gamma",
    "pool_height pool_width stride_height stride_width padding epsilon")
