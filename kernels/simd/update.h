#ifndef FASTDL_UPDATE_H
#define FASTDL_UPDATE_H

#include <stdint.h>

/* What happens to a gradient before an update uses it, and to a parameter before it moves:
 *     g = clip((grad + l1*sign(param) + 2*l2*param)*scale, clipvalue);  param -= decay*param.
 * 0 and NULL leave a step out. */
typedef struct {
    const void *scale; /* 1 */
    double clipvalue, l1, l2, weight_decay;
    double decay; /* learning_rate*weight_decay */
} GradientOptions;

/* torch: PyTorch's formula rather than Keras's */
typedef struct {
    double momentum;
    int nesterov, torch;
} SgdOptions;

typedef struct {
    double rho, momentum, epsilon;
    int centered, torch;
} RmspropOptions;

typedef struct {
    double beta_1, beta_2;
    double epsilon; /* for PyTorch's formula corrected for the bias of v */
} AdamOptions;

typedef struct {
    double epsilon;
    int torch;
} AdagradOptions;

enum { SGD, RMSPROP, ADAM, ADAGRAD, UPDATES };

/* The arrays of an update: the parameter, its gradient, which is only read, and the state:
 *     sgd      velocity (NULL: no momentum)
 *     rmsprop  square, average (NULL: not centered), velocity (NULL: no momentum)
 *     adam     m, v, v_max (NULL: no amsgrad)
 *     adagrad  square */
enum { PARAM, GRAD, STATE, UPDATED_ARRAYS = 5 };

/* `rows` stretches of n elements of each array, the next one `stride` elements behind, that of the gradient
 * `grad_stride`: a tile of a weight. */
typedef struct {
    void *arrays[UPDATED_ARRAYS];
    int64_t rows, n, stride, grad_stride;
    double learning_rate; /* Adam's: corrected for the bias of m and v */
    GradientOptions first;
    union {
        SgdOptions sgd;
        RmspropOptions rmsprop;
        AdamOptions adam;
        AdagradOptions adagrad;
    };
} UpdateCall;

typedef void (*UpdateBody)(const UpdateCall *call);

typedef struct {
    /* The body for calls whose n, whose arrays that are NULL, and whose options but for the learning
     * rate, and what that changes, are these. */
    UpdateBody (*choose[UPDATES])(const UpdateCall *call);
    /* sum((grad + l1*sign(param) + 2*l2*param)**2) in float64; param may be NULL. */
    double (*squared_norm)(const void *grad, const void *param, int64_t n, double l1, double l2);
    /* l1*sum(|param|) + l2*sum(param**2) in float64. */
    double (*penalty)(const void *param, int64_t n, double l1, double l2);
    /* scale (1) = min(1, clipnorm/sqrt(squares)) */
    void (*clip_scale)(void *scale, double squares, double clipnorm);
} UpdateBodies;

#endif
