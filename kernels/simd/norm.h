#ifndef FASTDL_NORM_H
#define FASTDL_NORM_H

#include <stdint.h>

enum {
    NORM_RUN = 64,        /* rows whose sums are formed in one go, before they join a block's */
    NORM_PANEL = 512,     /* about the widest stretch of columns that one batch norm piece takes */
    NORM_PADDING = 16,    /* no instruction set has more lanes: room for sums of a partial vector */
    NORM_MERGE = 64,      /* columns that one piece of a merge takes */
};

/* Rows that are walked together as one long row, so that narrow matrices fill the vectors too. */
static inline int64_t folded_rows(int64_t columns) {
    return columns > 0 && columns < 128 ? (127 + columns) / columns : 1;
}

/* Whether a matrix is so large that, with those beside it, it will have left the caches before it is
 * used again. Its lines are then asked for early, and what is written goes past the caches: on a
 * Zen 3 core that takes a third off, while in the third level both cost some. */
enum { FAR_BYTES = 4 << 20 };

/* A block is `rows` rows of `columns` columns, which lie `stride` elements apart; where columns <
 * 128 stride is columns. `far`: it is of a matrix of FAR_BYTES or more. `parts` are what the blocks of a matrix left behind, one block after the
 * other. Sizes are in elements. */
typedef struct {
    /* shift + mean (columns) is the block's mean, square (columns) its squared deviations. */
    void (*batch_statistics)(void *shift, void *mean, void *square, const void *x, int64_t rows,
                             int64_t columns, int64_t stride, int far);
    /* The mean and variance of all rows, from the parts of blocks of so many rows: shift, mean and
     * square of a block lie `stride` apart. columns <= NORM_MERGE. */
    void (*batch_merge)(void *mean, void *variance, const void *parts, const int64_t *counts,
                        int64_t blocks, int64_t columns, int64_t stride);
    /* scale = gamma / sqrt(variance + epsilon); gamma may be NULL: 1. */
    void (*batch_scale)(void *scale, const void *variance, const void *gamma, double epsilon,
                        int64_t columns);
    /* out = (x - mean)*scale + beta; mean and beta may be NULL: 0. */
    void (*batch_forward)(void *out, const void *x, const void *mean, const void *scale,
                          const void *beta, int64_t rows, int64_t columns, int64_t stride,
                          int far);
    /* sum (columns) = sum of grad_out, product (columns) = sum of grad_out*(x - mean). */
    void (*batch_sums)(void *sum, void *product, const void *grad_out, const void *x,
                       const void *mean, int64_t rows, int64_t columns, int64_t stride, int far);
    /* What batch_backward and the caller need, from the blocks' sums and products, which lie
     * `stride` apart: grad_gamma, grad_beta, scale as above, center = sum/rows and slope =
     * product/(variance + epsilon)/rows. columns <= NORM_MERGE. */
    void (*batch_backward_merge)(void *grad_gamma, void *grad_beta, void *scale, void *center,
                                 void *slope, const void *parts, const void *variance,
                                 const void *gamma, double epsilon, int64_t rows, int64_t blocks,
                                 int64_t columns, int64_t stride);
    /* grad_x = scale*(grad_out - center - (x - mean)*slope). */
    void (*batch_backward)(void *grad_x, const void *grad_out, const void *x, const void *mean,
                           const void *scale, const void *center, const void *slope, int64_t rows,
                           int64_t columns, int64_t stride, int far);
    /* running = momentum*running + (1 - momentum)*factor*batch. */
    void (*batch_update)(void *running, const void *batch, double momentum, double factor,
                         int64_t n);

    /* rows of `columns` elements, each normalised; gamma and beta may be NULL: 1 and 0. */
    void (*layer_forward)(void *out, void *mean, void *rstd, const void *x, const void *gamma,
                          const void *beta, double epsilon, int64_t rows, int64_t columns);
    /* Also the sums over these rows for grad_gamma and grad_beta, each with room for columns +
     * NORM_PADDING. */
    void (*layer_backward)(void *grad_x, void *gamma_sum, void *beta_sum, const void *grad_out,
                           const void *x, const void *mean, const void *rstd, const void *gamma,
                           int64_t rows, int64_t columns);
    /* total (n) = the sum of `blocks` parts, which lie `stride` apart. n <= NORM_MERGE. */
    void (*sum_parts)(void *total, const void *parts, int64_t blocks, int64_t n, int64_t stride);
} NormBodies;

#endif
