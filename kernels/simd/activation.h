#ifndef FASTDL_ACTIVATION_H
#define FASTDL_ACTIVATION_H

#include <stdint.h>

/* In the order of _ELEMENTWISE_ACTIVATIONS in table/activations.py. */
enum {
    RELU,
    LEAKY_RELU,
    ELU,
    SELU,
    GELU,
    GELU_TANH,
    SIGMOID,
    TANH,
    SOFTPLUS,
    SILU,
    ELEMENTWISE_ACTIVATIONS
};

typedef struct {
    /* out (n) = f(x (n)); out may be x. alpha is the activation's option, if it has one. */
    void (*forward[ELEMENTWISE_ACTIVATIONS])(void *out, const void *x, double alpha, int64_t n);
    /* grad_x (n) = grad_out (n) * f'; saved (n) is x or out, as the table says; grad_x may be
     * grad_out. */
    void (*backward[ELEMENTWISE_ACTIVATIONS])(void *grad_x, const void *grad_out, const void *saved,
                                              double alpha, int64_t n);
    /* Over each of the rows: out (rows, n) = softmax(x (rows, n)); out may be x. */
    void (*softmax_forward)(void *out, const void *x, int64_t rows, int64_t n);
    /* grad_x (rows, n), from out (rows, n); grad_x may be grad_out. */
    void (*softmax_backward)(void *grad_x, const void *grad_out, const void *out, int64_t rows,
                             int64_t n);
} ActivationBodies;

#endif
