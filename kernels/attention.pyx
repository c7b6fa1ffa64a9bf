"""Scaled dot-product attention, whose scores are never stored.

Shapes: q (B, T, H, D), k (B, S, H, D), v (B, S, H, V), out as q with V. A piece of the forward is
some queries of one head of one row of the batch, and writes their rows of out and lse; a piece of
the backward is a whole head, whose gradients no other head has a part in. Short heads go several to
a piece. A forward has 2*T*S*(D + V) operations a head and T*S exponentials, a backward two and a
half times as many operations; they move the arrays once.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastdl.kernels.runner cimport (
    Attention, Context, Kernel, Op, ceil_divide, op_rows, register, smaller,
)


cdef enum: FORWARD, BACKWARD    # variants
cdef enum: SCALE, CAUSAL, RATE, STREAM      # options; step and seed come with the context

# Queries of a piece, a multiple of the bodies' block; multiply-adds that a piece is worth.
cdef enum: QUERIES = 256, WORK = 50000

# The places of q, k, v, mask, key_mask among the arguments.
cdef enum: FORWARD_Q = 2, BACKWARD_Q = 4


cdef struct Sizes:
    int64_t T, H, V, D, S


cdef Sizes sizes_of(const Op *op) noexcept nogil:
    """The table's letters come in another order in each of the two ops."""
    cdef Sizes s
    if op.kernel.variant == FORWARD:
        s.T, s.H, s.V, s.D, s.S = (
            op.sizes[0], op.sizes[1], op.sizes[2], op.sizes[3], op.sizes[4])
    else:
        s.T, s.H, s.D, s.S, s.V = (
            op.sizes[0], op.sizes[1], op.sizes[2], op.sizes[3], op.sizes[4])
    return s


cdef double head_work(const Op *op) noexcept nogil:
    cdef Sizes s = sizes_of(op)
    return <double> s.T * s.S * (s.D + s.V + 40)


cdef int64_t heads_of_piece(const Op *op) noexcept nogil:
    return max(1, <int64_t> (WORK / (1 + head_work(op))))


cdef Attention head_of(const Op *op, const Context *context, int64_t head, int q) noexcept nogil:
    """Head number `head` of all rows, without its outputs."""
    cdef Sizes s = sizes_of(op)
    cdef int64_t row = head // s.H, h = head % s.H, size = op.itemsize
    cdef Attention a
    a.T, a.S, a.H, a.D, a.V = s.T, s.S, s.H, s.D, s.V
    a.q = op.arguments[q] + (row * s.T * s.H + h) * s.D * size
    a.k = op.arguments[q + 1] + (row * s.S * s.H + h) * s.D * size
    a.v = op.arguments[q + 2] + (row * s.S * s.H + h) * s.V * size
    a.mask = a.key_mask = NULL
    if op.arguments[q + 3] != NULL:
        a.mask = op.arguments[q + 3] + row * s.T * s.S * size
    if op.arguments[q + 4] != NULL:
        a.key_mask = op.arguments[q + 4] + row * s.S * size
    a.scale = op.options[SCALE].number
    a.causal = op.options[CAUSAL].whole
    a.rate = op.options[RATE].number
    a.draw.seed = <uint64_t> context.seed
    a.draw.stream = <uint32_t> op.options[STREAM].whole
    a.draw.step = <uint32_t> context.step
    a.first_word = head * s.T * s.S
    return a


cdef int64_t parts_of_head(const Op *op) noexcept nogil:
    return max(1, ceil_divide(sizes_of(op).T, QUERIES))


cdef int64_t forward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef int64_t heads = op_rows(op, context) * sizes_of(op).H
    return ceil_divide(heads, heads_of_piece(op)) * parts_of_head(op)


cdef void forward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Sizes s = sizes_of(op)
    cdef int64_t parts = parts_of_head(op), count = heads_of_piece(op), first = piece // parts * count
    cdef int64_t query = piece % parts * QUERIES, head
    cdef Attention a
    for head in range(first, smaller(first + count, op_rows(op, context) * s.H)):
        a = head_of(op, context, head, FORWARD_Q)
        a.out = op.arguments[0] + (head // s.H * s.T * s.H + head % s.H) * s.V * op.itemsize
        a.lse = op.arguments[1] + (head // s.H * s.T * s.H + head % s.H) * op.itemsize
        op.bodies.attention.forward(&a, query, smaller(QUERIES, s.T - query))


cdef double forward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return (op_rows(op, context) * sizes_of(op).H
            * (200 + 2 * op.bodies.matmul.nanoseconds * head_work(op)))


cdef int64_t backward_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context) * sizes_of(op).H, heads_of_piece(op))


cdef void backward_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Sizes s = sizes_of(op)
    cdef int64_t count = heads_of_piece(op), size = op.itemsize, head, queries, keys
    cdef Attention a
    for head in range(piece * count, smaller((piece + 1) * count, op_rows(op, context) * s.H)):
        a = head_of(op, context, head, BACKWARD_Q)
        queries = head // s.H * s.T * s.H + head % s.H
        keys = head // s.H * s.S * s.H + head % s.H
        a.grad_q = op.arguments[0] + queries * s.D * size
        a.grad_k = op.arguments[1] + keys * s.D * size
        a.grad_v = op.arguments[2] + keys * s.V * size
        a.grad_out = op.arguments[3] + queries * s.V * size
        a.out = op.arguments[9] + queries * s.V * size
        a.lse = op.arguments[10] + queries * size
        op.bodies.attention.backward(&a)


cdef double backward_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return 2.5 * forward_cost(op, context, phase)


cdef Kernel forward_kernel, backward_kernel
forward_kernel.variant, backward_kernel.variant = FORWARD, BACKWARD
forward_kernel.phases = backward_kernel.phases = 1
forward_kernel.pieces, backward_kernel.pieces = forward_pieces, backward_pieces
forward_kernel.run_piece, backward_kernel.run_piece = forward_piece, backward_piece
forward_kernel.cost, backward_kernel.cost = forward_cost, backward_cost
register(
    "attention_forward", &forward_kernel, "out lse q k v mask key_mask",
    "scale causal rate stream step seed")
register(
    "attention_backward", &backward_kernel,
    "grad_q grad_k grad_v grad_out q k v mask key_mask out lse",
    "scale causal rate stream step seed")
