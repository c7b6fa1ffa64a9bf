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


# Rows of images that a piece takes: some of one image, or whole images.
cdef struct ImageRows:
    int64_t first, count    # counted through all images


cdef inline int64_t parts_of_image(int64_t height, int64_t width) noexcept nogil:
    """Into how many pieces an image is cut; 1: several may make one."""
    return ceil_divide(height, rows_in_span(width))


cdef inline int64_t image_groups(int64_t images, int64_t height, int64_t width) noexcept nogil:
    """Pieces that hold whole images, and as many, where images are cut."""
    if height * width == 0:
        return 0
    if parts_of_image(height, width) > 1:
        return images
    return ceil_divide(images, rows_in_span(width) // height)


cdef inline int64_t image_pieces(int64_t images, int64_t height, int64_t width) noexcept nogil:
    return image_groups(images, height, width) * parts_of_image(height, width)


cdef inline ImageRows image_rows(
    int64_t images, int64_t height, int64_t width, int64_t piece
) noexcept nogil:
    cdef ImageRows rows
    cdef int64_t parts = parts_of_image(height, width)
    cdef int64_t groups = image_groups(images, height, width)
    cdef int64_t group = piece // parts, part = piece % parts
    cdef int64_t first = images * group // groups, end = images * (group + 1) // groups
    rows.first = first * height + height * part // parts
    rows.count = (end - 1) * height + height * (part + 1) // parts - rows.first
    return rows


cdef inline int64_t window_width(const Pool *pool) noexcept nogil:
    """Elements of x that a row of windows takes."""
    return smaller(pool.stride_height, pool.pool_height) * pool.W * pool.C if pool.Q > 0 else 0
