/* Matrix products: out (M, N) = a (M, K) times b (K, N), either of them lying transposed; or many of
 * them, `items`, one behind the other.
 *
 * A block has a square tile of out (tile.cuh). The depth may be cut into `parts` (gridDim.z), each
 * of which writes a layer of the workspace; `merge` adds them in order. How a product is cut depends
 * on its sizes alone: the same bits whenever and wherever. Bias and activation are applied to the
 * finished elements.
 */
#include "tile.cuh"

struct Problem {
    real *out;
    const real *a, *b;
    Epilogue finish;
    int64 M, N, K, items, parts;
};

template <int TILE, bool A_LINED, bool B_LINED>
DEVICE void multiply(const Problem &p, real *slice_a, real *slice_b) {
    const int64 across = (p.N + TILE - 1) / TILE, tiles = across * ((p.M + TILE - 1) / TILE);
    const int64 item = blockIdx.x / tiles, at = blockIdx.x % tiles;
    const int64 row = at / across * TILE, column = at % across * TILE;
    const Matrix<TILE, A_LINED> a = {p.a + item * p.M * p.K, A_LINED ? p.K : p.M, row, p.M};
    const Matrix<TILE, B_LINED> b = {p.b + item * p.K * p.N, B_LINED ? p.K : p.N, column, p.N};
    Tile<TILE, TILE> tile;
    tile.multiply(a, b, p.K * blockIdx.z / p.parts, p.K * (blockIdx.z + 1) / p.parts, slice_a,
                  slice_b);

    real *out = p.out + (blockIdx.z * p.items + item) * p.M * p.N;
#pragma unroll
    for (int i = 0; i < tile.DOWN; i++) {
        const int64 m = row + tile.row(i);
#pragma unroll
        for (int j = 0; j < tile.ACROSS; j++) {
            const int64 n = column + tile.column(j);
            const real x = tile.sum[i][j];
            if (m < p.M && n < p.N) out[m * p.N + n] = p.parts == 1 ? p.finish(x, n) : x;
        }
    }
}

/* a is lined (its rows along K) in nn and nt, b in nt. */
#define PRODUCT(form, TILE, A_LINED, B_LINED)                                                   \
    TILE_KERNEL product_##form##_##TILE(                                                        \
        real *out, const real *a, const real *b, const real *bias, int64 activation,            \
        double alpha, int64 M, int64 N, int64 K, int64 items, int64 parts) {                    \
        SLICE(slice_a, TILE);                                                                   \
        SLICE(slice_b, TILE);                                                                   \
        const Problem p = {out, a, b, {bias, activation, (real)alpha}, M, N, K, items, parts};  \
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
    const Epilogue finish = {bias, which, (real)alpha};
    EACH_ELEMENT(i, M *N) {
        real x = layers[i];
        for (int64 k = 1; k < parts; k++) x += layers[k * M * N + i];
        out[i] = finish(x, bias ? i % N : 0);
    }
}
