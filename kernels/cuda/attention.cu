/* Attention in tiles: scores are made for a block of queries and a block of keys, used while they are
 * in registers and shared memory, and forgotten.
 *
 * Forward (Dao et al. 2022, with the sum's running maximum as in Milakov & Gimelshein 2018): each row
 * keeps the largest score so far and the sum of exponentials by it; when a block of keys brings a
 * larger one, sum and output are scaled down. Backward makes the weights again from lse, once for
 * the keys' gradients, which are sums over queries, and once for the queries': nothing is added to
 * memory, so the sums have an order.
 *
 * A thread (x, y) of 16 x 16 has a few rows of queries and every 16th key; of a block's columns of
 * values, BLOCK are made by it (blockIdx.y), others by blocks that make the same scores.
 */
#include "philox.cuh"
#include "tile.cuh"

enum { BLOCK = REAL_BITS == 32 ? 64 : 32, ROOM = BLOCK * (BLOCK + PADDING) };

typedef Tile<BLOCK, BLOCK> Scores;
typedef Matrix<BLOCK, true> Rows;     /* of which the elements of a row are summed over */
typedef Matrix<BLOCK, false> Columns; /* of which the rows are summed over */

/* What one head reads; arrays begin with its first row. */
struct Head {
    const real *q, *k, *v, *mask, *key_mask;
    int64 T, S, H, D, V;
    real scale;
    bool causal;
    double rate;
    uint32 stream, step;
    uint64 seed, first_word; /* of its weights, (T, S) */

    METHOD int64 d_stride() const { return H * D; }
    METHOD int64 v_stride() const { return H * V; }

    /* The first key that none of the queries before `end` may look at. */
    METHOD int64 keys(int64 end) const {
        end = end < T ? end : T;
        return causal && end < S ? end : S;
    }
    METHOD bool excluded(int64 t, int64 s) const {
        return t >= T || s >= S || (causal && s > t) || (mask && mask[t * S + s] == 0)
               || (key_mask && key_mask[s] == 0);
    }
    /* x where dropout leaves a weight, scaled up, else 0. */
    METHOD real dropped(real x, int64 t, int64 s) const {
        const double limit = ceil(rate * 4294967296.0);
        const uint32 threshold = (uint32)(limit < 4294967295.0 ? limit : 4294967295.0);
        const uint64 number = first_word + t * S + s;
        const Words words = philox(number / 4, stream, step, seed);
        const int at = number % 4;
        const uint32 word = at < 2 ? (at == 0 ? words.word[0] : words.word[1])
                                   : (at == 2 ? words.word[2] : words.word[3]);
        return word >= threshold ? x * (real)(1 / (1 - rate)) : (real)0;
    }
    /* Scores of the queries from `row` and the keys from `key`, -inf where they are excluded. */
    METHOD void make(Scores *scores, int64 row, int64 key, real *slice_a, real *slice_b) const {
        const Rows queries = {q, d_stride(), row, T}, others = {k, d_stride(), key, S};
        scores->multiply(queries, others, 0, D, slice_a, slice_b);
#pragma unroll
        for (int i = 0; i < scores->DOWN; i++)
#pragma unroll
            for (int j = 0; j < scores->ACROSS; j++) {
                const bool none = excluded(row + scores->row(i), key + scores->column(j));
                scores->sum[i][j] = none ? -INFINITE : scores->sum[i][j] * scale;
            }
    }
};

#define INPUTS                                                                               \
    const real *q, const real *k, const real *v, const real *mask, const real *key_mask
#define OPTIONS                                                                              \
    double scale, int64 causal, double rate, int64 stream, const Context *context, int64 T,  \
        int64 S, int64 H, int64 D, int64 V
/* Head number `head` of all rows of the batch. */
#define HEAD                                                                                 \
    {q + (row_of * T * H + head % H) * D, k + (row_of * S * H + head % H) * D,               \
     v + (row_of * S * H + head % H) * V, mask ? mask + row_of * T * S : mask,               \
     key_mask ? key_mask + row_of * S : key_mask, T, S, H, D, V, (real)scale, causal != 0,   \
     rate, (uint32)stream, (uint32)context->step, (uint64)context->seed,                     \
     (uint64)(head * T * S)}
#define SHARED                                                                               \
    SLICE(slice_a, BLOCK);                                                                   \
    SLICE(slice_b, BLOCK);                                                                   \
    __shared__ __align__(16) real room[ROOM]

/* Of a row's sixteen threads; all get it. */
DEVICE real across_sum(real x) {
    for (int distance = SIDE / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, distance);
    return x;
}
DEVICE real across_maximum(real x) {
    for (int distance = SIDE / 2; distance > 0; distance /= 2)
        x = maximum(__shfl_xor_sync(0xffffffffu, x, distance), x);
    return x;
}

TILE_KERNEL attention_forward(real *out, real *lse, INPUTS, OPTIONS) {
    SHARED;
    const int64 blocks = (T + BLOCK - 1) / BLOCK, row = blockIdx.x % blocks * BLOCK;
    const int64 head = blockIdx.x / blocks, row_of = head / H, first = (int64)blockIdx.y * BLOCK;
    const Head a = HEAD;
    const Columns values = {a.v, a.v_stride(), first, V};
    const int64 end = a.keys(row + BLOCK);
    Scores scores, made;
    real top[Scores::DOWN], sum[Scores::DOWN];
    made.clear();
    for (int i = 0; i < made.DOWN; i++) {
        top[i] = -INFINITE;
        sum[i] = 0;
    }
    for (int64 key = 0; key < end; key += BLOCK) {
        a.make(&scores, row, key, slice_a, slice_b);
#pragma unroll
        for (int i = 0; i < made.DOWN; i++) {
            real largest = top[i], total = 0;
#pragma unroll
            for (int j = 0; j < made.ACROSS; j++) largest = maximum(scores.sum[i][j], largest);
            largest = across_maximum(largest);
            const real base = largest == -INFINITE ? (real)0 : largest;
            const real factor = top[i] == -INFINITE ? (real)0 : exp(top[i] - base);
#pragma unroll
            for (int j = 0; j < made.ACROSS; j++) {
                const int m = made.row(i), n = made.column(j);
                const real weight = exp(scores.sum[i][j] - base);
                total += weight;
                room[n * (BLOCK + PADDING) + m] =
                    rate > 0 ? a.dropped(weight, row + m, key + n) : weight;
                made.sum[i][j] *= factor;
            }
            top[i] = largest;
            sum[i] = sum[i] * factor + across_sum(total);
        }
        made.multiply_add(room, values, key, end - key < BLOCK ? end - key : BLOCK, slice_b);
    }
    out += (row_of * T * H + head % H) * V;
    lse += row_of * T * H + head % H;
#pragma unroll
    for (int i = 0; i < made.DOWN; i++) {
        const int64 t = row + made.row(i);
        const real divisor = sum[i] == 0 ? (real)1 : sum[i];
#pragma unroll
        for (int j = 0; j < made.ACROSS; j++) {
            const int64 n = first + made.column(j);
            if (t < T && n < V) out[t * H * V + n] = made.sum[i][j] / divisor;
        }
        if (t < T && blockIdx.y == 0 && threadIdx.x == 0)
            lse[t * H] = sum[i] == 0 ? -INFINITE : top[i] + log(sum[i]);
    }
}

/* The mean slope of each row's scores: sum of grad_out*out. */
KERNEL attention_means(real *means, const real *grad_out, const real *out, int64 rows, int64 V) {
    if (ROW >= rows) return;
    real sum = 0;
    EACH_COLUMN(i, V) sum += grad_out[ROW * V + i] * out[ROW * V + i];
    sum = row_sum(sum);
    if (threadIdx.x == 0) means[ROW] = sum;
}

/* What backward has of one head beside its inputs. */
struct Slopes {
    const real *grad_out, *lse, *means;

    /* `weights` from scores, and `slopes`, the gradient by the scores. */
    METHOD void make(const Head &a, Scores *weights, Scores *slopes, int64 row, int64 key,
                     real *slice_a, real *slice_b) const {
        a.make(weights, row, key, slice_a, slice_b);
        const Rows rows = {grad_out, a.v_stride(), row, a.T}, values = {a.v, a.v_stride(), key, a.S};
        slopes->multiply(rows, values, 0, a.V, slice_a, slice_b);
#pragma unroll
        for (int i = 0; i < slopes->DOWN; i++) {
            const int64 t = row + slopes->row(i);
            const real given = t < a.T ? lse[t * a.H] : -INFINITE;
            const real mean = t < a.T ? means[t * a.H] : (real)0;
            const real base = given == -INFINITE ? INFINITE : given;
#pragma unroll
            for (int j = 0; j < slopes->ACROSS; j++) {
                const real weight = exp(weights->sum[i][j] - base), slope = slopes->sum[i][j];
                const int64 s = key + slopes->column(j);
                const real rise = (a.rate > 0 ? a.dropped(slope, t, s) : slope) - mean;
                weights->sum[i][j] = weight;
                slopes->sum[i][j] = weight * rise * a.scale;
            }
        }
    }
};
#define SLOPES                                                                               \
    {grad_out + (row_of * T * H + head % H) * V, lse + row_of * T * H + head % H,            \
     means + row_of * T * H + head % H}

/* Writes a tile of a gradient: rows of `length` that are `stride` apart, and columns of `width`. */
DEVICE void write_rows(real *out, const Scores &tile, int64 row, int64 length, int64 column,
                       int64 width, int64 stride) {
#pragma unroll
    for (int i = 0; i < tile.DOWN; i++)
#pragma unroll
        for (int j = 0; j < tile.ACROSS; j++) {
            const int64 m = row + tile.row(i), n = column + tile.column(j);
            if (m < length && n < width) out[m * stride + n] = tile.sum[i][j];
        }
}

/* A block of keys, by all queries that may look at one of them. */
KERNEL attention_keys(real *grad_k, real *grad_v, const real *grad_out, INPUTS, const real *lse,
                      const real *means, OPTIONS) {
    SHARED;
    const int64 blocks = (S + BLOCK - 1) / BLOCK, key = blockIdx.x % blocks * BLOCK;
    const int64 head = blockIdx.x / blocks, row_of = head / H, first = (int64)blockIdx.y * BLOCK;
    const Head a = HEAD;
    const Slopes by = SLOPES;
    const Columns rows = {by.grad_out, a.v_stride(), first, V}, queries = {a.q, a.d_stride(), first, D};
    Scores weights, slopes, for_k, for_v;
    for_k.clear();
    for_v.clear();
    for (int64 row = 0; row < T; row += BLOCK) {
        if (a.keys(row + BLOCK) <= key) continue;
        const int64 depth = T - row < BLOCK ? T - row : BLOCK;
        by.make(a, &weights, &slopes, row, key, slice_a, slice_b);
#pragma unroll
        for (int i = 0; i < weights.DOWN; i++)
#pragma unroll
            for (int j = 0; j < weights.ACROSS; j++) {
                const int m = weights.row(i), n = weights.column(j);
                const real weight = weights.sum[i][j];
                room[m * (BLOCK + PADDING) + n] =
                    rate > 0 ? a.dropped(weight, row + m, key + n) : weight;
            }
        for_v.multiply_add(room, rows, row, depth, slice_b);
#pragma unroll
        for (int i = 0; i < slopes.DOWN; i++)
#pragma unroll
            for (int j = 0; j < slopes.ACROSS; j++)
                room[slopes.row(i) * (BLOCK + PADDING) + slopes.column(j)] = slopes.sum[i][j];
        for_k.multiply_add(room, queries, row, depth, slice_b);
    }
    write_rows(grad_k + (row_of * S * H + head % H) * D, for_k, key, S, first, D, a.d_stride());
    write_rows(grad_v + (row_of * S * H + head % H) * V, for_v, key, S, first, V, a.v_stride());
}

/* A block of queries, by all keys that one of them may look at. */
KERNEL attention_queries(real *grad_q, const real *grad_out, INPUTS, const real *lse,
                         const real *means, OPTIONS) {
    SHARED;
    const int64 blocks = (T + BLOCK - 1) / BLOCK, row = blockIdx.x % blocks * BLOCK;
    const int64 head = blockIdx.x / blocks, row_of = head / H, first = (int64)blockIdx.y * BLOCK;
    const Head a = HEAD;
    const Slopes by = SLOPES;
    const Columns keys = {a.k, a.d_stride(), first, D};
    const int64 end = a.keys(row + BLOCK);
    Scores weights, slopes, for_q;
    for_q.clear();
    for (int64 key = 0; key < end; key += BLOCK) {
        by.make(a, &weights, &slopes, row, key, slice_a, slice_b);
#pragma unroll
        for (int i = 0; i < slopes.DOWN; i++)
#pragma unroll
            for (int j = 0; j < slopes.ACROSS; j++)
                room[slopes.column(j) * (BLOCK + PADDING) + slopes.row(i)] = slopes.sum[i][j];
        for_q.multiply_add(room, keys, key, S - key < BLOCK ? S - key : BLOCK, slice_b);
    }
    write_rows(grad_q + (row_of * T * H + head % H) * D, for_q, row, T, first, D, a.d_stride());
}
