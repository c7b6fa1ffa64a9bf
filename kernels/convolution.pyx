"""Convolutions of images, backward by images and weight, and transposed convolutions.

Shapes: x (B, H, W, C), weight (R, S, I, O) with I = C / groups, out (B, P, Q, O). A transposed
convolution is the gradient by x used as a layer: it shares all functions here.

    convolve  PACK: pieces are panels of the weight, copied for the micro-kernel into the workspace.
              APPLY: pieces are blocks of the target (some images, or some rows of one), all
              channels of it; each is written by its piece alone, and then the tail runs on it, or
              its mean and squared deviations are formed while it is in the cache.
              JOIN, where statistics are wanted: pieces are stretches of channels, for which those
              of the blocks are merged in order.
    weights   SUM: pieces are groups of images times parts of the gradient's columns. A group of
              images has its place in the workspace; one group writes to the gradient itself.
              MERGE: pieces are stretches of the gradient: the groups' parts are added in order, and
              the tail runs.

Each makes 2*B*P*Q*O*R*S*I operations, fewer at edges that the kernel reaches over. It reads source
and weight, 1/V of a panel a time, from the caches, and touches each array in memory once.
"""

from libc.stdint cimport int64_t

from fastdl.kernels.norm cimport (
    NORM_MERGE, merge_moments, moments_size, panel_count, panel_start, write_moments,
)
from fastdl.kernels.runner cimport (
    SPAN, Context, Convolution, ConvolutionBlock, ConvolutionPart, Kernel, Op, ceil_divide,
    common_groups, op_rows, register, run_tails, smaller,
)


cdef extern from "simd/convolution.h" nogil:
    enum: CONVOLUTION_PIXELS
    bint is_depthwise(const Convolution *c)


# Which op: the place of its kernel in `kernels`.
cdef enum:
    FORWARD, STATISTICS, BACKWARD_INPUT, BACKWARD_WEIGHT
    TRANSPOSE_FORWARD, TRANSPOSE_BACKWARD_INPUT, TRANSPOSE_BACKWARD_WEIGHT, KINDS

cdef enum: PACK, APPLY, JOIN            # phases of convolve
cdef enum: SUM, MERGE                   # phases of weights

cdef enum:
    STRIDE_HEIGHT, STRIDE_WIDTH, DILATION_HEIGHT, DILATION_WIDTH, TOP, BOTTOM, LEFT, RIGHT, GROUPS

# A piece is worth some nanoseconds of work. FEW pieces of them keep threads evenly busy.
cdef enum: PIECE_NANOSECONDS = 10000, FEW_PIECES = 16

# Those of a weight's gradient cost more: each leaves a part that another thread may have to merge. But
# what one reads should still be in the cache, if it was made just before.
cdef enum: WEIGHT_PIECES = 8, LONG_PIECE_NANOSECONDS = 1000000, LONG_PIECE_BYTES = 600000

# So many images of fewer pixels make a piece.
cdef enum: SMALL_IMAGES = 6, SMALL_PIXELS = 256

# Bytes to which arrays in a workspace are aligned.
cdef enum: LINE = 64

# Pixels that a group of images for a partial sum has at least.
cdef enum: LEAST_PIXELS = 512

# Of a byte that comes from beyond the caches.
cdef double BYTE_NANOSECONDS = 0.03


cdef Convolution shape_of(const Op *op) noexcept nogil:
    cdef Convolution c
    cdef int64_t kind = op.kernel.variant
    cdef int H, P, R, C, O
    if kind == FORWARD or kind == STATISTICS or kind == TRANSPOSE_BACKWARD_INPUT:
        P, O, H, C, R = 0, 2, 3, 5, 6       # P Q O H W C R S I
    elif kind == BACKWARD_INPUT or kind == TRANSPOSE_FORWARD:
        H, C, P, O, R = 0, 2, 3, 5, 6       # H W C P Q O R S I
    elif kind == BACKWARD_WEIGHT:
        R, O, H, C, P = 0, 3, 4, 6, 7       # R S I O H W C P Q
    else:
        R, O, P, H, C = 0, 3, 4, 6, 8       # R S I O P Q H W C
    c.rows.input, c.columns.input = op.sizes[H], op.sizes[H + 1]
    c.rows.output, c.columns.output = op.sizes[P], op.sizes[P + 1]
    c.rows.kernel, c.columns.kernel = op.sizes[R], op.sizes[R + 1]
    c.rows.stride = op.options[STRIDE_HEIGHT].whole
    c.columns.stride = op.options[STRIDE_WIDTH].whole
    c.rows.dilation = op.options[DILATION_HEIGHT].whole
    c.columns.dilation = op.options[DILATION_WIDTH].whole
    c.rows.before, c.columns.before = op.options[TOP].whole, op.options[LEFT].whole
    c.C, c.O, c.groups = op.sizes[C], op.sizes[O], op.options[GROUPS].whole
    c.backward = kind == BACKWARD_INPUT or kind == TRANSPOSE_FORWARD
    return c


cdef int64_t kernel_rows(const Convolution *c) noexcept nogil:
    return c.rows.kernel * c.columns.kernel * (c.C // c.groups)


cdef double nanoseconds(const Op *op, const Convolution *c, int64_t images) noexcept nogil:
    """Of the whole op on one thread."""
    cdef double pixels = <double> c.rows.output * c.columns.output * images
    cdef double inputs = <double> c.rows.input * c.columns.input * images * c.C
    return (op.bodies.matmul.nanoseconds * pixels * c.O * kernel_rows(c)
            + BYTE_NANOSECONDS * op.itemsize * (pixels * c.O + inputs))


cdef int64_t groups_of(const Convolution *c) noexcept nogil:
    """Into how many groups the work is cut."""
    return 1 if is_depthwise(c) else c.groups


# --- convolve ----------------------------------------------------------------------------------

cdef struct Grid:
    int64_t height, width, channels     # of the target
    int64_t images, rows, columns       # into how many parts each is cut


cdef Grid grid_of(const Op *op, const Convolution *c, int64_t images) noexcept nogil:
    cdef Grid grid
    cdef int64_t across, down, least, together
    cdef double work
    if c.backward:
        grid.height, grid.width, grid.channels = c.rows.input, c.columns.input, c.C
    else:
        grid.height, grid.width, grid.channels = c.rows.output, c.columns.output, c.O
    grid.columns = ceil_divide(grid.width, CONVOLUTION_PIXELS)
    across = ceil_divide(grid.width, grid.columns)
    grid.rows = ceil_divide(grid.height, CONVOLUTION_PIXELS // across)
    grid.images = images
    if grid.rows * grid.columns > 1:
        return grid
    work = nanoseconds(op, c, images)
    down = CONVOLUTION_PIXELS // (grid.height * grid.width)
    least = ceil_divide(images, 1 + <int64_t> (work / PIECE_NANOSECONDS))
    # of small images several fill the tiles of their edges
    least = max(least, smaller(SMALL_PIXELS // (grid.height * grid.width), SMALL_IMAGES))
    together = smaller(down, max(least, ceil_divide(images, FEW_PIECES)))
    grid.images = ceil_divide(images, together)
    return grid


cdef int64_t target_panels(const Op *op, const Convolution *c) noexcept nogil:
    """Of one group."""
    return op.bodies.convolution.panels((c.C if c.backward else c.O) // c.groups)


cdef int64_t block_count(const Op *op, const Convolution *c, int64_t images) noexcept nogil:
    cdef Grid grid
    if images == 0 or (c.C if c.backward else c.O) == 0:
        return 0
    grid = grid_of(op, c, images)
    return grid.images * grid.rows * grid.columns


cdef int64_t convolve_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Convolution c = shape_of(op)
    cdef int64_t images = op_rows(op, context)
    if phase == JOIN:
        return ceil_divide(c.O, NORM_MERGE)
    if images == 0 or (c.C if c.backward else c.O) == 0:
        return 0
    if phase == PACK:
        return groups_of(&c) * target_panels(op, &c)
    return block_count(op, &c, images)


cdef int64_t convolve_groups(const Op *op, const Context *context) noexcept nogil:
    cdef Convolution c = shape_of(op)
    cdef int64_t images = op_rows(op, context)
    if block_count(op, &c, images) == 0:
        return 1
    return common_groups(images, grid_of(op, &c, images).images)


cdef void convolve_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Convolution c = shape_of(op)
    cdef Grid grid
    cdef ConvolutionBlock block
    cdef int64_t panels, part, images = op_rows(op, context)
    cdef int source = 3 if op.kernel.variant == STATISTICS else 1       # the argument
    cdef const char *bias = NULL
    if phase == PACK:
        panels = target_panels(op, &c)
        op.bodies.convolution.pack(
            op.workspace, op.arguments[source + 1], &c, piece // panels, piece % panels)
        return
    if phase == JOIN:
        merge_moments(
            op, op.arguments[1], op.arguments[2], moments_of(op, &c),
            block_count(op, &c, images), c.O, piece)
        return
    grid = grid_of(op, &c, images)
    part = piece // (grid.rows * grid.columns)
    block.image = images * part // grid.images
    block.images = images * (part + 1) // grid.images - block.image
    part = piece // grid.columns % grid.rows
    block.row = grid.height * part // grid.rows
    block.rows = grid.height * (part + 1) // grid.rows - block.row
    part = piece % grid.columns
    block.column = grid.width * part // grid.columns
    block.columns = grid.width * (part + 1) // grid.columns - block.column
    if op.kernel.variant <= STATISTICS or op.kernel.variant == TRANSPOSE_FORWARD:
        bias = op.arguments[source + 2]
    op.bodies.convolution.block(
        op.arguments[0], op.arguments[source], op.workspace, bias, &c, &block)
    if op.kernel.variant == STATISTICS:
        find_moments(op, &c, &grid, &block, piece)
    if op.tail != NULL:
        finish_block(op, context, &grid, &block)


cdef char *moments_of(const Op *op, const Convolution *c) noexcept nogil:
    """What the blocks leave behind: in the workspace, behind the packed weight."""
    cdef int64_t packed = op.bodies.convolution.packed_size(c) * op.itemsize
    return <char *> op.workspace + (packed + LINE - 1) // LINE * LINE


cdef void find_moments(
    const Op *op, const Convolution *c, const Grid *grid, const ConvolutionBlock *block,
    int64_t piece
) noexcept nogil:
    """Of a block that is finished: its pixels lie together, as one that is a part of an image's
    columns has one row."""
    cdef int64_t first = (block.image * grid.height + block.row) * grid.width + block.column
    cdef int64_t panel, column, count = grid.images * grid.rows * grid.columns
    for panel in range(panel_count(c.O)):
        column = panel_start(c.O, panel)
        write_moments(
            op, moments_of(op, c), count, piece,
            op.arguments[0] + (first * c.O + column) * op.itemsize,
            block.images * block.rows * block.columns, c.O, column,
            panel_start(c.O, panel + 1) - column, False)


cdef void finish_block(
    const Op *op, const Context *context, const Grid *grid, const ConvolutionBlock *block
) noexcept nogil:
    """Runs the tails on a block that is finished: on whole images or rows, they lie together."""
    cdef int64_t first = (block.image * grid.height + block.row) * grid.width + block.column
    cdef int64_t stretches = block.images * block.rows, count = block.columns
    if grid.columns == 1:
        count *= stretches
        stretches = 1
    run_tails(
        op, context, first * grid.channels, stretches, count * grid.channels,
        grid.width * grid.channels, NULL, 0)


cdef double convolve_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Convolution c = shape_of(op)
    if phase == PACK:
        return BYTE_NANOSECONDS * 2 * op.itemsize * kernel_rows(&c) * c.O
    if phase == JOIN:
        return c.O * (2 + 0.6 * block_count(op, &c, op_rows(op, context)))
    return nanoseconds(op, &c, op_rows(op, context))


cdef size_t convolve_workspace(const Op *op, int64_t images) noexcept nogil:
    cdef Convolution c = shape_of(op)
    cdef size_t packed = op.bodies.convolution.packed_size(&c) * op.itemsize
    if op.kernel.variant != STATISTICS:
        return packed
    return packed + LINE + moments_size(block_count(op, &c, images), c.O, op.itemsize)


# --- weights -----------------------------------------------------------------------------------

cdef struct Cut:
    int64_t panels      # of each group
    int64_t columns     # into how many parts they are divided
    int64_t images      # and the images


cdef int64_t even_parts(int64_t images, int64_t parts) noexcept nogil:
    """So many, or fewer that are equal: other ops can then go through the images together with this."""
    cdef int64_t even = parts
    while even > 1 and images % even != 0:
        even -= 1
    return even if 2 * even > parts else parts


cdef Cut cut_of(const Op *op, const Convolution *c, int64_t images) noexcept nogil:
    """About WEIGHT_PIECES pieces, or FEW_PIECES of much work or many bytes, cut such that least is
    read and written: each group of images has a place for the whole gradient, each part of the columns
    reads all of x."""
    cdef Cut cut
    cdef double work = nanoseconds(op, c, images)
    cdef double image = <double> images * c.rows.input * c.columns.input * c.C
    cdef double outputs = <double> images * c.rows.output * c.columns.output * c.O
    cdef double long_pieces = max(
        work / LONG_PIECE_NANOSECONDS, (image + outputs) * op.itemsize / LONG_PIECE_BYTES)
    cdef int64_t pieces = max(
        smaller(WEIGHT_PIECES, 1 + <int64_t> (work / PIECE_NANOSECONDS)),
        <int64_t> min(<double> FEW_PIECES, long_pieces))
    cdef int64_t most = smaller(
        images, images * c.rows.output * c.columns.output // LEAST_PIXELS), columns, parts
    cdef int64_t groups = groups_of(c)
    cdef double gradient = <double> kernel_rows(c) * c.O, touched, least = -1
    cut.panels = op.bodies.convolution.weight_panels(c.O // c.groups)
    cut.columns, cut.images = 1, 1
    for columns in range(1, smaller(pieces, cut.panels) + 1):
        parts = even_parts(images, max(1, smaller(most, pieces // (columns * groups))))
        touched = image * columns + (2 * gradient * parts if parts > 1 else 0)
        if 2 * parts * columns * groups > smaller(pieces, most * cut.panels * groups) and (
                least < 0 or touched < least):
            least = touched
            cut.columns, cut.images = columns, parts
    return cut


cdef int64_t weights_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Convolution c = shape_of(op)
    cdef int64_t total = kernel_rows(&c) * c.O
    cdef Cut cut
    if total == 0:
        return 0
    cut = cut_of(op, &c, op_rows(op, context))
    if phase == SUM:
        return cut.images * groups_of(&c) * cut.columns
    return ceil_divide(total, SPAN) if cut.images > 1 or op.tail != NULL else 0


cdef int64_t weights_groups(const Op *op, const Context *context) noexcept nogil:
    cdef Convolution c = shape_of(op)
    cdef int64_t images = op_rows(op, context)
    if kernel_rows(&c) * c.O == 0:
        return 1
    return common_groups(images, cut_of(op, &c, images).images)


cdef void weights_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Convolution c = shape_of(op)
    cdef int64_t images = op_rows(op, context), size = op.itemsize
    cdef int64_t total = kernel_rows(&c) * c.O, first, count, column
    cdef Cut cut = cut_of(op, &c, images)
    cdef ConvolutionPart part
    cdef const char *x = op.arguments[1]
    cdef const char *grad_out = op.arguments[2]
    if phase == SUM:
        if op.kernel.variant == TRANSPOSE_BACKWARD_WEIGHT:
            x, grad_out = grad_out, x
        column = piece % cut.columns
        part.panel = cut.panels * column // cut.columns
        part.panels = cut.panels * (column + 1) // cut.columns - part.panel
        part.group = piece // cut.columns % groups_of(&c)
        first = piece // (cut.columns * groups_of(&c))
        part.image = images * first // cut.images
        part.images = images * (first + 1) // cut.images - part.image
        op.bodies.convolution.weights(
            <char *> op.workspace + first * total * size if cut.images > 1 else op.arguments[0],
            x, grad_out, &c, &part)
        return
    first = piece * SPAN
    count = smaller(SPAN, total - first)
    if cut.images > 1:
        op.bodies.matmul.merge(
            op.arguments[0] + first * size, <char *> op.workspace + first * size, total,
            cut.images, NULL, c.O, first, count)
    run_tails(op, context, first, 1, count, count, NULL, 0)


cdef double weights_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Convolution c = shape_of(op)
    cdef int64_t images = op_rows(op, context)
    if phase == SUM:
        return nanoseconds(op, &c, images)
    return BYTE_NANOSECONDS * op.itemsize * kernel_rows(&c) * c.O * (
        1 + cut_of(op, &c, images).images)


cdef size_t weights_workspace(const Op *op, int64_t images) noexcept nogil:
    cdef Convolution c = shape_of(op)
    cdef int64_t parts = cut_of(op, &c, images).images
    return parts * kernel_rows(&c) * c.O * op.itemsize if parts > 1 else 0


cdef Kernel kernels[KINDS]
for kind in range(KINDS):
    kernels[kind].variant = kind
    kernels[kind].phases = 2
    kernels[kind].span = NULL
    if kind == BACKWARD_WEIGHT or kind == TRANSPOSE_BACKWARD_WEIGHT:
        kernels[kind].pieces = weights_pieces
        kernels[kind].run_piece = weights_piece
        kernels[kind].row_groups, kernels[kind].by_rows = weights_groups, SUM
        kernels[kind].cost = weights_cost
        kernels[kind].workspace = weights_workspace
    else:
        kernels[kind].phases = 3 if kind == STATISTICS else 2
        kernels[kind].pieces = convolve_pieces
        kernels[kind].run_piece = convolve_piece
        kernels[kind].row_groups, kernels[kind].by_rows = convolve_groups, APPLY
        kernels[kind].cost = convolve_cost
        kernels[kind].workspace = convolve_workspace

_OPTIONS = (
    "stride_height stride_width dilation_height dilation_width top bottom left right groups")

register("conv2d_forward", &kernels[FORWARD], "out x weight bias", _OPTIONS)
register(
    "conv2d_statistics_forward", &kernels[STATISTICS], "out mean variance x weight bias", _OPTIONS)
register("conv2d_backward_input", &kernels[BACKWARD_INPUT], "grad_x grad_out weight", _OPTIONS)
register("conv2d_backward_weight", &kernels[BACKWARD_WEIGHT], "grad_weight x grad_out", _OPTIONS)
register("conv2d_transpose_forward", &kernels[TRANSPOSE_FORWARD], "out x weight bias", _OPTIONS)
register(
    "conv2d_transpose_backward_input", &kernels[TRANSPOSE_BACKWARD_INPUT],
    "grad_x grad_out weight", _OPTIONS)
register(
    "conv2d_transpose_backward_weight", &kernels[TRANSPOSE_BACKWARD_WEIGHT],
    "grad_weight x grad_out", _OPTIONS)
