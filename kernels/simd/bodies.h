/* The C bodies that every instruction set and float type provides.
 *
 * One struct of function pointers a family; `Bodies` holds them together. Data pointers are void:
 * the bodies of a table work on one float type, and the callers pass on what they were given.
 */
#ifndef FASTDL_BODIES_H
#define FASTDL_BODIES_H

#include <stdint.h>

#include "activation.h"
#include "norm.h"
#include "arithmetic.h"
#include "random.h"
#include "data.h"
#include "loss.h"
#include "metric.h"
#include "update.h"
#include "matmul.h"
#include "convolution.h"
#include "pooling.h"
#include "recurrence.h"
#include "calibrate.h"
#include "tensors.h"
#include "attention.h"

typedef struct {
    const ActivationBodies *activation;
    const NormBodies *norm;
    const ArithmeticBodies *arithmetic;
    const RandomBodies *random;
    const DataBodies *data;
    const LossBodies *loss;
    const MetricBodies *metric;
    const UpdateBodies *update;
    const MatmulBodies *matmul;
    const ConvolutionBodies *convolution;
    const PoolingBodies *pooling;
    const RecurrenceBodies *recurrence;
    const CalibrateBodies *calibrate;
    const TensorBodies *tensor;
    const AttentionBodies *attention;
} Bodies;

#endif
