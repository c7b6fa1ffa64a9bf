/* The elementwise activations and their slopes, for their own kernels and for products' epilogues.
 *
 * As on the CPU (simd/activation.inc): NaN stays NaN, and x is kept within +-SATURATED where a
 * formula would multiply an infinity by 0.
 */
#pragma once
#include "common.cuh"

#define SATURATED ((real)(REAL_BITS == 32 ? 128 : 1024))
#define NORMAL_SATURATED ((real)40)

#define SELU_SCALE REAL(1.0507009873554804934)
#define SELU_FLOOR REAL(1.7580993408473768600)
#define GELU_TANH_1 REAL(1.5957691216057307117) /* 2*sqrt(2/pi) */
#define GELU_TANH_3 REAL(0.071354816272600249)  /* that times 0.044715 */

DEVICE real sigmoid(real x) {
    const real small = exp(-fabs(x));
    return (x < 0 ? small : (real)1) / (1 + small);
}

DEVICE real normal_cumulative(real x) { return normcdf(x); }
DEVICE real normal_density(real x) { return REAL(0.39894228040143267794) * exp(x * x * REAL(-0.5)); }

DEVICE real relu(real x, real) { return x < 0 ? (real)0 : x; }
DEVICE real relu_slope(real out, real) { return out <= 0 ? (real)0 : (real)1; }

DEVICE real leaky_relu(real x, real alpha) { return x > 0 ? x : alpha * x; }
DEVICE real leaky_relu_slope(real x, real alpha) { return x > 0 ? (real)1 : alpha; }

DEVICE real elu(real x, real alpha) { return x > 0 ? x : alpha * expm1(x); }
DEVICE real elu_slope(real x, real alpha) { return x > 0 ? (real)1 : alpha * exp(x); }

DEVICE real selu(real x, real) { return x > 0 ? SELU_SCALE * x : SELU_FLOOR * expm1(x); }
DEVICE real selu_slope(real out, real) { return out > 0 ? SELU_SCALE : out + SELU_FLOOR; }

DEVICE real gelu(real x, real) {
    return maximum(-NORMAL_SATURATED, x) * normal_cumulative(clamp(x, NORMAL_SATURATED));
}
DEVICE real gelu_slope(real x, real) {
    x = clamp(x, NORMAL_SATURATED);
    return normal_cumulative(x) + x * normal_density(x);
}

DEVICE real gelu_tanh(real x, real) {
    const real y = clamp(x, NORMAL_SATURATED);
    return maximum(-NORMAL_SATURATED, x) * sigmoid(y * (GELU_TANH_1 + GELU_TANH_3 * (y * y)));
}
DEVICE real gelu_tanh_slope(real x, real) {
    x = clamp(x, NORMAL_SATURATED);
    const real square = x * x, u = x * (GELU_TANH_1 + GELU_TANH_3 * square);
    const real rising = sigmoid(u), falling = sigmoid(-u);
    return rising + x * (GELU_TANH_1 + 3 * GELU_TANH_3 * square) * (rising * falling);
}

DEVICE real sigmoid(real x, real) { return sigmoid(x); }
DEVICE real sigmoid_slope(real out, real) { return out * (1 - out); }

DEVICE real tanh(real x, real) { return tanh(x); }
DEVICE real tanh_slope(real out, real) { return 1 - out * out; }

DEVICE real softplus(real x, real) { return maximum(0, x) + log1p(exp(-fabs(x))); }
DEVICE real softplus_slope(real x, real) { return sigmoid(x); }

DEVICE real silu(real x, real) {
    return maximum(-SATURATED, x) * sigmoid(x);
}
DEVICE real silu_slope(real x, real) {
    x = clamp(x, SATURATED);
    const real rising = sigmoid(x);
    return rising + x * (rising * sigmoid(-x));
}

/* In the order of the table's ACTIVATIONS. */
enum { LINEAR, RELU, LEAKY_RELU, ELU, SELU, GELU, GELU_TANH, SIGMOID, TANH, SOFTPLUS, SILU };

/* Not inlined: a product's epilogue calls it for each of a thread's 64 elements. */
static __device__ __noinline__ real transcendental(int64 which, real x, real alpha) {
    switch (which) {
    case LEAKY_RELU: return leaky_relu(x, alpha);
    case ELU: return elu(x, alpha);
    case SELU: return selu(x, alpha);
    case GELU: return gelu(x, alpha);
    case GELU_TANH: return gelu_tanh(x, alpha);
    case SIGMOID: return sigmoid(x, alpha);
    case TANH: return tanh(x, alpha);
    case SOFTPLUS: return softplus(x, alpha);
    case SILU: return silu(x, alpha);
    default: return x;
    }
}

DEVICE real activation(int64 which, real x, real alpha) {
    if (which == LINEAR) return x;
    return which == RELU ? relu(x, alpha) : transcendental(which, x, alpha);
}
