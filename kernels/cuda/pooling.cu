/* Pooling: the largest element or the mean of each window, and their gradients.
 *
 * Images are (B, H, W, C), pooled ones (B, P, Q, C). A thread has one element of the target, its
 * neighbours the next channels: what a warp reads lies together. An activation is applied to what is
 * finished. A gradient gathers, window by window in their order, so no two threads write to the same
 * place.
 */
#include "activation.cuh"
#include "batchnorm.cuh"

/* One axis: window p begins at p*stride - before; places outside of the axis do not count. */
struct Windows {
    int64 length, count, size, stride, before;
};

struct Range {
    int64 begin, end;
};

/* The places of a window that lie within the image. */
DEVICE Range inside(const Windows &axis, int64 window) {
    const int64 start = window * axis.stride - axis.before, end = start + axis.size;
    return {start < 0 ? 0 : start, end < axis.length ? end : axis.length};
}

/* The windows that have a place. */
DEVICE Range windows_of(const Windows &axis, int64 place) {
    const int64 y = place + axis.before, reach = y - axis.size + 1, last = y / axis.stride + 1;
    return {reach > 0 ? (reach + axis.stride - 1) / axis.stride : 0,
            last < axis.count ? last : axis.count};
}

#define SHAPES                                                                               \
    int64 rows, int64 H, int64 W, int64 C, int64 P, int64 Q, int64 pool_height,              \
        int64 pool_width, int64 stride_height, int64 stride_width, int64 top, int64 left
#define AXES                                                                                 \
    const Windows down = {H, P, pool_height, stride_height, top};                            \
    const Windows across = {W, Q, pool_width, stride_width, left}

/* Which element of a window is the largest, and where: of x times `sign`. The first NaN is larger than
 * all numbers, and nothing is larger than it. */
struct Largest {
    real x;
    int64 where;
};

DEVICE Largest largest_of(const real *x, int64 i, real sign, const Windows &down,
                          const Windows &across, int64 C) {
    const int64 c = i % C, q = i / C % across.count, p = i / C / across.count % down.count;
    const int64 b = i / C / across.count / down.count;
    const Range y = inside(down, p), z = inside(across, q);
    Largest found = {0, -1};
    for (int64 h = y.begin; h < y.end; h++)
        for (int64 w = z.begin; w < z.end; w++) {
            const real next = x[((b * down.length + h) * across.length + w) * C + c];
            const real key = next * sign, largest = found.x * sign;
            if (found.where < 0 || (!(key <= largest) && largest == largest))
                found = {next, (h + down.before - p * down.stride) * across.size + w
                                   + across.before - q * across.stride};
        }
    return found;
}

/* What the windows give to element i of x: the sum of grad_out where their index says so. */
DEVICE real given_to(int64 i, const real *grad_out, const real *index, const Windows &down,
                     const Windows &across, int64 C) {
    const int64 c = i % C, w = i / C % across.length, h = i / C / across.length % down.length;
    const int64 b = i / C / across.length / down.length;
    const Range y = windows_of(down, h), z = windows_of(across, w);
    real sum = 0;
    for (int64 p = y.begin; p < y.end; p++)
        for (int64 q = z.begin; q < z.end; q++) {
            const int64 at = ((b * down.count + p) * across.count + q) * C + c;
            const int64 place = (h + down.before - p * down.stride) * across.size + w
                                + across.before - q * across.stride;
            if (index[at] == (real)place) sum += grad_out[at];
        }
    return sum;
}

KERNEL max_pool_forward(real *out, real *index, const real *x, int64 which, double alpha, SHAPES) {
    AXES;
    EACH_ELEMENT(i, rows *P *Q *C) {
        const Largest found = largest_of(x, i, 1, down, across, C);
        out[i] = activation(which, found.x, (real)alpha);
        if (index) index[i] = (real)found.where;
    }
}

KERNEL max_pool_backward(real *grad_x, const real *grad_out, const real *index, SHAPES) {
    AXES;
    EACH_ELEMENT(i, rows *H *W *C) grad_x[i] = given_to(i, grad_out, index, down, across, C);
}

/* A channel's normalisation is monotone: what it makes the largest is known before. */
KERNEL batchnorm_max_pool_forward(real *out, real *picked, real *index, const real *x,
                                  const real *mean, const real *variance, const real *gamma,
                                  const real *beta, double epsilon, int64 which, double alpha,
                                  SHAPES) {
    AXES;
    EACH_ELEMENT(i, rows *P *Q *C) {
        const int64 c = i % C;
        const real by = gamma ? gamma[c] : (real)1;
        const Largest found = largest_of(x, i, (real)((by > 0) - (by < 0)), down, across, C);
        const real scale = (real)inverse_root((double)variance[c] + epsilon) * by;
        const real y = (found.x - mean[c]) * scale + (beta ? beta[c] : (real)0);
        out[i] = activation(which, y, (real)alpha);
        picked[i] = found.x;
        index[i] = (real)found.where;
    }
}

KERNEL batchnorm_max_pool_gradient(real *grad_x, const real *grad_out, const real *index,
                                   const real *x, const real *mean, const Slopes *slopes,
                                   SHAPES) {
    AXES;
    EACH_ELEMENT(i, rows *H *W *C) {
        const Slopes s = slopes[i % C];
        const real g = given_to(i, grad_out, index, down, across, C);
        grad_x[i] = (g - s.center - (x[i] - mean[i % C]) * s.slope) * s.scale;
    }
}

KERNEL average_pool_forward(real *out, const real *x, int64 which, double alpha, SHAPES) {
    AXES;
    EACH_ELEMENT(i, rows *P *Q *C) {
        const int64 c = i % C, q = i / C % Q, p = i / C / Q % P, b = i / C / Q / P;
        const Range y = inside(down, p), z = inside(across, q);
        real sum = 0;
        for (int64 h = y.begin; h < y.end; h++) {
            real row = 0;
            for (int64 w = z.begin; w < z.end; w++) row += x[((b * H + h) * W + w) * C + c];
            sum += row;
        }
        const real mean = sum / (real)((y.end - y.begin) * (z.end - z.begin));
        out[i] = activation(which, mean, (real)alpha);
    }
}

KERNEL average_pool_backward(real *grad_x, const real *grad_out, SHAPES) {
    AXES;
    EACH_ELEMENT(i, rows *H *W *C) {
        const int64 c = i % C, w = i / C % W, h = i / C / W % H, b = i / C / W / H;
        const Range y = windows_of(down, h), z = windows_of(across, w);
        real sum = 0;
        for (int64 p = y.begin; p < y.end; p++)
            for (int64 q = z.begin; q < z.end; q++) {
                const Range rows_of = inside(down, p), columns_of = inside(across, q);
                sum += grad_out[((b * P + p) * Q + q) * C + c]
                       / (real)((rows_of.end - rows_of.begin) * (columns_of.end - columns_of.begin));
            }
        grad_x[i] = sum;
    }
}
