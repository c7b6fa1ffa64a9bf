/* Matrix products: out (M, N) = a (M, K) times b (K, N), either of them lying transposed; or many of
 * them, `items`, one behind the other.
 *
 * A block of 256 threads has a square tile of out in its registers: thread (x, y) the elements
 * (y + 16*i, x + 16*j). Slices of a and b, DEPTH deep, come to shared memory while the slice before
 * is multiplied. The depth may be cut into `parts` (gridDim.z), each of which writes a layer of the
 * workspace; `merge` adds them in order. How a product is cut depends on its sizes alone: the same
 * bits whenever and wherever. Bias and activation are applied to the finished elements.
 */
#include "activation.cuh"

enum { SIDE = 16, THREADS = SIDE * SIDE, DEPTH = 16, PADDING = 4 };

struct Problem {
    real *out;
    const real *a, *b, *bias;
    int64 activation;
    real alpha;
    int64 M, N, K, items, parts;
};

/* Loads this thread's share of a slice of a operand: `across` of its long axis (M or N) from
 * `first`, DEPTH of K from `depth`. LINED: the operand's rows are along K. */
template <int TILE, bool LINED>
DEVICE void fetch(real *mine, const real *from, int64 across, int64 depth, int64 first,
                  int64 begin, int64 end) {
    const int thread = threadIdx.y * SIDE + threadIdx.x;
#pragma unroll
    for (int k = 0; k < TILE * DEPTH / THREADS; k++) {
        const int at = thread + k * THREADS;
        const int64 i = first + (LINED ? at / DEPTH : at % TILE);
        const int64 d = begin + (LINED ? at % DEPTH : at / TILE);
        mine[k] = i < across && d < end ? from[LINED ? i * depth + d : d * across + i] : (real)0;
    }
}

template <int TILE, bool LINED> DEVICE void put(real *slice, const real *mine) {
    const int thread = threadIdx.y * SIDE + threadIdx.x;
#pragma unroll
    for (int k = 0; k < TILE * DEPTH / THREADS; k++) {
        const int at = thread + k * THREADS;
        const int i = LINED ? at / DEPTH : at % TILE, d = LINED ? at % DEPTH : at / TILE;
        slice[d * (TILE + PADDING) + i] = mine[k];
    }
}

template <int TILE, bool A_LINED, bool B_LINED>
DEVICE void multiply(Problem p, real *slice_a, real *slice_b) {
    enum { EACH = TILE / SIDE, SHARE = TILE * DEPTH / THREADS };
    const int64 across = (p.N + TILE - 1) / TILE, tiles = across * ((p.M + TILE - 1) / TILE);
    const int64 item = blockIdx.x / tiles, at = blockIdx.x % tiles;
    const int64 row = at / across * TILE, column = at % across * TILE;
    p.a += item * p.M * p.K;
    p.b += item * p.K * p.N;
    const int64 begin = p.K * blockIdx.z / p.parts, end = p.K * (blockIdx.z + 1) / p.parts;
    real sum[EACH][EACH] = {}, next_a[SHARE], next_b[SHARE];

    fetch<TILE, A_LINED>(next_a, p.a, p.M, p.K, row, begin, end);
    fetch<TILE, B_LINED>(next_b, p.b, p.N, p.K, column, begin, end);
    for (int64 d = begin; d < end; d += DEPTH) {
        put<TILE, A_LINED>(slice_a, next_a);
        put<TILE, B_LINED>(slice_b, next_b);
        __syncthreads();
        if (d + DEPTH < end) {
            fetch<TILE, A_LINED>(next_a, p.a, p.M, p.K, row, d + DEPTH, end);
            fetch<TILE, B_LINED>(next_b, p.b, p.N, p.K, column, d + DEPTH, end);
        }
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            real x[EACH], y[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                x[i] = slice_a[k * (TILE + PADDING) + threadIdx.y + SIDE * i];
                y[i] = slice_b[k * (TILE + PADDING) + threadIdx.x + SIDE * i];
            }
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++) sum[i][j] += x[i] * y[j];
        }
        __syncthreads();
    }

    real *out = p.out + (blockIdx.z * p.items + item) * p.M * p.N;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const int64 m = row + threadIdx.y + SIDE * i;
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const int64 n = column + threadIdx.x + SIDE * j;
            if (m < p.M && n < p.N) {
                real x = sum[i][j];
                if (p.parts == 1) {
                    if (p.bias) x += p.bias[n];
                    x = activation(p.activation, x, p.alpha);
                }
                out[m * p.N + n] = x;
            }
        }
    }
}

/* a is lined (its rows along K) in nn and nt, b in nt. */
#define PRODUCT(form, TILE, A_LINED, B_LINED)                                                   \
    KERNEL product_##form##_##TILE(real *out, const real *a, const real *b, const real *bias,   \
                                   int64 activation, double alpha, int64 M, int64 N, int64 K,   \
                                   int64 items, int64 parts) {                                  \
        __shared__ real slice_a[DEPTH * (TILE + PADDING)], slice_b[DEPTH * (TILE + PADDING)];   \
        const Problem p = {out, a, b, bias, activation, (real)alpha, M, N, K, items, parts};    \
        multiply<TILE, A_LINED, B_LINED>(p, slice_a, slice_b);                                  \
    }
#define PRODUCTS(TILE)                                                                          \
    PRODUCT(nn, TILE, true, false)                                                              \
    PRODUCT(tn, TILE, false, false)                                                             \
    PRODUCT(nt, TILE, true, true)

PRODUCTS(32)
PRODUCTS(64)
#if REAL_BITS == 32 /* of float64 a thread's 64 sums would not fit its registers */
PRODUCTS(128)
#endif

/* out = activation(the sum of the layers, in order, + bias); out may be the only layer. */
KERNEL merge(real *out, const real *layers, const real *bias, int64 which, double alpha, int64 M,
             int64 N, int64 parts) {
    EACH_ELEMENT(i, M *N) {
        real x = layers[i];
        for (int64 k = 1; k < parts; k++) x += layers[k * M * N + i];
        if (bias) x += bias[i % N];
        out[i] = activation(which, x, (real)alpha);
    }
}

/* Sums over the rows of x (rows, columns): block (x, y) has 32 columns and the rows' y-th part; with
 * one part out is the result, with more a layer for each, which `merge` adds. */
KERNEL column_sums(real *out, const real *x, int64 rows, int64 columns) {
    __shared__ real sums[8][WARP];
    const int64 column = (int64)blockIdx.x * WARP + threadIdx.x;
    const int64 begin = rows * blockIdx.y / gridDim.y, end = rows * (blockIdx.y + 1) / gridDim.y;
    real sum = 0;
    if (column < columns)
        for (int64 row = begin + threadIdx.y; row < end; row += 8) sum += x[row * columns + column];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int k = 1; k < 8; k++) sum += sums[k][threadIdx.x];
        out[blockIdx.y * columns + column] = sum;
    }
}
