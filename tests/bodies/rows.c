/* Functions of rows, and over rows: softmax, norms, losses, metrics, sums, broadcasts, copies. */
#include "checks.h"

static void check_softmax(int64_t rows, int64_t n) {
    const int64_t all = rows * n;
    real *x = drawn(all, -8, 8), *out = array(all), *grad = drawn(all, -1, 1), *grad_x = array(all);
    bodies->activation->softmax_forward(out, x, rows, n);
    bodies->activation->softmax_backward(grad_x, grad, out, rows, n);
    for (int64_t r = 0; r < rows; r++) {
        long double sum = 0;
        double dot = 0;
        for (int64_t i = 0; i < n; i++) sum += exp(x[r * n + i]);
        for (int64_t i = 0; i < n; i++) dot += (double)grad[r * n + i] * out[r * n + i];
        for (int64_t i = r * n; i < (r + 1) * n; i++) {
            const double y = exp(x[i]) / (double)sum;
            near("softmax", n, i, out[i], y, 10 * EPSILON * y);
            near("softmax gradient", n, i, grad_x[i], out[i] * (grad[i] - dot), 10 * EPSILON);
        }
    }
    done("softmax");
}

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
        b->batch_merge(mean + c, variance + c, parts + c, &rows, 1,
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
        for (int64_t r = 0; r < rows; r++) {
            const double d = x[r * columns + c] - m;
            v += d * d / (double)rows;
        }
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
    done("batch norm");
}

enum { MOST = 2048 };

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
    done("layer norm");
}

static void check_crossentropy(int64_t rows, int64_t C, int logits) {
    const int64_t all = rows * C;
    real *x = logits ? drawn(all, -5, 5) : drawn(all, 0.01, 1);
    real *loss = array(rows), *grad = array(all);
    int64_t *labels = malloc((size_t)rows * sizeof *labels);
    for (int64_t r = 0; r < rows; r++) labels[r] = (int64_t)(uniform() * (double)C);
    const LossInputs in = {x, NULL, labels, NULL, rows, C};
    const LossOptions options = {0.5, 0, 0, 0};
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
    done("cross-entropy");
    free(labels);
}

static void check_elementwise_losses(int64_t n) {
    for (int kind = 0; kind < ELEMENTWISE_LOSSES; kind++) {
        const int probability = kind == BINARY_CROSSENTROPY;
        real *x = drawn(n, probability ? 0.05 : -3, probability ? 0.95 : 3), *t = drawn(n, 0, 1);
        real *loss = array(n), *grad = array(n);
        const LossInputs in = {x, t, NULL, NULL, n, 1};
        const LossOptions options = {1, 0.8, 0, 0};
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
        done("loss");
    }
}

/* --- metrics --------------------------------------------------------------------------------- */

static int64_t largest(const real *x, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static void check_metrics(int64_t rows, int64_t C) {
    real *x = drawn(rows * C, 0, 1), *t = drawn(rows * C, 0, 1), *weight = drawn(rows, 0, 2);
    real *top = array(rows), *cosine = array(rows), *right = array(rows), *share = array(rows);
    int64_t *labels = malloc((size_t)rows * sizeof *labels);
    double *confusion = calloc((size_t)(C * C), sizeof(double));
    double *counts = calloc((size_t)(8 * C), sizeof(double)), *by_class = counts + 4 * C;
    double *moments = calloc((size_t)(5 * C), sizeof(double));
    for (int64_t r = 0; r < rows; r++) labels[r] = (int64_t)(uniform() * (double)C);
    for (int64_t i = 0; i < rows * C; i += 2) t[i] = (real)(i % 4 == 0); /* some are 0 and 1 */
    const LossInputs by_label = {x, NULL, labels, weight, rows, C};
    const LossInputs by_target = {x, t, NULL, weight, rows, C};
    bodies->metric->top_k(top, &by_label, 2);
    bodies->metric->cosine(cosine, &by_target);
    bodies->metric->confusion(confusion, &by_label);
    bodies->metric->threshold_counts(counts, &by_label, 0.5);
    bodies->metric->argmax_counts(by_class, &by_label);
    bodies->metric->r2(moments, &by_target);
    bodies->loss->categorical_accuracy(right, &by_label);
    bodies->loss->binary_accuracy(share, &by_target, 0.5);
    double *confused = calloc((size_t)(C * C), sizeof(double)), weights = 0;
    double *counted = calloc((size_t)(8 * C), sizeof(double));
    for (int64_t r = 0; r < rows; r++) {
        const real *y = x + r * C, *z = t + r * C;
        const int64_t own = labels[r], said = largest(y, C);
        double above = 0, product = 0, y_square = 0, z_square = 0, same = 0;
        for (int64_t i = 0; i < C; i++) {
            above += y[i] > y[own], same += (y[i] > (real)0.5) == z[i];
            product += (double)y[i] * z[i], y_square += (double)y[i] * y[i];
            z_square += (double)z[i] * z[i];
            counted[(2 * !(y[i] > (real)0.5) + (i != own)) * C + i] += weight[r];
            counted[(4 + 2 * (i != said) + (i != own)) * C + i] += weight[r];
        }
        confused[own * C + said] += weight[r], weights += weight[r];
        near("top k", C, r, top[r], above < 2, 0);
        near("accuracy", C, r, right[r], said == own, 0);
        near("binary accuracy", C, r, share[r], same / (double)C, EPSILON);
        near("cosine", C, r, cosine[r],
             z_square > 0 ? product / sqrt(y_square) / sqrt(z_square) : 0, 4 * EPSILON);
    }
    for (int64_t i = 0; i < C * C; i++) near("confusion", C, i, confusion[i], confused[i], 1e-12);
    for (int64_t i = 0; i < 8 * C; i++) near("counts", C, i, counts[i], counted[i], 1e-12);
    for (int64_t i = 0; i < C; i++) {
        double sum = 0, square = 0, error = 0;
        for (int64_t r = 0; r < rows; r++) {
            const double w = weight[r], y = t[r * C + i], d = y - t[i], e = y - x[r * C + i];
            sum += w * d, square += w * d * d, error += w * e * e;
        }
        const double wanted[] = {t[i], weights, sum, square, error};
        for (int k = 0; k < 5; k++) near("r2", C, k, moments[k * C + i], wanted[k], 1e-12);
    }
    near("weighted sum", rows, 0, bodies->loss->weighted_sum(weight, NULL, rows), weights, 1e-12);
    done("metrics");
    free(labels), free(confusion), free(counts), free(moments), free(confused), free(counted);
}

/* --- sums and broadcasts --------------------------------------------------------------------- */

static void check_reductions(int64_t rows, int64_t columns, int64_t stride) {
    const TensorBodies *b = bodies->tensor;
    real *x = drawn(rows * stride, -1, 1), *g = drawn(rows * stride, -1, 1);
    real *y = drawn(columns, 0.5, 2);
    real *out[REDUCTIONS], *d_x = array(rows * stride), *d_y = array(columns);
    real *combined = array(rows * stride);
    for (int kind = 0; kind < REDUCTIONS; kind++) {
        out[kind] = array(columns);
        b->reduce[kind](out[kind], x, 3, rows, columns, stride);
    }
    for (int64_t c = 0; c < columns; c++) {
        double sum = 0, most = -INFINITY, least = INFINITY;
        for (int64_t r = 0; r < rows; r++) {
            const double v = x[r * stride + c];
            sum += v, most = fmax(most, v), least = fmin(least, v);
        }
        near("sum", columns, c, out[REDUCE_SUM][c], sum / 3, 4 * EPSILON * (1 + fabs(sum)));
        near("max", columns, c, out[REDUCE_MAX][c], most, 0);
        near("min", columns, c, out[REDUCE_MIN][c], least, 0);
    }
    for (int swapped = 0; swapped < 2; swapped++) {
        b->vector(b->arithmetic[DIVIDE], combined, swapped ? g : x, y, 0, rows, columns, stride);
        b->vector_backward(b->arithmetic_backward[SUBTRACT], d_x, d_y, g, x, y, swapped, rows,
                           columns, stride);
        for (int64_t c = 0; c < columns; c++) {
            double sum = 0, size = 0;
            for (int64_t r = 0; r < rows; r++) {
                const int64_t i = r * stride + c;
                sum += swapped ? g[i] : -g[i], size += fabs((double)g[i]);
                near("vector", columns, i, combined[i], (swapped ? g : x)[i] / (double)y[c],
                     4 * EPSILON);
                near("vector gradient", columns, i, d_x[i], swapped ? -g[i] : g[i], 0);
            }
            near("vector gradient", columns, c, d_y[c], sum, 4 * EPSILON * size);
        }
    }
    b->spread(combined, y, 3, rows, columns, stride);
    for (int64_t i = 0; i < rows * stride; i++)
        if (i % stride < columns)
            near("spread", columns, i, combined[i], y[i % stride] / (real)3, EPSILON);
    if (stride == columns) {
        b->extreme_backward(d_x, y, x, out[REDUCE_MAX], rows, columns);
        for (int64_t i = 0; i < rows * columns; i++)
            near("max gradient", columns, i, d_x[i],
                 x[i] == out[REDUCE_MAX][i % columns] ? y[i % columns] : 0, 0);
    }
    done("reductions");
}

static void check_copies(int64_t columns) {
    enum { ROWS = 5 };
    const TensorBodies *b = bodies->tensor;
    const double weights[ROWS] = {0.25, 0.5, 1, -0.75, 2};
    const int64_t labels[ROWS] = {0, columns - 1, 0, columns / 2, columns / 3};
    real *x = drawn(ROWS * columns, -2, 2), *sum = array(columns), *all = array(ROWS * columns);
    real *fill = array(columns), *mask = array(ROWS);
    for (int begun = 0; begun < 2; begun++) {
        b->weighted(sum, x, weights, ROWS, columns, begun);
        for (int64_t i = 0; i < columns; i++) {
            double wanted = 0;
            for (int64_t r = 0; r < ROWS; r++)
                wanted += (begun + 1) * weights[r] * x[r * columns + i];
            near("weighted", columns, i, sum[i], wanted, 100 * EPSILON);
        }
    }
    b->copy(all, columns, x + (ROWS - 1) * columns, -columns, ROWS, columns); /* backwards */
    b->accumulate(all, x, columns);
    for (int64_t i = 0; i < ROWS * columns; i++) {
        const real copied = x[(ROWS - 1 - i / columns) * columns + i % columns];
        near("copy", columns, i, all[i], i < columns ? (real)(copied + x[i]) : copied, 0);
    }
    b->one_hot(all, labels, ROWS, columns);
    for (int64_t i = 0; i < ROWS * columns; i++)
        near("one hot", columns, i, all[i], labels[i / columns] == i % columns, 0);
    bodies->recurrence->fill(fill, 0.25, columns);
    for (int64_t i = 0; i < columns; i++) near("fill", columns, i, fill[i], 0.25, 0);
    memcpy(x + 2 * columns, fill, (size_t)columns * sizeof(real));
    bodies->recurrence->row_mask(mask, x, 0.25, ROWS, columns);
    bodies->recurrence->choose_rows(all, x, NULL, mask, ROWS, columns);
    for (int64_t i = 0; i < ROWS * columns; i++) {
        near("mask", columns, i, mask[i / columns], i / columns != 2, 0);
        near("chosen", columns, i, all[i], i / columns != 2 ? x[i] : 0, 0);
    }
    done("copies");
}

void check_rows(void) {
    for (int64_t n = 1; n <= 37; n++) {
        check_softmax(3, n), check_layernorm(5, n), check_elementwise_losses(n);
        check_crossentropy(5, n + 1, 1), check_crossentropy(5, n + 1, 0);
        for (int far = 0; far < 2; far++) check_batchnorm(70, n, far);
        check_metrics(4, n + 1), check_reductions(9, n, n), check_reductions(3, n, n + 5);
        check_copies(n);
    }
    check_softmax(3, 1000), check_layernorm(9, 1100), check_crossentropy(9, 1000, 1);
    for (int far = 0; far < 2; far++) check_batchnorm(200, 130, far), check_batchnorm(9, 512, far);
    check_reductions(3, 1100, 1100), check_reductions(700, 1, 1);
}
