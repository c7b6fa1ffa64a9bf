#ifndef FASTDL_ATTENTION_H
#define FASTDL_ATTENTION_H

#include <stdint.h>

#include "random.h"

/* Attention of one head of one row of the batch: q (T, D), k (S, D), v (S, V) and out (T, V), whose
 * rows are H*D or H*V elements apart, as the heads lie side by side. */
typedef struct {
    void *out, *lse;    /* lse (T), H apart */
    const void *q, *k, *v;
    const void *mask, *key_mask;    /* (T, S) and (S), or NULL */
    int64_t T, S, H, D, V;
    double scale;
    int causal;
    double rate;
    Draw draw;
    int64_t first_word;    /* of the head's scores (T, S) among those of all */
    /* backward only */
    void *grad_q, *grad_k, *grad_v;
    const void *grad_out;
} Attention;

typedef struct {
    /* Queries row ... row + rows - 1. */
    void (*forward)(const Attention *attention, int64_t row, int64_t rows);
    /* All of grad_q, grad_k and grad_v. */
    void (*backward)(const Attention *attention);
} AttentionBodies;

#endif
