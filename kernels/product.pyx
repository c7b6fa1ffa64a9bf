"""Matrix products, and the dense layer that is made of them.

Shapes: out (M, N) = a . b + bias over a depth of K, in three forms:

    nn  a (M, K)   b (K, N)     matmul_nn, dense_forward
    tn  a (K, M)   b (K, N)     matmul_tn, dense_backward_weight, dense_backward_bias (a: ones)
    nt  a (M, K)   b (N, K)     matmul_nt, dense_backward_input

Phase 0 copies a where a large product would read it badly: transposed, or its rows moved off
distances that are a power of two, which compete for the same places in the caches. Its pieces are
some rows of the copy.

Pieces of phase 1 are rectangles of out, each written by its piece alone. A thread's share of them is
computed as the larger rectangles that it makes up, which are the same sums. Where the depth is long
and out is small (the weight gradient of a huge batch) they are rectangles times a stretch of the
depth: then each writes partial sums of its own into the workspace, and phase 2 adds them up in the
order of the depth, its pieces being stretches of out.

Where out is NULL the tail alone wants it, and sees each part of it in a thread's own memory; where a
product cannot go that way, in the workspace.

batch_matmul: pieces are matrices of B, some together where they are small.

A product has 2*M*N*K operations and touches M*K + K*N + M*N elements. The tail (an activation, its
gradient, an optimizer's update) runs on each part of out as soon as that is finished, exactly once
for each element.
"""

from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastdl.kernels.runner cimport (
    MAX_ARGUMENTS, MOST_TAIL_ARRAYS, Context, Kernel, MatmulBodies, Op, Product, ProductBody, Stage,
    ceil_divide, op_rows, product_turns, register, run_tails, smaller, starts_line,
)


# Which op: the place of its kernel in `kernels`.
cdef enum:
    MATMUL_NN, MATMUL_TN, MATMUL_NT, FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT, BACKWARD_BIAS, KINDS

cdef enum Form: NN, TN, NT

cdef enum: COPY, MULTIPLY, MERGE, PHASES

# A piece is worth some nanoseconds of work, as starting it costs a fraction of one microsecond.
# Few pieces go as far as FEW; more only where they are large, so that their operands are used
# often: then 2 ... 16 threads have work that is even within a few percent.
# A product that one thread would hold the others up with is cut in two, if its halves can be computed as
# one.
cdef enum: PIECE_NANOSECONDS = 10000, FEW_PIECES = 16, HALF_NANOSECONDS = 2000
cdef enum: LARGE_NANOSECONDS = 250000, MANY_PIECES = 64

# When a is copied: its rows are so many bytes apart, and the copy is used for so many columns.
cdef enum: COPY_STRIDE = 2048, COPY_COLUMNS = 512, COPY_ROWS = 64, COPY_DEPTH = 64

cdef enum: CACHE_LINE = 64, FAR_STRIDE = 4096

# What a tail reads of so many bytes an array is not in L2.
cdef enum: FAR_BYTES = 524288

# Rows of a weight gradient's piece, at least, where it is cut into many.
cdef enum: TALL_ROWS = 512

# Elements of the depth that a partial sum is worth.
cdef enum: LEAST_DEPTH = 512

# Few rows times a large b that the cores' L2 hold: the depth is cut, into so many parts of so many
# elements at least, where the parts' sums need no more than a third of the memory of b. Then a thread
# reads the rows of a weight that it has updated itself (the weight's gradient is cut by rows too), and
# no other's.
cdef enum: MOST_PARTS = 4, PART_DEPTH = 96, MOST_NEAR_BYTES = 4194304

# A weight gradient of many rows: its depth is cut as the rows of the batch are in the ops before it,
# into parts of so many at least, where the sums of the parts are smaller than what else would wander
# from one core's cache to another's.
cdef enum: PART_ROWS = 384

# A bias gradient of so much work is cut along these rows as well, though it is little: a thread that read the
# others' rows would leave them shared between caches, and the next that writes there would have to wait.
cdef enum: LEAST_NANOSECONDS = 2500

# Elements that a piece of the merging adds up: it reads several arrays, partly another core's.
cdef enum: MERGE_SPAN = 1024

# Of a byte that comes from beyond the caches.
cdef double BYTE_NANOSECONDS = 0.03

# An element of out is worth so much beside its sums, whatever tail runs on it: pieces, and with them
# the order of sums, must not depend on what is fused.
cdef enum: PIECE_ELEMENTS = 8192


cdef struct Problem:
    Form form
    char *out
    const char *a
    const char *b
    const char *bias
    int64_t M, N, K, a_stride, b_stride


cdef struct Cut:
    int64_t rows, columns, depth    # into how many parts each is cut


cdef Problem problem(const Op *op, int64_t rows) noexcept nogil:
    cdef int64_t kind = op.kernel - kernels
    cdef Problem p
    p.out = op.arguments[0]
    p.a = op.arguments[1]
    p.b = op.arguments[2]
    p.bias = NULL
    if kind == MATMUL_NN or kind == MATMUL_TN or kind == MATMUL_NT:
        p.form = NN if kind == MATMUL_NN else TN if kind == MATMUL_TN else NT
        p.M, p.N, p.K = op.sizes[0], op.sizes[1], op.sizes[2]
    elif kind == FORWARD:
        p.form = NN
        p.M, p.N, p.K = rows, op.sizes[0], op.sizes[1]
        p.bias = op.arguments[3]
    elif kind == BACKWARD_INPUT:
        p.form = NT
        p.M, p.N, p.K = rows, op.sizes[0], op.sizes[1]
    elif kind == BACKWARD_WEIGHT:
        p.form = TN
        p.M, p.N, p.K = op.sizes[0], op.sizes[1], rows
    else:
        p.form = TN
        p.M, p.N, p.K = 1, op.sizes[0], rows
        p.a = <const char *> op.bodies.matmul.one
        p.b = op.arguments[1]
    p.a_stride = p.M if p.form == TN else p.K
    p.b_stride = p.K if p.form == NT else p.N
    if kind == BACKWARD_BIAS:
        p.a_stride = 0      # the same 1 for every row
    return p


cdef double nanoseconds(const Op *op, const Problem *p) noexcept nogil:
    cdef double touched = <double> p.M * p.K + <double> p.K * p.N + <double> p.M * p.N
    return (op.bodies.matmul.nanoseconds * p.M * p.N * p.K
            + BYTE_NANOSECONDS * op.itemsize * touched)


cdef int64_t power_of_two(int64_t most) noexcept nogil:
    """The largest power of two that is no more than `most`, or 1."""
    cdef int64_t n = 1
    while 2 * n <= most:
        n *= 2
    return n


cdef int64_t depth_parts(const Op *op, const Problem *p) noexcept nogil:
    """Into how many parts the depth is cut, of few rows times a large b or of a weight gradient, for
    the sake of what lies in each core's cache; 1: it is not."""
    cdef int64_t parts = MOST_PARTS
    if p.form == NT or (p.form == NN and p.K * p.N * op.itemsize > MOST_NEAR_BYTES):
        return 1
    while parts > 1 and (
            (3 * parts * p.M > p.K or parts * PART_DEPTH > p.K) if p.form == NN
            else (2 * parts * p.M * p.N > p.K * (p.M + p.N) or parts * PART_ROWS > p.K)):
        parts //= 2
    return parts


cdef Cut cut(const Op *op, const Problem *p) noexcept nogil:
    """A grid of rectangles, about four times as many rows high as columns wide: a panel of b has to
    be copied for each rectangle that reads it, rows of a come through the caches by themselves. Of a
    weight gradient, some rows: a thread copies (phase 0) and updates what it alone reads. But where
    its depth is cut, some columns: then b is read once, by the thread that made these rows of it. And
    a large one, which no cache holds, by columns too, so that each panel of b is copied for many rows.

    All numbers of parts are powers of two: what a thread wrote in one op it then reads in the next.
    """
    cdef double work = nanoseconds(op, p)
    cdef int64_t parts, strips, panels
    cdef Cut c
    c.rows = c.columns = c.depth = 1
    parts = max(<int64_t> (work / PIECE_NANOSECONDS), p.M * p.N // PIECE_ELEMENTS)
    if p.form == TN and p.M == 1 and work > LEAST_NANOSECONDS:
        parts = max(parts, depth_parts(op, p))
    if parts < 2:
        if work < 2 * HALF_NANOSECONDS or p.M < 2 * op.bodies.matmul.joined_rows:
            return c
        parts = 2
    parts = smaller(parts, FEW_PIECES)
    parts = max(parts, smaller(<int64_t> (work / LARGE_NANOSECONDS), MANY_PIECES))
    parts = power_of_two(parts)
    strips = power_of_two(ceil_divide(p.M, op.bodies.matmul.tile_rows))
    if p.N >= COPY_COLUMNS:     # of b, which pays where a piece has rows enough
        strips = power_of_two(p.M // op.bodies.matmul.joined_rows)
    panels = power_of_two(ceil_divide(p.N, op.bodies.matmul.tile_columns))
    c.depth = smaller(parts, depth_parts(op, p))
    parts = parts // c.depth
    c.rows = parts
    if p.form != TN:
        c.rows = power_of_two(<int64_t> (0.5 * sqrt(<double> parts * p.M / p.N) + 0.5))
    elif c.depth > 1:
        c.rows = max(1, parts // panels)
    elif parts > FEW_PIECES:
        c.rows = power_of_two(p.M // TALL_ROWS)
    c.rows = smaller(c.rows, smaller(parts, strips))
    c.columns = smaller(parts // c.rows, panels)
    c.rows = smaller(parts // c.columns, strips)
    if c.depth == 1 and 2 * c.rows * c.columns <= parts:
        c.depth = smaller(parts // (c.rows * c.columns), power_of_two(1 + p.K // LEAST_DEPTH))
    return c


cdef int64_t copy_stride(const Op *op, const Problem *p, const Cut *c) noexcept nogil:
    """From row to row of the copy of a, an odd number of cache lines; 0 where a is not copied."""
    cdef int64_t lines = ceil_divide(p.K * op.itemsize, CACHE_LINE)
    if (c.depth > 1 or p.N < COPY_COLUMNS or p.M < COPY_ROWS or p.K < COPY_DEPTH
            or p.a_stride * op.itemsize < COPY_STRIDE):
        return 0
    if p.form != TN and p.a_stride * op.itemsize % FAR_STRIDE != 0:
        return 0
    return (lines | 1) * CACHE_LINE // op.itemsize


cdef int64_t pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Problem p = problem(op, op_rows(op, context))
    cdef Cut c
    if p.M == 0 or p.N == 0:
        return 0
    c = cut(op, &p)
    if phase == COPY:
        return ceil_divide(p.M, COPY_ROWS) if copy_stride(op, &p, &c) else 0
    if phase == MULTIPLY:
        return c.rows * c.columns * c.depth
    return ceil_divide(p.M * p.N, MERGE_SPAN) if c.depth > 1 else 0


cdef void run_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    run_range(op, context, phase, piece, piece + 1)


cdef void run_range(
    const Op *op, const Context *context, int phase, int64_t first, int64_t end
) noexcept nogil:
    cdef Problem p = problem(op, op_rows(op, context))
    cdef Cut c = cut(op, &p)
    cdef int64_t stride = copy_stride(op, &p, &c), piece
    cdef Product product
    if phase == MULTIPLY:
        p.out = out_of_pieces(op, &p, &c, stride)
        if stride:
            p.a, p.a_stride = <char *> op.workspace, stride
            p.form = NN if p.form == TN else p.form
        product.context = context
        while first < end:
            first += describe(&product, op, &p, &c, first, end - first)
            body_of(op, p.form)(&product)
        return
    for piece in range(first, end):
        if phase == COPY:
            copy(op, &p, stride, piece)
        else:
            merge(op, context, &p, &c, piece)


cdef void prepare(Stage *stage, const Context *context) noexcept nogil:
    cdef const Op *op = stage.op
    cdef Problem p = problem(op, op_rows(op, context))
    cdef Cut c = cut(op, &p)
    cdef bint roomy = stage.ready.roomy and p.out != NULL and starts_line(p.out)
    p.out = out_of_pieces(op, &p, &c, 0)
    if (stage.phase == MULTIPLY and not copy_stride(op, &p, &c)
            and describe(&stage.ready.product, op, &p, &c, 0, stage.pieces) == stage.pieces):
        stage.ready.product.roomy = roomy
        stage.ready.body = op.bodies.matmul.choose[<int> p.form](&stage.ready.product)
        stage.ready.read[0] = &stage.ready.product.a
        stage.ready.read[1] = &stage.ready.product.b
        stage.ready.read[2] = &stage.ready.product.bias
        stage.ready.reads, stage.ready.read_end = 3, &stage.ready.product.b_end
        stage.run = multiply_moved if stage.moves else multiply


cdef void multiply(const Stage *stage, const Context *context) noexcept nogil:
    stage.ready.product.context = context
    stage.ready.body(&stage.ready.product)


cdef void multiply_moved(const Stage *stage, const Context *context) noexcept nogil:
    """The same for arguments that are elsewhere than they were."""
    cdef Product *product = &stage.ready.product
    cdef Problem p = problem(stage.op, op_rows(stage.op, context))
    product.a, product.b = p.a, p.b
    if p.out != NULL:
        product.out = p.out
    product.b_end = p.b + p.K * p.N * stage.op.itemsize
    product.bias = added(stage.op) if product.bias_stride else p.bias
    product.context = context
    stage.ready.body(product)


cdef bint needs_out(const Op *op, const Problem *p, const Cut *c, int64_t stride) noexcept nogil:
    """Whether out has to be somewhere, though it has no array; `stride`: of the copy of a, or 0."""
    cdef Product whole
    cdef Form form = NN if stride and p.form == TN else p.form
    if p.out != NULL or c.depth > 1:
        return False
    whole.rows, whole.columns, whole.depth = p.M, p.N, p.K
    whole.a_stride = stride if stride else p.a_stride
    whole.out_stride, whole.b_stride, whole.bias, whole.turned = p.N, p.b_stride, p.bias, 0
    return not op.bodies.matmul.hands_on(&whole, op.bodies.matmul.choose[<int> form](&whole))


cdef char *out_of_pieces(
    const Op *op, const Problem *p, const Cut *c, int64_t stride
) noexcept nogil:
    """Where out begins, for pieces; NULL: each keeps its own."""
    if needs_out(op, p, c, stride):
        return <char *> op.workspace + p.M * stride * op.itemsize
    return p.out


cdef void copy(const Op *op, const Problem *p, int64_t stride, int64_t piece) noexcept nogil:
    cdef int64_t size = op.itemsize, row = piece * COPY_ROWS
    cdef int64_t rows = smaller(COPY_ROWS, p.M - row), r
    cdef char *to = <char *> op.workspace + row * stride * size
    if p.form == TN:
        op.bodies.matmul.transpose(to, stride, p.a + row * size, p.a_stride, p.K, rows)
        return
    for r in range(rows):
        memcpy(to + r * stride * size, p.a + (row + r) * p.a_stride * size, p.K * size)


cdef int64_t part_start(int64_t n, int64_t parts, int64_t i) noexcept nogil:
    """Where part i of n things in `parts` even parts begins. A small product is one part of everything,
    and would be mostly divisions."""
    return n * i if parts == 1 else n * i // parts


cdef ProductBody body_of(const Op *op, Form form) noexcept nogil:
    cdef const MatmulBodies *bodies = op.bodies.matmul
    return bodies.nn if form == NN else bodies.tn if form == TN else bodies.nt


cdef int64_t describe(
    Product *product, const Op *op, const Problem *p, const Cut *c, int64_t piece, int64_t most
) noexcept nogil:
    """The piece, and with it as many of the next ones as make one rectangle with it, at most `most`;
    returns how many these were."""
    cdef const MatmulBodies *bodies = op.bodies.matmul
    cdef int64_t size = op.itemsize, area = c.rows * c.columns
    cdef int64_t layer = 0, place = piece
    cdef int64_t row, column, depth, row_end, column_end, across, line, lines = 1, joined = 1
    cdef int64_t panels = ceil_divide(p.N, bodies.tile_columns)
    cdef int64_t least = bodies.joined_few if p.M < bodies.joined_rows else bodies.joined_rows
    cdef const Op *tail
    cdef const char *other
    product.turned = p.form == NT and product_turns(
        part_start(p.M, c.rows, 1), part_start(p.N, c.columns, 1), part_start(p.K, c.depth, 1))
    if c.depth > 1:
        layer, place = piece // area, piece % area
    # Neighbours share the operand that is cut less: they go along lines of the grid, rows or columns.
    across = c.columns if c.rows >= c.columns else c.rows
    line = place // across if across > 1 else place
    place -= line * across
    if most > 1 and p.M // c.rows >= least and p.N > 1 and not product.turned:
        most = smaller(most, area - line * across - place)
        joined = smaller(most, across - place)
        if joined == across:
            lines = most // across
    if c.rows >= c.columns:
        row, row_end, column, column_end = line, line + lines, place, place + joined
    else:
        row, row_end, column, column_end = place, place + joined, line, line + lines
    row, row_end = part_start(p.M, c.rows, row), part_start(p.M, c.rows, row_end)
    column = smaller(p.N, part_start(panels, c.columns, column) * bodies.tile_columns)
    column_end = smaller(p.N, part_start(panels, c.columns, column_end) * bodies.tile_columns)
    depth = part_start(p.K, c.depth, layer)
    product.first_row, product.first_column = row, column
    product.rows, product.columns = row_end - row, column_end - column
    product.depth = part_start(p.K, c.depth, layer + 1) - depth
    product.out_stride, product.a_stride, product.b_stride = p.N, p.a_stride, p.b_stride
    product.out = p.out if c.depth == 1 else <char *> op.workspace + layer * p.M * p.N * size
    if product.out != NULL:
        product.out = <char *> product.out + (row * p.N + column) * size
    product.b_end = p.b + p.K * p.N * size
    product.bias = p.bias + column * size if p.bias != NULL and c.depth == 1 else NULL
    product.bias_stride = 0
    product.op = op
    if c.depth == 1 and product.bias == NULL and p.form != TN and not product.turned:
        other = added(op)
        if (other != NULL and p.K <= bodies.depth_block
                and product.rows > 1 and product.columns > 1 and product.depth > 1):
            product.bias, product.bias_stride = other + (row * p.N + column) * size, p.N
            product.op = op.tail
    tail = (<const Op *> product.op).tail
    product.finished = NULL
    product.tail_arrays = product.roomy = 0
    if tail != NULL and c.depth == 1:
        product.finished = finished
        if p.M * p.N * size >= FAR_BYTES:
            note_tail(tail, product, (row * p.N + column) * size)
    product.a = p.a + (depth * p.a_stride + row if p.form == TN else row * p.a_stride + depth) * size
    product.b = p.b + (column * p.b_stride + depth if p.form == NT else depth * p.b_stride + column) * size
    return joined * lines


cdef const char *added(const Op *op) noexcept nogil:
    """Where the first tail adds another array to the product, in its place: that array. Then the product's
    sums can be added to it at once, instead of to 0 first."""
    cdef const Op *tail = op.tail
    cdef char *out = op.arguments[0]
    if tail == NULL or not tail.kernel.adds or tail.arguments[0] != out:
        return NULL
    if tail.arguments[1] == out:
        return tail.arguments[2] if tail.arguments[2] != out else NULL
    return tail.arguments[1] if tail.arguments[2] == out else NULL


cdef void note_tail(const Op *tail, Product *product, int64_t offset) noexcept nogil:
    """Says what the tails, from this one on, will read."""
    cdef int i
    while tail != NULL:
        for i in range(MAX_ARGUMENTS):
            if (tail.kernel.reads >> i & 1 and tail.arguments[i] != NULL
                    and product.tail_arrays < MOST_TAIL_ARRAYS):
                product.tail[product.tail_arrays] = tail.arguments[i] + offset
                product.tail_arrays += 1
        tail = tail.tail


cdef void finished(
    const Product *product, int64_t row, int64_t rows, int64_t column, int64_t columns,
    const void *part, int64_t part_stride
) noexcept nogil:
    cdef int64_t start = (
        (product.first_row + row) * product.out_stride + product.first_column + column)
    cdef int64_t stretch = columns
    if columns == product.out_stride == part_stride:
        stretch = rows * columns
        rows = 1
    run_tails(<const Op *> product.op, <const Context *> product.context, start, rows, stretch,
              product.out_stride, part, part_stride)


cdef void merge(
    const Op *op, const Context *context, const Problem *p, const Cut *c, int64_t piece
) noexcept nogil:
    cdef int64_t start = piece * MERGE_SPAN, total = p.M * p.N
    cdef int64_t count = smaller(MERGE_SPAN, total - start)
    cdef double span[MERGE_SPAN]
    cdef char *out = <char *> span if p.out == NULL else p.out + start * op.itemsize
    op.bodies.matmul.merge(
        out, <char *> op.workspace + start * op.itemsize, total, c.depth,
        p.bias, p.N, start, count)
    run_tails(op, context, start, 1, count, count, out, count)


cdef double tail_nanoseconds(const Op *op) noexcept nogil:
    """Of the tails, for one element."""
    cdef double sum = 0
    cdef const Op *tail = op.tail
    while tail != NULL:
        sum += tail.kernel.nanoseconds
        tail = tail.tail
    return sum


cdef double cost(const Op *op, const Context *context, int phase) noexcept nogil:
    cdef Problem p = problem(op, op_rows(op, context))
    if phase == COPY:
        return 2 * BYTE_NANOSECONDS * op.itemsize * p.M * p.K
    if phase == MULTIPLY:
        return nanoseconds(op, &p) + tail_nanoseconds(op) * p.M * p.N
    return p.M * p.N * (
        BYTE_NANOSECONDS * op.itemsize * (1 + cut(op, &p).depth) + tail_nanoseconds(op))


cdef size_t workspace(const Op *op, int64_t rows) noexcept nogil:
    cdef Problem p = problem(op, rows)
    cdef Cut c
    cdef int64_t stride
    if p.M == 0 or p.N == 0:
        return 0
    c = cut(op, &p)
    if c.depth > 1:
        return c.depth * p.M * p.N * op.itemsize
    stride = copy_stride(op, &p, &c)
    return (p.M * stride + (p.M * p.N if needs_out(op, &p, &c, stride) else 0)) * op.itemsize


cdef Kernel kernels[KINDS]
for kind in range(KINDS):
    kernels[kind].phases = PHASES
    kernels[kind].pieces = pieces
    kernels[kind].run_piece = run_piece
    kernels[kind].run_range = run_range
    kernels[kind].prepare = prepare
    kernels[kind].cost = cost
    kernels[kind].workspace = workspace
    kernels[kind].span = NULL

register("matmul_nn", &kernels[MATMUL_NN], "out a b")
register("matmul_tn", &kernels[MATMUL_TN], "out a b")
register("matmul_nt", &kernels[MATMUL_NT], "out a b")
register("dense_forward", &kernels[FORWARD], "out x weight bias")
register("dense_backward_input", &kernels[BACKWARD_INPUT], "grad_x grad_out weight")
register("dense_backward_weight", &kernels[BACKWARD_WEIGHT], "grad_weight x grad_out")
register("dense_backward_bias", &kernels[BACKWARD_BIAS], "grad_bias grad_out")


# --- products of many matrices: a (B, M, K), b (B, K, N), out (B, M, N) ---------------------------

# The letters' order makes the sizes those of the product: its rows, its columns, its depth. A
# kernel's variant is the form.

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
    p.bias_stride = 0
    p.first_row = p.first_column = p.tail_arrays = p.roomy = 0
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


cdef Kernel[3] batch_kernels
for form in range(3):
    batch_kernels[form].phases = 1
    batch_kernels[form].pieces = batch_matmul_pieces
    batch_kernels[form].run_piece = batch_matmul_piece
    batch_kernels[form].cost = batch_matmul_cost
    batch_kernels[form].variant = form

register("batch_matmul_forward", &batch_kernels[<int> NN], "out a b")
register("batch_matmul_backward_a", &batch_kernels[<int> NT], "grad_a grad_out b")
register("batch_matmul_backward_b", &batch_kernels[<int> TN], "grad_b grad_out a")
