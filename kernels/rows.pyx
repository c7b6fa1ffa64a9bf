"""Rows of the user's arrays into a program's buffers, and rows of its results out.

Gather: out (B, N) = source rows order[first ... first + B - 1], cast. Pieces are runs of rows, each
written by one piece alone. Or, of rows that are taken in order and lie as they would in out, nothing is
copied: its one piece sends those who would read out to the rows themselves. Scatter: the inverse without
order and cast.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memset

from fastdl.kernels.dispatch cimport bodies_of
from fastdl.kernels.runner cimport (
    SPAN, Cast, Context, Kernel, Op, Ready, Stage, ceil_divide, smaller,
)

cnp.import_array()


# NumPy's number of a type: the index of its cast in the bodies, counted from 1.
cdef enum: NUMPY_TYPES = 32
cdef int[NUMPY_TYPES] casts


def _find_casts():
    order = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
             "float32", "float64")
    for letter in "?bBhHiIlLqQfd":
        casts[np.dtype(letter).num] = 1 + order.index(np.dtype(letter).name)


_find_casts()


cdef enum: OUT, SOURCE, FEED                # arguments of gather; the last one is no array
cdef enum: DESTINATION, BUFFER              # arguments of scatter
cdef enum: COUNT, STRIDE                    # sizes: elements of a row (scatter: bytes); bytes apart
cdef enum: TYPE, TO_LABEL                   # options of gather


cdef int64_t rows_of_piece(const Op *op, const Context *context) noexcept nogil:
    if context.rows * (1 + op.sizes[COUNT]) <= SPAN:
        return context.rows     # without a division, which would take as long as the copying
    return 1 + SPAN // (1 + op.sizes[COUNT])


cdef inline Feed *feed_of(const Op *op) noexcept nogil:
    """Of gather; NULL: of scatter."""
    return <Feed *> op.arguments[FEED]


cdef inline bint is_in_place(const Op *op) noexcept nogil:
    return feed_of(op) != NULL and feed_of(op).in_place


cdef int64_t row_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return 1 if is_in_place(op) else ceil_divide(context.rows, rows_of_piece(op, context))


cdef double row_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return 5.0 if is_in_place(op) else context.rows * (5.0 + 0.1 * op.sizes[COUNT])


cdef inline void send_to_batch(const Op *op, const Context *context) noexcept nogil:
    send_readers(feed_of(op), op.arguments[SOURCE] + context.first * op.sizes[STRIDE])


cdef void send_stage(const Stage *stage, const Context *context) noexcept nogil:
    send_to_batch(stage.op, context)


cdef void prepare_gather(Stage *stage, const Context *context) noexcept nogil:
    if feed_of(stage.op).in_place:
        stage.run = send_stage


cdef void gather_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t most = rows_of_piece(op, context), row = piece * most, first = context.first + row
    cdef int64_t rows = smaller(most, context.rows - row), type = op.options[TYPE].whole
    cdef bint label = op.options[TO_LABEL].whole
    cdef Cast cast = op.bodies.data.to_label[type] if label else op.bodies.data.to_real[type]
    cdef char *out = op.arguments[OUT] + row * op.sizes[COUNT] * (8 if label else op.itemsize)
    if feed_of(op).in_place:
        send_to_batch(op, context)
        return
    if context.order != NULL:
        cast(out, op.arguments[SOURCE], op.sizes[STRIDE], context.order + first, rows,
             op.sizes[COUNT])
    else:
        cast(out, op.arguments[SOURCE] + first * op.sizes[STRIDE], op.sizes[STRIDE], NULL, rows,
             op.sizes[COUNT])


cdef void scatter_piece(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef int64_t most = rows_of_piece(op, context), row = piece * most, bytes = op.sizes[COUNT]
    cdef int64_t rows = smaller(context.rows - row, most)
    memcpy(
        op.arguments[DESTINATION] + (context.first + row) * bytes,
        op.arguments[BUFFER] + row * bytes, <size_t> (rows * bytes))


cdef Kernel gather_kernel = Kernel(
    phases=1, pieces=row_pieces, run_piece=gather_piece, cost=row_cost, workspace=NULL, span=NULL,
    tile=NULL, run_range=NULL, prepare=prepare_gather, nanoseconds=0, variant=0, backwards=0,
    reads=0, adds=0, row_groups=NULL, by_rows=0)
cdef Kernel scatter_kernel = Kernel(
    phases=1, pieces=row_pieces, run_piece=scatter_piece, cost=row_cost, workspace=NULL, span=NULL,
    tile=NULL, run_range=NULL, prepare=NULL, nanoseconds=0, variant=0, backwards=0,
    reads=0, adds=0, row_groups=NULL, by_rows=0)


cdef bint fits(cnp.ndarray source, cnp.ndarray buffer) noexcept:
    """Whether the gather op can read rows of the source into the buffer."""
    cdef int i, type = cnp.PyArray_TYPE(source)
    cdef int64_t stride
    if (source.ndim != buffer.ndim or not 0 <= type < NUMPY_TYPES or casts[type] == 0
            or not cnp.PyArray_ISNOTSWAPPED(source) or not cnp.PyArray_ISALIGNED(source)):
        return False
    stride = cnp.PyArray_ITEMSIZE(source)
    for i in range(source.ndim - 1, 0, -1):
        if source.shape[i] != buffer.shape[i]:
            return False
        if (source.shape[i] != 1 and cnp.PyArray_STRIDE(source, i) != stride
                and cnp.PyArray_SIZE(source) != 0):
            return False
        stride *= source.shape[i]
    return True


cdef int gather_into(Op *op, Feed *feed, cnp.ndarray buffer, int64_t capacity) except -1:
    check_buffer(buffer, capacity)
    memset(feed, 0, sizeof(Feed))
    feed.buffer = feed.at = <char *> cnp.PyArray_DATA(buffer)
    feed.bytes, feed.type = buffer.nbytes, casts[cnp.PyArray_TYPE(buffer)] - 1
    op.arguments[FEED] = <char *> feed
    op.kernel = &gather_kernel
    op.bodies = bodies_of(buffer.dtype == np.float64)
    op.itemsize = buffer.itemsize
    op.options[TO_LABEL].whole = buffer.dtype == np.int64
    op.sizes[COUNT] = buffer.size // capacity
    op.arguments[OUT] = <char *> cnp.PyArray_DATA(buffer)
    return 0


cdef int scatter_from(Op *op, cnp.ndarray buffer, int64_t capacity) except -1:
    check_buffer(buffer, capacity)
    op.kernel = &scatter_kernel
    op.bodies = bodies_of(False)
    op.sizes[COUNT] = buffer.nbytes // capacity
    op.arguments[BUFFER] = <char *> cnp.PyArray_DATA(buffer)
    return 0


cdef void point_at(Op *gather, cnp.ndarray source) noexcept:
    copy_rows(feed_of(gather))
    gather.arguments[SOURCE] = <char *> cnp.PyArray_DATA(source)
    gather.sizes[STRIDE] = cnp.PyArray_STRIDE(source, 0)
    gather.options[TYPE].whole = casts[cnp.PyArray_TYPE(source)] - 1
    feed_of(gather).alike = (
        gather.options[TYPE].whole == feed_of(gather).type
        and gather.sizes[STRIDE] == gather.sizes[COUNT] * cnp.PyArray_ITEMSIZE(source))


# --- rows that are read in place -----------------------------------------------------------------

cdef int add_reader(Feed *feed, char **address) except -1 nogil:
    cdef Reader *readers
    if feed.count == feed.room:
        readers = <Reader *> realloc(feed.readers, (2 * feed.room + 8) * sizeof(Reader))
        if readers == NULL:
            with gil:
                raise MemoryError("Program: no memory for the readers of a feed")
        feed.readers, feed.room = readers, 2 * feed.room + 8
    feed.readers[feed.count].address = address
    feed.readers[feed.count].offset = address[0] - feed.buffer
    feed.count += 1
    return 0


cdef int note_address(Feed *feed, char **address, bint written) except -1:
    if address[0] < feed.buffer or address[0] >= feed.buffer + feed.bytes:
        return 0
    if written:
        feed.written = True
    else:
        add_reader(feed, address)
        feed.lasting = feed.count
    return 0


cdef void send_readers(Feed *feed, char *at) noexcept nogil:
    cdef int i
    for i in range(feed.count):
        feed.readers[i].address[0] = at + feed.readers[i].offset
    feed.at = at


cdef void copy_rows(Feed *feed) noexcept nogil:
    if feed.at != feed.buffer:
        send_readers(feed, feed.buffer)
    feed.in_place = False
    feed.count = feed.lasting


cdef int note_stages(Feed *feed, const Stage *stages, int count) except -1 nogil:
    cdef const Stage *stage = stages
    cdef Ready *ready
    cdef char *end = feed.buffer + feed.bytes
    cdef int k
    while stage < stages + count:
        ready = stage.ready
        stage = stage.next
        for k in range(ready.reads):
            if feed.buffer <= <char *> ready.read[k][0] < end:
                add_reader(feed, <char **> ready.read[k])
        if ready.read_end != NULL and feed.buffer < <char *> ready.read_end[0] <= end:
            add_reader(feed, <char **> ready.read_end)
    return 0


cdef void point_to(Op *scatter, cnp.ndarray result) noexcept:
    scatter.arguments[DESTINATION] = <char *> cnp.PyArray_DATA(result)


cdef int check_buffer(cnp.ndarray buffer, int64_t capacity) except -1:
    if (buffer.ndim == 0 or buffer.shape[0] != capacity or not buffer.flags.c_contiguous
            or not buffer.flags.writeable
            or buffer.dtype not in (np.float32, np.float64, np.int64)):
        raise ValueError(f"Program: no buffer: {buffer.dtype} {(<object> buffer).shape}")
    return 0
