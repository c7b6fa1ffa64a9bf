"""The windows of a pooling, from the options of its op."""

from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport Op, Pool, ceil_divide, rows_in_span, smaller


cdef enum: POOL_HEIGHT, POOL_WIDTH, STRIDE_HEIGHT, STRIDE_WIDTH, PADDING    # the first options


cdef inline int64_t padded_before(
    int64_t length, int64_t count, int64_t size, int64_t stride, bint same
) noexcept nogil:
    """Places outside in front of an axis; where their number is odd, the one more is behind it."""
    return max(0, (count - 1) * stride + size - length) // 2 if same else 0


cdef inline void set_window(Pool *pool, const Op *op) noexcept nogil:
    cdef bint same = op.options[PADDING].whole
    pool.pool_height = op.options[POOL_HEIGHT].whole
    pool.pool_width = op.options[POOL_WIDTH].whole
    pool.stride_height = op.options[STRIDE_HEIGHT].whole
    pool.stride_width = op.options[STRIDE_WIDTH].whole
    pool.top = padded_before(pool.H, pool.P, pool.pool_height, pool.stride_height, same)
    pool.left = padded_before(pool.W, pool.Q, pool.pool_width, pool.stride_width, same)


cdef inline Pool forward_pool(const Op *op) noexcept nogil:
    """Of an op whose first argument is what is pooled: P Q C H W."""
    cdef Pool pool
    pool.P, pool.Q, pool.C = op.sizes[0], op.sizes[1], op.sizes[2]
    pool.H, pool.W = op.sizes[3], op.sizes[4]
    set_window(&pool, op)
    return pool


cdef inline Pool backward_pool(const Op *op) noexcept nogil:
    """Of an op whose first argument is a gradient of images: H W C P Q."""
    cdef Pool pool
    pool.H, pool.W, pool.C = op.sizes[0], op.sizes[1], op.sizes[2]
    pool.P, pool.Q = op.sizes[3], op.sizes[4]
    set_window(&pool, op)
    return pool


cdef inline int64_t forward_rows(const Pool *pool) noexcept nogil:
    """Rows of what is pooled that a piece takes."""
    return rows_in_span(smaller(pool.stride_height, pool.pool_height) * pool.W * pool.C)


cdef inline int64_t forward_piece_count(const Pool *pool, int64_t images) noexcept nogil:
    """Pieces are rows of windows, counted through all images."""
    return ceil_divide(images * pool.P, forward_rows(pool)) if pool.Q * pool.C > 0 else 0
