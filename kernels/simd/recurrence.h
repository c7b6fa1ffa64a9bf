#ifndef FASTDL_RECURRENCE_H
#define FASTDL_RECURRENCE_H

#include <stdint.h>

/* In the order of GATE_ACTIVATIONS in table/recurrence.py. */
enum { GATE_LINEAR, GATE_RELU, GATE_SIGMOID, GATE_TANH };

/* All arrays are (rows, n) or (rows, 4*n) for an LSTM's gates, (rows, 3*n) for a GRU's. activation
 * and recurrent are two of the numbers above. */
typedef struct {
    /* gates and squashed may be NULL. */
    void (*lstm_forward)(void *out, void *carry_out, void *gates, void *squashed, const void *x,
                         const void *carry, int64_t rows, int64_t n, int64_t activation,
                         int64_t recurrent);
    /* grad_out or grad_carry_out may be NULL: zeros. */
    void (*lstm_backward)(void *grad_x, void *grad_carry, const void *grad_out,
                          const void *grad_carry_out, const void *gates, const void *squashed,
                          const void *carry, int64_t rows, int64_t n, int64_t activation,
                          int64_t recurrent);
    /* gates may be NULL. */
    void (*gru_forward)(void *out, void *gates, const void *x, const void *product,
                        const void *state, int64_t rows, int64_t n, int64_t activation,
                        int64_t recurrent);
    void (*gru_backward)(void *grad_x, void *grad_product, void *grad_state, const void *grad_out,
                         const void *gates, const void *product, const void *state, int64_t rows,
                         int64_t n, int64_t activation, int64_t recurrent);
    void (*fill)(void *out, double value, int64_t n);
    /* 1 where any of a row's n elements is not value, else 0. */
    void (*row_mask)(void *out, const void *x, double value, int64_t rows, int64_t n);
    /* Rows of x where the mask is not 0, of other where it is; other NULL: zeros. */
    void (*choose_rows)(void *out, const void *x, const void *other, const void *mask, int64_t rows,
                        int64_t n);
} RecurrenceBodies;

#endif
