/* Runs the C bodies of one float type and instruction set against naive C in double.
 *
 * Compiled with -DREAL_BITS=32 or 64 and -DBODIES=fastdl_<set>_f<bits>, and linked with that set's
 * bodies; test_bodies.py does it, under an emulator where the set is another processor's. Prints a
 * line for each check that fails, then the number of checks; exit status 1 if any failed.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simd/bodies.h"

#if REAL_BITS == 32
typedef float real;
static const double EPSILON = 0x1p-23;
#else
typedef double real;
static const double EPSILON = 0x1p-52;
#endif

extern const Bodies BODIES;
static const Bodies *const bodies = &BODIES;

enum { MOST = 4096, GUARD = 32 };
static const real UNTOUCHED = 12345;
static int checks, failures;

/* An array of its own, with guards on both sides that nothing may write to. */
static real *array(int64_t n) {
    real *block = malloc((size_t)(n + 2 * GUARD) * sizeof(real));
    for (int64_t i = 0; i < n + 2 * GUARD; i++) block[i] = UNTOUCHED;
    return block + GUARD;
}

static void release(real *p, int64_t n, const char *what) {
    checks++;
    for (int64_t i = 0; i < GUARD; i++)
        if (p[-1 - i] != UNTOUCHED || p[n + i] != UNTOUCHED) {
            failures++;
            printf("%s (%lld): wrote outside its array\n", what, (long long)n);
            break;
        }
    free(p - GUARD);
}

static double uniform(void) { /* Knuth's MMIX generator */
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53;
}

static real *drawn(int64_t n, double low, double high) {
    real *x = array(n);
    for (int64_t i = 0; i < n; i++) x[i] = (real)(low + (high - low) * uniform());
    return x;
}

static void near(const char *what, int64_t n, int64_t i, double got, double wanted, double bound) {
    checks++;
    if (!(fabs(got - wanted) <= bound) && !(isnan(got) && isnan(wanted)) && got != wanted) {
        failures++;
        printf("%s (%lld)[%lld]: %.17g, not %.17g +- %.2g\n", what, (long long)n, (long long)i, got,
               wanted, bound);
    }
}

/* --- activations ----------------------------------------------------------------------------- */

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double normal(double x) { return erfc(-x / sqrt(2)) / 2; }
static const double SELU_SCALE = 1.0507009873554804934, SELU_ALPHA = 1.6732632423543772848;

static double tanh_argument(double x) { return sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x); }

static double forward(int kind, double x, double alpha) {
    switch (kind) {
    case RELU: return x > 0 ? x : 0;
    case LEAKY_RELU: return x > 0 ? x : alpha * x;
    case ELU: return x > 0 ? x : alpha * expm1(x);
    case SELU: return SELU_SCALE * (x > 0 ? x : SELU_ALPHA * expm1(x));
    case GELU: return x * normal(x);
    case GELU_TANH: return x * sigmoid(2 * tanh_argument(x));
    case SIGMOID: return sigmoid(x);
    case TANH: return tanh(x);
    case SOFTPLUS: return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
    default: return x * sigmoid(x);
    }
}

/* By central differences in double: far more exact than what is compared. */
static double slope(int kind, double x, double alpha) {
    const double h = 1e-5;
    return (forward(kind, x + h, alpha) - forward(kind, x - h, alpha)) / (2 * h);
}

static int reads_out(int kind) {
    return kind == RELU || kind == SELU || kind == SIGMOID || kind == TANH;
}

static void check_activations(int64_t n) {
    for (int kind = 0; kind < ELEMENTWISE_ACTIVATIONS; kind++) {
        char what[32];
        sprintf(what, "activation %d", kind);
        real *x = drawn(n, -6, 6), *out = array(n), *grad = drawn(n, -1, 1), *grad_x = array(n);
        for (int64_t i = 0; i < n; i++)
            if (fabs((double)x[i]) < 1e-3) x[i] = (real)0.5; /* no kink within the difference */
        bodies->activation->forward[kind](out, x, 0.3, n);
        bodies->activation->backward[kind](grad_x, grad, reads_out(kind) ? out : x, 0.3, n);
        for (int64_t i = 0; i < n; i++) {
            const double y = forward(kind, x[i], 0.3), d = grad[i] * slope(kind, x[i], 0.3);
            near(what, n, i, out[i], y, 16 * EPSILON * (fabs(y) + 1e-3));
            near("its gradient", n, i, grad_x[i], d, 16 * EPSILON * (1 + fabs((double)x[i])) + 1e-9);
        }
        release(out, n, what), release(grad_x, n, what);
        release(x, n, what), release(grad, n, what);
    }
}

static void check_softmax(int64_t rows, int64_t n) {
    const int64_t all = rows * n;
    real *x = drawn(all, -8, 8), *out = array(all), *grad = drawn(all, -1, 1), *grad_x = array(all);
    bodies->activation->softmax_forward(out, x, rows, n);
    bodies->activation->softmax_backward(grad_x, grad, out, rows, n);
    for (int64_t r = 0; r < rows; r++) {
        long double sum = 0;
        double dot = 0;
        for (int64_t i = 0; i < n; i++) sum += expl(x[r * n + i]);
        for (int64_t i = 0; i < n; i++) dot += (double)grad[r * n + i] * out[r * n + i];
        for (int64_t i = r * n; i < (r + 1) * n; i++) {
            const double y = (double)(expl(x[i]) / sum);
            near("softmax", n, i, out[i], y, 10 * EPSILON * y);
            near("softmax gradient", n, i, grad_x[i], out[i] * (grad[i] - dot), 10 * EPSILON);
        }
    }
    release(x, all, "softmax"), release(out, all, "softmax");
    release(grad, all, "softmax"), release(grad_x, all, "softmax");
}

/* --- normalisation --------------------------------------------------------------------------- */

static void check_batchnorm(int64_t rows, int64_t columns, int far) {
    const int64_t all = rows * columns;
    const double eps = 1e-3;
    real *x = drawn(all, -2, 4), *out = array(all), *g = drawn(all, -1, 1), *grad_x = array(all);
    real *parts = array(3 * columns), *mean = array(columns), *variance = array(columns);
    real *gamma = drawn(columns, 0.5, 2), *beta = drawn(columns, -1, 1), *scale = array(columns);
    real *sums = array(2 * columns), *grad_gamma = array(columns), *grad_beta = array(columns);
    real *center = array(columns), *gain = array(columns);
    const NormBodies *b = bodies->norm;
    b->batch_statistics(parts, parts + columns, parts + 2 * columns, x, rows, columns, columns, far);
    b->batch_sums(sums, sums + columns, g, x, x, 0, columns, columns, far); /* no rows: zeros */
    for (int64_t c = 0; c < 2 * columns; c++) near("no rows", columns, c, sums[c], 0, 0);
    for (int64_t c = 0; c < columns; c += NORM_MERGE)
        b->batch_merge(mean + c, variance + c, parts + c, rows, rows,
                       columns - c < NORM_MERGE ? columns - c : NORM_MERGE, columns);
    b->batch_scale(scale, variance, gamma, eps, columns);
    b->batch_forward(out, x, mean, scale, beta, rows, columns, columns, far);
    b->batch_sums(sums, sums + columns, g, x, mean, rows, columns, columns, far);
    for (int64_t c = 0; c < columns; c += NORM_MERGE)
        b->batch_backward_merge(grad_gamma + c, grad_beta + c, scale + c, center + c, gain + c,
                                sums + c, variance + c, gamma + c, eps, rows, 1,
                                columns - c < NORM_MERGE ? columns - c : NORM_MERGE, columns);
    b->batch_backward(grad_x, g, x, mean, scale, center, gain, rows, columns, columns, far);
    for (int64_t c = 0; c < columns; c++) {
        double m = 0, v = 0, s = 0, p = 0, size = 0;
        for (int64_t r = 0; r < rows; r++) m += x[r * columns + c] / (double)rows;
        for (int64_t r = 0; r < rows; r++) v += pow(x[r * columns + c] - m, 2) / (double)rows;
        const double root = 1 / sqrt(v + eps);
        for (int64_t r = 0; r < rows; r++) {
            const double term = g[r * columns + c] * (x[r * columns + c] - m) * root;
            s += g[r * columns + c], p += term, size += fabs(term) + fabs((double)g[r * columns + c]);
        }
        near("mean", columns, c, mean[c], m, 3 * EPSILON * (fabs(m) + sqrt(v)));
        near("variance", columns, c, variance[c], v, 8 * EPSILON * v);
        near("beta's gradient", columns, c, grad_beta[c], s, 16 * EPSILON * size);
        near("gamma's gradient", columns, c, grad_gamma[c], p, 16 * EPSILON * size);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t i = r * columns + c;
            const double hat = (x[i] - m) * root;
            const double n = (double)rows, wide = 4 * fabs(gamma[c] * root) + 4;
            near("batch norm", columns, i, out[i], gamma[c] * hat + beta[c], 32 * EPSILON * wide);
            near("its gradient", columns, i, grad_x[i],
                 gamma[c] * root * (g[i] - s / n - hat * p / n), 32 * EPSILON * wide);
        }
    }
    release(x, all, "batch norm"), release(out, all, "batch norm"), release(g, all, "batch norm");
    release(grad_x, all, "batch norm"), release(parts, 3 * columns, "batch norm");
    real *small[] = {mean, variance, gamma, beta, scale, grad_gamma, grad_beta, center, gain};
    for (int k = 0; k < 9; k++) release(small[k], columns, "batch norm");
    release(sums, 2 * columns, "batch norm");
}

static void check_layernorm(int64_t rows, int64_t columns) {
    const int64_t all = rows * columns, room = columns + NORM_PADDING;
    const double eps = 1e-3, n = (double)columns;
    real *x = drawn(all, -2, 4), *out = array(all), *g = drawn(all, -1, 1), *grad_x = array(all);
    real *mean = array(rows), *rstd = array(rows), *gamma = drawn(columns, 0.5, 2);
    real *beta = drawn(columns, -1, 1), *sums = array(2 * room);
    bodies->norm->layer_forward(out, mean, rstd, x, gamma, beta, eps, rows, columns);
    bodies->norm->layer_backward(grad_x, sums, sums + room, g, x, mean, rstd, gamma, rows, columns);
    double for_gamma[MOST] = {0}, for_beta[MOST] = {0};
    for (int64_t r = 0; r < rows; r++) {
        const real *y = x + r * columns, *d = g + r * columns;
        double m = 0, v = 0, s = 0, p = 0;
        for (int64_t c = 0; c < columns; c++) m += y[c] / n;
        for (int64_t c = 0; c < columns; c++) v += (y[c] - m) * (y[c] - m) / n;
        const double root = 1 / sqrt(v + eps);
        for (int64_t c = 0; c < columns; c++) {
            const double hat = (y[c] - m) * root;
            s += d[c] * gamma[c] / n, p += d[c] * gamma[c] * hat / n;
            for_beta[c] += d[c], for_gamma[c] += d[c] * hat;
        }
        for (int64_t c = 0; c < columns; c++) {
            const double hat = (y[c] - m) * root, bound = 32 * EPSILON * (4 + 4 * root);
            near("layer norm", columns, c, out[r * columns + c], gamma[c] * hat + beta[c], bound);
            near("its gradient", columns, c, grad_x[r * columns + c],
                 root * (d[c] * gamma[c] - s - hat * p), bound);
        }
    }
    for (int64_t c = 0; c < columns; c++) {
        near("gamma's gradient", columns, c, sums[c], for_gamma[c], 32 * EPSILON * (double)rows);
        near("beta's gradient", columns, c, sums[room + c], for_beta[c], 32 * EPSILON * (double)rows);
    }
    release(x, all, "layer norm"), release(out, all, "layer norm"), release(g, all, "layer norm");
    release(grad_x, all, "layer norm"), release(mean, rows, "layer norm");
    release(rstd, rows, "layer norm"), release(gamma, columns, "layer norm");
    release(beta, columns, "layer norm"), release(sums, 2 * room, "layer norm");
}

/* --- arithmetic, random numbers, casts ------------------------------------------------------- */

static void check_arithmetic(int64_t n) {
    real *a = drawn(n, -2, 2), *b = drawn(n, -2, 2), *out = array(n);
    bodies->arithmetic->add(out, a, b, n);
    for (int64_t i = 0; i < n; i++) near("add", n, i, out[i], (real)(a[i] + b[i]), 0);
    bodies->arithmetic->multiply(out, a, b, n);
    for (int64_t i = 0; i < n; i++) near("multiply", n, i, out[i], (real)(a[i] * b[i]), 0);
    bodies->arithmetic->scale(out, a, 0.75, n);
    for (int64_t i = 0; i < n; i++) near("scale", n, i, out[i], (real)(a[i] * (real)0.75), 0);
    release(a, n, "add"), release(b, n, "add"), release(out, n, "add");
}

static void check_weighted(int64_t columns) {
    enum { ROWS = 5 };
    const double weights[ROWS] = {0.25, 0.5, 1, -0.75, 2};
    real *x = drawn(ROWS * columns, -2, 2), *out = array(columns);
    for (int begun = 0; begun < 2; begun++) {
        bodies->tensor->weighted(out, x, weights, ROWS, columns, begun);
        for (int64_t i = 0; i < columns; i++) {
            double sum = 0;
            for (int64_t r = 0; r < ROWS; r++) sum += (begun + 1) * weights[r] * x[r * columns + i];
            near("weighted", columns, i, out[i], sum, 100 * EPSILON);
        }
    }
    release(x, ROWS * columns, "weighted"), release(out, columns, "weighted");
}

/* Philox4x32-10 (Salmon et al. 2011) of one counter. */
static void philox(uint32_t x[4], uint32_t k0, uint32_t k1) {
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        const uint64_t p0 = 0xD2511F53ull * x[0], p1 = 0xCD9E8D57ull * x[2];
        const uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ x[1] ^ k0, (uint32_t)p1,
                                  (uint32_t)(p0 >> 32) ^ x[3] ^ k1, (uint32_t)p0};
        memcpy(x, next, sizeof next);
    }
}

static void check_random(int64_t n) {
    const Draw draw = {0x123456789abcdef0u, 7, 3};
    const int64_t groups = n / 4 + 1;
    uint32_t *words = malloc((size_t)groups * 16);
    bodies->random->words(words, 5, groups, draw);
    for (int64_t j = 0; j < groups; j++) {
        uint32_t x[4] = {(uint32_t)(5 + j), 0, draw.stream, draw.step};
        philox(x, (uint32_t)draw.seed, (uint32_t)(draw.seed >> 32));
        for (int k = 0; k < 4; k++) near("words", n, 4 * j + k, words[4 * j + k], x[k], 0);
    }
    real *x = drawn(n, 1, 2), *out = array(n);
    bodies->random->dropout(out, x, 0x60000000u, 1.6, draw, 20, n);
    for (int64_t i = 0; i < n; i++)
        near("dropout", n, i, out[i], words[i] >= 0x60000000u ? (real)(x[i] * (real)1.6) : 0, 0);
    release(x, n, "dropout"), release(out, n, "dropout");
    free(words);
}

static void check_casts(int64_t n) {
    const int64_t rows = 3, order[] = {2, 0, 2};
    uint8_t *source = malloc((size_t)(rows * n));
    int64_t *labels = malloc((size_t)(rows * n) * sizeof *labels);
    real *out = array(rows * n);
    for (int64_t i = 0; i < rows * n; i++) source[i] = (uint8_t)(255 * uniform());
    bodies->data->to_real[UINT8](out, source, n, order, rows, n);
    bodies->data->to_label[UINT8](labels, source, n, NULL, rows, n);
    for (int64_t i = 0; i < rows * n; i++) {
        near("cast", n, i, out[i], source[order[i / n] * n + i % n], 0);
        near("label", n, i, (double)labels[i], source[i], 0);
    }
    release(out, rows * n, "cast");
    free(source), free(labels);
}

/* --- losses ---------------------------------------------------------------------------------- */

static void check_crossentropy(int64_t rows, int64_t C, int logits) {
    const int64_t all = rows * C;
    real *x = logits ? drawn(all, -5, 5) : drawn(all, 0.01, 1);
    real *loss = array(rows), *grad = array(all);
    int64_t *labels = malloc((size_t)rows * sizeof *labels);
    for (int64_t r = 0; r < rows; r++) labels[r] = (int64_t)(uniform() * (double)C);
    const LossInputs in = {x, NULL, labels, NULL, rows, C};
    const LossOptions options = {0.5, 0, 0};
    (logits ? bodies->loss->categorical_of_logits : bodies->loss->categorical)(loss, grad, &in,
                                                                               &options);
    for (int64_t r = 0; r < rows; r++) {
        const real *y = x + r * C;
        double sum = 0;
        for (int64_t i = 0; i < C; i++) sum += logits ? exp(y[i]) : (double)y[i];
        for (int64_t i = 0; i < C; i++) {
            const double hot = i == labels[r], p = (logits ? exp(y[i]) : (double)y[i]) / sum;
            const int clipped = !logits && (y[labels[r]] / sum > 1 - 1e-7);
            const double d = logits ? p - hot : clipped ? 0 : (1 - hot / p) / sum;
            if (hot) near("cross-entropy", C, r, loss[r], -log(fmin(p, logits ? 1 : 1 - 1e-7)),
                          32 * EPSILON * (8 + fabs(log(p))));
            near("its gradient", C, r * C + i, grad[r * C + i], 0.5 * d,
                 32 * EPSILON * (1 + fabs(d)));
        }
    }
    release(x, all, "cross-entropy"), release(loss, rows, "cross-entropy");
    release(grad, all, "cross-entropy");
    free(labels);
}

static void check_elementwise_losses(int64_t n) {
    for (int kind = 0; kind < ELEMENTWISE_LOSSES; kind++) {
        const int probability = kind == BINARY_CROSSENTROPY;
        real *x = drawn(n, probability ? 0.05 : -3, probability ? 0.95 : 3), *t = drawn(n, 0, 1);
        real *loss = array(n), *grad = array(n);
        const LossInputs in = {x, t, NULL, NULL, n, 1};
        const LossOptions options = {1, 0.8, 0};
        bodies->loss->elementwise[kind](loss, grad, &in, &options);
        for (int64_t i = 0; i < n; i++) {
            const double d = (double)x[i] - t[i], a = fabs(d), p = probability ? x[i] : sigmoid(x[i]);
            const double crossentropy = -t[i] * log(p) - (1 - t[i]) * log1p(-p);
            const double losses[] = {d * d, a, a <= 0.8 ? d * d / 2 : 0.8 * a - 0.32, crossentropy,
                                     crossentropy};
            const double inner = a <= 0.8 ? d : 0.8 * d / a;
            const double slopes[] = {2 * d, d / a, inner, (p - t[i]) / (p * (1 - p)), p - t[i]};
            near("loss", n, i, loss[i], losses[kind], 32 * EPSILON * (1 + losses[kind]));
            near("its slope", n, i, grad[i], slopes[kind], 64 * EPSILON * (1 + fabs(slopes[kind])));
        }
        release(x, n, "loss"), release(t, n, "loss"), release(loss, n, "loss");
        release(grad, n, "loss");
    }
}

/* --- updates --------------------------------------------------------------------------------- */

static void check_updates(int64_t n) {
    const GradientOptions plain = {0};
    real *w = drawn(n, -1, 1), *g = drawn(n, -1, 1), *m = drawn(n, -1, 1), *v = drawn(n, 0.1, 1);
    real *w0 = array(n), *m0 = array(n), *v0 = array(n);
#define KEEP                                                         \
    memcpy(w0, w, (size_t)n * sizeof(real)), memcpy(m0, m, (size_t)n * sizeof(real)), \
        memcpy(v0, v, (size_t)n * sizeof(real))
    KEEP;
    bodies->update->adam(w, m, v, NULL, g, 1, n, n, &plain, &(AdamOptions){0.01, 0.9, 0.99, 1e-7});
    for (int64_t i = 0; i < n; i++) {
        const double mean = 0.9 * m0[i] + 0.1 * g[i], square = 0.99 * v0[i] + 0.01 * g[i] * g[i];
        near("adam m", n, i, m[i], mean, 4 * EPSILON);
        near("adam v", n, i, v[i], square, 4 * EPSILON);
        near("adam", n, i, w[i], w0[i] - 0.01 * mean / (sqrt(square) + 1e-7), 4 * EPSILON);
    }
    KEEP;
    bodies->update->rmsprop(w, v, NULL, NULL, g, 1, n, n, &plain,
                            &(RmspropOptions){0.01, 0.9, 0, 1e-7, 0, 0});
    for (int64_t i = 0; i < n; i++) {
        const double square = 0.9 * v0[i] + 0.1 * g[i] * g[i];
        near("rmsprop", n, i, w[i], w0[i] - 0.01 * g[i] / sqrt(square + 1e-7), 4 * EPSILON);
    }
    KEEP;
    bodies->update->sgd(w, m, g, 1, n, n, &plain, &(SgdOptions){0.1, 0.9, 1, 0});
    for (int64_t i = 0; i < n; i++) {
        const double velocity = 0.9 * m0[i] - 0.1 * g[i];
        near("sgd", n, i, w[i], w0[i] + 0.9 * velocity - 0.1 * g[i], 4 * EPSILON);
    }
    KEEP;
    bodies->update->adagrad(w, v, g, 1, n, n, &plain, &(AdagradOptions){0.01, 1e-7, 0});
    for (int64_t i = 0; i < n; i++) {
        const double square = v0[i] + (double)g[i] * g[i];
        near("adagrad", n, i, w[i], w0[i] - 0.01 * g[i] / sqrt(square + 1e-7), 4 * EPSILON);
    }
    KEEP; /* a tile of two rows, and what lies behind each of them stays as it is */
    const int64_t wide = n / 2, most = wide > 0 ? wide - 1 : 0;
    bodies->update->sgd(w, NULL, g, 2, most, wide, &plain, &(SgdOptions){0.1, 0, 0, 0});
    for (int64_t i = 0; i < n; i++) {
        const int inside = i < 2 * wide && i % wide < most;
        near("sgd of a tile", n, i, w[i], w0[i] - (inside ? 0.1 * g[i] : 0), 4 * EPSILON);
    }
    double squares = 0;
    for (int64_t i = 0; i < n; i++) squares += (double)g[i] * g[i];
    near("squared norm", n, 0, bodies->update->squared_norm(g, NULL, n, 0, 0), squares,
         1e-14 * squares);
    real *all[] = {w, g, m, v, w0, m0, v0};
    for (int k = 0; k < 7; k++) release(all[k], n, "updates");
}

/* --- products -------------------------------------------------------------------------------- */

static void check_product(int64_t rows, int64_t depth, int64_t columns) {
    real *a = drawn(rows * depth, -1, 1), *b = drawn(depth * columns, -1, 1);
    real *out = array(rows * columns), *bias = drawn(columns, -1, 1);
    for (int form = 0; form < 3; form++) {
        const Product product = {
            .out = out, .a = a, .b = b, .out_stride = columns,
            .a_stride = form == 1 ? rows : depth, .b_stride = form == 2 ? depth : columns,
            .b_end = b + depth * columns, .bias = form == 2 ? NULL : bias,
            .rows = rows, .columns = columns, .depth = depth,
        };
        (form == 0 ? bodies->matmul->nn : form == 1 ? bodies->matmul->tn : bodies->matmul->nt)(
            &product);
        const double steps = 4 * ceil(log2((double)depth + 2)) * EPSILON;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++) {
                double sum = form == 2 ? 0 : bias[j], size = fabs(sum);
                for (int64_t k = 0; k < depth; k++) {
                    const double x = a[form == 1 ? k * rows + i : i * depth + k];
                    const double y = b[form == 2 ? j * depth + k : k * columns + j];
                    sum += x * y, size += fabs(x * y);
                }
                near(form == 0 ? "nn" : form == 1 ? "tn" : "nt", rows * 1000000 + depth * 1000 + columns,
                     i * columns + j, out[i * columns + j], sum, steps * size);
            }
    }
    release(a, rows * depth, "product"), release(b, depth * columns, "product");
    release(out, rows * columns, "product"), release(bias, columns, "product");
}

int main(void) {
    for (int64_t n = 1; n <= 37; n++) {
        check_activations(n), check_arithmetic(n), check_weighted(n), check_random(n), check_casts(n);
        check_elementwise_losses(n), check_updates(n);
        check_softmax(3, n), check_layernorm(5, n);
        check_crossentropy(5, n + 1, 1), check_crossentropy(5, n + 1, 0);
        for (int far = 0; far < 2; far++) check_batchnorm(70, n, far);
    }
    check_softmax(3, 1000), check_layernorm(9, 1100), check_crossentropy(9, 1000, 1);
    for (int far = 0; far < 2; far++) check_batchnorm(200, 130, far), check_batchnorm(9, 512, far);
    for (int64_t n = 1; n <= 33; n += 4)
        for (int64_t m = 1; m <= 17; m += 4) check_product(m, 7 + n, n), check_product(m, 70, n);
    check_product(40, 300, 90);
    printf("%d checks, %d failed\n", checks, failures);
    return failures > 0;
}
