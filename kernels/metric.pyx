"""Metrics beside the accuracies: figures of rows, and accumulators in float64.

Shapes: pred and target (B, C), labels and sample_weight (B). What gives one number a row is cut
into runs of rows, each of which writes its own. An accumulator is one piece that takes all rows in
order: it reads 4 to 8 bytes an element in float32, of arrays that the loss has just brought into
the caches, and adds to a few numbers.
"""

from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport (
    SPAN,
    Context,
    Kernel,
    LossInputs,
    Op,
    ceil_divide,
    op_rows,
    register,
    smaller,
)


cdef enum: OUT, PRED, TARGET, SAMPLE_WEIGHT     # OUT: or the accumulator
cdef enum: C                                    # sizes


cdef inline LossInputs inputs_of(
    const Op *op, int64_t first, int64_t rows, bint labels, bint weighted
) noexcept nogil:
    cdef LossInputs inputs
    cdef int64_t row_bytes = op.sizes[C] * op.itemsize
    inputs.rows = rows
    inputs.C = op.sizes[C]
    inputs.pred = op.arguments[PRED] + first * row_bytes
    inputs.target = NULL
    inputs.labels = NULL
    inputs.sample_weight = NULL
    if labels:
        inputs.labels = <const int64_t *> op.arguments[TARGET] + first
    else:
        inputs.target = op.arguments[TARGET] + first * row_bytes
    if weighted and op.arguments[SAMPLE_WEIGHT] != NULL:
        inputs.sample_weight = op.arguments[SAMPLE_WEIGHT] + first * op.itemsize
    return inputs


# --- one number a row ----------------------------------------------------------------------------

cdef inline int64_t rows_per_piece(const Op *op) noexcept nogil:
    return max(1, SPAN // max(1, op.sizes[C]))


cdef int64_t row_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), rows_per_piece(op))


cdef double row_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op_rows(op, context) * (8.0 + 0.5 * op.sizes[C])


cdef inline LossInputs rows_of_piece(
    const Op *op, const Context *context, int64_t piece, bint labels
) noexcept nogil:
    cdef int64_t first = piece * rows_per_piece(op)
    cdef int64_t rows = smaller(rows_per_piece(op), op_rows(op, context) - first)
    return inputs_of(op, first, rows, labels, False)


cdef void top_k(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef LossInputs inputs = rows_of_piece(op, context, piece, op.kernel.variant)
    op.bodies.metric.top_k(
        op.arguments[OUT] + piece * rows_per_piece(op) * op.itemsize, &inputs, op.options[0].whole)


cdef void cosine(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef LossInputs inputs = rows_of_piece(op, context, piece, False)
    op.bodies.metric.cosine(
        op.arguments[OUT] + piece * rows_per_piece(op) * op.itemsize, &inputs)


# --- accumulators --------------------------------------------------------------------------------

cdef int64_t one_piece(const Op *op, const Context *context, int phase) noexcept nogil:
    return 1


cdef double accumulator_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op_rows(op, context) * (5.0 + 1.0 * op.sizes[C])


cdef void confusion(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef LossInputs inputs = inputs_of(op, 0, op_rows(op, context), op.kernel.variant, True)
    op.bodies.metric.confusion(<double *> op.arguments[OUT], &inputs)


cdef void threshold_counts(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef LossInputs inputs = inputs_of(op, 0, op_rows(op, context), op.kernel.variant, True)
    op.bodies.metric.threshold_counts(
        <double *> op.arguments[OUT], &inputs, op.options[0].number)


cdef void argmax_counts(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef LossInputs inputs = inputs_of(op, 0, op_rows(op, context), op.kernel.variant, True)
    op.bodies.metric.argmax_counts(<double *> op.arguments[OUT], &inputs)


cdef void r2(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef LossInputs inputs = inputs_of(op, 0, op_rows(op, context), False, True)
    op.bodies.metric.r2(<double *> op.arguments[OUT], &inputs)


cdef int register_metric(
    str name, Kernel *kernel, bint labels,
    void (*run_piece)(const Op *, const Context *, int, int64_t) noexcept nogil,
    str arguments, str options=""
) except -1:
    cdef bint by_row = arguments.startswith("out")
    kernel.phases = 1
    kernel.pieces = row_pieces if by_row else one_piece
    kernel.run_piece = run_piece
    kernel.cost = row_cost if by_row else accumulator_cost
    kernel.variant = labels
    return register(name, kernel, arguments, options)


cdef Kernel top_k_kernel, sparse_top_k_kernel, cosine_kernel
cdef Kernel confusion_kernel, categorical_confusion_kernel
cdef Kernel counts_kernel, sparse_counts_kernel, r2_kernel
cdef Kernel argmax_counts_kernel, sparse_argmax_counts_kernel

register_metric("top_k_categorical_accuracy", &top_k_kernel, False, top_k, "out pred target", "k")
register_metric(
    "sparse_top_k_categorical_accuracy", &sparse_top_k_kernel, True, top_k, "out pred labels", "k")
register_metric("cosine_similarity", &cosine_kernel, False, cosine, "out pred target")
register_metric(
    "confusion_update", &confusion_kernel, True, confusion,
    "confusion pred labels sample_weight")
register_metric(
    "categorical_confusion_update", &categorical_confusion_kernel, False, confusion,
    "confusion pred target sample_weight")
register_metric(
    "threshold_counts_update", &counts_kernel, False, threshold_counts,
    "counts pred target sample_weight", "threshold")
register_metric(
    "sparse_threshold_counts_update", &sparse_counts_kernel, True, threshold_counts,
    "counts pred labels sample_weight", "threshold")
register_metric(
    "argmax_counts_update", &argmax_counts_kernel, False, argmax_counts,
    "counts pred target sample_weight")
register_metric(
    "sparse_argmax_counts_update", &sparse_argmax_counts_kernel, True, argmax_counts,
    "counts pred labels sample_weight")
register_metric("r2_update", &r2_kernel, False, r2, "moments pred target sample_weight")
