/* Functions of elements: of one number, of two, of a number and an option. */
#include "functions.cuh"

/* name_forward of x, and name_backward of grad and what was saved. */
#define UNARY(name, value, gradient)                                                         \
    KERNEL name##_forward(real *out, const real *x_, int64 n) {                              \
        EACH_ELEMENT(i, n) {                                                                 \
            const real x = x_[i];                                                            \
            out[i] = value;                                                                  \
        }                                                                                    \
    }                                                                                        \
    KERNEL name##_backward(real *grad_x, const real *grad_out, const real *saved_, int64 n) { \
        EACH_ELEMENT(i, n) {                                                                 \
            const real grad = grad_out[i], saved = saved_[i];                                \
            grad_x[i] = gradient;                                                            \
        }                                                                                    \
    }

UNARY(exp, exp(x), grad *saved)
UNARY(log, log(x), grad / saved)
UNARY(sqrt, sqrt(x), grad / (2 * saved))
UNARY(square, x *x, grad *(2 * saved))
UNARY(abs, fabs(x), grad *sign(saved))

KERNEL sign(real *out, const real *x, int64 n) {
    EACH_ELEMENT(i, n) out[i] = sign(x[i]);
}

/* NaN is neither below nor above. */
KERNEL clip_forward(real *out, const real *x, double low, double high, int64 n) {
    EACH_ELEMENT(i, n) out[i] = minimum((real)high, maximum((real)low, x[i]));
}

KERNEL clip_backward(real *grad_x, const real *grad_out, const real *x, double low, double high,
                     int64 n) {
    EACH_ELEMENT(i, n) {
        grad_x[i] = x[i] < (real)low || x[i] > (real)high ? (real)0 : grad_out[i];
    }
}

KERNEL where_forward(real *out, const real *condition, const real *a, const real *b,
                     double a_value, double b_value, int64 n) {
    EACH_ELEMENT(i, n) {
        out[i] = condition[i] != 0 ? (a ? a[i] : (real)a_value) : (b ? b[i] : (real)b_value);
    }
}

KERNEL where_backward(real *grad_a, real *grad_b, const real *grad_out, const real *condition,
                      int64 n) {
    EACH_ELEMENT(i, n) {
        const bool first = condition[i] != 0;
        const real grad = grad_out[i];
        if (grad_a) grad_a[i] = first ? grad : (real)0;
        if (grad_b) grad_b[i] = first ? (real)0 : grad;
    }
}

KERNEL two(real *out, const real *a, const real *b, int64 function, int64 n) {
    EACH_ELEMENT(i, n) out[i] = of_two(function, a[i], b[i]);
}

KERNEL two_backward(real *grad_a, real *grad_b, const real *grad_out, const real *a,
                    const real *b, int64 function, int64 n) {
    EACH_ELEMENT(i, n) {
        const real grad = grad_out[i], x = a[i], y = b[i];
        if (grad_a) grad_a[i] = gradient_of_first(function, grad, x, y);
        if (grad_b) grad_b[i] = gradient_of_second(function, grad, x, y);
    }
}

KERNEL scalar(real *out, const real *x, double value, int64 function, int64 swapped, int64 n) {
    const real y = (real)value;
    EACH_ELEMENT(i, n) out[i] = swapped ? of_two(function, y, x[i]) : of_two(function, x[i], y);
}

KERNEL scalar_backward(real *grad_x, const real *grad_out, const real *x, double value,
                       int64 function, int64 swapped, int64 n) {
    const real y = (real)value;
    EACH_ELEMENT(i, n) {
        grad_x[i] = swapped ? gradient_of_second(function, grad_out[i], y, x[i])
                            : gradient_of_first(function, grad_out[i], x[i], y);
    }
}
