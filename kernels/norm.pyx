"""Batch and layer normalisation.

Shapes: x, out and their gradients are (B, C), everything else of batch norm (C,).

Batch norm cuts its matrices into blocks of rows and, where they are wide, panels of columns, about
ELEMENTS elements each, and every phase over them cuts alike, so that a thread meets again what is
still in its cache: it writes backwards, beginning with what it read last. A block's sums go to a
place of their own in the workspace; the next phase adds them up in the order of the blocks, a piece
for NORM_MERGE columns. No two pieces write to the same place. Statistics read each element once (4
bytes in float32), a forward reads and writes it (8), a backward reads two for the sums, then reads
two and writes one (20).

Layer norm's pieces are blocks of rows. A forward reads and writes each element once (8 bytes), a
backward reads two and writes one (12) while a block is in the cache.
"""

from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport (
    SPAN, Context, Kernel, Op, ceil_divide, op_rows, register, smaller,
)


cdef enum: LAYER_ELEMENTS = 16384   # of a layer norm piece, ...
cdef enum: LAYER_ROWS = 512         # ... which has no more rows than this, ...
cdef enum: LAYER_SUM_ROWS = 16      # ... nor fewer where it leaves sums behind


# --- how a matrix is cut (see norm.pxd) --------------------------------------------------------

cdef Cut piece_of(const Op *op, const Context *context, int64_t piece) noexcept nogil:
    return cut_of(op_rows(op, context), op.sizes[0], op.itemsize, piece)


cdef char *columns_of(const Op *op, int64_t array) noexcept nogil:
    """The array-th of the arrays (C,) in the workspace."""
    return <char *> op.workspace + array * op.sizes[0] * op.itemsize


cdef int64_t matrix_pieces(const Op *op, const Context *context) noexcept nogil:
    return block_count(op_rows(op, context), op.sizes[0]) * panel_count(op.sizes[0])


cdef int64_t merge_pieces(const Op *op) noexcept nogil:
    return ceil_divide(op.sizes[0], NORM_MERGE)


cdef bint leaves_caches(const Op *op, const Context *context) noexcept nogil:
    return is_far(op_rows(op, context), op.sizes[0], op.itemsize)


cdef double matrix_cost(const Op *op, const Context *context, double nanoseconds) noexcept nogil:
    return nanoseconds * op_rows(op, context) * op.sizes[0] * op.itemsize / 4


cdef double merge_cost(const Op *op, const Context *context, double arrays) noexcept nogil:
    return op.sizes[0] * (2 + 0.2 * arrays * block_count(op_rows(op, context), op.sizes[0]))


# --- batchnorm_statistics: blocks, merge -------------------------------------------------------

cdef enum: MEAN, VARIANCE, X


cdef int64_t statistics_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return matrix_pieces(op, context) if phase == 0 else merge_pieces(op)


cdef void statistics_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t rows = op_rows(op, context), blocks = block_count(rows, op.sizes[0])
    cdef char *workspace = <char *> op.workspace
    cdef Cut cut
    if phase == 0:
        cut = piece_of(op, context, piece)
        write_moments(
            op, workspace, blocks, cut.block, op.arguments[X] + cut.bytes, cut.rows, op.sizes[0],
            cut.first_column, cut.columns, leaves_caches(op, context))
    else:
        merge_moments(
            op, op.arguments[MEAN], op.arguments[VARIANCE], workspace, blocks, op.sizes[0], piece)


cdef double statistics_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return matrix_cost(op, context, 0.15) if phase == 0 else merge_cost(op, context, 3)


cdef size_t statistics_workspace(const Op *op, int64_t rows) noexcept nogil:
    return moments_size(block_count(rows, op.sizes[0]), op.sizes[0], op.itemsize)


cdef Kernel statistics_kernel
statistics_kernel.phases = 2
statistics_kernel.pieces = statistics_pieces
statistics_kernel.run_piece = statistics_piece
statistics_kernel.cost = statistics_cost
statistics_kernel.workspace = statistics_workspace
register("batchnorm_statistics", &statistics_kernel, "mean variance x")


# --- batchnorm_forward, batchnorm_inference: scale, rows ---------------------------------------

cdef enum: FORWARD_OUT, FORWARD_X, FORWARD_MEAN, FORWARD_VARIANCE, FORWARD_GAMMA, FORWARD_BETA


cdef int64_t forward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op.sizes[0], SPAN) if phase == 0 else matrix_pieces(op, context)


cdef void forward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Cut cut
    cdef int64_t at
    if phase == 0:
        at = piece * SPAN * op.itemsize
        op.bodies.norm.batch_scale(
            columns_of(op, 0) + at, op.arguments[FORWARD_VARIANCE] + at,
            shifted(op.arguments[FORWARD_GAMMA], at), op.options[0].number,
            smaller(SPAN, op.sizes[0] - piece * SPAN))
    else:
        cut = piece_of(op, context, piece)
        op.bodies.norm.batch_forward(
            op.arguments[FORWARD_OUT] + cut.bytes, op.arguments[FORWARD_X] + cut.bytes,
            op.arguments[FORWARD_MEAN] + cut.column_bytes, columns_of(op, 0) + cut.column_bytes,
            shifted(op.arguments[FORWARD_BETA], cut.column_bytes),
            cut.rows, cut.columns, cut.stride, leaves_caches(op, context))


cdef double forward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return 2.0 * op.sizes[0] if phase == 0 else matrix_cost(op, context, 0.2)


cdef size_t forward_workspace(const Op *op, int64_t rows) noexcept nogil:
    return op.sizes[0] * op.itemsize


cdef Kernel forward_kernel
forward_kernel.phases = 2
forward_kernel.pieces = forward_pieces
forward_kernel.run_piece = forward_piece
forward_kernel.cost = forward_cost
forward_kernel.workspace = forward_workspace
forward_kernel.backwards = 1 << 1
register("batchnorm_forward", &forward_kernel, "out x mean variance gamma beta", "epsilon")
register("batchnorm_inference", &forward_kernel, "out x mean variance gamma beta", "epsilon")


# --- batchnorm_backward, batchnorm_inference_backward: sums, merge, rows -----------------------
# In the workspace: scale, center and slope, then two sums of each block.

cdef enum: GRAD_X, GRAD_GAMMA, GRAD_BETA, GRAD_OUT, BACKWARD_X, BACKWARD_MEAN, BACKWARD_VARIANCE
cdef enum: BACKWARD_GAMMA = 7
cdef enum: SCALE, CENTER, SLOPE, SUMS
cdef enum: OWN_STATISTICS, GIVEN_STATISTICS     # variants: whose gradient counts, and constants


cdef int64_t backward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return merge_pieces(op) if phase == 1 else matrix_pieces(op, context)


cdef void backward_sums(const Op *op, const Context *context, int64_t piece) noexcept nogil:
    cdef Cut cut = piece_of(op, context, piece)
    op.bodies.norm.batch_sums(
        columns_of(op, SUMS + 2 * cut.block) + cut.column_bytes,
        columns_of(op, SUMS + 2 * cut.block + 1) + cut.column_bytes,
        op.arguments[GRAD_OUT] + cut.bytes, op.arguments[BACKWARD_X] + cut.bytes,
        op.arguments[BACKWARD_MEAN] + cut.column_bytes, cut.rows, cut.columns, cut.stride,
        leaves_caches(op, context))


cdef void backward_merge(const Op *op, const Context *context, int64_t piece) noexcept nogil:
    cdef int64_t rows = op_rows(op, context), at = piece * NORM_MERGE * op.itemsize
    op.bodies.norm.batch_backward_merge(
        op.arguments[GRAD_GAMMA] + at, op.arguments[GRAD_BETA] + at, columns_of(op, SCALE) + at,
        columns_of(op, CENTER) + at, columns_of(op, SLOPE) + at, columns_of(op, SUMS) + at,
        op.arguments[BACKWARD_VARIANCE] + at, shifted(op.arguments[BACKWARD_GAMMA], at),
        op.options[0].number, rows, block_count(rows, op.sizes[0]),
        smaller(NORM_MERGE, op.sizes[0] - piece * NORM_MERGE), op.sizes[0])


cdef void backward_rows(const Op *op, const Context *context, int64_t piece) noexcept nogil:
    cdef Cut cut = piece_of(op, context, piece)
    cdef char *scale = columns_of(op, SCALE) + cut.column_bytes
    if op.kernel.variant == GIVEN_STATISTICS:
        op.bodies.norm.batch_forward(
            op.arguments[GRAD_X] + cut.bytes, op.arguments[GRAD_OUT] + cut.bytes, NULL, scale,
            NULL, cut.rows, cut.columns, cut.stride, leaves_caches(op, context))
    else:
        op.bodies.norm.batch_backward(
            op.arguments[GRAD_X] + cut.bytes, op.arguments[GRAD_OUT] + cut.bytes,
            op.arguments[BACKWARD_X] + cut.bytes, op.arguments[BACKWARD_MEAN] + cut.column_bytes,
            scale, columns_of(op, CENTER) + cut.column_bytes,
            columns_of(op, SLOPE) + cut.column_bytes, cut.rows, cut.columns, cut.stride,
            leaves_caches(op, context))


cdef void backward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    if phase == 0:
        backward_sums(op, context, piece)
    elif phase == 1:
        backward_merge(op, context, piece)
    else:
        backward_rows(op, context, piece)


cdef double backward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return merge_cost(op, context, 2) if phase == 1 else matrix_cost(op, context, 0.3)


cdef size_t backward_workspace(const Op *op, int64_t rows) noexcept nogil:
    return (SUMS + 2 * block_count(rows, op.sizes[0])) * op.sizes[0] * op.itemsize


cdef Kernel backward_kernel
backward_kernel.phases = 3
backward_kernel.pieces = backward_pieces
backward_kernel.run_piece = backward_piece
backward_kernel.cost = backward_cost
backward_kernel.workspace = backward_workspace
backward_kernel.backwards = 1 << 2
backward_kernel.variant = OWN_STATISTICS
register(
    "batchnorm_backward", &backward_kernel,
    "grad_x grad_gamma grad_beta grad_out x mean variance gamma", "epsilon")

cdef Kernel inference_backward_kernel = backward_kernel
inference_backward_kernel.variant = GIVEN_STATISTICS
register(
    "batchnorm_inference_backward", &inference_backward_kernel,
    "grad_x grad_gamma grad_beta grad_out x mean variance gamma", "epsilon")


# --- batchnorm_update --------------------------------------------------------------------------

cdef enum: RUNNING_MEAN, RUNNING_VARIANCE, BATCH_MEAN, BATCH_VARIANCE
cdef enum: MOMENTUM, UNBIASED


cdef int64_t update_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op.sizes[0], SPAN)


cdef void update_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t rows = op_rows(op, context), at = piece * SPAN * op.itemsize
    cdef int64_t count = smaller(SPAN, op.sizes[0] - piece * SPAN)
    cdef double factor = 1.0
    if op.options[UNBIASED].whole:
        factor = <double> rows / max(rows - 1, 1)
    op.bodies.norm.batch_update(
        op.arguments[RUNNING_MEAN] + at, op.arguments[BATCH_MEAN] + at,
        op.options[MOMENTUM].number, 1.0, count)
    op.bodies.norm.batch_update(
        op.arguments[RUNNING_VARIANCE] + at, op.arguments[BATCH_VARIANCE] + at,
        op.options[MOMENTUM].number, factor, count)


cdef double update_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return 0.3 * op.sizes[0]


cdef Kernel update_kernel
update_kernel.phases = 1
update_kernel.pieces = update_pieces
update_kernel.run_piece = update_piece
update_kernel.cost = update_cost
register(
    "batchnorm_update", &update_kernel,
    "running_mean running_variance mean variance x", "momentum unbiased")


# --- layernorm_forward -------------------------------------------------------------------------

cdef enum: LAYER_OUT, LAYER_MEAN, LAYER_RSTD, LAYER_X, LAYER_GAMMA, LAYER_BETA


cdef int64_t layer_rows(const Op *op) noexcept nogil:
    return max(1, smaller(LAYER_ELEMENTS // max(op.sizes[0], 1), LAYER_ROWS))


cdef int64_t layer_forward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), layer_rows(op))


cdef void layer_forward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t first = piece * layer_rows(op)
    cdef int64_t row = first * op.itemsize, at = row * op.sizes[0]
    op.bodies.norm.layer_forward(
        op.arguments[LAYER_OUT] + at, op.arguments[LAYER_MEAN] + row,
        op.arguments[LAYER_RSTD] + row, op.arguments[LAYER_X] + at, op.arguments[LAYER_GAMMA],
        op.arguments[LAYER_BETA], op.options[0].number,
        smaller(layer_rows(op), op_rows(op, context) - first), op.sizes[0])


cdef double layer_forward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return 20.0 * op_rows(op, context) + matrix_cost(op, context, 0.25)


cdef Kernel layer_forward_kernel
layer_forward_kernel.phases = 1
layer_forward_kernel.pieces = layer_forward_pieces
layer_forward_kernel.run_piece = layer_forward_piece
layer_forward_kernel.cost = layer_forward_cost
register(
    "layernorm_forward", &layer_forward_kernel, "out mean rstd x gamma beta", "epsilon")


# --- layernorm_backward: rows, merge -----------------------------------------------------------

cdef enum: LAYER_GRAD_X, LAYER_GRAD_GAMMA, LAYER_GRAD_BETA, LAYER_GRAD_OUT
cdef enum: LAYER_BACKWARD_X = 4, LAYER_BACKWARD_MEAN, LAYER_BACKWARD_RSTD, LAYER_BACKWARD_GAMMA


cdef int64_t layer_sum_rows(const Op *op) noexcept nogil:
    return max(LAYER_SUM_ROWS, layer_rows(op))


cdef char *layer_sums(const Op *op, int64_t array) noexcept nogil:
    return <char *> op.workspace + array * (op.sizes[0] + NORM_PADDING) * op.itemsize


cdef int64_t layer_backward_pieces(
    const Op *op, const Context *context, int phase
) noexcept nogil:
    if phase == 0:
        return ceil_divide(op_rows(op, context), layer_sum_rows(op))
    return merge_pieces(op)


cdef void layer_backward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t rows = op_rows(op, context), columns = op.sizes[0], block = layer_sum_rows(op)
    cdef int64_t first = piece * block, row = first * op.itemsize, at = row * columns
    if phase == 0:
        op.bodies.norm.layer_backward(
            op.arguments[LAYER_GRAD_X] + at, layer_sums(op, 2 * piece),
            layer_sums(op, 2 * piece + 1), op.arguments[LAYER_GRAD_OUT] + at,
            op.arguments[LAYER_BACKWARD_X] + at, op.arguments[LAYER_BACKWARD_MEAN] + row,
            op.arguments[LAYER_BACKWARD_RSTD] + row, op.arguments[LAYER_BACKWARD_GAMMA],
            smaller(block, rows - first), columns)
        return
    at = piece * NORM_MERGE * op.itemsize
    op.bodies.norm.sum_parts(
        op.arguments[LAYER_GRAD_GAMMA] + at, layer_sums(op, 0) + at, ceil_divide(rows, block),
        smaller(NORM_MERGE, columns - piece * NORM_MERGE), 2 * (columns + NORM_PADDING))
    op.bodies.norm.sum_parts(
        op.arguments[LAYER_GRAD_BETA] + at, layer_sums(op, 1) + at, ceil_divide(rows, block),
        smaller(NORM_MERGE, columns - piece * NORM_MERGE), 2 * (columns + NORM_PADDING))


cdef double layer_backward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    if phase == 0:
        return 20.0 * op_rows(op, context) + matrix_cost(op, context, 0.4)
    return 0.5 * op.sizes[0] * ceil_divide(op_rows(op, context), layer_sum_rows(op))


cdef size_t layer_backward_workspace(const Op *op, int64_t rows) noexcept nogil:
    return (2 * ceil_divide(rows, layer_sum_rows(op))
            * (op.sizes[0] + NORM_PADDING) * op.itemsize)


cdef Kernel layer_backward_kernel
layer_backward_kernel.phases = 2
layer_backward_kernel.pieces = layer_backward_pieces
layer_backward_kernel.run_piece = layer_backward_piece
layer_backward_kernel.cost = layer_backward_cost
layer_backward_kernel.workspace = layer_backward_workspace
register(
    "layernorm_backward", &layer_backward_kernel,
    "grad_x grad_gamma grad_beta grad_out x mean rstd gamma")
