"""One axis made longer: by zeros in front and behind, or by points between its own.

Shapes: x and grad_x are (B, M, N), out and grad_out (B, P, N).

pad: pieces are items of B, of about SPAN elements together; reads x and writes out once.
interpolate: pieces are rows of N, counted through all of B, of about SPAN elements together: of out
forwards, each from one or two rows of x, and of grad_x backwards, each from the rows of grad_out
that x had a part in, 2*size at most. Either reads the smaller array from the caches and the larger
one once: 4 bytes an element in float32, and as many to write.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from fastdl.kernels.runner cimport (
    SPAN,
    Context,
    Kernel,
    Op,
    ceil_divide,
    op_rows,
    register,
    rows_in_span,
    smaller,
)

# --- pad: sizes P, N, M; backwards M, N, P -------------------------------------------------------

cdef enum: BEFORE, AFTER


cdef int64_t pad_items(const Op *op) noexcept nogil:
    """Items of a piece, by the longer axis."""
    cdef int64_t longer = max(op.sizes[0], op.sizes[2])
    return max(1, SPAN // max(1, longer * op.sizes[1]))


cdef int64_t pad_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), pad_items(op))


cdef double pad_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op_rows(op, context) * (20 + 0.2 * (op.sizes[0] + op.sizes[2]) * op.sizes[1])


cdef void pad_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t row = op.sizes[1] * op.itemsize, items = pad_items(op), item
    cdef int64_t before = op.options[BEFORE].whole * row, after = op.options[AFTER].whole * row
    cdef int64_t inside = op.sizes[2] * op.sizes[1]
    cdef char *out
    for item in range(piece * items, smaller((piece + 1) * items, op_rows(op, context))):
        out = op.arguments[0] + item * op.sizes[0] * row
        memset(out, 0, before)
        op.bodies.tensor.copy(
            out + before, 0, op.arguments[1] + item * op.sizes[2] * row, 0, 1, inside)
        memset(out + before + op.sizes[2] * row, 0, after)


cdef void pad_backward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t row = op.sizes[1] * op.itemsize, items = pad_items(op), item
    for item in range(piece * items, smaller((piece + 1) * items, op_rows(op, context))):
        op.bodies.tensor.copy(
            op.arguments[0] + item * op.sizes[0] * row, 0,
            op.arguments[1] + (item * op.sizes[2] + op.options[BEFORE].whole) * row, 0,
            1, op.sizes[0] * op.sizes[1])


# --- interpolate: sizes P, N, M; backwards M, N, P -----------------------------------------------

cdef enum: SIZE = 0                 # the option
cdef enum: MOST_WEIGHTS = 64        # rows that are added up in one go


cdef struct Ends:
    # out[p] = (1 - weight)*x[low] + weight*x[high]
    int64_t low, high
    double weight


cdef Ends ends_of(int64_t p, int64_t size, int64_t length) noexcept nogil:
    cdef Ends ends
    cdef int64_t place = 2 * p + 1 - size      # in parts of 1/(2*size)
    if place < 0 or length == 1:
        ends.low, ends.high, ends.weight = 0, 0, 0.0
        return ends
    ends.low = place // (2 * size)
    ends.high = smaller(ends.low + 1, length - 1)
    ends.weight = (place % (2 * size)) / <double> (2 * size)
    if ends.high == ends.low:
        ends.weight = 0.0
    return ends


cdef int64_t interpolate_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    if op.sizes[1] == 0:
        return 0
    return ceil_divide(op_rows(op, context) * op.sizes[0], rows_in_span(op.sizes[1]))


cdef double interpolate_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef int64_t longer = max(op.sizes[0], op.sizes[2])
    return op_rows(op, context) * longer * (5 + 0.2 * op.sizes[1])


cdef void interpolate_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t P = op.sizes[0], N = op.sizes[1], M = op.sizes[2], size = op.options[SIZE].whole
    cdef int64_t rows = rows_in_span(N), row
    cdef Ends ends
    cdef double[2] weights
    for row in range(piece * rows, smaller((piece + 1) * rows, op_rows(op, context) * P)):
        ends = ends_of(row % P, size, M)
        weights[0], weights[1] = 1.0 - ends.weight, ends.weight
        op.bodies.tensor.weighted(
            op.arguments[0] + row * N * op.itemsize,
            op.arguments[1] + (row // P * M + ends.low) * N * op.itemsize,
            weights, 1 if ends.weight == 0.0 else 2, N, False)


cdef void interpolate_backward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t M = op.sizes[0], N = op.sizes[1], P = op.sizes[2], size = op.options[SIZE].whole
    cdef int64_t rows = rows_in_span(N), row
    for row in range(piece * rows, smaller((piece + 1) * rows, op_rows(op, context) * M)):
        gather(
            op, op.arguments[0] + row * N * op.itemsize,
            op.arguments[1] + row // M * P * N * op.itemsize, row % M, M, N, size)


cdef void gather(
    const Op *op, char *grad_x, const char *grad_out, int64_t m, int64_t M, int64_t N,
    int64_t size,
) noexcept nogil:
    """One row of the gradient: those of grad_out that come from row m, a stretch, with weights."""
    cdef int64_t p, first = 0, count = 0
    cdef double weight
    cdef double[MOST_WEIGHTS] weights
    cdef bint begun = False
    cdef Ends ends
    for p in range(max(0, (m - 1) * size), smaller(M, m + 2) * size):
        ends = ends_of(p, size, M)
        weight = 0.0
        if ends.low == m:
            weight = 1.0 - ends.weight
        elif ends.high == m:
            weight = ends.weight
        if weight == 0.0:
            continue
        if count == 0:
            first = p
        weights[count] = weight
        count += 1
        if count == MOST_WEIGHTS:
            op.bodies.tensor.weighted(
                grad_x, grad_out + first * N * op.itemsize, weights, count, N, begun)
            begun, count = True, 0
    if count > 0:
        op.bodies.tensor.weighted(
            grad_x, grad_out + first * N * op.itemsize, weights, count, N, begun)


cdef Kernel[4] kernels

kernels[0] = Kernel(
    phases=1, pieces=pad_pieces, run_piece=pad_piece, cost=pad_cost, workspace=NULL, span=NULL,
    tile=NULL, run_range=NULL, prepare=NULL, nanoseconds=0, variant=0, backwards=0,
    reads=0, adds=0, row_groups=NULL, by_rows=0)
kernels[1] = kernels[0]
kernels[1].run_piece = pad_backward_piece
kernels[2] = Kernel(
    phases=1, pieces=interpolate_pieces, run_piece=interpolate_piece, cost=interpolate_cost,
    workspace=NULL, span=NULL, tile=NULL, run_range=NULL, prepare=NULL, nanoseconds=0, variant=0, backwards=0,
    reads=0, adds=0, row_groups=NULL, by_rows=0)
kernels[3] = kernels[2]
kernels[3].run_piece = interpolate_backward_piece

register("pad_forward", &kernels[0], "out x", "before after")
register("pad_backward", &kernels[1], "grad_x grad_out", "before after")
register("interpolate_forward", &kernels[2], "out x", "size")
register("interpolate_backward", &kernels[3], "grad_x grad_out", "size")
