/* Functions of elements: activations, arithmetic, tensors, random numbers, casts. */
#include "checks.h"

static double normal(double x) { return erfc(-x / sqrt(2)) / 2; }
static const double SELU_SCALE = 1.0507009873554804934, SELU_ALPHA = 1.6732632423543772848;

static double tanh_argument(double x) { return sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x); }

static double activation(int kind, double x, double alpha) {
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
    return (activation(kind, x + h, alpha) - activation(kind, x - h, alpha)) / (2 * h);
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
            const double y = activation(kind, x[i], 0.3), d = grad[i] * slope(kind, x[i], 0.3);
            near(what, n, i, out[i], y, 16 * EPSILON * (fabs(y) + 1e-3));
            near("its gradient", n, i, grad_x[i], d, 16 * EPSILON * (1 + fabs((double)x[i])) + 1e-9);
        }
        done(what);
    }
}

static void check_arithmetic(int64_t n) {
    real *a = drawn(n, -2, 2), *b = drawn(n, -2, 2), *out = array(n);
    bodies->arithmetic->add(out, a, b, n);
    for (int64_t i = 0; i < n; i++) near("add", n, i, out[i], (real)(a[i] + b[i]), 0);
    bodies->arithmetic->multiply(out, a, b, n);
    for (int64_t i = 0; i < n; i++) near("multiply", n, i, out[i], (real)(a[i] * b[i]), 0);
    bodies->arithmetic->scale(out, a, 0.75, n);
    for (int64_t i = 0; i < n; i++) near("scale", n, i, out[i], (real)(a[i] * (real)0.75), 0);
    done("arithmetic");
}

/* --- tensors --------------------------------------------------------------------------------- */

static void check_unary(int64_t n) {
    real *x = drawn(n, 0.1, 3), *y = drawn(n, -2, 2), *g = drawn(n, -1, 1);
    real *out = array(n), *d = array(n);
    for (int kind = 0; kind < UNARY_FUNCTIONS; kind++) {
        const real *from = kind == ABS || kind == SQUARE ? y : x;
        bodies->tensor->unary[kind](out, from, n);
        bodies->tensor->unary_backward[kind](d, g, kind == EXP || kind == SQRT ? out : from, n);
        for (int64_t i = 0; i < n; i++) {
            const double v = from[i];
            const double values[] = {exp(v), log(fabs(v)), sqrt(fabs(v)), v * v, fabs(v)};
            const double slopes[] = {exp(v), 1 / v, 0.5 / sqrt(fabs(v)), 2 * v, v < 0 ? -1 : 1};
            near("unary", kind, i, out[i], values[kind], 4 * EPSILON * (0.1 + fabs(values[kind])));
            near("unary gradient", kind, i, d[i], g[i] * slopes[kind],
                 8 * EPSILON * fabs(g[i] * slopes[kind]));
        }
    }
    bodies->tensor->sign(out, y, n);
    for (int64_t i = 0; i < n; i++) near("sign", n, i, out[i], (y[i] > 0) - (y[i] < 0), 0);
    bodies->tensor->clip(out, y, -0.5, 1, n);
    bodies->tensor->clip_backward(d, g, y, -0.5, 1, n);
    for (int64_t i = 0; i < n; i++) {
        near("clip", n, i, out[i], fmin(1, fmax(-0.5, y[i])), 0);
        near("clip gradient", n, i, d[i], y[i] < -0.5 || y[i] > 1 ? 0 : g[i], 0);
    }
    done("unary");
}

static double binary(int kind, double a, double b) {
    const double values[] = {a + b, a - b, a * b, a / b, pow(a, b), fmax(a, b), fmin(a, b)};
    return values[kind];
}

static double compared(int kind, double a, double b) {
    return kind == LESS ? a < b : kind == LESS_EQUAL ? a <= b : kind == EQUAL ? a == b : a != b;
}

/* By the first argument (which = 0) or the second. */
static double binary_slope(int kind, double a, double b, int which) {
    const double first[] = {1, 1, b, 1 / b, b * pow(a, b - 1), a > b ? 1 : a == b ? 0.5 : 0,
                            a < b ? 1 : a == b ? 0.5 : 0};
    const double second[] = {1, -1, a, -a / b / b, pow(a, b) * log(a), b > a ? 1 : a == b ? 0.5 : 0,
                             b < a ? 1 : a == b ? 0.5 : 0};
    return which ? second[kind] : first[kind];
}

static void check_binary(int64_t n) {
    const TensorBodies *t = bodies->tensor;
    real *a = drawn(n, 0.2, 3), *b = drawn(n, 0.2, 3), *g = drawn(n, -1, 1);
    real *out = array(n), *d_a = array(n), *d_b = array(n);
    for (int64_t i = 0; i < n; i += 3) b[i] = a[i];
    for (int kind = 0; kind < ARITHMETIC_FUNCTIONS; kind++)
        for (int scalar = 0; scalar < 3; scalar++) { /* two arrays, or a number as one of the two */
            const double value = (real)1.3;
            const int swapped = scalar == 2;
            if (scalar) {
                t->scalar(t->arithmetic[kind], out, a, value, swapped, n);
                t->scalar_backward(t->arithmetic_backward[kind], d_a, g, a, value, swapped, n);
            } else {
                t->arithmetic[kind](out, a, b, n);
                t->arithmetic_backward[kind](d_a, d_b, g, a, b, n);
            }
            for (int64_t i = 0; i < n; i++) {
                const double x = swapped ? value : a[i], y = swapped ? a[i] : scalar ? value : b[i];
                const double v = binary(kind, x, y), size = 4 * EPSILON * (fabs(x) + fabs(v));
                const double s = binary_slope(kind, x, y, swapped), r = binary_slope(kind, x, y, 1);
                near("binary", kind, i, out[i], v, size);
                near("binary gradient", kind, i, d_a[i], g[i] * s, 8 * EPSILON * (1 + fabs(s)));
                if (!scalar)
                    near("binary gradient", kind, i, d_b[i], g[i] * r, 8 * EPSILON * (1 + fabs(r)));
            }
        }
    for (int kind = 0; kind < COMPARISONS; kind++) {
        t->compare[kind](out, a, b, n);
        for (int64_t i = 0; i < n; i++)
            near("compare", kind, i, out[i], compared(kind, a[i], b[i]), 0);
    }
    t->where(out, d_a, a, NULL, 0, 0.25, n); /* d_a: gradients of the minimum, often 0 */
    t->where_backward(d_b, NULL, g, d_a, n);
    for (int64_t i = 0; i < n; i++) {
        near("where", n, i, out[i], d_a[i] != 0 ? a[i] : 0.25, 0);
        near("where gradient", n, i, d_b[i], d_a[i] != 0 ? g[i] : 0, 0);
    }
    done("binary");
}

/* --- random numbers and casts ---------------------------------------------------------------- */

static void check_random(int64_t n) {
    const Draw draw = {0x123456789abcdef0u, 7, 3};
    const int64_t groups = n / 4 + 1;
    uint32_t *words = malloc((size_t)groups * 16);
    bodies->random->words(words, 5, groups, draw);
    for (int64_t j = 0; j < 4 * groups; j++)
        near("words", n, j, words[j], word(draw, (uint64_t)(20 + j)), 0);
    real *x = drawn(n, 1, 2), *out = array(n);
    bodies->random->dropout(out, x, 0x60000000u, 1.6, draw, 20, n);
    for (int64_t i = 0; i < n; i++)
        near("dropout", n, i, out[i], words[i] >= 0x60000000u ? (real)(x[i] * (real)1.6) : 0, 0);
    bodies->random->gaussian_noise(out, x, 0.5, draw, 20, n);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t *pair = words + i / 2 * 2;
        if (i / 2 * 2 + 1 >= 4 * groups) break;
        const double radius = sqrt(-2 * log(((pair[0] >> 8) + 1) * 0x1p-24));
        const double turn = 2 * acos(-1) * ((pair[1] >> 8) * 0x1p-24);
        const double number = radius * (i % 2 ? sin(turn) : cos(turn));
        near("gaussian noise", n, i, out[i], x[i] + 0.5 * number, 8 * EPSILON * (2 + radius));
    }
    done("random");
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
    done("casts");
    free(source), free(labels);
}

void check_elements(void) {
    for (int64_t n = 1; n <= 37; n++) {
        check_activations(n), check_arithmetic(n), check_unary(n), check_binary(n);
        check_random(n), check_casts(n);
    }
}
