/* Steps of recurrent cells, masks, and sequences in the order of time: see table/recurrence.py. */
#include "cells.cuh"

/* --- the order of time ------------------------------------------------------------------------ */

/* out has all rows of the first (of the last, where `reverse`) time step first. */
KERNEL to_time_major(real *out, const real *x, int64 reverse, int64 rows, int64 T, int64 F) {
    EACH_ELEMENT(i, rows *T *F) {
        const int64 row = i / F % rows, time = i / F / rows;
        out[i] = x[(row * T + (reverse ? T - 1 - time : time)) * F + i % F];
    }
}

KERNEL from_time_major(real *out, const real *x, int64 reverse, int64 rows, int64 T, int64 F) {
    EACH_ELEMENT(i, rows *T *F) {
        const int64 time = i / F % T, row = i / F / T;
        out[i] = x[((reverse ? T - 1 - time : time) * rows + row) * F + i % F];
    }
}

KERNEL fill(real *out, double value, int64 n) { EACH_ELEMENT(i, n) out[i] = (real)value; }

KERNEL assign(real *target, const real *x, int64 n) { EACH_ELEMENT(i, n) target[i] = x[i]; }

/* --- masks ------------------------------------------------------------------------------------ */

KERNEL row_mask(real *out, const real *x, double value, int64 rows, int64 F) {
    if (ROW >= rows) return;
    real differs = 0;
    EACH_COLUMN(i, F) if (x[ROW * F + i] != (real)value) differs = 1;
    differs = row_maximum(differs);
    if (threadIdx.x == 0) out[ROW] = maximum(0, differs);
}

KERNEL choose_rows_forward(real *out, const real *x, const real *other, const real *mask,
                           int64 rows, int64 F) {
    EACH_ELEMENT(i, rows *F) out[i] = mask[i / F] != 0 ? x[i] : other ? other[i] : (real)0;
}

KERNEL choose_rows_backward(real *grad_x, real *grad_other, const real *grad_out, const real *mask,
                            int64 rows, int64 F) {
    EACH_ELEMENT(i, rows *F) {
        const bool chosen = mask[i / F] != 0;
        grad_x[i] = chosen ? grad_out[i] : (real)0;
        if (grad_other) grad_other[i] = chosen ? (real)0 : grad_out[i];
    }
}

/* --- cells: a thread has one unit of one row (cells.cuh) ---------------------------------------- */

KERNEL lstm_step_forward(real *out, real *carry_out, real *gates, real *squashed, const real *x,
                         const real *carry, int64 activation, int64 recurrent, int64 rows, int64 U,
                         int64) {
    const LstmForward step = {out, carry_out, gates, squashed, x, carry};
    EACH_ELEMENT(i, rows *U) step.unit(i, U, activation, recurrent);
}

KERNEL lstm_step_backward(real *grad_carry, real *grad_x, const real *grad_out,
                          const real *grad_carry_out, const real *gates, const real *squashed,
                          const real *carry, int64 activation, int64 recurrent, int64 rows, int64 U,
                          int64) {
    const LstmBackward step = {grad_carry, grad_x, grad_out, grad_carry_out, gates, squashed, carry};
    EACH_ELEMENT(i, rows *U) step.unit(i, U, activation, recurrent);
}

KERNEL gru_step_forward(real *out, real *gates, const real *x, const real *product,
                        const real *state, int64 activation, int64 recurrent, int64 rows, int64 U,
                        int64) {
    const GruForward step = {out, gates, x, product, state};
    EACH_ELEMENT(i, rows *U) step.unit(i, U, activation, recurrent);
}

KERNEL gru_step_backward(real *grad_state, real *grad_x, real *grad_product, const real *grad_out,
                         const real *gates, const real *product, const real *state,
                         int64 activation, int64 recurrent, int64 rows, int64 U, int64) {
    const GruBackward step = {grad_state, grad_x, grad_product, grad_out, gates, product, state};
    EACH_ELEMENT(i, rows *U) step.unit(i, U, activation, recurrent);
}
