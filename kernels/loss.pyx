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
    LossCall,
    LossInputs,
    Op,
    Option,
    Stage,
    ceil_divide,
    op_rows,
    register,
    smaller,
    starts_line,
)


cdef extern from "simd/loss.h" nogil:
    enum:
        MEAN_SQUARED_ERROR, MEAN_ABSOLUTE_ERROR, HUBER
        BINARY_CROSSENTROPY, BINARY_CROSSENTROPY_OF_LOGITS, ELEMENTWISE_LOSSES


cdef enum: LOSS, GRAD_PRED, PRED, TARGET, SAMPLE_WEIGHT     # losses
cdef enum: BACKWARD_PRED, GRAD_LOSS                         # their backward ops: pred and target after
cdef enum: OUT, METRIC_PRED, METRIC_TARGET                  # accuracies


# A loss's kernel has the variant 2*kind, its backward op's one more. Kinds follow those of the bodies.
cdef enum: BACKWARD = 1
cdef enum: CATEGORICAL = ELEMENTWISE_LOSSES, SPARSE_CATEGORICAL


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


cdef LossCall loss_call(const Op *op, const Context *context, int64_t piece) noexcept nogil:
    """The body's call for a piece."""
    cdef int64_t kind = op.kernel.variant >> 1, first = piece * rows_per_piece(op, context)
    cdef bint backward = op.kernel.variant & BACKWARD, labels = kind == SPARSE_CATEGORICAL
    cdef Option *options = <Option *> op.options
    cdef LossCall call
    call.inputs = inputs_of(op, context, piece, PRED, labels)
    call.options.delta = call.options.smoothing = 0
    call.options.roomy = False
    if kind == HUBER:
        call.options.delta = options[0].number
        options += 1
    elif kind >= BINARY_CROSSENTROPY:
        call.options.smoothing = options[1].number
        options += 2
    if kind >= CATEGORICAL:
        call.body = (op.bodies.loss.categorical_of_logits if op.options[0].whole
                     else op.bodies.loss.categorical)
    elif kind == BINARY_CROSSENTROPY and op.options[0].whole:
        call.body = op.bodies.loss.elementwise[BINARY_CROSSENTROPY_OF_LOGITS]
    else:
        call.body = op.bodies.loss.elementwise[kind]
    if backward:
        call.inputs.sample_weight = row_of(op, GRAD_LOSS, first, 1)
        call.options.factor = 1.0
        call.loss = <char *> op.workspace + first * op.itemsize
        call.grad_pred = row_of(op, BACKWARD_PRED, first, call.inputs.C)
    else:
        call.inputs.sample_weight = row_of(op, SAMPLE_WEIGHT, first, 1)
        call.options.factor = options[0].number / op_rows(op, context)
        call.loss = row_of(op, LOSS, first, 1)
        call.grad_pred = row_of(op, GRAD_PRED, first, call.inputs.C)
    return call


cdef void run_loss(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef LossCall call = loss_call(op, context, piece)
    call.body(call.loss, call.grad_pred, &call.inputs, &call.options)


cdef void prepare_loss(Stage *stage, const Context *context) noexcept nogil:
    cdef LossCall *call = &stage.ready.loss
    if stage.pieces > 1 or stage.moves:
        return
    call[0] = loss_call(stage.op, context, 0)
    if not stage.op.kernel.variant & BACKWARD:      # which writes into the workspace too
        call.options.roomy = (
            stage.ready.roomy and starts_line(call.loss) and starts_line(call.grad_pred))
    stage.ready.read[0] = &call.inputs.pred
    stage.ready.read[1] = &call.inputs.target
    stage.ready.read[2] = <const void **> &call.inputs.labels
    stage.ready.read[3] = &call.inputs.sample_weight
    stage.ready.reads = 4
    stage.run = run_ready


cdef void run_ready(const Stage *stage, const Context *context) noexcept nogil:
    cdef const LossCall *call = &stage.ready.loss
    call.body(call.loss, call.grad_pred, &call.inputs, &call.options)


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


cdef int register_loss(
    str name, int kind, Kernel *kernel, Kernel *backward,
    double (*cost)(const Op *, const Context *, int) noexcept nogil, str targets, str options=""
) except -1:
    """A loss and its backward op: the same pieces, another variant."""
    kernel.variant = 2 * kind
    kernel.prepare = prepare_loss
    register_rows(
        name, kernel, run_loss, cost, f"loss grad_pred pred {targets} sample_weight",
        f"{options} scale".strip())
    backward[0] = kernel[0]
    backward.variant += BACKWARD
    backward.workspace = loss_workspace
    return register(f"{name}_backward", backward, f"grad_pred grad_loss pred {targets}", options)


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


cdef Kernel squared_back, absolute_back, huber_back, binary_back, categorical_back, sparse_back
cdef Kernel mean_kernel, mean_back
cdef Kernel squared_kernel, absolute_kernel, huber_kernel, binary_kernel
cdef Kernel categorical_kernel, sparse_kernel
cdef Kernel accuracy_kernel, sparse_accuracy_kernel, binary_accuracy_kernel, accumulate_kernel

register_loss(
    "mean_squared_error", MEAN_SQUARED_ERROR, &squared_kernel, &squared_back, cheap_cost, "target")
register_loss(
    "mean_absolute_error", MEAN_ABSOLUTE_ERROR, &absolute_kernel, &absolute_back, cheap_cost,
    "target")
register_loss("huber", HUBER, &huber_kernel, &huber_back, cheap_cost, "target", "delta")
register_loss(
    "binary_crossentropy", BINARY_CROSSENTROPY, &binary_kernel, &binary_back, crossentropy_cost,
    "target", "from_logits label_smoothing")
register_loss(
    "categorical_crossentropy", CATEGORICAL, &categorical_kernel, &categorical_back,
    crossentropy_cost, "target", "from_logits label_smoothing")
register_loss(
    "sparse_categorical_crossentropy", SPARSE_CATEGORICAL, &sparse_kernel, &sparse_back,
    crossentropy_cost, "labels", "from_logits label_smoothing")
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
