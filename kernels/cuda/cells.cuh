/* One unit of one row of a recurrent cell's step, for the steps' own kernels and for whole loops.
 *
 * Gates lie side by side in a row: i | f | c | o of an LSTM, z | r | h of a GRU. The structs are the
 * ops' arrays in the order of the table.
 */
#pragma once
#include "activation.cuh"

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

struct LstmForward {
    real *out, *carry_out, *gates, *squashed;
    const real *x, *carry;

    METHOD void unit(int64 i, int64 U, int64 activation, int64 recurrent) const {
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
};

struct LstmBackward {
    real *grad_carry, *grad_x;
    const real *grad_out, *grad_carry_out, *gates, *squashed, *carry;

    METHOD void unit(int64 i, int64 U, int64 activation, int64 recurrent) const {
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
};

struct GruForward {
    real *out, *gates;
    const real *x, *product, *state;

    METHOD void unit(int64 i, int64 U, int64 activation, int64 recurrent) const {
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
};

struct GruBackward {
    real *grad_state, *grad_x, *grad_product;
    const real *grad_out, *gates, *product, *state;

    METHOD void unit(int64 i, int64 U, int64 activation, int64 recurrent) const {
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
};
