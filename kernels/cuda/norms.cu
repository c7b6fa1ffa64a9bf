/* Batch and layer normalisation. Bytes, for each element in float32: statistics 4, a forward 8, a
 * backward 20, or 12 where what a block reads twice stays in the caches.
 *
 * Deviations are taken from a value near the mean, so that one pass gives mean and variance without
 * cancellation. The mean of equal values is that value: a constant column has variance 0 exactly.
 */
#include "batchnorm.cuh"
#include "columns.cuh"

/* --- batch normalisation ------------------------------------------------------------------------ */

/* Of at most RUN values, `step` apart: from the mean of the first eight. */
DEVICE Moments run_moments(const real *x, int64 count, int64 step) {
    const int64 first = count < 8 ? count : 8;
    real off = 0, sum = 0, square = 0;
    for (int64 r = 1; r < first; r++) off += x[r * step] - x[0];
    const real center = x[0] + off / (real)first;
#pragma unroll 8
    for (int64 r = 0; r < count; r++) {
        const real d = x[r * step] - center;
        sum += d;
        square += d * d;
    }
    const double mean = (double)sum / (double)count, rest = (double)square - sum * mean;
    return {(double)count, center + mean, rest < 0 ? 0 : rest};
}

DEVICE void finish_statistics(real *mean, real *variance, const Moments &all) {
    *mean = (real)all.mean;
    *variance = (real)(all.count > 0 ? all.square / all.count : 0);
}

KERNEL batchnorm_statistics(real *mean, real *variance, Moments *parts, const real *x, int64 rows,
                            int64 C) {
    __shared__ Moments cells[STRIP_THREADS];
    const Strip s = strip_of(rows, C);
    Moments all = {};
    for (int64 row = s.row; row < s.end; row += RUN * s.step) {
        const int64 left = (s.end - row + s.step - 1) / s.step;
        all.take(run_moments(x + row * C + s.column, left < RUN ? left : RUN, s.step * C));
    }
    combine_slots(s, cells, all);
    if (finishes(s, cells, parts))
        finish_statistics(mean + s.column, variance + s.column, cells[s.cell]);
}

KERNEL batchnorm_statistics_merge(real *mean, real *variance, const Moments *parts, int64 count,
                                  int64 C) {
    if (ROW >= C) return;
    const Moments all = combine_parts(parts + ROW * count, count);
    if (threadIdx.x == 0) finish_statistics(mean + ROW, variance + ROW, all);
}

KERNEL batchnorm_forward(real *out, const real *x, const real *mean, const real *variance,
                         const real *gamma, const real *beta, double epsilon, int64 rows, int64 C) {
    const Strip s = strip_of(rows, C);
    if (!s.active) return;
    const real center = mean[s.column], shift = beta ? beta[s.column] : (real)0;
    const real scale = (real)inverse_root((double)variance[s.column] + epsilon)
                       * (gamma ? gamma[s.column] : (real)1);
#pragma unroll 4
    for (int64 row = s.row; row < s.end; row += s.step) {
        const int64 at = row * C + s.column;
        out[at] = (x[at] - center) * scale + shift;
    }
}

/* Statistics that are constants have no part in the gradient, NaN neither. */
DEVICE void write_gradient(real *grad_x, const real *grad_out, const real *x, const real *mean,
                           const Strip &s, const Slopes &c, int64 C, bool constants) {
    const real center = mean[s.column];
#pragma unroll 4
    for (int64 row = s.row; row < s.end; row += s.step) {
        const int64 at = row * C + s.column;
        const real g = grad_out[at];
        grad_x[at] =
            (constants ? g : g - c.center - (x[at] - center) * c.slope) * c.scale;
    }
}

/* What a thread finds of its column's sums. */
DEVICE Sums sums_of(const Strip &s, const real *grad_out, const real *x, const real *mean, int64 C) {
    Sums all = {};
    for (int64 first = s.row; first < s.end; first += RUN * s.step) {
        const int64 end = first + RUN * s.step < s.end ? first + RUN * s.step : s.end;
        const real center = mean[s.column];
        real sum = 0, product = 0;
#pragma unroll 4
        for (int64 row = first; row < end; row += s.step) {
            const int64 at = row * C + s.column;
            const real g = grad_out[at];
            sum += g;
            product += g * (x[at] - center);
        }
        all.take({sum, product});
    }
    return all;
}

/* With one part this is all: what the block has read it reads again, from a cache. */
KERNEL batchnorm_sums(real *grad_x, real *grad_gamma, real *grad_beta, Sums *parts,
                      const real *grad_out, const real *x, const real *mean, const real *variance,
                      const real *gamma, double epsilon, int64 constants, int64 rows, int64 C) {
    __shared__ Sums cells[STRIP_THREADS];
    const Strip s = strip_of(rows, C);
    combine_slots(s, cells, sums_of(s, grad_out, x, mean, C));
    if (!s.active) return;
    const Sums &total = cells[s.cell - s.slot * s.width];
    if (gridDim.y > 1) {
        if (s.slot == 0) parts[s.column * gridDim.y + blockIdx.y] = total;
        return;
    }
    const int64 c = s.column;
    const Slopes slopes = finish_sums(grad_gamma + c, grad_beta + c, total, variance[c],
                                      gamma ? gamma + c : gamma, epsilon, rows, constants);
    write_gradient(grad_x, grad_out, x, mean, s, slopes, C, constants);
}

/* Of the elements that a pooling has picked; the statistics are those of all `places`. */
KERNEL batchnorm_picked_sums(real *grad_gamma, real *grad_beta, Slopes *slopes, Sums *parts,
                             const real *grad_out, const real *picked, const real *mean,
                             const real *variance, const real *gamma, double epsilon, int64 rows,
                             int64 places, int64 C) {
    __shared__ Sums cells[STRIP_THREADS];
    const Strip s = strip_of(rows, C);
    combine_slots(s, cells, sums_of(s, grad_out, picked, mean, C));
    const int64 c = s.column;
    if (finishes(s, cells, parts))
        slopes[c] = finish_sums(grad_gamma + c, grad_beta + c, cells[s.cell], variance[c],
                                gamma ? gamma + c : gamma, epsilon, places, false);
}

KERNEL batchnorm_sums_merge(real *grad_gamma, real *grad_beta, Slopes *slopes, const Sums *parts,
                            const real *variance, const real *gamma, double epsilon,
                            int64 constants, int64 count, int64 rows, int64 C) {
    if (ROW >= C) return;
    const Sums all = combine_parts(parts + ROW * count, count);
    if (threadIdx.x == 0)
        slopes[ROW] = finish_sums(grad_gamma + ROW, grad_beta + ROW, all, variance[ROW],
                                  gamma ? gamma + ROW : gamma, epsilon, rows, constants);
}

KERNEL batchnorm_gradient(real *grad_x, const real *grad_out, const real *x, const real *mean,
                          const Slopes *slopes, int64 constants, int64 rows, int64 C) {
    const Strip s = strip_of(rows, C);
    if (s.active) write_gradient(grad_x, grad_out, x, mean, s, slopes[s.column], C, constants);
}

KERNEL batchnorm_update(real *running_mean, real *running_variance, const real *mean,
                        const real *variance, const real *, double momentum, int64 unbiased,
                        int64 rows, int64 C) {
    const double factor = unbiased ? (double)rows / (double)(rows > 1 ? rows - 1 : 1) : 1;
    const real keep = (real)momentum;
    EACH_ELEMENT(i, C) {
        running_mean[i] = keep * running_mean[i] + (real)(1 - momentum) * mean[i];
        running_variance[i] =
            keep * running_variance[i] + (real)((1 - momentum) * factor) * variance[i];
    }
}

/* --- layer normalisation ------------------------------------------------------------------------ */

KERNEL layernorm_forward(real *out, real *mean, real *rstd, const real *x, const real *gamma,
                         const real *beta, double epsilon, int64 rows, int64 C) {
    if (ROW >= rows) return;
    x += ROW * C;
    out += ROW * C;
    const double share = C > 0 ? 1.0 / (double)C : 0.0;
    const real first = C > 0 ? x[0] : (real)0;
    real sum = 0, square = 0;
    EACH_COLUMN(i, C) sum += x[i] - first;
    const real center = (real)(first + row_sum_double(sum) * share);
    sum = 0;
    EACH_COLUMN(i, C) {
        const real d = x[i] - center;
        sum += d;
        square += d * d;
    }
    const double off = row_sum_double(sum) * share;
    const double variance = row_sum_double(square) * share - off * off;
    const real rest = (real)off;
    const real scale = (real)inverse_root((variance < 0 ? 0 : variance) + epsilon);
    if (threadIdx.x == 0) {
        mean[ROW] = (real)(center + off);
        rstd[ROW] = scale;
    }
    EACH_COLUMN(i, C) {
        const real y = ((x[i] - center) - rest) * scale * (gamma ? gamma[i] : (real)1);
        out[i] = beta ? y + beta[i] : y;
    }
}

KERNEL layernorm_gradient(real *grad_x, const real *grad_out, const real *x, const real *mean,
                          const real *rstd, const real *gamma, int64 rows, int64 C) {
    if (ROW >= rows) return;
    grad_x += ROW * C;
    grad_out += ROW * C;
    x += ROW * C;
    const double share = 1.0 / (double)C;
    const real center = mean[ROW], scale = rstd[ROW];
    real sum = 0, product = 0;
    EACH_COLUMN(i, C) {
        const real g = grad_out[i] * (gamma ? gamma[i] : (real)1);
        sum += g;
        product += g * ((x[i] - center) * scale);
    }
    const real g_mean = (real)(row_sum_double(sum) * share);
    const real product_mean = (real)(row_sum_double(product) * share);
    EACH_COLUMN(i, C) {
        const real g = grad_out[i] * (gamma ? gamma[i] : (real)1);
        grad_x[i] = (g - g_mean - (x[i] - center) * scale * product_mean) * scale;
    }
}

DEVICE void finish_layernorm(real *grad_gamma, real *grad_beta, const Sums &sums) {
    *grad_gamma = (real)sums.second;
    *grad_beta = (real)sums.first;
}

KERNEL layernorm_sums(real *grad_gamma, real *grad_beta, Sums *parts, const real *grad_out,
                      const real *x, const real *mean, const real *rstd, int64 rows, int64 C) {
    __shared__ Sums cells[STRIP_THREADS];
    const Strip s = strip_of(rows, C);
    Sums all = {};
    for (int64 first = s.row; first < s.end; first += RUN * s.step) {
        const int64 end = first + RUN * s.step < s.end ? first + RUN * s.step : s.end;
        real sum = 0, product = 0;
#pragma unroll 4
        for (int64 row = first; row < end; row += s.step) {
            const int64 at = row * C + s.column;
            const real g = grad_out[at];
            sum += g;
            product += g * ((x[at] - mean[row]) * rstd[row]);
        }
        all.take({sum, product});
    }
    combine_slots(s, cells, all);
    if (finishes(s, cells, parts))
        finish_layernorm(grad_gamma + s.column, grad_beta + s.column, cells[s.cell]);
}

KERNEL layernorm_sums_merge(real *grad_gamma, real *grad_beta, const Sums *parts, int64 count,
                            int64 C) {
    if (ROW >= C) return;
    const Sums all = combine_parts(parts + ROW * count, count);
    if (threadIdx.x == 0) finish_layernorm(grad_gamma + ROW, grad_beta + ROW, all);
}
