"""Functions of elements, broadcasting, reductions, copies of parts, products of many matrices.

Elementwise ones: every argument is (B,), that is, all elements of an array in one row. Pieces are
spans of SPAN elements; each writes only its own stretch of the outputs.

Reductions and broadcasts see their large arrays as (outer, rows, columns) and the small ones as
(outer, columns): for sums over B, and where one vector is combined with all rows, outer is 1 and
the rows are B. Pieces are some of the outer items where these are small, and else blocks of rows
and stretches of columns of one item. Where a sum goes over several blocks, each leaves its own in
the workspace, and a second phase adds them up in order. A sum keeps what rounding takes away; it
reads each element once (4 bytes in float32), a broadcast reads one and writes one.

Copies (transpose, slice, take, one_hot): pieces are items of B, of about SPAN elements together.
take_backward adds up rows by label: a piece owns a range of labels, looks at all labels in their
order, and adds the rows of those that are its own.

batch_matmul: pieces are matrices of B, some together where they are small.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from fastdl.kernels.runner cimport (
    SPAN,
    Context,
    Kernel,
    Op,
    Product,
    ceil_divide,
    op_rows,
    product_turns,
    register,
    register_elementwise,
    smaller,
)


cdef extern from "simd/tensors.h" nogil:
    enum: EXP, LOG, SQRT, SQUARE, ABS, UNARY_FUNCTIONS
    enum: SUBTRACT, DIVIDE, POWER, MAXIMUM, MINIMUM, ARITHMETIC_FUNCTIONS
    enum: LESS, LESS_EQUAL, EQUAL, NOT_EQUAL, COMPARISONS
    enum: REDUCE_SUM, REDUCE_MAX, REDUCE_MIN, REDUCED_COLUMNS


cdef inline char *at(char *array, int64_t bytes) noexcept nogil:
    """An argument from some byte on; one that was left out stays so."""
    return array + bytes if array != NULL else NULL


# --- elementwise -------------------------------------------------------------------------------

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


# --- reductions and broadcasts -----------------------------------------------------------------

# Where the lengths of an op are, its kernel's variant modulo 4: rows are B and there is one letter,
# or the letters are M and N in this order, or the other way round. Above that: what is reduced.
cdef enum: OVER_B, OVER_M, OVER_M_TURNED, FORMS = 4

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


cdef double divisor_of(const Op *op, const Shape *shape) noexcept nogil:
    """Of ops whose only option is `mean`."""
    return max(shape.rows, 1) if op.options[0].whole else 1


# Reductions: out, x; an option `mean` belongs to sums.

cdef void reduce_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Shape shape = shape_of(op, op_rows(op, context))
    cdef Cut cut = cut_of(&shape)
    cdef int kind = op.kernel.variant // FORMS
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


cdef void copy_over_rows(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    """spread_piece without the option."""
    cdef Shape shape = shape_of(op, op_rows(op, context))
    cdef Cut cut = cut_of(&shape)
    cdef Part part = part_of(&shape, &cut, piece)
    cdef int64_t item
    for item in range(part.item, part.item + part.items):
        op.bodies.tensor.spread(
            op.arguments[0] + large(&shape, &part, item) * op.itemsize,
            op.arguments[1] + little(&shape, &part, item) * op.itemsize,
            1.0, part.rows, part.columns, shape.columns)


cdef void add_over_rows(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    """reduce_piece without the option."""
    cdef Shape shape = shape_of(op, op_rows(op, context))
    cdef Cut cut = cut_of(&shape)
    cdef Part part
    cdef int64_t item
    if phase == 1:
        merge(op, &shape, &cut, piece, REDUCE_SUM, 1.0, op.arguments[0])
        return
    part = part_of(&shape, &cut, piece)
    for item in range(part.item, part.item + part.items):
        op.bodies.tensor.reduce[REDUCE_SUM](
            partial_of(op, &shape, &cut, &part, item, op.arguments[0]),
            op.arguments[1] + large(&shape, &part, item) * op.itemsize,
            1.0, part.rows, part.columns, shape.columns)


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
            at(op.arguments[GRAD_X], first),
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


define("sum_forward", reduce_piece, OVER_M_TURNED, True, "out x", "mean", REDUCE_SUM)
define("sum_backward", spread_piece, OVER_M, False, "grad_x grad_out", "mean")
define("sum_rows_forward", reduce_piece, OVER_B, True, "out x", "mean", REDUCE_SUM)
define("sum_rows_backward", spread_piece, OVER_B, False, "grad_x grad_out", "mean")
define("max_forward", reduce_piece, OVER_M_TURNED, True, "out x", "", REDUCE_MAX)
define("min_forward", reduce_piece, OVER_M_TURNED, True, "out x", "", REDUCE_MIN)
define("max_backward", extreme_backward, OVER_M, False, "grad_x grad_out x out")
define("min_backward", extreme_backward, OVER_M, False, "grad_x grad_out x out")
define("broadcast_forward", copy_over_rows, OVER_M, False, "out x", "repeats")
define("broadcast_backward", add_over_rows, OVER_M_TURNED, True, "grad_x grad_out", "repeats")
define("broadcast_rows_forward", copy_over_rows, OVER_B, False, "out x like")
define("broadcast_rows_backward", add_over_rows, OVER_B, True, "grad_x grad_out")
for form, i in (("vector", OVER_B), ("middle", OVER_M)):
    define(f"{form}_forward", vector_piece, i, False, "out x y", "function swapped")
    define(f"{form}_compare", vector_piece, i, False, "out x y", "function swapped", 1)
    define(f"{form}_backward", vector_backward_piece, i, True, "grad_x grad_y grad_out x y",
           "function swapped")


# --- moving elements ---------------------------------------------------------------------------

# transpose: out (B, N, M, K), x (B, M, N, K); the sizes are N, M, K.

cdef enum: TRANSPOSED_ROWS = 64     # rows of a piece of a large matrix, of single elements


cdef int64_t strips(const Op *op) noexcept nogil:
    """Parts of M that a matrix is cut into."""
    if op.sizes[0] * op.sizes[1] * op.sizes[2] <= SMALL:
        return 1
    return ceil_divide(op.sizes[1], TRANSPOSED_ROWS)


cdef int64_t matrices(const Op *op) noexcept nogil:
    """Matrices of a piece."""
    return max(1, SPAN // max(1, op.sizes[0] * op.sizes[1] * op.sizes[2]))


cdef int64_t transpose_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), matrices(op)) * strips(op)


cdef double transpose_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op_rows(op, context) * (10 + 0.3 * op.sizes[0] * op.sizes[1] * op.sizes[2])


cdef void transpose_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t N = op.sizes[0], M = op.sizes[1], K = op.sizes[2], size = op.itemsize
    cdef int64_t parts = strips(op), first = piece // parts * matrices(op), matrix, n
    cdef int64_t row = piece % parts * TRANSPOSED_ROWS if parts > 1 else 0
    cdef int64_t rows = smaller(TRANSPOSED_ROWS, M - row) if parts > 1 else M
    cdef char *out
    cdef char *x
    for matrix in range(first, smaller(first + matrices(op), op_rows(op, context))):
        out = op.arguments[0] + (matrix * M * N + row) * K * size
        x = op.arguments[1] + (matrix * M + row) * N * K * size
        if K == 1:
            op.bodies.matmul.transpose(out, M, x, N, rows, N)
        else:
            for n in range(N):
                op.bodies.tensor.copy(
                    out + n * M * K * size, K, x + n * K * size, N * K, rows, K)


# slice: out (B, K, N), x (B, M, N); forward's sizes are K, N, M, backward's M, N, K.

cdef enum: START, STRIDE, LENGTH


cdef int64_t slice_items(const Op *op) noexcept nogil:
    return max(1, SPAN // max(1, op.options[LENGTH].whole * op.sizes[1]))


cdef int64_t slice_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), slice_items(op))


cdef double slice_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op_rows(op, context) * (10 + 0.2 * (op.sizes[0] + op.sizes[2]) * op.sizes[1])


cdef void copy_slice(
    const Op *op, int64_t item, int64_t M, char *whole, char *part, bint back
) noexcept nogil:
    cdef int64_t N = op.sizes[1], length = op.options[LENGTH].whole, stride = op.options[STRIDE].whole
    cdef int64_t size = op.itemsize
    whole += (item * M + op.options[START].whole) * N * size
    part += item * length * N * size
    if back:
        op.bodies.tensor.copy(whole, stride * N, part, N, length, N)
    elif stride == 1:
        op.bodies.tensor.copy(part, 0, whole, 0, 1, length * N)
    else:
        op.bodies.tensor.copy(part, N, whole, stride * N, length, N)


cdef void slice_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t items = slice_items(op), item
    for item in range(piece * items, smaller((piece + 1) * items, op_rows(op, context))):
        copy_slice(op, item, op.sizes[2], op.arguments[1], op.arguments[0], False)


cdef void slice_backward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t items = slice_items(op), item, area = op.sizes[0] * op.sizes[1] * op.itemsize
    for item in range(piece * items, smaller((piece + 1) * items, op_rows(op, context))):
        memset(op.arguments[0] + item * area, 0, area)
        copy_slice(op, item, op.sizes[0], op.arguments[0], op.arguments[1], True)


# take: out (B, N), labels (B), weight (V, N); the sizes are N, V, and backward's V, N.

cdef enum: LABEL_RANGES = 16


cdef int64_t take_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), max(1, SPAN // max(1, op.sizes[0])))


cdef double take_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op_rows(op, context) * (10 + 0.2 * op.sizes[0])


cdef void take_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t rows = max(1, SPAN // max(1, op.sizes[0])), row, width = op.sizes[0]
    cdef const int64_t *labels = <const int64_t *> op.arguments[1]
    for row in range(piece * rows, smaller((piece + 1) * rows, op_rows(op, context))):
        op.bodies.tensor.copy(
            op.arguments[0] + row * width * op.itemsize, 0,
            op.arguments[2] + labels[row] * width * op.itemsize, 0, 1, width)


cdef int64_t take_backward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef double work = take_backward_cost(op, context, phase)
    return max(1, smaller(smaller(<int64_t> (work / 10000), LABEL_RANGES), op.sizes[0]))


cdef double take_backward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op_rows(op, context) * (10 + 0.2 * op.sizes[1]) + 0.1 * op.sizes[0] * op.sizes[1]


cdef void take_backward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t pieces = take_backward_pieces(op, context, phase), row
    cdef int64_t low = op.sizes[0] * piece // pieces, high = op.sizes[0] * (piece + 1) // pieces
    cdef int64_t bytes = op.sizes[1] * op.itemsize
    cdef const int64_t *labels = <const int64_t *> op.arguments[2]
    memset(op.arguments[0] + low * bytes, 0, (high - low) * bytes)
    for row in range(op_rows(op, context)):
        if low <= labels[row] < high:
            op.bodies.tensor.accumulate(
                op.arguments[0] + labels[row] * bytes, op.arguments[1] + row * bytes, op.sizes[1])


cdef void one_hot_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t rows = max(1, SPAN // max(1, op.sizes[0])), row = piece * rows
    op.bodies.tensor.one_hot(
        op.arguments[0] + row * op.sizes[0] * op.itemsize,
        <const int64_t *> op.arguments[1] + row,
        smaller(rows, op_rows(op, context) - row), op.sizes[0])


# --- products of many matrices: a (B, M, K), b (B, K, N), out (B, M, N) ------------------------

cdef enum: NN, NT, TN       # variants: forward, backward_a, backward_b


# The letters' order makes the sizes those of the product: its rows, its columns, its depth.

cdef int64_t products_of_piece(const Op *op) noexcept nogil:
    return max(1, 40000 // max(1, op.sizes[0] * op.sizes[1] * op.sizes[2]))


cdef int64_t batch_matmul_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    if op.sizes[0] == 0 or op.sizes[1] == 0:
        return 0
    return ceil_divide(op_rows(op, context), products_of_piece(op))


cdef double batch_matmul_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op_rows(op, context) * (
        50 + op.bodies.matmul.nanoseconds * op.sizes[0] * op.sizes[1] * op.sizes[2])


cdef void batch_matmul_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t rows = op.sizes[0], columns = op.sizes[1], depth = op.sizes[2]
    cdef int64_t count = products_of_piece(op), size = op.itemsize, i
    cdef Product p
    p.out_stride, p.rows, p.columns, p.depth = columns, rows, columns, depth
    p.bias, p.finished, p.op, p.context = NULL, NULL, op, context
    p.first_row = p.first_column = 0
    p.turned = product_turns(rows, columns, depth)
    p.a_stride = rows if op.kernel.variant == TN else depth
    p.b_stride = depth if op.kernel.variant == NT else columns
    for i in range(piece * count, smaller((piece + 1) * count, op_rows(op, context))):
        p.out = op.arguments[0] + i * rows * columns * size
        p.a = first_factor(op) + i * rows * depth * size
        p.b = second_factor(op) + i * depth * columns * size
        p.b_end = <const char *> p.b + depth * columns * size
        if op.kernel.variant == NN:
            op.bodies.matmul.nn(&p)
        elif op.kernel.variant == NT:
            op.bodies.matmul.nt(&p)
        else:
            op.bodies.matmul.tn(&p)


# grad_b = a.T @ grad_out, whose arguments are grad_b, grad_out, a.

cdef char *first_factor(const Op *op) noexcept nogil:
    return op.arguments[2] if op.kernel.variant == TN else op.arguments[1]


cdef char *second_factor(const Op *op) noexcept nogil:
    return op.arguments[1] if op.kernel.variant == TN else op.arguments[2]


cdef Kernel[16] moves
cdef int moves_made = 0


cdef int define_move(
    str name, int64_t (*pieces)(const Op *, const Context *, int) noexcept nogil,
    void (*run_piece)(const Op *, const Context *, int, int64_t) noexcept nogil,
    double (*cost)(const Op *, const Context *, int) noexcept nogil,
    str arguments, str options="", int variant=0,
) except -1:
    global moves_made
    cdef Kernel *kernel = &moves[moves_made]
    moves_made += 1
    kernel.phases = 1
    kernel.pieces = pieces
    kernel.run_piece = run_piece
    kernel.cost = cost
    kernel.variant = variant
    return register(name, kernel, arguments, options)


define_move("transpose_forward", transpose_pieces, transpose_piece, transpose_cost, "out x")
define_move(
    "transpose_backward", transpose_pieces, transpose_piece, transpose_cost, "grad_x grad_out")
define_move(
    "slice_forward", slice_pieces, slice_piece, slice_cost, "out x", "start stride length")
define_move(
    "slice_backward", slice_pieces, slice_backward_piece, slice_cost, "grad_x grad_out",
    "start stride length")
define_move("take_forward", take_pieces, take_piece, take_cost, "out labels weight")
define_move(
    "take_backward", take_backward_pieces, take_backward_piece, take_backward_cost,
    "grad_weight grad_out labels")
define_move("one_hot", take_pieces, one_hot_piece, take_cost, "out labels", "classes")
define_move(
    "batch_matmul_forward", batch_matmul_pieces, batch_matmul_piece, batch_matmul_cost,
    "out a b", "", NN)
define_move(
    "batch_matmul_backward_a", batch_matmul_pieces, batch_matmul_piece, batch_matmul_cost,
    "grad_a grad_out b", "", NT)
define_move(
    "batch_matmul_backward_b", batch_matmul_pieces, batch_matmul_piece, batch_matmul_cost,
    "grad_b grad_out a", "", TN)
