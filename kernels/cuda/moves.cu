/* Copies of parts: transposed, sliced, padded, taken by label; and points between others.
 *
 * All but the ones of labels that are summed are over the elements of their output, whose reads are
 * neighbours where its own are, as far as the shapes allow.
 */
#include "common.cuh"

/* --- transpose: out (B, N, M, K), x (B, M, N, K) ----------------------------------------------- */

KERNEL transpose(real *out, const real *x, int64 M, int64 N, int64 K, int64 n) {
    EACH_ELEMENT(i, n) {
        const int64 k = i % K, m = i / K % M, row = i / (K * M); /* row: of B and N */
        out[i] = x[((row / N * M + m) * N + row % N) * K + k];
    }
}

enum { TILE = 32, TILE_ROWS = 8 };

/* Of single elements: a block's square of them goes through shared memory, so that both sides are
 * read and written along their rows. */
KERNEL transpose_tiles(real *out, const real *x, int64 M, int64 N) {
    __shared__ real tile[TILE][TILE + 1];
    const int64 across = (N + TILE - 1) / TILE, tiles = across * ((M + TILE - 1) / TILE);
    const int64 matrix = blockIdx.x / tiles * M * N, at = blockIdx.x % tiles;
    const int64 m = at / across * TILE, n = at % across * TILE;
    for (int k = threadIdx.y; k < TILE; k += TILE_ROWS) {
        if (m + k < M && n + threadIdx.x < N) {
            tile[k][threadIdx.x] = x[matrix + (m + k) * N + n + threadIdx.x];
        }
    }
    __syncthreads();
    for (int k = threadIdx.y; k < TILE; k += TILE_ROWS) {
        if (n + k < N && m + threadIdx.x < M) {
            out[matrix + (n + k) * M + m + threadIdx.x] = tile[threadIdx.x][k];
        }
    }
}

/* --- places of one axis: the longer array is (B, M, N) or (B, P, N) ----------------------------- */

KERNEL slice_forward(real *out, const real *x, int64 start, int64 stride, int64 length, int64 B,
                     int64 K, int64 N, int64 M) {
    EACH_ELEMENT(i, B *K *N) {
        const int64 row = i / N, k = row % K;
        out[i] = x[(row / K * M + start + stride * k) * N + i % N];
    }
}

/* Of places that are taken more than once (a stride of 0) the last gradient stays. */
KERNEL slice_backward(real *grad_x, const real *grad_out, int64 start, int64 stride, int64 length,
                      int64 B, int64 M, int64 N, int64 K) {
    EACH_ELEMENT(i, B *M *N) {
        const int64 row = i / N, from = row % M - start;
        const int64 k = stride == 0 ? K - 1 : from / stride;
        const bool taken = k >= 0 && k < K && k * stride == from;
        grad_x[i] = taken ? grad_out[(row / M * K + k) * N + i % N] : (real)0;
    }
}

KERNEL pad_forward(real *out, const real *x, int64 before, int64 after, int64 B, int64 P, int64 N,
                   int64 M) {
    EACH_ELEMENT(i, B *P *N) {
        const int64 row = i / N, m = row % P - before;
        out[i] = m >= 0 && m < M ? x[(row / P * M + m) * N + i % N] : (real)0;
    }
}

KERNEL pad_backward(real *grad_x, const real *grad_out, int64 before, int64 after, int64 B,
                    int64 M, int64 N, int64 P) {
    EACH_ELEMENT(i, B *M *N) {
        const int64 row = i / N;
        grad_x[i] = grad_out[(row / M * P + row % M + before) * N + i % N];
    }
}

/* New point p is (1 - weight)*x[low] + weight*x[low + 1]; the weight is 0 at the ends. */
struct Ends {
    int64 low;
    real weight;
};

DEVICE Ends ends_of(int64 p, int64 size, int64 length) {
    const int64 place = 2 * p + 1 - size; /* in parts of 1/(2*size) */
    if (place < 0) return {0, 0};
    const int64 low = place / (2 * size);
    if (low + 1 >= length) return {length - 1, 0};
    return {low, (real)((double)(place % (2 * size)) / (double)(2 * size))};
}

KERNEL interpolate_forward(real *out, const real *x, int64 size, int64 B, int64 P, int64 N,
                           int64 M) {
    EACH_ELEMENT(i, B *P *N) {
        const int64 row = i / N;
        const Ends ends = ends_of(row % P, size, M);
        const real *from = x + (row / P * M + ends.low) * N + i % N;
        out[i] = ends.weight == 0 ? from[0] : (1 - ends.weight) * from[0] + ends.weight * from[N];
    }
}

/* The points that came from m, in order. */
KERNEL interpolate_backward(real *grad_x, const real *grad_out, int64 size, int64 B, int64 M,
                            int64 N, int64 P) {
    EACH_ELEMENT(i, B *M *N) {
        const int64 row = i / N, m = row % M;
        const real *from = grad_out + row / M * P * N + i % N;
        const int64 end = m + 2 < M ? (m + 2) * size : P;
        real sum = 0;
        for (int64 p = m > 0 ? (m - 1) * size : 0; p < end; p++) {
            const Ends ends = ends_of(p, size, M);
            const real weight = ends.low == m ? 1 - ends.weight
                                              : ends.low + 1 == m ? ends.weight : (real)0;
            if (weight != 0) sum += weight * from[p * N];
        }
        grad_x[i] = sum;
    }
}

/* --- labels: out (B, N), weight (V, N) ---------------------------------------------------------
 * A label that is none, in a program, where nobody has looked, takes NaN and gives nothing. */

KERNEL take_forward(real *out, const int64 *labels, const real *weight, int64 B, int64 N, int64 V) {
    EACH_ELEMENT(i, B *N) {
        const int64 label = labels[i / N];
        out[i] = label >= 0 && label < V ? weight[label * N + i % N] : NOT_A_NUMBER;
    }
}

KERNEL one_hot(real *out, const int64 *labels, int64 classes, int64 B, int64 C) {
    EACH_ELEMENT(i, B *C) out[i] = labels[i / C] == i % C;
}

enum { WARPS = 8, EACH_LANE = 4, TAKEN = WARP * EACH_LANE };

/* grad_weight[label] += the sum of the rows from `begin` on that have the label. A block has the first
 * row with a label and TAKEN columns, the other blocks end; so no two write the same place. Each warp
 * looks at 32 labels at a time and adds the rows of its own, and the warps' sums are added in order. */
KERNEL take_backward(real *grad_weight, const real *grad_out, const int64 *labels, int64 begin,
                     int64 end, int64 N, int64 V) {
    __shared__ real sums[WARPS][TAKEN];
    __shared__ int seen;
    const int64 across = (N + TAKEN - 1) / TAKEN, strip = blockIdx.x % across * TAKEN;
    const int64 row = begin + blockIdx.x / across, label = labels[row];
    const int thread = threadIdx.y * WARP + threadIdx.x;
    if (label < 0 || label >= V) return;
    if (thread == 0) seen = 0;
    __syncthreads();
    for (int64 other = begin + thread; other < row; other += WARPS * WARP) {
        if (labels[other] == label) seen = 1;
    }
    __syncthreads();
    if (seen) return;

    const int64 column = strip + threadIdx.x;
    real sum[EACH_LANE] = {};
    for (int64 first = row + threadIdx.y * WARP; first < end; first += WARPS * WARP) {
        const int64 mine = first + threadIdx.x;
        uint32 same = __ballot_sync(0xffffffffu, mine < end && labels[mine] == label);
        for (; same; same &= same - 1) {
            const real *grad = grad_out + (first + __ffs(same) - 1) * N;
            for (int k = 0; k < EACH_LANE; k++) {
                if (column + k * WARP < N) sum[k] += grad[column + k * WARP];
            }
        }
    }
    for (int k = 0; k < EACH_LANE; k++) sums[threadIdx.y][threadIdx.x + k * WARP] = sum[k];
    __syncthreads();
    if (thread >= TAKEN || strip + thread >= N) return;
    real total = sums[0][thread];
    for (int warp = 1; warp < WARPS; warp++) total += sums[warp][thread];
    grad_weight[label * N + strip + thread] += total;
}
