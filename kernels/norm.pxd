"""How batch norm cuts a matrix, into blocks of rows and, where they are wide, panels of columns, and what
their statistics are merged from."""

from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport Op, ceil_divide, smaller


cdef extern from "simd/norm.h" nogil:
    enum: NORM_RUN, NORM_PANEL, NORM_PADDING, NORM_MERGE, FAR_BYTES
    int64_t folded_rows(int64_t columns)


cdef enum: ELEMENTS = 32768         # of a piece


cdef struct Cut:
    int64_t rows, first_column, columns, stride
    int64_t block
    int64_t column_bytes    # from an array (C,) to the first column
    int64_t bytes           # from an array (B, C) to the first element


cdef inline int64_t block_rows(int64_t columns) noexcept nogil:
    """Rows of a block: whole runs of folded rows."""
    cdef int64_t run = NORM_RUN * folded_rows(columns)
    return run * max(1, ELEMENTS // (run * smaller(columns, NORM_PANEL)))


cdef inline int64_t block_count(int64_t rows, int64_t columns) noexcept nogil:
    return ceil_divide(rows, block_rows(columns)) if columns > 0 else 0


cdef inline int64_t panel_count(int64_t columns) noexcept nogil:
    return ceil_divide(columns, NORM_PANEL)


cdef inline int64_t panel_start(int64_t columns, int64_t panel) noexcept nogil:
    """Panels begin at multiples of 16 columns; the last one takes what is left."""
    cdef int64_t panels = panel_count(columns)
    return columns if panel == panels else columns // 16 * panel // panels * 16


cdef inline Cut cut_of(
    int64_t rows, int64_t columns, int64_t itemsize, int64_t piece
) noexcept nogil:
    """A piece of a matrix (rows, columns): the panels of a block are numbered first."""
    cdef Cut cut
    cdef int64_t panels = panel_count(columns), first = piece // panels * block_rows(columns)
    cut.block = piece // panels
    cut.rows = smaller(block_rows(columns), rows - first)
    cut.stride = columns
    cut.first_column = panel_start(columns, piece % panels)
    cut.columns = panel_start(columns, piece % panels + 1) - cut.first_column
    cut.column_bytes = cut.first_column * itemsize
    cut.bytes = first * columns * itemsize + cut.column_bytes
    return cut


cdef inline size_t moments_size(int64_t blocks, int64_t columns, int64_t itemsize) noexcept nogil:
    """Bytes of a workspace for the moments of blocks: their rows, then three arrays of each."""
    return blocks * (sizeof(int64_t) + 3 * columns * itemsize)


cdef inline void write_moments(
    const Op *op, char *workspace, int64_t blocks, int64_t block, const char *x, int64_t rows,
    int64_t columns, int64_t first, int64_t count, bint far
) noexcept nogil:
    """Those of a block's columns from the first on, of which x is the first element."""
    cdef char *to = workspace + blocks * sizeof(int64_t)
    cdef int64_t array = columns * op.itemsize, at = 3 * block * array + first * op.itemsize
    if first == 0:
        (<int64_t *> workspace)[block] = rows
    op.bodies.norm.batch_statistics(
        to + at, to + at + array, to + at + 2 * array, x, rows, count, columns, far)


cdef inline void merge_moments(
    const Op *op, void *mean, void *variance, char *workspace, int64_t blocks, int64_t columns,
    int64_t piece
) noexcept nogil:
    """Mean and variance of the piece-th NORM_MERGE columns."""
    cdef int64_t first = piece * NORM_MERGE, at = first * op.itemsize
    op.bodies.norm.batch_merge(
        <char *> mean + at, <char *> variance + at, workspace + blocks * sizeof(int64_t) + at,
        <const int64_t *> workspace, blocks, smaller(NORM_MERGE, columns - first), columns)


cdef inline bint is_far(int64_t rows, int64_t columns, int64_t itemsize) noexcept nogil:
    return rows * columns * itemsize >= FAR_BYTES


cdef inline char *shifted(char *array, int64_t bytes) noexcept nogil:
    """An argument from some element on; one that was left out stays so."""
    return array + bytes if array != NULL else NULL
