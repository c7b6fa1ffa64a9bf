/* Convolutions in all directions, and pooling. */
#include "checks.h"

static Axis axis(int64_t input, int64_t kernel, int64_t stride, int64_t dilation, int64_t around) {
    const int64_t reach = dilation * (kernel - 1) + 1;
    return (Axis){.stride = stride, .dilation = dilation, .before = around, .kernel = kernel,
                  .input = input, .output = (input + 2 * around - reach) / stride + 1};
}

static void near_sums(const char *what, const Convolution *c, const real *got, const double *sum,
                      int64_t n, int64_t terms) {
    for (int64_t i = 0; i < n; i++)
        near(what, c->C * 1000 + c->O, i, got[i], sum[i], 2 * EPSILON * (double)(terms + 4));
}

/* The packed weight, and by it the whole target. */
static void convolve(real *out, const real *x, const real *weight, const real *bias,
                     const Convolution *c, int64_t images) {
    const ConvolutionBodies *b = bodies->convolution;
    const int64_t groups = is_depthwise(c) ? 1 : c->groups;
    const int64_t panels = b->panels((c->backward ? c->C : c->O) / c->groups);
    real *packed = array(b->packed_size(c));
    for (int64_t i = 0; i < groups * panels; i++)
        b->pack(packed, weight, c, i / panels, i % panels);
    const ConvolutionBlock block = {
        .images = images, .rows = c->backward ? c->rows.input : c->rows.output,
        .columns = c->backward ? c->columns.input : c->columns.output};
    b->block(out, x, packed, bias, c, &block);
}

static void check_convolution(Axis rows, Axis columns, int64_t C, int64_t O, int64_t groups) {
    enum { IMAGES = 2 };
    Convolution c = {.rows = rows, .columns = columns, .C = C, .O = O, .groups = groups};
    const int64_t inside = C / groups, taps = rows.kernel * columns.kernel;
    const int64_t in = IMAGES * rows.input * columns.input * C;
    const int64_t to = IMAGES * rows.output * columns.output * O, weights = taps * inside * O;
    const real *x = drawn(in, -1, 1), *w = drawn(weights, -1, 1), *bias = drawn(O, -1, 1);
    const real *g = drawn(to, -1, 1);
    real *out = array(to), *grad_x = array(in), *grad_w = array(weights);
    convolve(out, x, w, bias, &c, IMAGES);
    const int64_t panels = bodies->convolution->weight_panels(O / groups);
    for (int64_t group = 0; group < (is_depthwise(&c) ? 1 : groups); group++)
        bodies->convolution->weights(grad_w, x, g, &c,
                                     &(ConvolutionPart){group, 0, panels, 0, IMAGES});
    c.backward = 1;
    convolve(grad_x, g, w, NULL, &c, IMAGES);

    double *sums = calloc((size_t)(to + in + weights), sizeof(double));
    double *sum_x = sums + to, *sum_w = sum_x + in;
    for (int64_t i = 0; i < to; i++) {
        const int64_t o = i % O, q = i / O % columns.output, row = i / O / columns.output;
        const int64_t p = row % rows.output, image = row / rows.output;
        sums[i] = bias[o];
        for (int64_t tap = 0; tap < taps; tap++) {
            const int64_t h = p * rows.stride - rows.before + tap / columns.kernel * rows.dilation;
            const int64_t v =
                q * columns.stride - columns.before + tap % columns.kernel * columns.dilation;
            if (h < 0 || h >= rows.input || v < 0 || v >= columns.input) continue;
            for (int64_t k = 0; k < inside; k++) {
                const int64_t from = ((image * rows.input + h) * columns.input + v) * C
                                     + o / (O / groups) * inside + k;
                const int64_t at = (tap * inside + k) * O + o;
                sums[i] += (double)x[from] * w[at];
                sum_x[from] += (double)g[i] * w[at];
                sum_w[at] += (double)g[i] * x[from];
            }
        }
    }
    near_sums("convolution", &c, out, sums, to, taps * inside);
    near_sums("its images' gradient", &c, grad_x, sum_x, in, taps * O / groups);
    near_sums("its weight's gradient", &c, grad_w, sum_w, weights, to / O);
    done("convolution");
    free(sums);
}

static void check_pooling(const Pool *p) {
    enum { IMAGES = 2 };
    const int64_t in = IMAGES * p->H * p->W * p->C, rows = IMAGES * p->P, to = rows * p->Q * p->C;
    const real *x = drawn(in, -1, 1), *g = drawn(to, -1, 1);
    real *most = array(to), *index = array(to), *mean = array(to), *sum = array(to);
    real *of_most = array(in), *of_mean = array(in), *of_sum = array(in);
    const PoolingBodies *b = bodies->pooling;
    b->max_forward(most, NULL, x, p, 0, rows);
    for (int64_t i = 0; i < to; i++) sum[i] = most[i];
    b->max_forward(most, index, x, p, 0, rows);
    for (int64_t i = 0; i < to; i++) near("max without index", p->C, i, sum[i], most[i], 0);
    b->average_forward(mean, x, p, 0, rows);
    b->sum_forward(sum, x, p, 0, rows);
    b->max_backward(of_most, g, index, p, 0, IMAGES * p->H);
    b->average_backward(of_mean, g, p, 0, IMAGES * p->H);
    b->sum_backward(of_sum, g, p, 0, IMAGES * p->H);
    double *slopes = calloc((size_t)(3 * in), sizeof(double));
    for (int64_t i = 0; i < to; i++) {
        const int64_t k = i % p->C, q = i / p->C % p->Q, row = i / p->C / p->Q;
        double best = -INFINITY, total = 0, count = 0;
        int64_t winner = 0, places[64];
        for (int64_t tap = 0; tap < p->pool_height * p->pool_width; tap++) {
            const int64_t h = row % p->P * p->stride_height - p->top + tap / p->pool_width;
            const int64_t v = q * p->stride_width - p->left + tap % p->pool_width;
            if (h < 0 || h >= p->H || v < 0 || v >= p->W) continue;
            const int64_t at = ((row / p->P * p->H + h) * p->W + v) * p->C + k;
            if (x[at] > best) best = x[at], winner = at;
            places[(int64_t)count++] = at;
            total += x[at];
        }
        near("max pool", p->C, i, most[i], best, 0);
        near("mean pool", p->C, i, mean[i], total / count, 8 * EPSILON);
        near("sum pool", p->C, i, sum[i], total, 8 * EPSILON * count);
        slopes[winner] += g[i];
        for (int64_t n = 0; n < (int64_t)count; n++)
            slopes[in + places[n]] += g[i] / count, slopes[2 * in + places[n]] += g[i];
    }
    for (int64_t i = 0; i < in; i++) {
        near("max pool's gradient", p->C, i, of_most[i], slopes[i], 8 * EPSILON);
        near("mean pool's gradient", p->C, i, of_mean[i], slopes[in + i], 8 * EPSILON);
        near("sum pool's gradient", p->C, i, of_sum[i], slopes[2 * in + i], 16 * EPSILON);
    }
    done("pooling");
    free(slopes);
}

void check_images(void) {
    /* channels in and out, groups: one, fewer than a vector, odd, several panels, depthwise */
    static const int64_t channels[][3] = {
        {1, 9, 1}, {3, 5, 1}, {17, 33, 1}, {6, 4, 2}, {13, 13, 13}};
    /* kernel, stride, dilation, around */
    static const int64_t forms[][4] = {
        {3, 1, 1, 1}, {3, 2, 1, 0}, {2, 1, 2, 1}, {3, 2, 3, 2}, {1, 2, 1, 0}};
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 5; k++) {
            const int64_t *f = forms[k], *n = channels[i];
            const Axis columns = axis(9, f[0], f[1], f[2], f[3]);
            check_convolution(axis(7, f[0], f[1], f[2], f[3]), columns, n[0], n[1], n[2]);
            check_convolution(axis(5, 2, 1, 1, 0), columns, n[0], n[1], n[2]);
        }
    for (int64_t C = 1; C <= 21; C += 4) {
        check_pooling(&(Pool){6, 8, C, 3, 4, 2, 2, 2, 2, 0, 0});
        check_pooling(&(Pool){7, 9, C, 3, 4, 3, 3, 2, 2, 0, 0}); /* windows overlap */
        check_pooling(&(Pool){5, 7, C, 3, 4, 3, 2, 2, 2, 1, 1}); /* edges cut some */
        check_pooling(&(Pool){7, 31, C, 2, 10, 2, 3, 3, 3, 0, 0}); /* rows between windows */
    }
}
