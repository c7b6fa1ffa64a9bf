#ifndef FASTDL_POOLING_H
#define FASTDL_POOLING_H

#include <stdint.h>

/* Images (H, W, C), of which windows make pooled images (P, Q, C). The window of (p, q) begins at
 * row p*stride_height - top and column q*stride_width - left; what lies outside does not count. */
typedef struct {
    int64_t H, W, C, P, Q;
    int64_t pool_height, pool_width, stride_height, stride_width, top, left;
} Pool;

/* Rows are counted through all images: row r of (B, P, Q, C) is row r % P of image r / P. A forward
 * writes rows `first` ... `first + rows - 1` of out (and index) and reads the images that they come
 * from, a backward writes such rows of grad_x. */
typedef struct {
    /* index may be NULL */
    void (*max_forward)(void *out, void *index, const void *x, const Pool *pool, int64_t first,
                        int64_t rows);
    /* signs (n) = 1, -1 or 0 for x (n). */
    void (*signs)(void *signs, const void *x, int64_t n);
    /* The largest element of a channel whose sign (C) is 1, the smallest where it is -1, the first
     * where it is 0. */
    void (*extreme_forward)(void *out, void *index, const void *x, const void *signs,
                            const Pool *pool, int64_t first, int64_t rows);
    void (*max_backward)(void *grad_x, const void *grad_out, const void *index, const Pool *pool,
                         int64_t first, int64_t rows);
    /* The gradient by x of a batch norm with a max-pool behind it: max_backward's, and behind it
     * batch_backward (norm.h), all in one. */
    void (*norm_max_backward)(void *grad_x, const void *grad_out, const void *index, const void *x,
                              const void *mean, const void *scale, const void *center,
                              const void *slope, const Pool *pool, int64_t first, int64_t rows);
    /* of the elements that count; `sum_*`: not divided by their number */
    void (*average_forward)(void *out, const void *x, const Pool *pool, int64_t first,
                            int64_t rows);
    void (*average_backward)(void *grad_x, const void *grad_out, const Pool *pool, int64_t first,
                             int64_t rows);
    void (*sum_forward)(void *out, const void *x, const Pool *pool, int64_t first, int64_t rows);
    void (*sum_backward)(void *grad_x, const void *grad_out, const Pool *pool, int64_t first,
                         int64_t rows);
} PoolingBodies;

#endif
