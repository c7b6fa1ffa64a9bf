#ifndef FASTDL_LOSS_H
#define FASTDL_LOSS_H

#include <stdint.h>

/* Losses that are a mean of something of each output alone. */
enum {
    MEAN_SQUARED_ERROR,
    MEAN_ABSOLUTE_ERROR,
    HUBER,
    BINARY_CROSSENTROPY,
    BINARY_CROSSENTROPY_OF_LOGITS,
    ELEMENTWISE_LOSSES
};

typedef struct {
    double factor; /* of a row's gradient: scale divided by the number of rows of the batch */
    double delta, smoothing;
    int roomy; /* of all that is written: it begins with a cache line and may go on to the end of its last */
} LossOptions;

/* What the losses of a stretch of rows read: pred (rows, C); target (rows, C), or, where that is
 * NULL, labels (rows); sample_weight (rows) or NULL. */
typedef struct {
    const void *pred, *target;
    const int64_t *labels;
    const void *sample_weight;
    int64_t rows, C;
} LossInputs;

/* loss (rows); grad_pred (rows, C) or NULL. */
typedef void (*LossBody)(void *loss, void *grad_pred, const LossInputs *in,
                         const LossOptions *options);

typedef struct {
    LossBody body;
    void *loss, *grad_pred;
    LossInputs inputs;
    LossOptions options;
} LossCall;

typedef struct {
    LossBody elementwise[ELEMENTWISE_LOSSES];
    LossBody categorical, categorical_of_logits;
    /* out (rows): 1 or 0 */
    void (*categorical_accuracy)(void *out, const LossInputs *in);
    /* out (rows): the share of a row's outputs where (pred > threshold) == target */
    void (*binary_accuracy)(void *out, const LossInputs *in, double threshold);
    /* sum(values*weights) in float64; weights may be NULL */
    double (*weighted_sum)(const void *values, const void *weights, int64_t n);
} LossBodies;

#endif
