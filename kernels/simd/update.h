#ifndef FASTDL_UPDATE_H
#define FASTDL_UPDATE_H

#include <stdint.h>

/* What happens to a gradient before an update uses it, and to a parameter before it moves:
 *     g = clip((grad + l1*sign(param) + 2*l2*param)*scale, clipvalue);  param -= decay*param.
 * 0 and NULL leave a step out. */
typedef struct {
    const void *scale; /* 1 */
    double clipvalue, l1, l2;
    double decay; /* learning_rate*weight_decay */
} GradientOptions;

typedef struct {
    double learning_rate, momentum;
    int nesterov, torch; /* torch: PyTorch's formula rather than Keras's */
} SgdOptions;

typedef struct {
    double learning_rate, rho, momentum, epsilon;
    int centered, torch;
} RmspropOptions;

/* Corrected for the bias of m and v: in the learning rate and, for PyTorch's formula, in epsilon. */
typedef struct {
    double learning_rate, beta_1, beta_2, epsilon;
} AdamOptions;

typedef struct {
    double learning_rate, epsilon;
    int torch;
} AdagradOptions;

/* All arrays are (n) and updated in place, but for grad, which is only read. An update takes `rows`
 * stretches of n elements, the next one `stride` elements behind: a tile of a weight. */
typedef struct {
    /* velocity may be NULL: no momentum. */
    void (*sgd)(void *param, void *velocity, const void *grad, int64_t rows, int64_t n,
                int64_t stride, const GradientOptions *first, const SgdOptions *options);
    /* velocity may be NULL: no momentum; average may be NULL: not centered. */
    void (*rmsprop)(void *param, void *square, void *average, void *velocity, const void *grad,
                    int64_t rows, int64_t n, int64_t stride, const GradientOptions *first,
                    const RmspropOptions *options);
    /* v_max may be NULL: no amsgrad. */
    void (*adam)(void *param, void *m, void *v, void *v_max, const void *grad, int64_t rows,
                 int64_t n, int64_t stride, const GradientOptions *first,
                 const AdamOptions *options);
    void (*adagrad)(void *param, void *square, const void *grad, int64_t rows, int64_t n,
                    int64_t stride, const GradientOptions *first, const AdagradOptions *options);
    /* sum((grad + l1*sign(param) + 2*l2*param)**2) in float64; param may be NULL. */
    double (*squared_norm)(const void *grad, const void *param, int64_t n, double l1, double l2);
    /* l1*sum(|param|) + l2*sum(param**2) in float64. */
    double (*penalty)(const void *param, int64_t n, double l1, double l2);
    /* scale (1) = min(1, clipnorm/sqrt(squares)) */
    void (*clip_scale)(void *scale, double squares, double clipnorm);
} UpdateBodies;

#endif
