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
    ADAGRAD, ADAM, GRAD, PARAM, RMSPROP, SGD, STATE, UPDATED_ARRAYS, UPDATES, Context, Kernel, Op,
    Option, Powers, Stage, UpdateCall, ceil_divide, op_rows, register, register_elementwise, smaller,
)

cdef enum: SUM_SPAN = 16384, POWER_STEPS = 16

cdef enum: TORCH = 1                # the index of the choice "torch"

# Of each update how many arrays it has, which are its first arguments, and behind which is the scale of
# the gradient; and which option is the weight decay. After that one come the convention and what else
# happens to the gradient: clipvalue, l1, l2.
cdef int[UPDATES] arrays_of, decay_of

arrays_of[SGD], arrays_of[RMSPROP], arrays_of[ADAM], arrays_of[ADAGRAD] = 3, 5, 5, 3
decay_of[SGD], decay_of[RMSPROP], decay_of[ADAM], decay_of[ADAGRAD] = 3, 5, 5, 2


cdef inline char *stretch(const Op *op, int argument, int64_t start) noexcept nogil:
    if op.arguments[argument] == NULL:
        return NULL
    return op.arguments[argument] + start * op.itemsize


cdef void describe(
    UpdateCall *call, const Op *op, int64_t start, int64_t rows, int64_t count, int64_t stride
) noexcept nogil:
    """The update of these elements, but for what changes from step to step."""
    cdef int64_t kind = op.kernel.variant
    cdef int arrays = arrays_of[kind], decay = decay_of[kind], i
    cdef Option *options = <Option *> op.options
    cdef bint torch = options[decay + 1].whole == TORCH
    for i in range(UPDATED_ARRAYS):
        call.arrays[i] = stretch(op, i, start) if i < arrays else NULL
    call.rows, call.n, call.stride, call.grad_stride = rows, count, stride, stride
    call.first.scale = op.arguments[arrays]
    call.first.weight_decay = options[decay].number
    call.first.clipvalue = options[decay + 2].number
    call.first.l1, call.first.l2 = options[decay + 3].number, options[decay + 4].number
    if kind == ADAM:
        call.adam.beta_1, call.adam.beta_2 = options[2].number, options[3].number
        call.adam.epsilon = options[4].number
    elif kind == SGD:
        call.sgd.momentum, call.sgd.nesterov = options[1].number, options[2].whole != 0
        call.sgd.torch = torch
    elif kind == RMSPROP:
        call.rmsprop.rho, call.rmsprop.momentum = options[1].number, options[2].number
        call.rmsprop.epsilon, call.rmsprop.centered = options[3].number, options[4].whole != 0
        call.rmsprop.torch = torch
    else:
        call.adagrad.epsilon, call.adagrad.torch = options[1].number, torch


cdef void start_powers(Powers *p, const UpdateCall *call) noexcept nogil:
    p.step, p.bases[0], p.bases[1] = -1, call.adam.beta_1, call.adam.beta_2


cdef void raise_powers(Powers *p, int64_t step) noexcept nogil:
    """To this step; with them 1/(1 - beta_1**step) and sqrt(1 - beta_2**step). A power is made of that of a
    multiple of POWER_STEPS and products: one product in the step after."""
    cdef int64_t rest = step % POWER_STEPS, at = p.step
    if at > step or at < step - rest:
        at = step - rest
        p.powers[0], p.powers[1] = pow(p.bases[0], <double> at), pow(p.bases[1], <double> at)
    while at < step:
        p.powers[0] *= p.bases[0]
        p.powers[1] *= p.bases[1]
        at += 1
    p.step = step
    p.results[0] = 1 / (1 - p.powers[0])
    p.results[1] = sqrt(1 - p.powers[1])


cdef inline const double *corrections(Powers *p, int64_t step) noexcept nogil:
    """What Adam's learning rate is multiplied by."""
    if p.step != step:
        raise_powers(p, step)
    return p.results


cdef inline void set_rates(
    UpdateCall *call, Powers *powers, const Op *op, const Context *context
) noexcept nogil:
    """What changes from step to step."""
    cdef const double *correct
    call.learning_rate = context.learning_rate
    call.first.decay = context.learning_rate * call.first.weight_decay
    if op.kernel.variant == ADAM:
        correct = corrections(powers, context.step)
        call.learning_rate = context.learning_rate * correct[1] * correct[0]
        if op.options[6].whole == TORCH:    # sqrt(v)/c + epsilon, c taken out of the denominator
            call.adam.epsilon = op.options[4].number * correct[1]


cdef void update_tile(
    const Op *op, const Context *context, int64_t start, int64_t rows, int64_t count, int64_t stride,
    const void *part, int64_t part_stride
) noexcept nogil:
    cdef UpdateCall call
    cdef Powers *powers = context.powers
    describe(&call, op, start, rows, count, stride)
    if call.arrays[GRAD] == NULL:   # a gradient that has no memory
        call.arrays[GRAD], call.grad_stride = <void *> part, part_stride
    if op.kernel.variant == ADAM and (
            powers.bases[0] != call.adam.beta_1 or powers.bases[1] != call.adam.beta_2):
        start_powers(powers, &call)
    set_rates(&call, powers, op, context)
    op.bodies.update.choose[op.kernel.variant](&call)(&call)


cdef void update_span(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    update_tile(op, context, start, 1, count, count, NULL, 0)


cdef void prepare(Stage *stage, const Context *context) noexcept nogil:
    cdef const Op *op = stage.op
    cdef UpdateCall *call = &stage.ready.update
    cdef int64_t count = op_rows(op, context)
    if stage.moves:
        return
    describe(call, op, 0, 1, count, count)
    if op.kernel.variant == ADAM:
        start_powers(&stage.ready.powers, call)
    stage.ready.update_body = op.bodies.update.choose[op.kernel.variant](call)
    stage.ready.read[0] = <const void **> &call.arrays[GRAD]
    stage.ready.read[1] = &call.first.scale
    stage.ready.reads = 2
    stage.run = run_ready


cdef void run_ready(const Stage *stage, const Context *context) noexcept nogil:
    set_rates(&stage.ready.update, &stage.ready.powers, stage.op, context)
    stage.ready.update_body(&stage.ready.update)


cdef int register_update(str name, int kind, double nanoseconds, str arguments, str options) except -1:
    cdef Kernel *kernel = &kernels[kind]
    cdef int i
    kernel.tile, kernel.variant = update_tile, kind
    kernel.reads = 1 << PARAM
    for i in range(STATE, arrays_of[kind]):
        kernel.reads |= 1 << i
    register_elementwise(name, kernel, update_span, nanoseconds, arguments, options)
    kernel.prepare = prepare
    return 0


cdef Kernel[UPDATES] kernels

register_update(
    "sgd_update", SGD, 0.1, "param grad velocity grad_scale",
    "learning_rate momentum nesterov weight_decay convention clipvalue l1 l2")
register_update(
    "rmsprop_update", RMSPROP, 0.15, "param grad square average velocity grad_scale",
    "learning_rate rho momentum epsilon centered weight_decay convention clipvalue l1 l2")
register_update(
    "adam_update", ADAM, 0.15, "param grad m v v_max grad_scale",
    "learning_rate step beta_1 beta_2 epsilon weight_decay convention clipvalue l1 l2")
register_update(
    "adagrad_update", ADAGRAD, 0.15, "param grad square grad_scale",
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
