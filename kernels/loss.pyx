"""Losses with their gradients, accuracies, and the running totals of both.

Shapes: pred and target (B, C), labels, sample_weight and loss (B). A backward op is the same body
with the rows' gradients as weights; the losses go to its workspace. The pieces are groups of rows of
about SPAN elements together; each writes its own rows of loss and grad_pred. A row is read while it
is in L1: softmax cross-entropy in three passes (maximum, exponentials and sums, gradient), all
others in one or two. In float32 that moves 12 bytes an element, and 8 where labels are given.
"""

from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport (
    SPAN,
    Context,
    Kernel,
    LossBody,
    LossInputs,
    LossOptions,
    Op,
    ceil_divide,
    op_rows,
    register,
    smaller,
)


cdef extern from "simd/loss.h" nogil:
    enum:
        MEAN_SQUARED_ERROR, MEAN_ABSOLUTE_ERROR, HUBER
        BINARY_CROSSENTROPY, BINARY_CROSSENTROPY_OF_LOGITS


cdef enum: LOSS, GRAD_PRED, PRED, TARGET, SAMPLE_WEIGHT     # losses
cdef enum: BACKWARD_PRED, GRAD_LOSS                         # their backward ops: pred and target after
cdef enum: OUT, METRIC_PRED, METRIC_TARGET                  # accuracies


cdef enum: FORWARD, BACKWARD    # variants of a loss's kernel


cdef inline int64_t rows_per_piece(const Op *op, const Context *context) noexcept nogil:
    cdef int64_t rows = op_rows(op, context)
    if 0 < rows * op.sizes[0] <= SPAN:
        return rows     # without a division, which would take as long as the rows
    return max(1, SPAN // max(1, op.sizes[0]))


cdef int64_t row_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), rows_per_piece(op, context))


cdef double cheap_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op_rows(op, context) * (5.0 + 0.15 * op.sizes[0])


cdef double crossentropy_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op_rows(op, context) * (15.0 + 0.5 * op.sizes[0])


cdef inline char *row_of(const Op *op, int argument, int64_t row, int64_t width) noexcept nogil:
    if op.arguments[argument] == NULL:
        return NULL
    return op.arguments[argument] + row * width * op.itemsize


cdef inline LossInputs inputs_of(
    const Op *op, const Context *context, int64_t piece, int pred, bint labels
) noexcept nogil:
    """The piece's rows of pred, and of the target or labels that come after it."""
    cdef LossInputs inputs
    cdef int64_t first = piece * rows_per_piece(op, context)
    inputs.rows = smaller(rows_per_piece(op, context), op_rows(op, context) - first)
    inputs.C = op.sizes[0]
    inputs.pred = row_of(op, pred, first, inputs.C)
    inputs.target = NULL
    inputs.labels = NULL
    inputs.sample_weight = NULL
    if labels:
        inputs.labels = <const int64_t *> op.arguments[pred + 1] + first
    else:
        inputs.target = row_of(op, pred + 1, first, inputs.C)
    return inputs


cdef inline void run_loss(
    const Op *op, const Context *context, int64_t piece, LossBody body, bint labels,
    double delta, double smoothing, double scale
) noexcept nogil:
    cdef LossInputs inputs = inputs_of(op, context, piece, PRED, labels)
    cdef LossOptions options
    cdef int64_t first = piece * rows_per_piece(op, context)
    options.delta = delta
    options.smoothing = smoothing
    if op.kernel.variant == BACKWARD:
        inputs.sample_weight = row_of(op, GRAD_LOSS, first, 1)
        options.factor = 1.0
        body(<char *> op.workspace + first * op.itemsize,
             row_of(op, BACKWARD_PRED, first, inputs.C), &inputs, &options)
        return
    inputs.sample_weight = row_of(op, SAMPLE_WEIGHT, first, 1)
    options.factor = scale / op_rows(op, context)
    body(row_of(op, LOSS, first, 1), row_of(op, GRAD_PRED, first, inputs.C), &inputs, &options)


cdef void mean_squared_error(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    run_loss(op, context, piece, op.bodies.loss.elementwise[MEAN_SQUARED_ERROR], False,
             0.0, 0.0, op.options[0].number)


cdef void mean_absolute_error(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    run_loss(op, context, piece, op.bodies.loss.elementwise[MEAN_ABSOLUTE_ERROR], False,
             0.0, 0.0, op.options[0].number)


cdef void huber(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    run_loss(op, context, piece, op.bodies.loss.elementwise[HUBER], False,
             op.options[0].number, 0.0, op.options[1].number)


cdef void binary_crossentropy(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int kind = BINARY_CROSSENTROPY_OF_LOGITS if op.options[0].whole else BINARY_CROSSENTROPY
    run_loss(op, context, piece, op.bodies.loss.elementwise[kind], False,
             0.0, op.options[1].number, op.options[2].number)


cdef inline void run_categorical(
    const Op *op, const Context *context, int64_t piece, bint labels
) noexcept nogil:
    cdef LossBody body = op.bodies.loss.categorical
    if op.options[0].whole:
        body = op.bodies.loss.categorical_of_logits
    run_loss(op, context, piece, body, labels, 0.0, op.options[1].number, op.options[2].number)


cdef void categorical_crossentropy(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    run_categorical(op, context, piece, False)


cdef void sparse_categorical_crossentropy(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    run_categorical(op, context, piece, True)


cdef void categorical_accuracy(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef LossInputs inputs = inputs_of(op, context, piece, METRIC_PRED, False)
    op.bodies.loss.categorical_accuracy(
        row_of(op, OUT, piece * rows_per_piece(op, context), 1), &inputs)


cdef void sparse_categorical_accuracy(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef LossInputs inputs = inputs_of(op, context, piece, METRIC_PRED, True)
    op.bodies.loss.categorical_accuracy(
        row_of(op, OUT, piece * rows_per_piece(op, context), 1), &inputs)


cdef void binary_accuracy(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef LossInputs inputs = inputs_of(op, context, piece, METRIC_PRED, False)
    op.bodies.loss.binary_accuracy(
        row_of(op, OUT, piece * rows_per_piece(op, context), 1), &inputs, op.options[0].number)


cdef int64_t one_piece(const Op *op, const Context *context, int phase) noexcept nogil:
    return 1


cdef double accumulate_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return 10.0 + 0.1 * op_rows(op, context)


cdef void accumulate(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    # total, values, sample_weight
    cdef double *total = <double *> op.arguments[0]
    cdef int64_t rows = op_rows(op, context)
    total[0] += op.bodies.loss.weighted_sum(op.arguments[1], op.arguments[2], rows)
    if op.options[0].whole and op.arguments[2] != NULL:
        total[1] += op.bodies.loss.weighted_sum(op.arguments[2], NULL, rows)
    else:
        total[1] += rows


cdef void batch_mean(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    # out, values, sample_weight
    cdef int64_t rows = op_rows(op, context)
    cdef double mean = op.bodies.loss.weighted_sum(op.arguments[1], op.arguments[2], rows) / rows
    if op.itemsize == 8:
        (<double *> op.arguments[0])[0] = mean
    else:
        (<float *> op.arguments[0])[0] = <float> mean


cdef void batch_mean_backward(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    # grad_values, grad_out, values, sample_weight
    cdef int64_t i, rows = op_rows(op, context), start = piece * SPAN
    cdef double *wide = <double *> op.arguments[0]
    cdef float *narrow = <float *> op.arguments[0]
    cdef const double *wide_weight = <const double *> op.arguments[3]
    cdef const float *narrow_weight = <const float *> op.arguments[3]
    cdef double wide_share
    cdef float narrow_share
    if op.itemsize == 8:
        wide_share = (<double *> op.arguments[1])[0] / rows
        for i in range(start, smaller(rows, start + SPAN)):
            wide[i] = wide_share if wide_weight == NULL else wide_share * wide_weight[i]
    else:
        narrow_share = (<float *> op.arguments[1])[0] / <float> rows
        for i in range(start, smaller(rows, start + SPAN)):
            narrow[i] = narrow_share if narrow_weight == NULL else narrow_share * narrow_weight[i]


cdef int64_t span_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), SPAN)


cdef size_t loss_workspace(const Op *op, int64_t rows) noexcept nogil:
    return <size_t> (rows * op.itemsize)


cdef int register_backward(
    str name, Kernel *kernel, const Kernel *forward, str arguments, str options=""
) except -1:
    """A loss's backward op: the same pieces, another variant."""
    kernel[0] = forward[0]
    kernel.variant = BACKWARD
    kernel.workspace = loss_workspace
    return register(name, kernel, arguments, options)


cdef int register_rows(
    str name, Kernel *kernel,
    void (*run_piece)(const Op *, const Context *, int, int64_t) noexcept nogil,
    double (*cost)(const Op *, const Context *, int) noexcept nogil,
    str arguments, str options=""
) except -1:
    kernel.phases = 1
    kernel.pieces = row_pieces
    kernel.run_piece = run_piece
    kernel.cost = cost
    return register(name, kernel, arguments, options)


cdef str TARGETS = "loss grad_pred pred target sample_weight"
cdef str LABELS = "loss grad_pred pred labels sample_weight"

cdef str BACKWARD_TARGETS = "grad_pred grad_loss pred target"
cdef str BACKWARD_LABELS = "grad_pred grad_loss pred labels"

cdef Kernel squared_back, absolute_back, huber_back, binary_back, categorical_back, sparse_back
cdef Kernel mean_kernel, mean_back
cdef Kernel squared_kernel, absolute_kernel, huber_kernel, binary_kernel
cdef Kernel categorical_kernel, sparse_kernel
cdef Kernel accuracy_kernel, sparse_accuracy_kernel, binary_accuracy_kernel, accumulate_kernel

register_rows(
    "mean_squared_error", &squared_kernel, mean_squared_error, cheap_cost, TARGETS, "scale")
register_rows(
    "mean_absolute_error", &absolute_kernel, mean_absolute_error, cheap_cost, TARGETS, "scale")
register_rows("huber", &huber_kernel, huber, cheap_cost, TARGETS, "delta scale")
register_rows(
    "binary_crossentropy", &binary_kernel, binary_crossentropy, crossentropy_cost, TARGETS,
    "from_logits label_smoothing scale")
register_rows(
    "categorical_crossentropy", &categorical_kernel, categorical_crossentropy, crossentropy_cost,
    TARGETS, "from_logits label_smoothing scale")
register_rows(
    "sparse_categorical_crossentropy", &sparse_kernel, sparse_categorical_crossentropy,
    crossentropy_cost, LABELS, "from_logits label_smoothing scale")
register_backward(
    "mean_squared_error_backward", &squared_back, &squared_kernel, BACKWARD_TARGETS)
register_backward(
    "mean_absolute_error_backward", &absolute_back, &absolute_kernel, BACKWARD_TARGETS)
register_backward("huber_backward", &huber_back, &huber_kernel, BACKWARD_TARGETS, "delta")
register_backward(
    "binary_crossentropy_backward", &binary_back, &binary_kernel, BACKWARD_TARGETS,
    "from_logits label_smoothing")
register_backward(
    "categorical_crossentropy_backward", &categorical_back, &categorical_kernel, BACKWARD_TARGETS,
    "from_logits label_smoothing")
register_backward(
    "sparse_categorical_crossentropy_backward", &sparse_back, &sparse_kernel, BACKWARD_LABELS,
    "from_logits label_smoothing")
register_rows(
    "categorical_accuracy", &accuracy_kernel, categorical_accuracy, cheap_cost, "out pred target")
register_rows(
    "sparse_categorical_accuracy", &sparse_accuracy_kernel, sparse_categorical_accuracy,
    cheap_cost, "out pred labels")
register_rows(
    "binary_accuracy", &binary_accuracy_kernel, binary_accuracy, cheap_cost, "out pred target",
    "threshold")

accumulate_kernel.phases = 1
accumulate_kernel.pieces = one_piece
accumulate_kernel.run_piece = accumulate
accumulate_kernel.cost = accumulate_cost
register("accumulate", &accumulate_kernel, "total values sample_weight", "by_weight")

mean_kernel.phases = mean_back.phases = 1
mean_kernel.pieces, mean_kernel.run_piece = one_piece, batch_mean
mean_back.pieces, mean_back.run_piece = span_pieces, batch_mean_backward
mean_kernel.cost = mean_back.cost = accumulate_cost
register("batch_mean", &mean_kernel, "out values sample_weight")
register("batch_mean_backward", &mean_back, "grad_values grad_out values sample_weight")
