/* Elementwise activations, softmax, and their gradients. */
#include "activation.cuh"

/* name_forward and name_backward, with and without the option alpha. */
#define ACTIVATION(name)                                                                    \
    KERNEL name##_forward(real *out, const real *x, int64 n) {                              \
        EACH_ELEMENT(i, n) out[i] = name(x[i], 0);                                          \
    }                                                                                       \
    KERNEL name##_backward(real *grad_x, const real *grad_out, const real *saved, int64 n) { \
        EACH_ELEMENT(i, n) grad_x[i] = grad_out[i] * name##_slope(saved[i], 0);             \
    }
#define ACTIVATION_WITH_ALPHA(name)                                                         \
    KERNEL name##_forward(real *out, const real *x, double alpha, int64 n) {                \
        EACH_ELEMENT(i, n) out[i] = name(x[i], (real)alpha);                                \
    }                                                                                       \
    KERNEL name##_backward(real *grad_x, const real *grad_out, const real *saved,           \
                           double alpha, int64 n) {                                         \
        EACH_ELEMENT(i, n) grad_x[i] = grad_out[i] * name##_slope(saved[i], (real)alpha);   \
    }

ACTIVATION_WITH_ALPHA(leaky_relu)
ACTIVATION_WITH_ALPHA(elu)
ACTIVATION(selu)
ACTIVATION(gelu)
ACTIVATION(gelu_tanh)
ACTIVATION(sigmoid)
ACTIVATION(tanh)
ACTIVATION(softplus)
ACTIVATION(silu)

/* A gradient of infinity through a relu that is shut is 0, not NaN; a NaN of the output stays. */
KERNEL relu_forward(real *out, const real *x, int64 n) {
    EACH_ELEMENT(i, n) out[i] = relu(x[i], 0);
}
KERNEL relu_backward(real *grad_x, const real *grad_out, const real *out, int64 n) {
    EACH_ELEMENT(i, n) grad_x[i] = out[i] <= 0 ? (real)0 : grad_out[i];
}

/* Three passes over a row: the largest, the exponentials and their sum, the division. */
KERNEL softmax_forward(real *out, const real *x, int64 rows, int64 C) {
    if (ROW >= rows) return;
    out += ROW * C;
    x += ROW * C;
    real largest = -INFINITE, sum = 0;
    EACH_COLUMN(i, C) largest = maximum(x[i], largest);
    largest = row_maximum(largest);
    EACH_COLUMN(i, C) {
        const real e = exp(x[i] - largest);
        out[i] = e;
        sum += e;
    }
    const real scale = 1 / row_sum(sum);
    EACH_COLUMN(i, C) out[i] *= scale;
}

KERNEL softmax_backward(real *grad_x, const real *grad_out, const real *out, int64 rows, int64 C) {
    if (ROW >= rows) return;
    grad_x += ROW * C;
    grad_out += ROW * C;
    out += ROW * C;
    real sum = 0;
    EACH_COLUMN(i, C) sum += grad_out[i] * out[i];
    const real dot = row_sum(sum);
    EACH_COLUMN(i, C) grad_x[i] = out[i] * (grad_out[i] - dot);
}
