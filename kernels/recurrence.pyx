"""Steps of recurrent cells, masks, and sequences in the order of time.

Shapes: a step's arrays are (B, U), its gates (B, G) with G = 4*U for an LSTM and 3*U for a GRU.
Pieces are groups of rows of about SPAN gates, each written by its piece alone. An LSTM's step reads
5 and writes up to 7 elements for each unit and takes some 150 operations; backward reads 8 and
writes 5.

to_time_major, from_time_major: (B, T, F) of which the pieces are groups of the rows of F elements,
copied one by one: 8 bytes an element in float32.

row_mask and choose_rows: (B, F) and (B); pieces are groups of rows.

fill and assign: (B); pieces are spans of SPAN elements.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy

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


cdef enum: OUT, X                                           # fill, assign, row_mask, time
cdef enum: CHOSEN, FIRST, OTHER, MASK                       # choose_rows_forward
cdef enum: GRAD_FIRST, GRAD_OTHER, GRAD_CHOSEN, GRAD_MASK   # choose_rows_backward
cdef enum: ACTIVATION, RECURRENT_ACTIVATION                 # options of the cells
cdef enum: TIME, WIDTH                                      # sizes of sequences
cdef enum: UNITS, GATES                                     # sizes of the cells' steps

cdef Kernel to_time_kernel, to_time_backward_kernel, from_time_kernel, from_time_backward_kernel
cdef Kernel fill_kernel, assign_kernel
cdef Kernel row_mask_kernel, choose_rows_kernel, choose_rows_backward_kernel
cdef Kernel lstm_kernel, lstm_backward_kernel, gru_kernel, gru_backward_kernel


# --- the order of time ---------------------------------------------------------------------------

cdef int64_t time_rows(const Op *op, const Context *context) noexcept nogil:
    return op_rows(op, context) * op.sizes[TIME]


cdef int64_t time_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(time_rows(op, context), rows_in_span(op.sizes[WIDTH]))


cdef double time_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return time_rows(op, context) * (3 + 0.1 * op.sizes[WIDTH])


cdef void to_time(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    """Rows of out in their order: the time is that of the block they are in."""
    cdef int64_t batch = op_rows(op, context), times = op.sizes[TIME]
    cdef int64_t bytes = op.sizes[WIDTH] * op.itemsize, group = rows_in_span(op.sizes[WIDTH])
    cdef int64_t row = piece * group, end = smaller((piece + 1) * group, batch * times)
    cdef int64_t time = row // batch, b = row % batch, source
    while row < end:
        source = times - 1 - time if op.options[0].whole else time
        memcpy(op.arguments[OUT] + row * bytes,
               op.arguments[X] + (b * times + source) * bytes, bytes)
        row += 1
        b += 1
        if b == batch:
            time, b = time + 1, 0


cdef void from_time(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef int64_t batch = op_rows(op, context), times = op.sizes[TIME]
    cdef int64_t bytes = op.sizes[WIDTH] * op.itemsize, group = rows_in_span(op.sizes[WIDTH])
    cdef int64_t row = piece * group, end = smaller((piece + 1) * group, batch * times)
    cdef int64_t b = row // times, time = row % times, source
    while row < end:
        source = times - 1 - time if op.options[0].whole else time
        memcpy(op.arguments[OUT] + row * bytes,
               op.arguments[X] + (source * batch + b) * bytes, bytes)
        row += 1
        time += 1
        if time == times:
            b, time = b + 1, 0


# --- fill and assign -----------------------------------------------------------------------------

cdef int64_t span_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), SPAN)


cdef double span_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return 0.05 * op_rows(op, context)


cdef void fill(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef int64_t start = piece * SPAN
    op.bodies.recurrence.fill(
        op.arguments[OUT] + start * op.itemsize, op.options[0].number,
        smaller(SPAN, op_rows(op, context) - start))


cdef void assign(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef int64_t start = piece * SPAN
    memcpy(op.arguments[OUT] + start * op.itemsize, op.arguments[X] + start * op.itemsize,
           smaller(SPAN, op_rows(op, context) - start) * op.itemsize)


# --- masks ---------------------------------------------------------------------------------------

cdef int64_t row_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), rows_in_span(op.sizes[0]))


cdef double row_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op.kernel.nanoseconds * op_rows(op, context) * (10 + op.sizes[0])


cdef void row_mask(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef int64_t rows = rows_in_span(op.sizes[0]), row = piece * rows
    op.bodies.recurrence.row_mask(
        op.arguments[OUT] + row * op.itemsize,
        op.arguments[X] + row * op.sizes[0] * op.itemsize, op.options[0].number,
        smaller(rows, op_rows(op, context) - row), op.sizes[0])


cdef void choose(
    const Op *op, const Context *context, int64_t piece, char *out, char *first, char *other,
    char *mask
) noexcept nogil:
    cdef int64_t rows = rows_in_span(op.sizes[0]), row = piece * rows
    cdef int64_t at = row * op.sizes[0] * op.itemsize
    op.bodies.recurrence.choose_rows(
        out + at, first + at if first != NULL else NULL, other + at if other != NULL else NULL,
        mask + row * op.itemsize, smaller(rows, op_rows(op, context) - row), op.sizes[0])


cdef void choose_rows(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    choose(op, context, piece, op.arguments[CHOSEN], op.arguments[FIRST], op.arguments[OTHER],
           op.arguments[MASK])


cdef void choose_rows_backward(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef char *grad_out = op.arguments[GRAD_CHOSEN]
    choose(op, context, piece, op.arguments[GRAD_FIRST], grad_out, NULL, op.arguments[GRAD_MASK])
    if op.arguments[GRAD_OTHER] != NULL:
        choose(op, context, piece, op.arguments[GRAD_OTHER], NULL, grad_out,
               op.arguments[GRAD_MASK])


# --- cells ---------------------------------------------------------------------------------------

cdef struct Rows:
    int64_t first, count, units


cdef int64_t cell_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), rows_in_span(op.sizes[GATES]))


cdef double cell_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op.kernel.nanoseconds * op_rows(op, context) * op.sizes[GATES]


cdef Rows rows_of(const Op *op, const Context *context, int64_t piece) noexcept nogil:
    cdef Rows rows
    cdef int64_t group = rows_in_span(op.sizes[GATES])
    rows.first = piece * group
    rows.count = smaller(group, op_rows(op, context) - rows.first)
    rows.units = op.sizes[UNITS]
    return rows


cdef char *place(const Op *op, int argument, int64_t elements) noexcept nogil:
    cdef char *start = op.arguments[argument]
    return NULL if start == NULL else start + elements * op.itemsize


cdef void lstm(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef Rows rows = rows_of(op, context, piece)
    cdef int64_t u = rows.first * rows.units
    op.bodies.recurrence.lstm_forward(
        place(op, 0, u), place(op, 1, u), place(op, 2, 4 * u), place(op, 3, u),
        place(op, 4, 4 * u), place(op, 5, u), rows.count, rows.units,
        op.options[ACTIVATION].whole, op.options[RECURRENT_ACTIVATION].whole)


cdef void lstm_backward(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Rows rows = rows_of(op, context, piece)
    cdef int64_t u = rows.first * rows.units
    op.bodies.recurrence.lstm_backward(
        place(op, 1, 4 * u), place(op, 0, u), place(op, 2, u), place(op, 3, u),
        place(op, 4, 4 * u), place(op, 5, u), place(op, 6, u), rows.count, rows.units,
        op.options[ACTIVATION].whole, op.options[RECURRENT_ACTIVATION].whole)


cdef void gru(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef Rows rows = rows_of(op, context, piece)
    cdef int64_t u = rows.first * rows.units
    op.bodies.recurrence.gru_forward(
        place(op, 0, u), place(op, 1, 3 * u), place(op, 2, 3 * u), place(op, 3, 3 * u),
        place(op, 4, u), rows.count, rows.units,
        op.options[ACTIVATION].whole, op.options[RECURRENT_ACTIVATION].whole)


cdef void gru_backward(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Rows rows = rows_of(op, context, piece)
    cdef int64_t u = rows.first * rows.units
    op.bodies.recurrence.gru_backward(
        place(op, 1, 3 * u), place(op, 2, 3 * u), place(op, 0, u), place(op, 3, u),
        place(op, 4, 3 * u), place(op, 5, 3 * u), place(op, 6, u), rows.count, rows.units,
        op.options[ACTIVATION].whole, op.options[RECURRENT_ACTIVATION].whole)


cdef void define(
    Kernel *kernel,
    int64_t (*pieces)(const Op *, const Context *, int) noexcept nogil,
    double (*cost)(const Op *, const Context *, int) noexcept nogil,
    void (*run_piece)(const Op *, const Context *, int, int64_t) noexcept nogil,
    double nanoseconds,
) noexcept:
    kernel.phases = 1
    kernel.pieces = pieces
    kernel.cost = cost
    kernel.run_piece = run_piece
    kernel.nanoseconds = nanoseconds


define(&to_time_kernel, time_pieces, time_cost, to_time, 0)
define(&to_time_backward_kernel, time_pieces, time_cost, from_time, 0)
define(&from_time_kernel, time_pieces, time_cost, from_time, 0)
define(&from_time_backward_kernel, time_pieces, time_cost, to_time, 0)
register("to_time_major_forward", &to_time_kernel, "out x", "reverse")
register("to_time_major_backward", &to_time_backward_kernel, "grad_x grad_out", "reverse")
register("from_time_major_forward", &from_time_kernel, "out x", "reverse")
register("from_time_major_backward", &from_time_backward_kernel, "grad_x grad_out", "reverse")

define(&fill_kernel, span_pieces, span_cost, fill, 0)
define(&assign_kernel, span_pieces, span_cost, assign, 0)
register("fill", &fill_kernel, "out", "value")
register("assign", &assign_kernel, "target x")

define(&row_mask_kernel, row_pieces, row_cost, row_mask, 0.2)
define(&choose_rows_kernel, row_pieces, row_cost, choose_rows, 0.1)
define(&choose_rows_backward_kernel, row_pieces, row_cost, choose_rows_backward, 0.2)
register("row_mask", &row_mask_kernel, "out x", "value")
register("choose_rows_forward", &choose_rows_kernel, "out x other mask")
register("choose_rows_backward", &choose_rows_backward_kernel, "grad_x grad_other grad_out mask")

define(&lstm_kernel, cell_pieces, cell_cost, lstm, 0.6)
define(&lstm_backward_kernel, cell_pieces, cell_cost, lstm_backward, 0.2)
define(&gru_kernel, cell_pieces, cell_cost, gru, 0.6)
define(&gru_backward_kernel, cell_pieces, cell_cost, gru_backward, 0.2)
register("lstm_step_forward", &lstm_kernel, "out carry_out gates squashed x carry",
         "activation recurrent_activation")
register("lstm_step_backward", &lstm_backward_kernel,
         "grad_carry grad_x grad_out grad_carry_out gates squashed carry",
         "activation recurrent_activation")
register("gru_step_forward", &gru_kernel, "out gates x recurrent state",
         "activation recurrent_activation")
register("gru_step_backward", &gru_backward_kernel,
         "grad_state grad_x grad_recurrent grad_out gates recurrent state",
         "activation recurrent_activation")
