"""Images moved at random: flipped, shifted, rotated and zoomed in one go.

Shapes: out and x (B, H, W, C). Each image draws its own eight words and is sampled bilinearly through
the map that they say, so nothing is shared; pieces are runs of images. A pixel reads four and writes
one: some 20 bytes a channel in float32, of an image that stays in L1 or L2.

Why this is no part of the gather, which brings the rows: of a step of the convolutional network of
`examples/a3_cnn_digits.py` at batch 32 the whole gather is less than a hundredth, and one pass less
would save a part of that. What counts is the sampling, so pixels whose neighbours are all there have
a short way.
"""

from libc.math cimport cos, pi, sin
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastdl.kernels.runner cimport (
    Context, Draw, Kernel, Op, ceil_divide, op_rows, register, rows_in_span, smaller,
)


cdef enum: OUT, X
cdef enum: H, W, C
cdef enum: HORIZONTAL, VERTICAL, HEIGHT_SHIFT, WIDTH_SHIFT, ROTATION, ZOOM, FILL, STREAM
cdef enum: REFLECT, NEAREST, CONSTANT


# Where an output pixel (i, j) comes from: (y + yi*i + yj*j, x + xi*i + xj*j).
cdef struct Map:
    double y, yi, yj, x, xi, xj


cdef inline double unit(uint32_t word) noexcept nogil:
    """From -1 to 1, evenly."""
    return (word >> 8) / 8388608.0 - 1.0


cdef Map map_of(const Op *op, const Context *context, int64_t row) noexcept nogil:
    cdef uint32_t words[8]
    cdef Draw draw
    cdef Map m
    cdef double angle, scale, up, left
    cdef double cy = 0.5 * (op.sizes[H] - 1), cx = 0.5 * (op.sizes[W] - 1)
    draw.seed = <uint64_t> context.seed
    draw.stream = <uint32_t> op.options[STREAM].whole
    draw.step = <uint32_t> context.step
    op.bodies.random.words(words, 2 * row, 2, draw)
    up = -1.0 if op.options[VERTICAL].whole and words[0] & 2 else 1.0
    left = -1.0 if op.options[HORIZONTAL].whole and words[0] & 1 else 1.0
    angle = 2.0 * pi * op.options[ROTATION].number * unit(words[3])
    scale = 1.0 / (1.0 + op.options[ZOOM].number * unit(words[4]))
    m.yi, m.yj = up * scale * cos(angle), -up * scale * sin(angle)
    m.xi, m.xj = left * scale * sin(angle), left * scale * cos(angle)
    m.y = cy - m.yi * cy - m.yj * cx - op.options[HEIGHT_SHIFT].number * op.sizes[H] * unit(words[1])
    m.x = cx - m.xi * cy - m.xj * cx - op.options[WIDTH_SHIFT].number * op.sizes[W] * unit(words[2])
    return m


cdef inline int64_t tap(int64_t i, int64_t n, int64_t fill) noexcept nogil:
    """The pixel that stands at i on an axis of n; -1 for none."""
    if 0 <= i < n:
        return i
    if fill == CONSTANT:
        return -1
    if fill == NEAREST:
        return 0 if i < 0 else n - 1
    i %= 2 * n
    if i < 0:
        i += 2 * n
    return i if i < n else 2 * n - 1 - i


cdef inline int64_t whole(double value) noexcept nogil:
    """The whole number at or below; the library's floor is a call where SSE4 is not asked for."""
    cdef int64_t number = <int64_t> value
    return number - (value < number)


ctypedef fused real:
    float
    double


cdef void sample(
    real *out, const real *x, const Map *m, int64_t height, int64_t width, int64_t channels,
    int64_t fill
) noexcept nogil:
    """One image."""
    cdef int64_t i, j, k, c, top, left, line = width * channels
    cdef int64_t[4] at
    cdef int64_t[2] ys
    cdef int64_t[2] xs
    cdef double y, xx, down, right, total, line_y, line_x, yj = m.yj, xj = m.xj
    cdef double[4] weight
    cdef const real *first
    for i in range(height):
        line_y, line_x = m.y + m.yi * i, m.x + m.xi * i
        for j in range(width):
            y, xx = line_y + yj * j, line_x + xj * j
            top, left = whole(y), whole(xx)
            down, right = y - top, xx - left
            if 0 <= top < height and 0 <= left < width and down == 0.0 and right == 0.0:
                first = x + top * line + left * channels
                for c in range(channels):
                    out[c] = first[c]
                out += channels
                continue
            weight[0], weight[1] = (1.0 - down) * (1.0 - right), (1.0 - down) * right
            weight[2], weight[3] = down * (1.0 - right), down * right
            if 0 <= top < height - 1 and 0 <= left < width - 1 and down != 0.0 and right != 0.0:
                first = x + top * line + left * channels
                for c in range(channels):
                    out[c] = <real> (
                        weight[0] * first[c] + weight[1] * first[channels + c]
                        + weight[2] * first[line + c] + weight[3] * first[line + channels + c])
                out += channels
                continue
            for k in range(2):
                ys[k], xs[k] = tap(top + k, height, fill), tap(left + k, width, fill)
            for k in range(4):
                at[k] = (ys[k // 2] * width + xs[k % 2]) * channels
                if ys[k // 2] < 0 or xs[k % 2] < 0:
                    weight[k] = 0.0
            for c in range(channels):
                total = 0.0
                for k in range(4):
                    if weight[k] != 0.0:  # so that a NaN beside it stays there
                        total += weight[k] * x[at[k] + c]
                out[c] = <real> total
            out += channels


cdef inline int64_t image_size(const Op *op) noexcept nogil:
    return op.sizes[H] * op.sizes[W] * op.sizes[C]


cdef int64_t pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), rows_in_span(image_size(op)))


cdef double cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op_rows(op, context) * (100.0 + op.sizes[H] * op.sizes[W] * (15.0 + 4.0 * op.sizes[C]))


cdef void augment(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef int64_t each = rows_in_span(image_size(op)), size = image_size(op), row
    cdef Map m
    if size == 0:
        return
    for row in range(piece * each, smaller(op_rows(op, context), (piece + 1) * each)):
        m = map_of(op, context, row)
        if op.itemsize == 8:
            sample[double](
                <double *> op.arguments[OUT] + row * size, <const double *> op.arguments[X] + row * size,
                &m, op.sizes[H], op.sizes[W], op.sizes[C], op.options[FILL].whole)
        else:
            sample[float](
                <float *> op.arguments[OUT] + row * size, <const float *> op.arguments[X] + row * size,
                &m, op.sizes[H], op.sizes[W], op.sizes[C], op.options[FILL].whole)


cdef Kernel augment_kernel
augment_kernel.phases = 1
augment_kernel.pieces = pieces
augment_kernel.run_piece = augment
augment_kernel.cost = cost
register(
    "augment", &augment_kernel, "out x",
    "horizontal vertical height_shift width_shift rotation zoom fill stream step seed")
