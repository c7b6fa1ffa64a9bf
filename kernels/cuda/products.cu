/* Matrix products: out (M, N) = a (M, K) times b (K, N), either of them lying transposed; or many of
 * them, `items`, one behind the other.
 *
 * A block has a square tile of out (tile.cuh). The depth may be cut into `parts` (gridDim.z), whose
 * sums are added in order. How a product is cut depends on its sizes alone: the same bits whenever
 * and wherever. Bias and activation are applied to the finished elements.
 */
#include "tile.cuh"

struct Problem {
    real *out;
    const real *a, *b;
    Epilogue finish;
    int64 M, N, K;
    Parts parts;
};

template <int TILE, bool A_LINED, bool B_LINED>
DEVICE void multiply(const Problem &p, real *slice_a, real *slice_b) {
    const int64 across = (p.N + TILE - 1) / TILE, tiles = across * ((p.M + TILE - 1) / TILE);
    const int64 item = blockIdx.x / tiles, at = blockIdx.x % tiles;
    const int64 row = at / across * TILE, column = at % across * TILE;
    const Matrix<TILE, A_LINED> a = {p.a + item * p.M * p.K, A_LINED ? p.K : p.M, row, p.M};
    const Matrix<TILE, B_LINED> b = {p.b + item * p.K * p.N, B_LINED ? p.K : p.N, column, p.N};
    typedef Tile<TILE, TILE> Out;
    Out tile;
    tile.multiply(a, b, p.K * blockIdx.z / p.parts.count, p.K * (blockIdx.z + 1) / p.parts.count,
                  slice_a, slice_b);

    const int64 M = p.M, N = p.N;
    const auto place = [=](int i, int j) {
        const int64 m = row + Out::row(i), n = column + Out::column(j);
        return m < M && n < N ? (item * M + m) * N + n : -1;
    };
    const bool whole = p.parts.count == 1;
    const auto finished = [&](real x, int j) { return p.finish(x, column + Out::column(j)); };
    tile.write(whole ? p.out : p.parts.mine(), place,
               [&](real x, int j) { return whole ? finished(x, j) : x; });
    if constexpr (Out::SMALL) {
        if (whole || !p.parts.comes_last(slice_a)) return;
        tile.add_layers(p.parts.layers, p.parts.size, p.parts.count, place);
        tile.write(p.out, place, finished);
    }
}

/* a is lined (its rows along K) in nn and nt, b in nt. */
#define PRODUCT(form, TILE, A_LINED, B_LINED)                                                   \
    TILE_KERNEL product_##form##_##TILE(                                                        \
        real *out, real *layers, uint32 *counters, const real *a, const real *b,                \
        const real *bias, int64 activation, double alpha, int64 M, int64 N, int64 K,            \
        int64 items, int64 parts) {                                                             \
        SLICE(slice_a, TILE);                                                                   \
        SLICE(slice_b, TILE);                                                                   \
        const Problem p = {out, a, b, {bias, activation, (real)alpha}, M, N, K,                 \
                           {layers, counters, parts, items * M * N}};                           \
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
