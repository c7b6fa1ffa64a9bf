"""Dropout and Gaussian noise, from counter-based random numbers.

Shapes: every argument is (B,), that is, all elements of an array in one row. Pieces are spans of
SPAN elements; each writes only its own stretch of the output, and draws by the places of its
elements, so nothing is shared. A dropout reads and writes each element once (8 bytes in float32)
and makes a word for it, some sixteen integer operations a word.
"""

from libc.math cimport ceil
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from fastdl.kernels.dispatch cimport bodies_of
from fastdl.kernels.runner cimport Context, Draw, Kernel, Op, register_elementwise


cdef enum: OUT, X
cdef enum: AMOUNT, STREAM       # AMOUNT: rate or stddev; step and seed come with the context


cdef Draw draw_of(const Op *op, const Context *context) noexcept nogil:
    cdef Draw draw
    draw.seed = <uint64_t> context.seed
    draw.stream = <uint32_t> op.options[STREAM].whole
    draw.step = <uint32_t> context.step
    return draw


cdef void dropout_span(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t at = start * op.itemsize
    cdef double rate = op.options[AMOUNT].number
    cdef uint32_t threshold = <uint32_t> min(ceil(rate * 4294967296.0), 4294967295.0)
    op.bodies.random.dropout(
        op.arguments[OUT] + at, op.arguments[X] + at, threshold, 1.0 / (1.0 - rate),
        draw_of(op, context), start, count)


cdef void gaussian_noise_span(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t at = start * op.itemsize
    op.bodies.random.gaussian_noise(
        op.arguments[OUT] + at, op.arguments[X] + at, op.options[AMOUNT].number,
        draw_of(op, context), start, count)


cdef Kernel dropout_forward_kernel
cdef Kernel dropout_backward_kernel
cdef Kernel gaussian_noise_forward_kernel

register_elementwise(
    "dropout_forward", &dropout_forward_kernel, dropout_span, 0.6, "out x",
    "rate stream step seed")
register_elementwise(
    "dropout_backward", &dropout_backward_kernel, dropout_span, 0.6, "grad_x grad_out",
    "rate stream step seed")
register_elementwise(
    "gaussian_noise_forward", &gaussian_noise_forward_kernel, gaussian_noise_span, 3.0, "out x",
    "stddev stream step seed")


def philox_words(
    uint32_t[::1] words not None, uint64_t group, uint64_t seed, uint32_t stream, uint32_t step,
    bint float64=False,
):
    """Fills ``words`` with those of the elements from 4*group on; for the tests.

    ``float64`` says whose copy of the generator makes them: that of float64 or of float32.
    """
    cdef Draw draw
    if words.shape[0] % 4:
        raise ValueError(f"philox_words: words come in fours, got room for {words.shape[0]}")
    draw.seed, draw.stream, draw.step = seed, stream, step
    if words.shape[0]:
        bodies_of(float64).random.words(&words[0], group, words.shape[0] // 4, draw)


def dropout_of_span(
    unsigned char[::1] out not None, const unsigned char[::1] x not None, int itemsize,
    int64_t start, int64_t count, double rate, int64_t seed,
):
    """Dropout of elements start ... start + count - 1 alone, of arrays as bytes; for the tests."""
    cdef Op op
    cdef Context context
    if start < 0 or count < 0 or (start + count) * itemsize > min(out.shape[0], x.shape[0]):
        raise ValueError("dropout_of_span: the arrays end before the span")
    memset(&op, 0, sizeof(op))
    memset(&context, 0, sizeof(context))
    op.bodies = bodies_of(itemsize == 8)
    op.itemsize = itemsize
    op.options[AMOUNT].number = rate
    context.seed = seed
    if count:
        op.arguments[OUT] = <char *> &out[0]
        op.arguments[X] = <char *> &x[0]
        dropout_span(&op, &context, start, count)
