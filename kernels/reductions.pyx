"""Sums and extremes over an axis, and broadcasts along it.

The large arrays of an op are (outer, rows, columns) and the small ones (outer, columns): for sums
over B, and where one vector is combined with all rows, outer is 1 and the rows are B. Pieces are
some of the outer items where these are small, and else blocks of rows and stretches of columns of
one item. Where a sum goes over several blocks, each leaves its own in the workspace, and a second
phase adds them up in order. A sum keeps what rounding takes away; it reads each element once (4
bytes in float32), a broadcast reads one and writes one.
"""

from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport (
    SPAN, Context, Kernel, Op, ceil_divide, op_rows, register, smaller,
)


cdef extern from "simd/tensors.h" nogil:
    enum: REDUCE_SUM, REDUCE_MAX, REDUCE_MIN, REDUCED_COLUMNS


# Where the lengths of an op are, its kernel's variant modulo 4: rows are B and there is one letter,
# or the letters are M and N in this order, or the other way round. Above that: what is reduced.
cdef enum: OVER_B, OVER_M, OVER_M_TURNED, FORMS = 4
cdef enum: SUM_OR_MEAN = 3      # beside the C bodies' reductions: a sum, whose option is `mean`

# Elements of a block of rows; an item of so many is not divided.
cdef enum: BLOCK = 32768, SMALL = 16384


cdef struct Shape:
    int64_t outer, rows, columns


cdef struct Cut:
    int64_t items, blocks, block_rows, stretches    # items of a piece, or parts of an item


cdef struct Part:
    int64_t item, items, block
    int64_t row, rows, column, columns


cdef Shape shape_of(const Op *op, int64_t rows) noexcept nogil:
    cdef int64_t form = op.kernel.variant % FORMS
    if form == OVER_B:
        return Shape(outer=1, rows=rows, columns=op.sizes[0])
    if form == OVER_M:
        return Shape(outer=rows, rows=op.sizes[0], columns=op.sizes[1])
    return Shape(outer=rows, rows=op.sizes[1], columns=op.sizes[0])


cdef Cut cut_of(const Shape *shape) noexcept nogil:
    cdef int64_t area = shape.rows * shape.columns
    cdef Cut cut = Cut(items=1, blocks=1, block_rows=shape.rows, stretches=1)
    if area <= SMALL:
        cut.items = max(1, SPAN // max(area, 1))
        return cut
    cut.stretches = ceil_divide(shape.columns, REDUCED_COLUMNS)
    cut.block_rows = max(1, BLOCK // smaller(shape.columns, REDUCED_COLUMNS))
    cut.blocks = ceil_divide(shape.rows, cut.block_rows)
    return cut


cdef Part part_of(const Shape *shape, const Cut *cut, int64_t piece) noexcept nogil:
    cdef Part part
    cdef int64_t stretch = piece % cut.stretches, first
    part.block = piece // cut.stretches % cut.blocks
    first = piece // cut.stretches // cut.blocks * cut.items
    part.item, part.items = first, smaller(cut.items, shape.outer - first)
    part.row = part.block * cut.block_rows
    part.rows = smaller(cut.block_rows, shape.rows - part.row)
    part.column, part.columns = 0, shape.columns
    if cut.stretches > 1:
        part.column = stretch * REDUCED_COLUMNS
        part.columns = smaller(REDUCED_COLUMNS, shape.columns - part.column)
    return part


cdef int64_t large(const Shape *shape, const Part *part, int64_t item) noexcept nogil:
    """Where a part begins in (outer, rows, columns), ..."""
    return (item * shape.rows + part.row) * shape.columns + part.column


cdef int64_t little(const Shape *shape, const Part *part, int64_t item) noexcept nogil:
    """... and in (outer, columns)."""
    return item * shape.columns + part.column


cdef int64_t one_phase_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Shape shape = shape_of(op, op_rows(op, context))
    cdef Cut cut = cut_of(&shape)
    return ceil_divide(shape.outer, cut.items) * cut.blocks * cut.stretches


cdef int64_t two_phase_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Shape shape = shape_of(op, op_rows(op, context))
    cdef Cut cut = cut_of(&shape)
    if phase == 0:
        return ceil_divide(shape.outer, cut.items) * cut.blocks * cut.stretches
    return shape.outer * cut.stretches if cut.blocks > 1 else 0


cdef double phase_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Shape shape = shape_of(op, op_rows(op, context))
    cdef Cut cut = cut_of(&shape)
    if phase == 0:
        return shape.outer * (20 + op.kernel.nanoseconds * shape.rows * shape.columns)
    return op.kernel.nanoseconds * shape.outer * cut.blocks * shape.columns


cdef size_t partial_workspace(const Op *op, int64_t rows) noexcept nogil:
    cdef Shape shape = shape_of(op, rows)
    cdef Cut cut = cut_of(&shape)
    return shape.outer * cut.blocks * shape.columns * op.itemsize if cut.blocks > 1 else 0


cdef char *partial_of(
    const Op *op, const Shape *shape, const Cut *cut, const Part *part, int64_t item, char *out
) noexcept nogil:
    """Where the sums of a part go: to the output itself where it is the only block."""
    if cut.blocks == 1:
        return out + little(shape, part, item) * op.itemsize
    return <char *> op.workspace + (
        (item * cut.blocks + part.block) * shape.columns + part.column) * op.itemsize


cdef void merge(
    const Op *op, const Shape *shape, const Cut *cut, int64_t piece, int kind, double divisor,
    char *out
) noexcept nogil:
    cdef int64_t item = piece // cut.stretches, column = piece % cut.stretches * REDUCED_COLUMNS
    op.bodies.tensor.reduce[kind](
        out + (item * shape.columns + column) * op.itemsize,
        <char *> op.workspace + (item * cut.blocks * shape.columns + column) * op.itemsize,
        divisor, cut.blocks, smaller(REDUCED_COLUMNS, shape.columns - column), shape.columns)


cdef int reduction_of(const Op *op) noexcept nogil:
    cdef int kind = op.kernel.variant // FORMS
    return REDUCE_SUM if kind == SUM_OR_MEAN else kind


cdef double divisor_of(const Op *op, const Shape *shape) noexcept nogil:
    if op.kernel.variant // FORMS == SUM_OR_MEAN and op.options[0].whole:
        return max(shape.rows, 1)
    return 1


# Reductions: out, x.

cdef void reduce_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Shape shape = shape_of(op, op_rows(op, context))
    cdef Cut cut = cut_of(&shape)
    cdef int kind = reduction_of(op)
    cdef double divisor = divisor_of(op, &shape)
    cdef Part part
    cdef int64_t item
    if phase == 1:
        merge(op, &shape, &cut, piece, kind, divisor, op.arguments[0])
        return
    part = part_of(&shape, &cut, piece)
    for item in range(part.item, part.item + part.items):
        op.bodies.tensor.reduce[kind](
            partial_of(op, &shape, &cut, &part, item, op.arguments[0]),
            op.arguments[1] + large(&shape, &part, item) * op.itemsize,
            divisor if cut.blocks == 1 else 1.0, part.rows, part.columns, shape.columns)


cdef void spread_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Shape shape = shape_of(op, op_rows(op, context))
    cdef Cut cut = cut_of(&shape)
    cdef Part part = part_of(&shape, &cut, piece)
    cdef int64_t item
    for item in range(part.item, part.item + part.items):
        op.bodies.tensor.spread(
            op.arguments[0] + large(&shape, &part, item) * op.itemsize,
            op.arguments[1] + little(&shape, &part, item) * op.itemsize,
            divisor_of(op, &shape), part.rows, part.columns, shape.columns)


cdef int64_t item_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Shape shape = shape_of(op, op_rows(op, context))
    return ceil_divide(shape.outer, max(1, SPAN // max(shape.rows * shape.columns, 1)))


cdef void extreme_backward(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Shape shape = shape_of(op, op_rows(op, context))
    cdef int64_t area = shape.rows * shape.columns, items = max(1, SPAN // max(area, 1)), item
    for item in range(piece * items, smaller(shape.outer, (piece + 1) * items)):
        op.bodies.tensor.extreme_backward(
            op.arguments[0] + item * area * op.itemsize,
            op.arguments[1] + item * shape.columns * op.itemsize,
            op.arguments[2] + item * area * op.itemsize,
            op.arguments[3] + item * shape.columns * op.itemsize, shape.rows, shape.columns)


# Functions of x (outer, rows, columns) and y (outer, columns).

cdef enum: FUNCTION, SWAPPED        # options
cdef enum: GRAD_X, GRAD_Y, GRAD_OUT, BACKWARD_X, BACKWARD_Y


cdef void vector_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Shape shape = shape_of(op, op_rows(op, context))
    cdef Cut cut = cut_of(&shape)
    cdef Part part = part_of(&shape, &cut, piece)
    cdef int64_t item, first, function = op.options[FUNCTION].whole
    for item in range(part.item, part.item + part.items):
        first = large(&shape, &part, item) * op.itemsize
        op.bodies.tensor.vector(
            (op.bodies.tensor.compare[function] if op.kernel.variant // FORMS
             else op.bodies.tensor.arithmetic[function]),
            op.arguments[0] + first, op.arguments[1] + first,
            op.arguments[2] + little(&shape, &part, item) * op.itemsize,
            op.options[SWAPPED].whole, part.rows, part.columns, shape.columns)


cdef void vector_backward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Shape shape = shape_of(op, op_rows(op, context))
    cdef Cut cut = cut_of(&shape)
    cdef Part part
    cdef int64_t item, first
    cdef char *grad_x = op.arguments[GRAD_X]
    cdef char *grad_y = op.arguments[GRAD_Y]
    if phase == 1:
        if grad_y != NULL:
            merge(op, &shape, &cut, piece, REDUCE_SUM, 1.0, grad_y)
        return
    part = part_of(&shape, &cut, piece)
    for item in range(part.item, part.item + part.items):
        first = large(&shape, &part, item) * op.itemsize
        op.bodies.tensor.vector_backward(
            op.bodies.tensor.arithmetic_backward[op.options[FUNCTION].whole],
            grad_x + first if grad_x != NULL else NULL,
            partial_of(op, &shape, &cut, &part, item, grad_y) if grad_y != NULL else NULL,
            op.arguments[GRAD_OUT] + first, op.arguments[BACKWARD_X] + first,
            op.arguments[BACKWARD_Y] + little(&shape, &part, item) * op.itemsize,
            op.options[SWAPPED].whole, part.rows, part.columns, shape.columns)


cdef enum: REDUCTION_OPS = 32
cdef Kernel[REDUCTION_OPS] reductions
cdef int reductions_made = 0


cdef int define(
    str name, void (*run_piece)(const Op *, const Context *, int, int64_t) noexcept nogil,
    int form, bint sums, str arguments, str options="", int kind=0,
) except -1:
    """Registers an op on (outer, rows, columns); `sums` says whether blocks leave sums behind."""
    global reductions_made
    cdef Kernel *kernel = &reductions[reductions_made]
    reductions_made += 1
    kernel.phases = 2 if sums else 1
    kernel.pieces = two_phase_pieces if sums else one_phase_pieces
    kernel.run_piece = run_piece
    kernel.cost = phase_cost
    if sums:
        kernel.workspace = partial_workspace
    kernel.nanoseconds = 0.2
    kernel.variant = kind * FORMS + form
    if run_piece == extreme_backward:
        kernel.pieces = item_pieces
    return register(name, kernel, arguments, options)


define("sum_forward", reduce_piece, OVER_M_TURNED, True, "out x", "mean", SUM_OR_MEAN)
define("sum_backward", spread_piece, OVER_M, False, "grad_x grad_out", "mean", SUM_OR_MEAN)
define("sum_rows_forward", reduce_piece, OVER_B, True, "out x", "mean", SUM_OR_MEAN)
define("sum_rows_backward", spread_piece, OVER_B, False, "grad_x grad_out", "mean", SUM_OR_MEAN)
define("max_forward", reduce_piece, OVER_M_TURNED, True, "out x", "", REDUCE_MAX)
define("min_forward", reduce_piece, OVER_M_TURNED, True, "out x", "", REDUCE_MIN)
define("max_backward", extreme_backward, OVER_M, False, "grad_x grad_out x out")
define("min_backward", extreme_backward, OVER_M, False, "grad_x grad_out x out")
define("broadcast_forward", spread_piece, OVER_M, False, "out x", "repeats")
define("broadcast_backward", reduce_piece, OVER_M_TURNED, True, "grad_x grad_out", "repeats")
define("broadcast_rows_forward", spread_piece, OVER_B, False, "out x like")
define("broadcast_rows_backward", reduce_piece, OVER_B, True, "grad_x grad_out")
for form, i in (("vector", OVER_B), ("middle", OVER_M)):
    define(f"{form}_forward", vector_piece, i, False, "out x y", "function swapped")
    define(f"{form}_compare", vector_piece, i, False, "out x y", "function swapped", 1)
    define(f"{form}_backward", vector_backward_piece, i, True, "grad_x grad_y grad_out x y",
           "function swapped")
