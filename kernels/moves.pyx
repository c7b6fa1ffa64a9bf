"""Copies of parts: transposed, sliced, taken by label, laid side by side.

Pieces are items of B, of about SPAN elements together; every element is read once and written once:
8 bytes in float32. A large transposition is cut into strips of its rows too. take_backward adds up
rows by label: a piece owns a range of labels, looks at all labels in their order, and adds the rows
of those that are its own.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from fastdl.kernels.runner cimport (
    SPAN, Context, Kernel, Op, ceil_divide, op_rows, register, rows_in_span, smaller,
)

cdef enum: SMALL = 16384        # elements of a matrix that is transposed as one


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


# concatenate: a (B, C) and b (B, D) lie side by side in out (B, C + D); split: the inverse.

cdef int64_t side_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), rows_in_span(op.sizes[0] + op.sizes[1]))


cdef double side_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op_rows(op, context) * (10 + 0.1 * (op.sizes[0] + op.sizes[1]))


cdef void concatenate(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t rows = rows_in_span(op.sizes[0] + op.sizes[1])
    cdef int64_t first = piece * rows, row
    cdef int64_t a = op.sizes[0] * op.itemsize, b = op.sizes[1] * op.itemsize
    for row in range(first, smaller(first + rows, op_rows(op, context))):
        memcpy(op.arguments[0] + row * (a + b), op.arguments[1] + row * a, a)
        memcpy(op.arguments[0] + row * (a + b) + a, op.arguments[2] + row * b, b)


cdef void split(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t rows = rows_in_span(op.sizes[0] + op.sizes[1])
    cdef int64_t first = piece * rows, row
    cdef int64_t a = op.sizes[0] * op.itemsize, b = op.sizes[1] * op.itemsize
    for row in range(first, smaller(first + rows, op_rows(op, context))):
        memcpy(op.arguments[0] + row * a, op.arguments[2] + row * (a + b), a)
        memcpy(op.arguments[1] + row * b, op.arguments[2] + row * (a + b) + a, b)


cdef enum: MOVES = 11
cdef Kernel[MOVES] moves
cdef int moves_made = 0


cdef int define_move(
    str name, int64_t (*pieces)(const Op *, const Context *, int) noexcept nogil,
    void (*run_piece)(const Op *, const Context *, int, int64_t) noexcept nogil,
    double (*cost)(const Op *, const Context *, int) noexcept nogil,
    str arguments, str options="",
) except -1:
    global moves_made
    cdef Kernel *kernel = &moves[moves_made]
    moves_made += 1
    kernel.phases = 1
    kernel.pieces = pieces
    kernel.run_piece = run_piece
    kernel.cost = cost
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
define_move("concatenate", side_pieces, concatenate, side_cost, "out a b")
define_move("concatenate_backward", side_pieces, split, side_cost, "grad_a grad_b grad_out")
define_move("split_forward", side_pieces, split, side_cost, "a b x")
define_move("split_backward", side_pieces, concatenate, side_cost, "grad_x grad_a grad_b")
