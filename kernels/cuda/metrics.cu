/* Accuracies and other figures of rows, and what metrics add up over batches, in float64. */
#include "common.cuh"

/* --- a row's class ----------------------------------------------------------------------------- */

ROW_REDUCTION(real, row_largest, -INFINITE, x > y || x != x ? x : y)
ROW_REDUCTION(int64, row_least, INT64_LARGEST, x < y ? x : y)
ROW_REDUCTION(int64, row_count, 0, x + y)

/* The first of the largest, NaN being larger than all, as in NumPy; 0 where there is none. */
DEVICE int64 row_argmax(const real *x, int64 n) {
    real largest = -INFINITE;
    EACH_COLUMN(i, n) largest = largest > x[i] || largest != largest ? largest : x[i];
    largest = row_largest(largest);
    int64 first = INT64_LARGEST;
    EACH_COLUMN(i, n) {
        const bool here = largest == largest ? x[i] == largest : x[i] != x[i];
        if (here && i < first) first = i;
    }
    first = row_least(first);
    return n > 0 ? first : 0;
}

DEVICE int64 row_class(const real *target, const int64 *labels, int64 row, int64 C) {
    return target ? row_argmax(target + row * C, C) : labels[row];
}

/* --- one number a row --------------------------------------------------------------------------- */

DEVICE void accuracy(real *out, const real *pred, const real *target, const int64 *labels,
                     int64 rows, int64 C) {
    const int64 row = ROW;
    if (row >= rows) return;
    const int64 said = row_argmax(pred + row * C, C), wanted = row_class(target, labels, row, C);
    if (threadIdx.x == 0) out[row] = said == wanted;
}

KERNEL categorical_accuracy(real *out, const real *pred, const real *target, int64 rows, int64 C) {
    accuracy(out, pred, target, 0, rows, C);
}

KERNEL sparse_categorical_accuracy(real *out, const real *pred, const int64 *labels, int64 rows,
                                   int64 C) {
    accuracy(out, pred, 0, labels, rows, C);
}

KERNEL binary_accuracy(real *out, const real *pred, const real *target, double threshold,
                       int64 rows, int64 C) {
    const int64 row = ROW;
    if (row >= rows) return;
    int64 hits = 0;
    EACH_COLUMN(i, C) {
        const real said = pred[row * C + i] > (real)threshold;
        hits += said == target[row * C + i];
    }
    hits = row_count(hits);
    if (threadIdx.x == 0) out[row] = (real)hits / (real)(C ? C : 1);
}

/* A label that is none is never among them. */
DEVICE void top_k(real *out, const real *pred, const real *target, const int64 *labels, int64 k,
                  int64 rows, int64 C) {
    const int64 row = ROW;
    if (row >= rows) return;
    const int64 wanted = row_class(target, labels, row, C);
    const real own = wanted >= 0 && wanted < C ? pred[row * C + wanted] : NOT_A_NUMBER;
    int64 larger = 0;
    EACH_COLUMN(i, C) larger += !(pred[row * C + i] <= own);
    larger = row_count(larger);
    if (threadIdx.x == 0) out[row] = own == own && larger < k;
}

KERNEL top_k_categorical_accuracy(real *out, const real *pred, const real *target, int64 k,
                                  int64 rows, int64 C) {
    top_k(out, pred, target, 0, k, rows, C);
}

KERNEL sparse_top_k_categorical_accuracy(real *out, const real *pred, const int64 *labels, int64 k,
                                         int64 rows, int64 C) {
    top_k(out, pred, 0, labels, k, rows, C);
}

KERNEL cosine_similarity(real *out, const real *pred, const real *target, int64 rows, int64 C) {
    const int64 row = ROW;
    if (row >= rows) return;
    double product = 0, pred_square = 0, target_square = 0;
    EACH_COLUMN(i, C) {
        const double x = pred[row * C + i], t = target[row * C + i];
        product += x * t;
        pred_square += x * x;
        target_square += t * t;
    }
    product = row_sum_double(product);
    const double x = sqrt(row_sum_double(pred_square)), t = sqrt(row_sum_double(target_square));
    if (threadIdx.x == 0) out[row] = x <= 1e-12 || t <= 1e-12 ? (real)0 : (real)(product / x / t);
}

/* --- accumulators ------------------------------------------------------------------------------- */

DEVICE double weight_of(const real *weight, int64 row) { return weight ? (double)weight[row] : 1; }

KERNEL classes(int64 *said, int64 *wanted, const real *pred, const real *target,
               const int64 *labels, int64 rows, int64 C) {
    const int64 row = ROW;
    if (row >= rows) return;
    const int64 first = row_argmax(pred + row * C, C), second = row_class(target, labels, row, C);
    if (threadIdx.x == 0) {
        said[row] = first;
        wanted[row] = second;
    }
}

/* confusion[wanted, said] += the weights of the rows from `begin` on that belong there. The first of
 * them does it, the others see that they are not: so no two write the same place. */
KERNEL confusion(double *confusion, const int64 *said, const int64 *wanted, const real *weight,
                 int64 begin, int64 end, int64 C) {
    const int64 row = begin + ROW;
    if (row >= end || wanted[row] < 0 || wanted[row] >= C) return;
    int64 before = 0;
    double sum = 0;
    EACH_COLUMN(i, end - begin) {
        const int64 other = begin + i;
        if (said[other] != said[row] || wanted[other] != wanted[row]) continue;
        before += other < row;
        sum += weight_of(weight, other);
    }
    before = row_count(before);
    sum = row_sum_double(sum);
    if (threadIdx.x == 0 && before == 0) confusion[wanted[row] * C + said[row]] += sum;
}

enum { SUMS = 4, ROWS = 8 };

/* Four sums over the rows for each of 32 columns; the rows may be cut into parts (gridDim.y), whose
 * sums a second launch with `merged` parts brings together. Whether this thread has the final ones. */
template <class Terms>
DEVICE bool has_sums(double *sums, double (*shared)[ROWS][WARP], double *parts, int64 merged,
                     const Terms &terms, int64 rows, int64 C) {
    const int64 column = (int64)blockIdx.x * WARP + threadIdx.x, n = merged ? merged : rows;
    const int64 begin = n * blockIdx.y / gridDim.y, end = n * (blockIdx.y + 1) / gridDim.y;
    for (int k = 0; k < SUMS; k++) sums[k] = 0;
    if (column < C) {
        for (int64 row = begin + threadIdx.y; row < end; row += ROWS) {
            if (merged) {
                for (int k = 0; k < SUMS; k++) sums[k] += parts[(row * SUMS + k) * C + column];
            } else {
                terms.add(sums, row, column);
            }
        }
    }
    for (int k = 0; k < SUMS; k++) shared[k][threadIdx.y][threadIdx.x] = sums[k];
    __syncthreads();
    if (threadIdx.y > 0 || column >= C) return false;
    for (int k = 0; k < SUMS; k++)
        for (int y = 1; y < ROWS; y++) sums[k] += shared[k][y][threadIdx.x];
    if (gridDim.y == 1) return true;
    for (int k = 0; k < SUMS; k++) parts[(blockIdx.y * SUMS + k) * C + column] = sums[k];
    return false;
}

/* Predicted: said by a class, or by being above the threshold; positive: by a class, or above 1/2. */
struct Counts {
    const real *pred, *target, *weight;
    const int64 *said, *wanted;
    real threshold;
    int64 C;
    __device__ void add(double *sums, int64 row, int64 i) const {
        const bool predicted = said ? said[row] == i : pred[row * C + i] > threshold;
        const bool positive = wanted ? wanted[row] == i : target[row * C + i] > (real)0.5;
        const int kind = 2 * !predicted + !positive;
        const double w = weight_of(weight, row);
        for (int k = 0; k < SUMS; k++) sums[k] += kind == k ? w : 0;
    }
};

KERNEL counts(double *counts, double *parts, int64 merged, const real *pred, const real *target,
              const int64 *said, const int64 *wanted, const real *weight, double threshold,
              int64 rows, int64 C) {
    __shared__ double shared[SUMS][ROWS][WARP];
    double sums[SUMS];
    const Counts terms = {pred, target, weight, said, wanted, (real)threshold, C};
    if (!has_sums(sums, shared, parts, merged, terms, rows, C)) return;
    const int64 column = (int64)blockIdx.x * WARP + threadIdx.x;
    for (int k = 0; k < SUMS; k++) counts[k * C + column] += sums[k];
}

/* Beginning with the shift, which is the first row's target where no weight has been summed. */
DEVICE double shift_of(const double *moments, const real *target, int64 rows, int64 i, int64 C) {
    return rows > 0 && moments[C + i] == 0 ? (double)target[i] : moments[i];
}

struct Moments {
    const double *moments;
    const real *pred, *target, *weight;
    int64 rows, C;
    __device__ void add(double *sums, int64 row, int64 i) const {
        const double w = weight_of(weight, row), t = target[row * C + i];
        const double centred = t - shift_of(moments, target, rows, i, C);
        const double error = t - (double)pred[row * C + i];
        sums[0] += w;
        sums[1] += w * centred;
        sums[2] += w * centred * centred;
        sums[3] += w * error * error;
    }
};

KERNEL r2_update(double *moments, double *parts, int64 merged, const real *pred, const real *target,
                 const real *weight, int64 rows, int64 C) {
    __shared__ double shared[SUMS][ROWS][WARP];
    double sums[SUMS];
    const Moments terms = {moments, pred, target, weight, rows, C};
    if (!has_sums(sums, shared, parts, merged, terms, rows, C)) return;
    const int64 column = (int64)blockIdx.x * WARP + threadIdx.x;
    moments[column] = shift_of(moments, target, rows, column, C);
    for (int k = 0; k < SUMS; k++) moments[(1 + k) * C + column] += sums[k];
}
