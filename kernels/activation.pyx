"""Elementwise activations and their gradients.

Shapes: every argument is (B,), that is, all elements of an array in one row. Pieces are spans of
SPAN elements; each writes only its own stretch of the output. A forward reads and writes each
element once (8 bytes in float32), a backward reads two and writes one (12 bytes).
"""

from libc.stdint cimport int64_t

from fastdl.kernels.runner cimport Context, Kernel, Op, register_elementwise


cdef extern from "simd/activation.h" nogil:
    enum: RELU, ELEMENTWISE_ACTIVATIONS


cdef enum: OUT, X                       # forward
cdef enum: GRAD_X, GRAD_OUT, SAVED      # backward


cdef void relu_forward(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t at = start * op.itemsize
    op.bodies.activation.forward[RELU](op.arguments[OUT] + at, op.arguments[X] + at, 0.0, count)


cdef void relu_backward(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef int64_t at = start * op.itemsize
    op.bodies.activation.backward[RELU](
        op.arguments[GRAD_X] + at, op.arguments[GRAD_OUT] + at, op.arguments[SAVED] + at, 0.0, count)


cdef Kernel relu_forward_kernel
cdef Kernel relu_backward_kernel

register_elementwise("relu_forward", &relu_forward_kernel, relu_forward, 0.1, "out x")
register_elementwise(
    "relu_backward", &relu_backward_kernel, relu_backward, 0.1, "grad_x grad_out out")
