/* Steps of recurrent cells, and attention. */
#include "checks.h"

static double gate(double x, int64_t kind) {
    return kind == GATE_TANH ? tanh(x) : kind == GATE_SIGMOID ? sigmoid(x)
           : kind == GATE_RELU ? (x > 0 ? x : 0) : x;
}

/* By the gate's value. */
static double gate_slope(double y, int64_t kind) {
    return kind == GATE_TANH ? 1 - y * y : kind == GATE_SIGMOID ? y * (1 - y)
           : kind == GATE_RELU ? y > 0 : 1;
}

static const double NEAR = 32 * EPSILON;

static void check_lstm(int64_t n, int64_t activation, int64_t recurrent) {
    enum { ROWS = 2 };
    const int64_t all = ROWS * n;
    const real *x = drawn(4 * all, -2, 2), *carry = drawn(all, -1, 1);
    const real *grad_h = drawn(all, -1, 1), *grad_c = drawn(all, -1, 1);
    real *out = array(all), *carry_out = array(all), *gates = array(4 * all), *squashed = array(all);
    real *grad_x = array(4 * all), *grad_carry = array(all);
    const RecurrenceBodies *b = bodies->recurrence;
    b->lstm_forward(out, carry_out, gates, squashed, x, carry, ROWS, n, activation, recurrent);
    b->lstm_backward(grad_x, grad_carry, grad_h, grad_c, gates, squashed, carry, ROWS, n, activation,
                     recurrent);
    for (int64_t k = 0; k < all; k++) {
        const int64_t at = k / n * 4 * n + k % n;
        const double i = gate(x[at], recurrent), f = gate(x[at + n], recurrent);
        const double z = gate(x[at + 2 * n], activation), o = gate(x[at + 3 * n], recurrent);
        const double c = f * carry[k] + i * z, s = gate(c, activation), h = grad_h[k];
        const double d = grad_c[k] + h * o * gate_slope(s, activation);
        const double slopes[] = {d * z * gate_slope(i, recurrent),
                                 d * carry[k] * gate_slope(f, recurrent),
                                 d * i * gate_slope(z, activation), h * s * gate_slope(o, recurrent)};
        near("lstm carry", n, k, carry_out[k], c, NEAR * 4);
        near("lstm", n, k, out[k], o * s, NEAR * 8);
        near("lstm carry's gradient", n, k, grad_carry[k], d * f, NEAR * 8);
        for (int g = 0; g < 4; g++)
            near("lstm gradient", n, at + g * n, grad_x[at + g * n], slopes[g], NEAR * 16);
    }
    done("lstm");
}

static void check_gru(int64_t n, int64_t activation, int64_t recurrent) {
    enum { ROWS = 2 };
    const int64_t all = ROWS * n;
    const real *x = drawn(3 * all, -2, 2), *product = drawn(3 * all, -2, 2);
    const real *state = drawn(all, -1, 1), *grad_out = drawn(all, -1, 1);
    real *out = array(all), *gates = array(3 * all), *grad_x = array(3 * all);
    real *grad_product = array(3 * all), *grad_state = array(all);
    const RecurrenceBodies *b = bodies->recurrence;
    b->gru_forward(out, gates, x, product, state, ROWS, n, activation, recurrent);
    b->gru_backward(grad_x, grad_product, grad_state, grad_out, gates, product, state, ROWS, n,
                    activation, recurrent);
    for (int64_t k = 0; k < all; k++) {
        const int64_t at = k / n * 3 * n + k % n;
        const double z = gate((double)x[at] + product[at], recurrent);
        const double r = gate((double)x[at + n] + product[at + n], recurrent);
        const double p = product[at + 2 * n], c = gate(x[at + 2 * n] + r * p, activation);
        const double h = grad_out[k], d = h * (1 - z) * gate_slope(c, activation);
        const double slopes[] = {h * (state[k] - c) * gate_slope(z, recurrent),
                                 d * p * gate_slope(r, recurrent), d};
        near("gru", n, k, out[k], z * state[k] + (1 - z) * c, NEAR * 8);
        near("gru state's gradient", n, k, grad_state[k], h * z, NEAR * 4);
        for (int g = 0; g < 3; g++) {
            near("gru gradient", n, at + g * n, grad_x[at + g * n], slopes[g], NEAR * 16);
            near("gru product's gradient", n, at + g * n, grad_product[at + g * n],
                 g == 2 ? d * r : slopes[g], NEAR * 16);
        }
    }
    done("gru");
}

/* The second of two heads; the other's elements stay as they are. */
static void check_attention(int64_t T, int64_t S, int64_t D, int64_t V, int causal, int masked,
                            double rate) {
    enum { H = 2 };
    const int64_t of_q = T * H * D, of_k = S * H * D, of_v = S * H * V, of_out = T * H * V;
    const real *q = drawn(of_q, -1, 1), *k = drawn(of_k, -1, 1), *v = drawn(of_v, -1, 1);
    const real *g = drawn(of_out, -1, 1);
    real *mask = drawn(T * S, 0, 1), *key_mask = drawn(S, 0, 1);
    for (int64_t i = 0; i < T * S; i++) mask[i] = mask[i] > (real)0.2;
    for (int64_t i = 0; i < S; i++) key_mask[i] = i == 0 || key_mask[i] > (real)0.2;
    real *out = drawn(of_out, 0, 0), *lse = drawn(T * H, 0, 0), *grad_q = drawn(of_q, 0, 0);
    real *grad_k = drawn(of_k, 0, 0), *grad_v = drawn(of_v, 0, 0);
    const Attention a = {
        .out = out + V, .lse = lse + 1, .q = q + D, .k = k + D, .v = v + V,
        .mask = masked ? mask : NULL, .key_mask = masked ? key_mask : NULL, .T = T, .S = S, .H = H,
        .D = D, .V = V, .scale = 0.5, .causal = causal, .rate = rate, .draw = {99, 2, 4},
        .first_word = 5, .grad_q = grad_q + D, .grad_k = grad_k + D, .grad_v = grad_v + V,
        .grad_out = g + V};
    bodies->attention->forward(&a, 0, T);
    bodies->attention->backward(&a);
    const double threshold = ceil(rate * 4294967296.0);
    double *sums = calloc((size_t)(of_out + of_q + of_k + of_v), sizeof(double));
    double *for_q = sums + of_out, *for_k = for_q + of_q, *for_v = for_k + of_k;
    double *weight = calloc((size_t)(3 * S), sizeof(double)), *kept = weight + S, *slope = kept + S;
    for (int64_t t = 0; t < T; t++) {
        double total = 0, mean = 0;
        for (int64_t s = 0; s < S; s++) {
            double score = 0;
            for (int64_t d = 0; d < D; d++)
                score += (double)q[(t * H + 1) * D + d] * k[(s * H + 1) * D + d];
            const int seen = (!causal || s <= t) && (!masked || (mask[t * S + s] && key_mask[s]));
            total += weight[s] = seen ? exp(score / 2) : 0;
            kept[s] = word(a.draw, (uint64_t)(5 + t * S + s)) >= threshold ? 1 / (1 - rate) : 0;
        }
        near("attention's sum", S, t, lse[t * H + 1], log(total), NEAR * 4);
        for (int64_t s = 0; s < S; s++) {
            weight[s] /= total > 0 ? total : 1, slope[s] = 0;
            for (int64_t i = 0; i < V; i++) {
                const int64_t at = (t * H + 1) * V + i, from = (s * H + 1) * V + i;
                sums[at] += weight[s] * kept[s] * v[from];
                for_v[from] += weight[s] * kept[s] * g[at];
                slope[s] += kept[s] * g[at] * v[from];
            }
            mean += weight[s] * slope[s];
        }
        for (int64_t s = 0; s < S; s++)
            for (int64_t d = 0; d < D; d++) {
                const int64_t at = (t * H + 1) * D + d, from = (s * H + 1) * D + d;
                const double step = weight[s] * (slope[s] - mean) / 2;
                for_q[at] += step * k[from], for_k[from] += step * q[at];
            }
    }
    for (int64_t i = 0; i < of_out; i++) near("attention", S, i, out[i], sums[i], NEAR * 4);
    for (int64_t i = 0; i < of_q; i++) near("q's gradient", S, i, grad_q[i], for_q[i], NEAR * 16);
    for (int64_t i = 0; i < of_k; i++) near("k's gradient", S, i, grad_k[i], for_k[i], NEAR * 16);
    for (int64_t i = 0; i < of_v; i++) near("v's gradient", S, i, grad_v[i], for_v[i], NEAR * 16);
    done("attention");
    free(sums), free(weight);
}

void check_sequences(void) {
    for (int64_t n = 1; n <= 37; n += 3) {
        check_lstm(n, GATE_TANH, GATE_SIGMOID), check_lstm(n, GATE_LINEAR, GATE_RELU);
        check_gru(n, GATE_TANH, GATE_SIGMOID), check_gru(n, GATE_RELU, GATE_LINEAR);
    }
    check_attention(5, 7, 3, 4, 0, 0, 0), check_attention(9, 9, 8, 17, 1, 1, 0);
    check_attention(3, 21, 5, 2, 0, 1, 0.25), check_attention(66, 70, 4, 3, 1, 0, 0.5);
}
