/* Elementwise arithmetic, and arrays side by side. */
#include "common.cuh"

KERNEL add(real *out, const real *a, const real *b, int64 n) {
    EACH_ELEMENT(i, n) out[i] = a[i] + b[i];
}

KERNEL multiply(real *out, const real *a, const real *b, int64 n) {
    EACH_ELEMENT(i, n) out[i] = a[i] * b[i];
}

KERNEL multiply_backward(real *grad_a, real *grad_b, const real *grad_out, const real *a,
                         const real *b, int64 n) {
    EACH_ELEMENT(i, n) {
        grad_a[i] = grad_out[i] * b[i];
        grad_b[i] = grad_out[i] * a[i];
    }
}

KERNEL scale(real *out, const real *x, double factor, int64 n) {
    EACH_ELEMENT(i, n) out[i] = (real)factor * x[i];
}

KERNEL scale_backward(real *grad_x, const real *grad_out, double factor, int64 n) {
    EACH_ELEMENT(i, n) grad_x[i] = (real)factor * grad_out[i];
}

/* both (rows, C + D) = left (rows, C) beside right (rows, D), or the two parts from it. */
KERNEL join(real *both, const real *left, const real *right, int64 rows, int64 C, int64 D) {
    EACH_ELEMENT(i, rows *(C + D)) {
        const int64 row = i / (C + D), column = i % (C + D);
        both[i] = column < C ? left[row * C + column] : right[row * D + column - C];
    }
}

KERNEL part(real *left, real *right, const real *both, int64 rows, int64 C, int64 D) {
    EACH_ELEMENT(i, rows *(C + D)) {
        const int64 row = i / (C + D), column = i % (C + D);
        if (column < C) left[row * C + column] = both[i];
        else right[row * D + column - C] = both[i];
    }
}
