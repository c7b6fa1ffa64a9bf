/* Images moved at random: flipped, shifted, rotated and zoomed in one go.
 *
 * Where a pixel comes from is worked out in float64, as on the CPU: once for each image, then for
 * each pixel. A pixel of each channel is one element.
 */
#include "philox.cuh"

enum { REFLECT, NEAREST, CONSTANT };

/* Where the pixel (i, j) of an image comes from: (y + yi*i + yj*j, x + xi*i + xj*j). */
struct Map {
    double y, yi, yj, x, xi, xj;
};

/* From -1 to 1, evenly. */
DEVICE double unit(uint32 word) { return (word >> 8) / 8388608.0 - 1.0; }

KERNEL augment_maps(double *maps, int64 horizontal, int64 vertical, double height_shift,
                    double width_shift, double rotation, double zoom, int64 stream,
                    const Context *context, int64 rows, int64 H, int64 W) {
    EACH_ELEMENT(row, rows) {
        const uint32 step = (uint32)context->step;
        const uint64 seed = (uint64)context->seed;
        const Words first = philox(2 * (uint64)row, (uint32)stream, step, seed);
        const Words second = philox(2 * (uint64)row + 1, (uint32)stream, step, seed);
        const double cy = 0.5 * (double)(H - 1), cx = 0.5 * (double)(W - 1);
        const double up = vertical && (first.word[0] & 2) ? -1 : 1;
        const double left = horizontal && (first.word[0] & 1) ? -1 : 1;
        const double angle = 6.283185307179586 * rotation * unit(first.word[3]);
        const double scale = 1 / (1 + zoom * unit(second.word[0]));
        Map *m = (Map *)maps + row;
        m->yi = up * scale * cos(angle);
        m->yj = -up * scale * sin(angle);
        m->xi = left * scale * sin(angle);
        m->xj = left * scale * cos(angle);
        m->y = cy - m->yi * cy - m->yj * cx - height_shift * (double)H * unit(first.word[1]);
        m->x = cx - m->xi * cy - m->xj * cx - width_shift * (double)W * unit(first.word[2]);
    }
}

/* The pixel that stands at i on an axis of n; -1 for none. */
DEVICE int64 tap(int64 i, int64 n, int64 fill) {
    if (i >= 0 && i < n) return i;
    if (fill == CONSTANT) return -1;
    if (fill == NEAREST) return i < 0 ? 0 : n - 1;
    i %= 2 * n;
    if (i < 0) i += 2 * n;
    return i < n ? i : 2 * n - 1 - i;
}

KERNEL augment(real *out, const real *x, const double *maps, int64 fill, int64 H, int64 W, int64 C,
               int64 n) {
    EACH_ELEMENT(element, n) {
        const int64 channel = element % C, pixel = element / C;
        const int64 j = pixel % W, i = pixel / W % H, image = pixel / W / H;
        const Map m = ((const Map *)maps)[image];
        const double y = m.y + m.yi * (double)i + m.yj * (double)j;
        const double z = m.x + m.xi * (double)i + m.xj * (double)j;
        const int64 top = (int64)floor(y), left = (int64)floor(z);
        const double down = y - (double)top, right = z - (double)left;
        double total = 0;
        for (int k = 0; k < 4; k++) {
            const int64 row = tap(top + k / 2, H, fill), column = tap(left + k % 2, W, fill);
            const double weight = (k / 2 ? down : 1 - down) * (k % 2 ? right : 1 - right);
            if (row < 0 || column < 0 || weight == 0) continue;
            total += weight * (double)x[((image * H + row) * W + column) * C + channel];
        }
        out[element] = (real)total;
    }
}
