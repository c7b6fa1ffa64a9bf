/* Sums of all elements in float64: running totals, norms of gradients, penalties.
 *
 * A kernel sums its elements in blocks, which leave what they have in `parts`, and is launched again
 * as one block to sum those (`merged` says how many) and to do what is to be done with the result;
 * few elements are summed by that one block at once. The order of a sum depends on its size alone.
 */
#include "common.cuh"

struct Pair {
    double first, second;
};

/* Both sums over the n that `element` gives; all threads of a block get them. */
template <class Element> DEVICE Pair sums_of(const Element &element, int64 n) {
    Pair sum = {0, 0};
    EACH_ELEMENT(i, n) {
        const Pair x = element(i);
        sum.first += x.first;
        sum.second += x.second;
    }
    return {row_sum_double(sum.first), row_sum_double(sum.second)};
}

struct Parts {
    const double *parts;
    __device__ Pair operator()(int64 i) const { return {parts[2 * i], parts[2 * i + 1]}; }
};

/* Whether this thread has the sums of everything, and has to make use of them. */
template <class Element>
DEVICE bool has_sums(Pair *sums, double *parts, int64 merged, const Element &element, int64 n) {
    *sums = merged ? sums_of(Parts{parts}, merged) : sums_of(element, n);
    if (threadIdx.x > 0) return false;
    if (gridDim.x == 1) return true;
    parts[2 * blockIdx.x] = sums->first;
    parts[2 * blockIdx.x + 1] = sums->second;
    return false;
}

/* --- rows -------------------------------------------------------------------------------------- */

struct Weighted {
    const real *values, *weight;
    __device__ Pair operator()(int64 i) const {
        const double w = weight ? (double)weight[i] : 1;
        return {(double)values[i] * w, w};
    }
};

KERNEL accumulate(double *total, double *parts, int64 merged, const real *values,
                  const real *weight, int64 by_weight, int64 n) {
    Pair sums;
    if (!has_sums(&sums, parts, merged, Weighted{values, weight}, n)) return;
    total[0] += sums.first;
    total[1] += by_weight && weight ? sums.second : (double)n;
}

KERNEL batch_mean(real *out, double *parts, int64 merged, const real *values, const real *weight,
                  int64 n) {
    Pair sums;
    if (has_sums(&sums, parts, merged, Weighted{values, weight}, n))
        *out = (real)(sums.first / (double)n);
}

/* values: only their number counts */
KERNEL batch_mean_backward(real *grad_values, const real *grad_out, const real *,
                           const real *weight, int64 n) {
    const real share = *grad_out / (real)n;
    EACH_ELEMENT(i, n) grad_values[i] = weight ? share * weight[i] : share;
}

/* --- parameters -------------------------------------------------------------------------------- */

struct Magnitudes {
    const real *x;
    __device__ Pair operator()(int64 i) const {
        const double w = x[i];
        return {fabs(w), w * w};
    }
};

/* A norm that is not asked for is left out: 0*Inf would be NaN. */
KERNEL penalty(double *total, double *parts, int64 merged, const real *param, double l1, double l2,
               int64 rows, int64 n) {
    Pair sums;
    if (!has_sums(&sums, parts, merged, Magnitudes{param}, n)) return;
    total[0] += (double)rows * ((l1 != 0 ? l1 * sums.first : 0) + (l2 != 0 ? l2 * sums.second : 0));
}

KERNEL accumulate_squares(double *total, double *parts, int64 merged, const real *values, int64 n) {
    Pair sums;
    if (!has_sums(&sums, parts, merged, Magnitudes{values}, n)) return;
    total[0] += sums.second;
    total[1] += 1;
}

struct Squares {
    const real *grad, *param;
    double l1, l2;
    __device__ Pair operator()(int64 i) const {
        real g = grad[i];
        if (param && l1 != 0) g += (real)l1 * sign(param[i]);
        if (param && l2 != 0) g += (real)(2 * l2) * param[i];
        return {(double)g * (double)g, 0};
    }
};

KERNEL squared_norm(double *out, double *parts, int64 merged, const real *grad, const real *param,
                    const double *before, double l1, double l2, int64 n) {
    Pair sums;
    if (has_sums(&sums, parts, merged, Squares{grad, param, l1, l2}, n))
        *out = sums.first + (before ? *before : 0);
}

struct Doubles {
    const double *x;
    __device__ Pair operator()(int64 i) const { return {x[i], 0}; }
};

KERNEL clip_scale(real *scale, double *parts, int64 merged, const double *squares, double clipnorm,
                  int64 n) {
    Pair sums;
    if (!has_sums(&sums, parts, merged, Doubles{squares}, n)) return;
    const double ratio = clipnorm / sqrt(sums.first);
    *scale = (real)(ratio > 1 ? 1 : ratio);
}
