/* Optimizers' updates, in place: one pass over parameters, gradients and state, however many
 * parameters lie in the range. The formulas are those of simd/update.inc.
 */
#include "common.cuh"

enum { KERAS, TORCH };

/* The gradient that an update uses; w, the parameter, decays on the way. */
DEVICE real first_steps(real g, real *w, const real *grad_scale, double decay, double clipvalue,
                        double l1, double l2) {
    if (l1 != 0) g += (real)l1 * sign(*w);
    if (l2 != 0) g += (real)(2 * l2) * *w;
    if (grad_scale) g *= *grad_scale;
    if (clipvalue != 0) {
        const real limit = (real)clipvalue;
        g = g > limit ? limit : g < -limit ? -limit : g;
    }
    *w -= (real)decay * *w;
    return g;
}

KERNEL sgd_update(real *param, const real *grad, real *velocity, const real *grad_scale,
                  double momentum, int64 nesterov, double weight_decay, int64 convention,
                  double clipvalue, double l1, double l2, const Context *context, int64 n) {
    const double rate = context->learning_rate;
    /* v = momentum*v + into*g; w += out_of*v */
    const real into = convention == TORCH ? (real)1 : -(real)rate;
    const real out_of = convention == TORCH ? -(real)rate : (real)1;
    const bool moving = velocity && momentum != 0;
    EACH_ELEMENT(i, n) {
        real w = param[i];
        const real g = first_steps(grad[i], &w, grad_scale, rate * weight_decay, clipvalue, l1, l2);
        if (moving) {
            const real v = (real)momentum * velocity[i] + into * g;
            velocity[i] = v;
            w += out_of * (nesterov ? (real)momentum * v + into * g : v);
        } else {
            w -= (real)rate * g;
        }
        param[i] = w;
    }
}

/* sqrt(s + epsilon) for Keras, sqrt(s) + epsilon for PyTorch. */
DEVICE real root(real s, double epsilon, int64 convention) {
    return convention == TORCH ? sqrt(s) + (real)epsilon : sqrt(s + (real)epsilon);
}

KERNEL rmsprop_update(real *param, const real *grad, real *square, real *average, real *velocity,
                      const real *grad_scale, double rho, double momentum, double epsilon,
                      int64 centered, double weight_decay, int64 convention, double clipvalue,
                      double l1, double l2, const Context *context, int64 n) {
    const double rate = context->learning_rate;
    const real keep = (real)rho, rest = (real)(1 - rho);
    /* v = momentum*v + into*g/root; w -= out_of*v */
    const real into = convention == TORCH ? (real)1 : (real)rate;
    const real out_of = convention == TORCH ? (real)rate : (real)1;
    EACH_ELEMENT(i, n) {
        real w = param[i];
        const real g = first_steps(grad[i], &w, grad_scale, rate * weight_decay, clipvalue, l1, l2);
        const real s = keep * square[i] + rest * (g * g);
        real d = s;
        square[i] = s;
        if (centered && average) {
            const real a = keep * average[i] + rest * g;
            average[i] = a;
            d = s - a * a;
            d = d < 0 ? (real)0 : d; /* a variance; below 0 only by rounding */
        }
        real u = into * g / root(d, epsilon, convention);
        if (momentum != 0 && velocity) {
            u = (real)momentum * velocity[i] + u;
            velocity[i] = u;
        }
        param[i] = w - out_of * u;
    }
}

/* The powers of beta are worked out once a block. */
KERNEL adam_update(real *param, const real *grad, real *m, real *v, real *v_max,
                   const real *grad_scale, double beta_1, double beta_2, double epsilon,
                   double weight_decay, int64 convention, double clipvalue, double l1, double l2,
                   const Context *context, int64 n) {
    __shared__ double corrections[2];
    if (threadIdx.x == 0) {
        corrections[0] = 1 / (1 - pow(beta_1, (double)context->step));
        corrections[1] = sqrt(1 - pow(beta_2, (double)context->step));
    }
    __syncthreads();
    const double learning_rate = context->learning_rate;
    const real rate = (real)(learning_rate * corrections[1] * corrections[0]);
    /* PyTorch: sqrt(v)/c + epsilon, c taken out of the denominator */
    const real outside = (real)(convention == TORCH ? epsilon * corrections[1] : epsilon);
    const real keep_1 = (real)beta_1, rest_1 = (real)(1 - beta_1);
    const real keep_2 = (real)beta_2, rest_2 = (real)(1 - beta_2);
    EACH_ELEMENT(i, n) {
        real w = param[i];
        const real g = first_steps(grad[i], &w, grad_scale, learning_rate * weight_decay, clipvalue,
                                   l1, l2);
        const real mean = keep_1 * m[i] + rest_1 * g;
        const real square = keep_2 * v[i] + rest_2 * (g * g);
        real most = square;
        if (v_max) {
            most = v_max[i];
            most = square > most || square != square ? square : most;
            v_max[i] = most;
        }
        m[i] = mean;
        v[i] = square;
        param[i] = w - rate * mean / (sqrt(most) + outside);
    }
}

KERNEL adagrad_update(real *param, const real *grad, real *square, const real *grad_scale,
                      double epsilon, double weight_decay, int64 convention, double clipvalue,
                      double l1, double l2, const Context *context, int64 n) {
    const double rate = context->learning_rate;
    EACH_ELEMENT(i, n) {
        real w = param[i];
        const real g = first_steps(grad[i], &w, grad_scale, rate * weight_decay, clipvalue, l1, l2);
        const real s = square[i] + g * g;
        square[i] = s;
        param[i] = w - (real)rate * g / root(s, epsilon, convention);
    }
}
