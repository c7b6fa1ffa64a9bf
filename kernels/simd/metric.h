#ifndef FASTDL_METRIC_H
#define FASTDL_METRIC_H

#include <stdint.h>

#include "loss.h"

typedef struct {
    /* out (rows): 1 where fewer than k outputs are larger than that of the row's class, else 0 */
    void (*top_k)(void *out, const LossInputs *in, int64_t k);
    /* out (rows): pred*target over both lengths */
    void (*cosine)(void *out, const LossInputs *in);
    /* confusion (C, C) += weight at [class, argmax(pred)] */
    void (*confusion)(double *confusion, const LossInputs *in);
    /* counts (4, C) += weights: true positives, false positives, false and true negatives */
    void (*threshold_counts)(double *counts, const LossInputs *in, double threshold);
    /* the same of classes: predicted is argmax(pred) */
    void (*argmax_counts)(double *counts, const LossInputs *in);
    /* moments (5, C): s, then the sums of w, w*(t - s), w*(t - s)**2, w*(t - p)**2 */
    void (*r2)(double *moments, const LossInputs *in);
} MetricBodies;

#endif
