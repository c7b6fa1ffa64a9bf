/* Steps of recurrent cells, masks, and sequences in the order of time: see table/recurrence.py. */
#include "activation.cuh"

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

/* --- cells: a thread has one unit of one row --------------------------------------------------- */

/* In the order of the table's GATE_ACTIVATIONS. */
enum { GATE_LINEAR, GATE_RELU, GATE_SIGMOID, GATE_TANH };

DEVICE real gate(int64 activation, real x) {
    switch (activation) {
    case GATE_TANH: return tanh(x);
    case GATE_SIGMOID: return sigmoid(x);
    case GATE_RELU: return relu(x, 0);
    default: return x;
    }
}

/* grad times the slope of an activation, which follows from its value. */
DEVICE real through_gate(int64 activation, real grad, real value) {
    switch (activation) {
    case GATE_TANH: return grad * ((1 - value) * (1 + value));
    case GATE_SIGMOID: return grad * (value * (1 - value));
    case GATE_RELU: return value <= 0 ? (real)0 : grad;
    default: return grad;
    }
}

/* Gates lie side by side in a row: i | f | c | o. */
KERNEL lstm_step_forward(real *out, real *carry_out, real *gates, real *squashed, const real *x,
                         const real *carry, int64 activation, int64 recurrent, int64 rows, int64 U,
                         int64) {
    EACH_ELEMENT(i, rows *U) {
        const int64 at = i / U * 4 * U + i % U;
        const real in = gate(recurrent, x[at]), forget = gate(recurrent, x[at + U]);
        const real candidate = gate(activation, x[at + 2 * U]);
        const real output = gate(recurrent, x[at + 3 * U]);
        const real c = forget * carry[i] + in * candidate, s = gate(activation, c);
        carry_out[i] = c;
        out[i] = output * s;
        if (gates) {
            gates[at] = in;
            gates[at + U] = forget;
            gates[at + 2 * U] = candidate;
            gates[at + 3 * U] = output;
        }
        if (squashed) squashed[i] = s;
    }
}

KERNEL lstm_step_backward(real *grad_carry, real *grad_x, const real *grad_out,
                          const real *grad_carry_out, const real *gates, const real *squashed,
                          const real *carry, int64 activation, int64 recurrent, int64 rows, int64 U,
                          int64) {
    EACH_ELEMENT(i, rows *U) {
        const int64 at = i / U * 4 * U + i % U;
        const real in = gates[at], forget = gates[at + U], candidate = gates[at + 2 * U];
        const real output = gates[at + 3 * U], s = squashed[i];
        const real h = grad_out ? grad_out[i] : (real)0;
        const real c = (grad_carry_out ? grad_carry_out[i] : (real)0)
                       + through_gate(activation, h * output, s);
        const real before = carry[i];
        grad_carry[i] = c * forget;
        grad_x[at] = through_gate(recurrent, c * candidate, in);
        grad_x[at + U] = through_gate(recurrent, c * before, forget);
        grad_x[at + 2 * U] = through_gate(activation, c * in, candidate);
        grad_x[at + 3 * U] = through_gate(recurrent, h * s, output);
    }
}

/* Gates lie side by side in a row: z | r | h. */
KERNEL gru_step_forward(real *out, real *gates, const real *x, const real *product,
                        const real *state, int64 activation, int64 recurrent, int64 rows, int64 U,
                        int64) {
    EACH_ELEMENT(i, rows *U) {
        const int64 at = i / U * 3 * U + i % U;
        const real update = gate(recurrent, x[at] + product[at]);
        const real reset = gate(recurrent, x[at + U] + product[at + U]);
        const real candidate = gate(activation, x[at + 2 * U] + reset * product[at + 2 * U]);
        out[i] = update * state[i] + (1 - update) * candidate;
        if (gates) {
            gates[at] = update;
            gates[at + U] = reset;
            gates[at + 2 * U] = candidate;
        }
    }
}

KERNEL gru_step_backward(real *grad_state, real *grad_x, real *grad_product, const real *grad_out,
                         const real *gates, const real *product, const real *state,
                         int64 activation, int64 recurrent, int64 rows, int64 U, int64) {
    EACH_ELEMENT(i, rows *U) {
        const int64 at = i / U * 3 * U + i % U;
        const real update = gates[at], reset = gates[at + U], candidate = gates[at + 2 * U];
        const real h = grad_out[i];
        const real c = through_gate(activation, h * (1 - update), candidate);
        const real r = through_gate(recurrent, c * product[at + 2 * U], reset);
        const real z = through_gate(recurrent, h * (state[i] - candidate), update);
        grad_x[at] = grad_product[at] = z;
        grad_x[at + U] = grad_product[at + U] = r;
        grad_x[at + 2 * U] = c;
        grad_product[at + 2 * U] = c * reset;
        grad_state[i] = h * update;
    }
}
