/* The geometry of convolutions: which pixels of the source a pixel of the target is made from.
 *
 * Along an axis, pixel p of the smaller image and tap r of the kernel meet at pixel
 * p*stride - before + r*dilation of the larger one. A convolution's target is the smaller image, and
 * every tap has a pixel of the source. Run backwards the target is the larger one, and tap r has a
 * pixel only where (y + before - r*dilation) is a multiple of the stride. So the target's pixels
 * fall into classes, y % stride, each with taps of its own, which all of its pixels have: a block
 * takes pixels of one class, and no tap is tried in vain.
 */
#pragma once
#include "tile.cuh"

/* Division by a number below 2^31, of numbers below 2^31 (Granlund & Montgomery 1994). */
struct Divisor {
    uint32 by, magic, shift;

    METHOD explicit Divisor(int64 n) : by((uint32)n), shift(0) {
        while (shift < 31 && (1u << shift) < by) shift++;
        magic = (uint32)((((uint64)1 << 32) * (((uint64)1 << shift) - by)) / by + 1);
    }
    METHOD uint32 of(uint32 x) const { return ((uint32)((uint64)x * magic >> 32) + x) >> shift; }
};

struct Axis {
    int64 larger, smaller, kernel, stride, dilation, before;
};

/* What the target's pixels of one class have in common, along one axis: pixel j of them is pixel
 * first + j*step of the target, and its k-th tap is tap + k*tap_step of the kernel, at pixel
 * origin + j*origin_step + k*tap_move of the source. */
struct Walk {
    int64 count, first, step;
    int64 taps, tap, tap_step;
    int origin, origin_step, tap_move, source;
};

DEVICE Walk forwards(const Axis &a) {
    Walk w = {a.smaller, 0, 1, a.kernel, 0, 1};
    w.origin = (int)-a.before;
    w.origin_step = (int)a.stride;
    w.tap_move = (int)a.dilation;
    w.source = (int)a.larger;
    return w;
}

DEVICE int64 classes(const Axis &a) { return a.stride < a.larger ? a.stride : a.larger; }

DEVICE Walk backwards(const Axis &a, int64 which) {
    int64 common = a.stride; /* the greatest divisor of stride and dilation */
    for (int64 rest = a.dilation % a.stride; rest > 0;) {
        const int64 next = common % rest;
        common = rest;
        rest = next;
    }
    const int64 period = a.stride / common, most = period < a.kernel ? period : a.kernel;
    int64 tap = 0;
    while (tap < most && (which + a.before - tap * a.dilation) % a.stride != 0) tap++;
    Walk w = {(a.larger - which + a.stride - 1) / a.stride, which, a.stride,
              tap < most ? (a.kernel - tap + period - 1) / period : 0, tap, period};
    w.origin = (int)((which + a.before - tap * a.dilation) / a.stride);
    w.origin_step = 1;
    w.tap_move = (int)-(a.dilation / common);
    w.source = (int)a.smaller;
    return w;
}

/* The images: (B, H, W, C) the larger, (B, P, Q, O) the smaller, kernel (R, S, C/groups, O). */
struct Shape {
    int64 images, C, O, groups;
    Axis rows, columns;
};

#define SHAPE_PARAMETERS                                                                    \
    int64 images, int64 H, int64 W, int64 C, int64 P, int64 Q, int64 O, int64 R, int64 S,   \
        int64 groups, int64 stride_height, int64 stride_width, int64 dilation_height,       \
        int64 dilation_width, int64 top, int64 left
#define SHAPE                                                                               \
    {images, C, O, groups, {H, P, R, stride_height, dilation_height, top},                  \
     {W, Q, S, stride_width, dilation_width, left}}
