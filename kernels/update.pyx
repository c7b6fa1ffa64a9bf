"""Optimizer updates in place, and the norms and penalties of gradients and parameters.

Shapes: parameters, gradients and optimizer state are flat ranges (N). The pieces of an update are
spans of SPAN elements and each touches only its own stretch of every array, so a product may run
an update on any tile of a gradient that it has just finished: an element's result does not depend
on where a span begins or ends. Plain Adam reads four arrays and writes three, 28 bytes and some 12
operations a parameter in float32: beyond the caches, memory is all it waits for.

`squared_norm`, `penalty` and `accumulate_squares` sum stretches of SUM_SPAN elements in float64
(phase 0, one number a piece) and add the numbers up in order (phase 1, one piece).
"""

from libc.math cimport pow, sqrt
from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport (
    AdagradOptions,
    AdamOptions,
    Context,
    GradientOptions,
    Kernel,
    Memo,
    Op,
    RmspropOptions,
    SgdOptions,
    ceil_divide,
    op_rows,
    register,
    register_elementwise,
    smaller,
)

cdef enum: SUM_SPAN = 16384, POWER_STEPS = 16

cdef enum: PARAM, GRAD              # the first arguments of every update
cdef enum: TORCH = 1                # the index of the choice "torch"


cdef inline char *stretch(const Op *op, int argument, int64_t start) noexcept nogil:
    if op.arguments[argument] == NULL:
        return NULL
    return op.arguments[argument] + start * op.itemsize


cdef inline GradientOptions first_steps(
    const Op *op, const Context *context, int grad_scale, int weight_decay, int clipvalue
) noexcept nogil:
    """What the last arguments and options of every update say; l1 and l2 follow clipvalue."""
    cdef GradientOptions first
    first.scale = op.arguments[grad_scale]
    first.decay = context.learning_rate * op.options[weight_decay].number
    first.clipvalue = op.options[clipvalue].number
    first.l1 = op.options[clipvalue + 1].number
    first.l2 = op.options[clipvalue + 2].number
    return first


cdef void sgd_tile(
    const Op *op, const Context *context, int64_t start, int64_t rows, int64_t count, int64_t stride
) noexcept nogil:
    cdef GradientOptions first = first_steps(op, context, 3, 3, 5)
    cdef SgdOptions options
    options.learning_rate = context.learning_rate
    options.momentum = op.options[1].number
    options.nesterov = op.options[2].whole != 0
    options.torch = op.options[4].whole == TORCH
    op.bodies.update.sgd(
        stretch(op, PARAM, start), stretch(op, 2, start), stretch(op, GRAD, start), rows, count, stride,
        &first, &options)


cdef void rmsprop_tile(
    const Op *op, const Context *context, int64_t start, int64_t rows, int64_t count, int64_t stride
) noexcept nogil:
    cdef GradientOptions first = first_steps(op, context, 5, 5, 7)
    cdef RmspropOptions options
    options.learning_rate = context.learning_rate
    options.rho = op.options[1].number
    options.momentum = op.options[2].number
    options.epsilon = op.options[3].number
    options.centered = op.options[4].whole != 0
    options.torch = op.options[6].whole == TORCH
    op.bodies.update.rmsprop(
        stretch(op, PARAM, start), stretch(op, 2, start), stretch(op, 3, start),
        stretch(op, 4, start), stretch(op, GRAD, start), rows, count, stride, &first, &options)


cdef const double *adam_correction(
    const Context *context, double beta_1, double beta_2
) noexcept nogil:
    """1/(1 - beta_1**step) and sqrt(1 - beta_2**step). A power is made of that of a multiple of
    POWER_STEPS and products: one product in the step after."""
    cdef Memo *memo = context.memo
    cdef bint same = memo.known and memo.inputs[0] == beta_1 and memo.inputs[1] == beta_2
    cdef int64_t at = memo.step, step = context.step
    if same and at == step:
        return memo.results
    if not same or at > step or at < step - step % POWER_STEPS:
        at = step - step % POWER_STEPS
        memo.powers[0], memo.powers[1] = pow(beta_1, <double> at), pow(beta_2, <double> at)
        memo.inputs[0], memo.inputs[1], memo.known = beta_1, beta_2, 1
    while at < step:
        memo.powers[0] *= beta_1
        memo.powers[1] *= beta_2
        at += 1
    memo.step = step
    memo.results[0] = 1 / (1 - memo.powers[0])
    memo.results[1] = sqrt(1 - memo.powers[1])
    return memo.results


cdef void adam_tile(
    const Op *op, const Context *context, int64_t start, int64_t rows, int64_t count, int64_t stride
) noexcept nogil:
    cdef GradientOptions first = first_steps(op, context, 5, 5, 7)
    cdef AdamOptions options
    cdef const double *correct = adam_correction(
        context, op.options[2].number, op.options[3].number)
    options.learning_rate = context.learning_rate * correct[1] * correct[0]
    options.beta_1 = op.options[2].number
    options.beta_2 = op.options[3].number
    options.epsilon = op.options[4].number
    if op.options[6].whole == TORCH:
        options.epsilon *= correct[1]  # sqrt(v)/c + epsilon, c taken out of the denominator
    op.bodies.update.adam(
        stretch(op, PARAM, start), stretch(op, 2, start), stretch(op, 3, start),
        stretch(op, 4, start), stretch(op, GRAD, start), rows, count, stride, &first, &options)


cdef void adagrad_tile(
    const Op *op, const Context *context, int64_t start, int64_t rows, int64_t count, int64_t stride
) noexcept nogil:
    cdef GradientOptions first = first_steps(op, context, 3, 2, 4)
    cdef AdagradOptions options
    options.learning_rate = context.learning_rate
    options.epsilon = op.options[1].number
    options.torch = op.options[3].whole == TORCH
    op.bodies.update.adagrad(
        stretch(op, PARAM, start), stretch(op, 2, start), stretch(op, GRAD, start), rows, count, stride,
        &first, &options)


cdef void one_row(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    op.kernel.tile(op, context, start, 1, count, count)


cdef Kernel sgd_kernel, rmsprop_kernel, adam_kernel, adagrad_kernel
sgd_kernel.tile, rmsprop_kernel.tile = sgd_tile, rmsprop_tile
adam_kernel.tile, adagrad_kernel.tile = adam_tile, adagrad_tile
sgd_kernel.reads = adagrad_kernel.reads = 1 << PARAM | 1 << 2
rmsprop_kernel.reads = adam_kernel.reads = 1 << PARAM | 1 << 2 | 1 << 3 | 1 << 4

register_elementwise(
    "sgd_update", &sgd_kernel, one_row, 0.1, "param grad velocity grad_scale",
    "learning_rate momentum nesterov weight_decay convention clipvalue l1 l2")
register_elementwise(
    "rmsprop_update", &rmsprop_kernel, one_row, 0.15,
    "param grad square average velocity grad_scale",
    "learning_rate rho momentum epsilon centered weight_decay convention clipvalue l1 l2")
register_elementwise(
    "adam_update", &adam_kernel, one_row, 0.15, "param grad m v v_max grad_scale",
    "learning_rate step beta_1 beta_2 epsilon weight_decay convention clipvalue l1 l2")
register_elementwise(
    "adagrad_update", &adagrad_kernel, one_row, 0.15, "param grad square grad_scale",
    "learning_rate epsilon weight_decay convention clipvalue l1 l2")


# --- norms and penalties -------------------------------------------------------------------------

cdef int64_t sum_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op.sizes[0], SUM_SPAN) if phase == 0 else 1


cdef size_t sum_workspace(const Op *op, int64_t rows) noexcept nogil:
    return <size_t> ceil_divide(op.sizes[0], SUM_SPAN) * sizeof(double)


cdef double sum_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return (0.1 if phase == 0 else 1.0 / SUM_SPAN) * op.sizes[0]


cdef double merged(const Op *op) noexcept nogil:
    cdef double total = 0.0
    cdef int64_t i
    for i in range(ceil_divide(op.sizes[0], SUM_SPAN)):
        total += (<double *> op.workspace)[i]
    return total


cdef void squared_norm_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    # out, grad, param, before
    cdef int64_t start = piece * SUM_SPAN
    if phase == 0:
        (<double *> op.workspace)[piece] = op.bodies.update.squared_norm(
            stretch(op, 1, start), stretch(op, 2, start), smaller(SUM_SPAN, op.sizes[0] - start),
            op.options[0].number, op.options[1].number)
    else:
        (<double *> op.arguments[0])[0] = merged(op)
        if op.arguments[3] != NULL:
            (<double *> op.arguments[0])[0] += (<double *> op.arguments[3])[0]


cdef void penalty_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    # total, param, values
    cdef int64_t start = piece * SUM_SPAN
    if phase == 0:
        (<double *> op.workspace)[piece] = op.bodies.update.penalty(
            stretch(op, 1, start), smaller(SUM_SPAN, op.sizes[0] - start),
            op.options[0].number, op.options[1].number)
    else:
        (<double *> op.arguments[0])[0] += op_rows(op, context) * merged(op)


cdef void accumulate_squares_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    # total, values
    cdef int64_t start = piece * SUM_SPAN
    cdef double *total = <double *> op.arguments[0]
    if phase == 0:
        (<double *> op.workspace)[piece] = op.bodies.update.squared_norm(
            stretch(op, 1, start), NULL, smaller(SUM_SPAN, op.sizes[0] - start), 0, 0)
    else:
        total[0] += merged(op)
        total[1] += 1


cdef int64_t one_piece(const Op *op, const Context *context, int phase) noexcept nogil:
    return 1


cdef double one_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return 20.0 + op.sizes[0]


cdef void clip_scale_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    # scale, squares
    cdef double total = 0.0
    cdef int64_t i
    for i in range(op.sizes[0]):
        total += (<double *> op.arguments[1])[i]
    op.bodies.update.clip_scale(op.arguments[0], total, op.options[0].number)


cdef Kernel squared_norm_kernel, penalty_kernel, accumulate_squares_kernel, clip_scale_kernel

squared_norm_kernel.phases = penalty_kernel.phases = 2
squared_norm_kernel.pieces = penalty_kernel.pieces = sum_pieces
squared_norm_kernel.cost = penalty_kernel.cost = sum_cost
squared_norm_kernel.workspace = penalty_kernel.workspace = sum_workspace
squared_norm_kernel.run_piece = squared_norm_piece
accumulate_squares_kernel = squared_norm_kernel
accumulate_squares_kernel.run_piece = accumulate_squares_piece
penalty_kernel.run_piece = penalty_piece
clip_scale_kernel.phases = 1
clip_scale_kernel.pieces = one_piece
clip_scale_kernel.cost = one_cost
clip_scale_kernel.run_piece = clip_scale_piece

register("squared_norm", &squared_norm_kernel, "out grad param before", "l1 l2")
register("penalty", &penalty_kernel, "total param values", "l1 l2")
register("accumulate_squares", &accumulate_squares_kernel, "total values")
register("clip_scale", &clip_scale_kernel, "scale squares", "clipnorm")
