/* Pooling: the largest element or the mean of each window, and their gradients.
 *
 * Images are (B, H, W, C), pooled ones (B, P, Q, C). A thread has one element of the target, its
 * neighbours the next channels: what a warp reads lies together. An activation is applied to what is
 * finished. A gradient gathers, window by window in their order, so no two threads write to the same
 * place.
 */
#include "activation.cuh"

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

/* The first NaN of a window is larger than all numbers, and nothing is larger than it. */
KERNEL max_pool_forward(real *out, real *index, const real *x, int64 which, double alpha, SHAPES) {
    AXES;
    EACH_ELEMENT(i, rows *P *Q *C) {
        const int64 c = i % C, q = i / C % Q, p = i / C / Q % P, b = i / C / Q / P;
        const Range y = inside(down, p), z = inside(across, q);
        real largest = 0;
        int64 where = -1;
        for (int64 h = y.begin; h < y.end; h++)
            for (int64 w = z.begin; w < z.end; w++) {
                const real next = x[((b * H + h) * W + w) * C + c];
                if (where < 0 || (!(next <= largest) && largest == largest)) {
                    largest = next;
                    where = (h + top - p * stride_height) * pool_width + w + left - q * stride_width;
                }
            }
        out[i] = activation(which, largest, (real)alpha);
        if (index) index[i] = (real)where;
    }
}

KERNEL max_pool_backward(real *grad_x, const real *grad_out, const real *index, SHAPES) {
    AXES;
    EACH_ELEMENT(i, rows *H *W *C) {
        const int64 c = i % C, w = i / C % W, h = i / C / W % H, b = i / C / W / H;
        const Range y = windows_of(down, h), z = windows_of(across, w);
        real sum = 0;
        for (int64 p = y.begin; p < y.end; p++)
            for (int64 q = z.begin; q < z.end; q++) {
                const int64 at = ((b * P + p) * Q + q) * C + c;
                const int64 place =
                    (h + top - p * stride_height) * pool_width + w + left - q * stride_width;
                if (index[at] == (real)place) sum += grad_out[at];
            }
        grad_x[i] = sum;
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
