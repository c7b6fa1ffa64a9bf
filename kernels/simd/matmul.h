#ifndef FASTDL_MATMUL_H
#define FASTDL_MATMUL_H

#include <stdint.h>

typedef struct Product Product;

enum { MOST_TAIL_ARRAYS = 4 };

/* One piece of a product, for one thread: out (rows, columns) = a . b + bias. All strides are in
 * elements, from row to row of the array as it lies in memory. The three forms differ in how a and
 * b lie:
 *     nn  a (rows, depth)   b (depth, columns)
 *     tn  a (depth, rows)   b (depth, columns)
 *     nt  a (rows, depth)   b (columns, depth) */
struct Product {
    void *out;             /* NULL: only `finished` reads the sums, see `hands_on` */
    const void *a, *b;
    int64_t out_stride, a_stride, b_stride;
    const void *b_end;     /* where the array that b is a part of ends: no read goes beyond */
    const void *bias;      /* (columns), or NULL for none */
    /* From row to row of bias: 0, or what is added is another row for each row of out. Only for pieces of
     * several rows, columns and steps of the depth, and not with `turned`. */
    int64_t bias_stride;
    int64_t rows, columns, depth;
    int turned;            /* nt: see product_turns */
    int roomy;             /* out begins with a cache line and may be written to the end of its last */
    /* Called with each part of out as soon as its sums are complete, while it is in the cache:
     * each element is in exactly one part, which is where `part` says. NULL: nobody wants to know. */
    void (*finished)(const Product *product, int64_t row, int64_t rows, int64_t column,
                     int64_t columns, const void *part, int64_t part_stride);
    const void *op, *context;      /* for `finished` */
    int64_t first_row, first_column;  /* where out lies in the array that it is a part of */
    /* Of large arrays that `finished` reads at the places of out: what it reads at out's first. They
     * are asked for while out is computed. */
    const void *tail[MOST_TAIL_ARRAYS];
    int64_t tail_arrays;
};

/* Whether a . b transposed is better computed as b . a transposed and turned: few rows, and a and out are
 * smaller than b, which would have to be turned otherwise. */
static inline int product_turns(int64_t rows, int64_t columns, int64_t depth) {
    return rows <= 64 && rows * (columns + depth) < columns * depth;
}

typedef void (*ProductBody)(const Product *product);

typedef struct {
    ProductBody nn, tn, nt;
    /* Which body these three use for a product: of nn, tn, nt. It does not look at the arrays. */
    ProductBody (*choose[3])(const Product *product);
    /* Whether a body that `choose` gives for a product, as a whole, can do without out for each piece of it:
     * then it keeps what it has finished until `finished` has seen that, and no longer. */
    int (*hands_on)(const Product *product, ProductBody body);
    /* out (n) = parts[0] + parts[1] + ... + bias, in this order; part i begins at parts + i*stride.
     * bias has `columns` elements and repeats; the first one here is number `start` modulo that. */
    void (*merge)(void *out, const void *parts, int64_t stride, int64_t count, const void *bias,
                  int64_t columns, int64_t start, int64_t n);
    /* out (columns, rows) = in (rows, columns) transposed. */
    void (*transpose)(void *out, int64_t out_stride, const void *in, int64_t in_stride,
                      int64_t rows, int64_t columns);
    /* How a piece is best sized: its rows in tiles of up to tile_rows, its columns a multiple of
     * tile_columns. */
    int64_t tile_rows, tile_columns;
    /* Pieces of so many rows may be computed as one: each sum is made in the same order. So may those of
     * `joined_few`, of a product of less than joined_rows in all. */
    int64_t joined_rows, joined_few;
    int64_t depth_block; /* A sum of so many products at most is made at once, then the bias is added. */
    double nanoseconds; /* of one multiply-add, roughly */
    const void *one;   /* the number 1 */
} MatmulBodies;

#endif
