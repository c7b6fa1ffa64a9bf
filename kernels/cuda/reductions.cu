/* Sums and extremes over the middle of (outer, rows, columns), and broadcasts along it.
 *
 * An output belongs to blockDim.y threads, which take its rows in turn, and the rows may be cut into
 * parts (gridDim.y): then `out` is a layer for each part, which `sum_rows` and its like bring
 * together. How a sum is cut depends on its sizes alone. Neighbouring threads have neighbouring
 * outputs: so they read neighbouring elements where there are columns enough. A sum keeps what
 * rounding takes from it.
 */
#include "functions.cuh"

enum { SUM, LARGEST, SMALLEST, MOST_THREADS = 512 };

template <int KIND> DEVICE real start() {
    return KIND == SUM ? (real)0 : KIND == LARGEST ? -INFINITE : INFINITE;
}

template <int KIND> DEVICE real together(real a, real b) {
    return KIND == SUM ? a + b : KIND == LARGEST ? larger_of(a, b) : smaller_of(a, b);
}

/* `element` gives the i-th number to be summed, and is told of which output. */
template <int KIND, class Element>
DEVICE void reduce(real *out, real *shared, const Element &element, double divisor, int64 outer,
                   int64 rows, int64 columns) {
    const int64 outputs = outer * columns, at = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    const int64 begin = rows * blockIdx.y / gridDim.y, end = rows * (blockIdx.y + 1) / gridDim.y;
    real value = start<KIND>(), lost = 0;
    if (at < outputs) {
        const int64 first = at / columns * rows * columns + at % columns;
        for (int64 row = begin + threadIdx.y; row < end; row += blockDim.y) {
            const real x = element(first + row * columns, at);
            if (KIND == SUM) {
                const real y = x - lost, sum = value + y;
                lost = sum - value - y;
                lost = lost == lost ? lost : (real)0; /* of an infinite term nothing is lost */
                value = sum;
            } else {
                value = together<KIND>(value, x);
            }
        }
    }
    const int y = threadIdx.y, me = y * blockDim.x + threadIdx.x;
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        if (y >= half && y < 2 * half) shared[me] = value; /* each place is written once */
        __syncthreads();
        if (y < half) value = together<KIND>(value, shared[me + half * blockDim.x]);
    }
    if (out && y == 0 && at < outputs) {
        out[blockIdx.y * outputs + at] = KIND == SUM ? value / (real)divisor : value;
    }
}

struct Values {
    const real *x;
    __device__ real operator()(int64 i, int64) const { return x[i]; }
};

#define REDUCTION(name, kind)                                                                 \
    KERNEL name(real *out, const real *x, double divisor, int64 outer, int64 rows,            \
                int64 columns) {                                                              \
        __shared__ real shared[MOST_THREADS];                                                 \
        reduce<kind>(out, shared, Values{x}, divisor, outer, rows, columns);                  \
    }

REDUCTION(sum, SUM)
REDUCTION(largest, LARGEST)
REDUCTION(smallest, SMALLEST)

/* How many of x are the extreme, and each one's part of its gradient. */
struct Same {
    const real *x, *extreme;
    __device__ real operator()(int64 i, int64 at) const { return x[i] == extreme[at]; }
};

KERNEL count_same(real *count, const real *x, const real *extreme, double divisor, int64 outer,
                  int64 rows, int64 columns) {
    __shared__ real shared[MOST_THREADS];
    reduce<SUM>(count, shared, Same{x, extreme}, divisor, outer, rows, columns);
}

/* Where element i of (outer, rows, columns) belongs in (outer, columns). */
DEVICE int64 output_of(int64 i, int64 rows, int64 columns) {
    return i / (rows * columns) * columns + i % columns;
}

KERNEL extreme_backward(real *grad_x, const real *grad_out, const real *x, const real *extreme,
                        const real *count, int64 rows, int64 columns, int64 n) {
    EACH_ELEMENT(i, n) {
        const int64 at = output_of(i, rows, columns);
        grad_x[i] = x[i] == extreme[at] ? grad_out[at] / count[at] : (real)0;
    }
}

KERNEL spread(real *out, const real *x, double divisor, int64 rows, int64 columns, int64 n) {
    EACH_ELEMENT(i, n) out[i] = x[output_of(i, rows, columns)] / (real)divisor;
}

/* --- functions of x (outer, rows, columns) and y (outer, columns) ------------------------------ */

KERNEL function(real *out, const real *x, const real *y_, int64 which, int64 swapped, int64 rows,
                int64 columns, int64 n) {
    EACH_ELEMENT(i, n) {
        const real y = y_[output_of(i, rows, columns)];
        out[i] = swapped ? of_two(which, y, x[i]) : of_two(which, x[i], y);
    }
}

/* Writes the gradient of x, where it is wanted, and gives that of y, which is summed. */
struct Gradients {
    real *grad_x;
    const real *grad_out, *x, *y;
    int64 which, swapped, summed;
    __device__ real operator()(int64 i, int64 at) const {
        const real grad = grad_out[i], a = x[i], b = y[at];
        if (grad_x) {
            grad_x[i] = swapped ? gradient_of_second(which, grad, b, a)
                                : gradient_of_first(which, grad, a, b);
        }
        if (!summed) return 0;
        return swapped ? gradient_of_first(which, grad, b, a)
                       : gradient_of_second(which, grad, a, b);
    }
};

KERNEL function_backward(real *grad_y, real *grad_x, const real *grad_out, const real *x,
                         const real *y, int64 which, int64 swapped, double divisor, int64 outer,
                         int64 rows, int64 columns) {
    __shared__ real shared[MOST_THREADS];
    const Gradients gradients = {grad_x, grad_out, x, y, which, swapped, grad_y != 0};
    reduce<SUM>(grad_y, shared, gradients, divisor, outer, rows, columns);
}
