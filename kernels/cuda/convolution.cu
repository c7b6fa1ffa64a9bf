/* Convolutions of images, backward by images and weight, and transposed convolutions.
 *
 * They are products (tile.cuh), none of whose large matrices is ever laid out:
 *
 *     correlate   out (B*P*Q, O)      = patches of x (B*P*Q, R*S*I)      weight (R*S*I, O)
 *     spread      grad_x (B*H*W, I)   = patches of grad_out (.., r*s*O)  weight (r*s*O, I)
 *     weights     grad_w (R*S*I, O)   = patches of x, transposed         grad_out (B*P*Q, O)
 *
 * A slice of the patches is fetched from the image itself, by a table of the tile's pixels. spread
 * goes by classes of pixels, each with the r x s taps that it has (convolutions.cuh). Groups are
 * products of their own; where they have few channels, tiles would be empty, and every thread
 * makes one element by itself. Depths may be cut into parts (gridDim.z), as of a product.
 *
 * What lies outside of an image is 0 in a patch, and 0 times infinity or NaN is NaN: so elements that
 * come out as NaN are made again, one by one and without what lies outside.
 */
#include "columns.cuh"
#include "convolutions.cuh"

/* Where a pixel of the target lies, and where its first tap's in the source, which may be outside. */
struct Pixel {
    int64 to, from;
    int row, column;
};

/* The target's pixels of a class, through all images: `channels` of each in the source and in the
 * target, `from` and `to` the first channel of the group. */
struct Pixels {
    Walk rows, columns;
    int64 images, source_channels, source_first;
    int64 height, width, target_channels, target_first; /* the target's */

    METHOD int64 count() const { return images * rows.count * columns.count; }

    METHOD Pixel at(int64 number) const {
        const int64 i = number % columns.count, j = number / columns.count % rows.count;
        const int64 image = number / columns.count / rows.count;
        Pixel p;
        p.row = rows.origin + (int)j * rows.origin_step;
        p.column = columns.origin + (int)i * columns.origin_step;
        p.from = ((image * rows.source + p.row) * columns.source + p.column) * source_channels
                 + source_first;
        p.to = ((image * height + rows.first + j * rows.step) * width + columns.first
                + i * columns.step) * target_channels + target_first;
        return p;
    }
    METHOD bool inside(int row, int column) const {
        return (uint32)row < (uint32)rows.source && (uint32)column < (uint32)columns.source;
    }
};

/* Number d of the depth (taps' rows, taps' columns, channels). */
struct Tap {
    int row, column, channel;
};
struct Taps {
    Divisor of_row, of_tap;

    METHOD Taps(int64 columns, int64 channels)
        : of_row(columns * channels > 0 ? columns * channels : 1),
          of_tap(channels > 0 ? channels : 1) {}
    METHOD Tap at(int64 d) const {
        const uint32 row = of_row.of((uint32)d), rest = (uint32)d - row * of_row.by;
        const uint32 column = of_tap.of(rest);
        return {(int)row, (int)column, (int)(rest - column * of_tap.by)};
    }
};

/* Patches of the source, a tile's pixels by all taps and channels. */
template <int LONG> struct Patches {
    enum { LINED = true };
    typedef Slice<LONG, true> Part;
    const real *from;
    const Pixels &pixels;
    const Pixel *table;
    Taps taps;
    int64 count; /* of the tile's pixels */

    METHOD bool get(int64 i, int64 d, real *value) const {
        const Tap tap = taps.at(d);
        const int row = table[i].row + tap.row * pixels.rows.tap_move;
        const int column = table[i].column + tap.column * pixels.columns.tap_move;
        if (!pixels.inside(row, column)) return false;
        *value = from[table[i].from + tap.channel
                      + ((int64)(row - table[i].row) * pixels.columns.source + column
                         - table[i].column) * pixels.source_channels];
        return true;
    }
    METHOD void fetch(real *mine, int64 depth, int64 end) const {
        const int64 d = depth + Part::deep(0);
        const Tap tap = taps.at(d);
        const int down = tap.row * pixels.rows.tap_move;
        const int right = tap.column * pixels.columns.tap_move;
        const int64 off =
            ((int64)down * pixels.columns.source + right) * pixels.source_channels + tap.channel;
#pragma unroll
        for (int k = 0; k < Part::SHARE; k++) {
            const int i = Part::across(k);
            mine[k] = 0;
            if (d < end && i < count) {
                const Pixel &p = table[i];
                if (pixels.inside(p.row + down, p.column + right)) mine[k] = from[p.from + off];
            }
        }
    }
};

/* The weight for a walk backwards: its taps and the O channels of a group by the I channels. */
template <int LONG> struct Turned {
    enum { LINED = true };
    typedef Slice<LONG, true> Part;
    const real *from;
    const Pixels &pixels;
    Taps taps;
    int64 kernel_width, I, O, first; /* first of the group's I channels in this tile */

    METHOD const real *at_tap(int64 d) const {
        const Tap tap = taps.at(d);
        const int64 row = pixels.rows.tap + tap.row * pixels.rows.tap_step;
        const int64 column = pixels.columns.tap + tap.column * pixels.columns.tap_step;
        return from + (row * kernel_width + column) * I * O + tap.channel;
    }
    METHOD real get(int64 i, int64 d) const { return at_tap(d)[(first + i) * O]; }
    METHOD void fetch(real *mine, int64 depth, int64 end) const {
        const int64 d = depth + Part::deep(0);
        const real *at = at_tap(d);
#pragma unroll
        for (int k = 0; k < Part::SHARE; k++) {
            const int64 i = first + Part::across(k);
            mine[k] = i < I && d < end ? at[i * O] : (real)0;
        }
    }
};

/* Fills the table of the tile's pixels. */
template <int M> DEVICE void fill_table(Pixel *table, const Pixels &pixels, int64 row) {
    const int thread = threadIdx.y * SIDE + threadIdx.x;
    if (thread < M && row + thread < pixels.count()) table[thread] = pixels.at(row + thread);
    __syncthreads();
}

/* One element by itself: see above. */
template <class A, class B>
DEVICE real sum_of_inside(const A &a, const B &b, int64 m, int64 n, int64 begin, int64 end) {
    real sum = 0, x;
    for (int64 d = begin; d < end && sum == sum; d++)
        if (a.get(m, d, &x)) sum += x * b.get(n, d);
    return sum;
}

/* Multiplies, and writes: element (m, n) to out[to(m) + n], of `rows` and `columns` that there are;
 * column n is channel first + n of the bias. */
template <int M, int N, class A, class B, class To>
DEVICE void make_tile(real *out, const A &a, const B &b, int64 depth, const Parts &parts,
                      real *slice_a, real *slice_b, int64 rows, int64 columns,
                      const Epilogue &finish, int64 first, To to) {
    typedef Tile<M, N> Out;
    Out tile;
    const int64 begin = depth * blockIdx.z / parts.count;
    const int64 end = depth * (blockIdx.z + 1) / parts.count;
    const bool cut = parts.count > 1;
    tile.multiply(a, b, begin, end, slice_a, slice_b);

    const auto at = [=](int i, int j) {
        const int m = Out::row(i), n = Out::column(j);
        return m < rows && n < columns ? to(m) + n : -1;
    };
    const auto finished = [&](real x, int j) { return finish(x, first + Out::column(j)); };
    bool fine = true;
#pragma unroll
    for (int i = 0; i < Out::DOWN; i++)
#pragma unroll
        for (int j = 0; j < Out::ACROSS; j++) fine = fine && tile.sum[i][j] == tile.sum[i][j];
    real *target = cut ? parts.mine() : out;
    tile.write(target, at, [&](real x, int j) { return cut ? x : finished(x, j); });
    if (!fine) {
#pragma unroll 1
        for (int k = 0; k < Out::DOWN * Out::ACROSS; k++) {
            const int i = k / Out::ACROSS, j = k % Out::ACROSS;
            const int64 place = at(i, j);
            if (place < 0 || target[place] == target[place]) continue;
            const real x = sum_of_inside(a, b, Out::row(i), Out::column(j), begin, end);
            target[place] = cut ? x : finished(x, j);
        }
    }
    if constexpr (Out::SMALL) {
        if (!cut || !parts.comes_last(slice_a)) return;
        tile.add_layers(parts.layers, parts.size, parts.count, at);
        tile.write(out, at, finished);
    }
}

/* blockIdx.x counts the tiles across, down, the groups and the classes. */
template <int M, int N>
DEVICE void correlate(real *out, const real *x, const real *weight, const Epilogue &finish,
                      const Shape &c, Parts parts, Pixel *table, real *slice_a, real *slice_b) {
    const int64 I = c.C / c.groups, each = c.O / c.groups;
    const Walk rows = forwards(c.rows), columns = forwards(c.columns);
    const int64 across = (each + N - 1) / N;
    const int64 pixels_in_all = c.images * rows.count * columns.count;
    const int64 down = (pixels_in_all + M - 1) / M;
    const int64 column = blockIdx.x % across * N, row = blockIdx.x / across % down * M;
    const int64 group = blockIdx.x / across / down;
    const Pixels pixels = {rows, columns, c.images, c.C, group * I,
                           rows.count, columns.count, c.O, group * each};
    fill_table<M>(table, pixels, row);

    const int64 depth = rows.taps * columns.taps * I, left = pixels.count() - row;
    const Patches<M> a = {x, pixels, table, Taps(columns.taps, I), left};
    const Matrix<N, false> b = {weight + group * each, c.O, column, each};
    parts.size = pixels_in_all * c.O;
    make_tile<M, N>(out, a, b, depth, parts, slice_a, slice_b, left, each - column, finish,
                    group * each + column, [=](int m) { return table[m].to + column; });
}

template <int M, int N>
DEVICE void spread(real *out, const real *x, const real *weight, const Epilogue &finish,
                   const Shape &c, Parts parts, Pixel *table, real *slice_a, real *slice_b) {
    const int64 I = c.C / c.groups, each = c.O / c.groups;
    const int64 across = (I + N - 1) / N;
    const Walk most_rows = backwards(c.rows, 0), most_columns = backwards(c.columns, 0);
    const int64 down = (c.images * most_rows.count * most_columns.count + M - 1) / M;
    const int64 column = blockIdx.x % across * N, row = blockIdx.x / across % down * M;
    const int64 group = blockIdx.x / across / down % c.groups;
    const int64 which = blockIdx.x / across / down / c.groups;
    const int64 beside = classes(c.columns);
    const Pixels pixels = {backwards(c.rows, which / beside), backwards(c.columns, which % beside),
                           c.images, c.O, group * each, c.rows.larger, c.columns.larger, c.C,
                           group * I};
    if (row >= pixels.count()) return;
    fill_table<M>(table, pixels, row);

    const Taps taps(pixels.columns.taps, each);
    const int64 depth = pixels.rows.taps * pixels.columns.taps * each;
    const int64 left = pixels.count() - row;
    const Patches<M> a = {x, pixels, table, taps, left};
    const Turned<N> b = {weight + group * each, pixels, taps, c.columns.kernel, I, c.O, column};
    parts.size = c.images * c.rows.larger * c.columns.larger * c.C;
    make_tile<M, N>(out, a, b, depth, parts, slice_a, slice_b, left, I - column, finish,
                    group * I + column, [=](int m) { return table[m].to + column; });
}

#define CONVOLUTION(name, M, N)                                                              \
    TILE_KERNEL name##_##M##_##N(                                                            \
        real *out, real *layers, uint32 *counters, const real *x, const real *weight,        \
        const real *bias, int64 activation, double alpha, SHAPE_PARAMETERS, int64 parts) {   \
        SLICE(slice_a, M);                                                                   \
        SLICE(slice_b, N);                                                                   \
        __shared__ Pixel table[M];                                                           \
        const Shape shape = SHAPE;                                                           \
        const Epilogue finish = {bias, activation, (real)alpha};                             \
        name<M, N>(out, x, weight, finish, shape, {layers, counters, parts, 0}, table,       \
                   slice_a, slice_b);                                                        \
    }

/* --- by the weight ------------------------------------------------------------------------------ */

/* Patches of x, transposed: a tile's taps and channels by the pixels of out. A thread's tap stays the
 * same, its pixels are found from their numbers, counted from the first image of the part. */
template <int LONG> struct TurnedPatches {
    enum { LINED = false };
    typedef Slice<LONG, false> Part;
    const real *from; /* of the first image */
    int64 begin;      /* the depth's number of that image's first pixel */
    int64 channels;
    Divisor of_image, of_row;
    Taps taps;
    int height, width, stride_height, stride_width;
    int dilation_height, dilation_width, top, left;
    int64 first, count, group_channel; /* of the taps and channels; of the channels */

    METHOD bool get(const Tap &tap, int64 d, real *value) const {
        const uint32 number = (uint32)(d - begin), image = of_image.of(number);
        const uint32 place = number - image * of_image.by, p = of_row.of(place);
        const int row = (int)p * stride_height + tap.row * dilation_height - top;
        const int column = (int)(place - p * of_row.by) * stride_width
                           + tap.column * dilation_width - left;
        if ((uint32)row >= (uint32)height || (uint32)column >= (uint32)width) return false;
        *value = from[(((int64)image * height + row) * width + column) * channels + group_channel
                      + tap.channel];
        return true;
    }
    METHOD bool get(int64 i, int64 d, real *value) const {
        return get(taps.at(first + i), d, value);
    }

    METHOD void fetch(real *mine, int64 depth, int64 end) const {
        const int64 i = first + Part::across(0);
        const Tap tap = taps.at(i);
#pragma unroll
        for (int k = 0; k < Part::SHARE; k++) {
            const int64 d = depth + Part::deep(k);
            mine[k] = 0;
            if (i < count && d < end) get(tap, d, mine + k);
        }
    }
};

template <int M, int N>
DEVICE void weights(real *out, const real *x, const real *grad_out, const Shape &c, Parts parts,
                    real *slice_a, real *slice_b) {
    const int64 I = c.C / c.groups, each = c.O / c.groups;
    const int64 taps = c.rows.kernel * c.columns.kernel * I;
    const int64 across = (each + N - 1) / N, down = (taps + M - 1) / M;
    const int64 column = blockIdx.x % across * N, row = blockIdx.x / across % down * M;
    const int64 group = blockIdx.x / across / down;
    const int64 image = c.rows.smaller * c.columns.smaller, depth = c.images * image;
    const int64 begin = depth * blockIdx.z / parts.count;
    const int64 first = image > 0 ? begin / image : 0;
    const TurnedPatches<M> a = {
        x + first * c.rows.larger * c.columns.larger * c.C, first * image, c.C,
        Divisor(image > 0 ? image : 1), Divisor(c.columns.smaller > 0 ? c.columns.smaller : 1),
        Taps(c.columns.kernel, I), (int)c.rows.larger, (int)c.columns.larger,
        (int)c.rows.stride, (int)c.columns.stride, (int)c.rows.dilation, (int)c.columns.dilation,
        (int)c.rows.before, (int)c.columns.before, row, taps, group * I};
    const Matrix<N, false> b = {grad_out + group * each, c.O, column, each};
    const int64 start = row * c.O + group * each + column, O = c.O;
    parts.size = taps * O;
    make_tile<M, N>(out, a, b, depth, parts, slice_a, slice_b, taps - row, each - column,
                    Epilogue{0, LINEAR, 0}, 0, [=](int m) { return start + m * O; });
}

#define WEIGHTS(M, N)                                                                        \
    TILE_KERNEL weights_##M##_##N(real *out, real *layers, uint32 *counters, const real *x,  \
                                  const real *grad_out, SHAPE_PARAMETERS, int64 parts) {     \
        SLICE(slice_a, M);                                                                   \
        SLICE(slice_b, N);                                                                   \
        const Shape shape = SHAPE;                                                           \
        weights<M, N>(out, x, grad_out, shape, {layers, counters, parts, 0}, slice_a,        \
                      slice_b);                                                              \
    }

#define SIZED(M, N)            \
    CONVOLUTION(correlate, M, N) \
    CONVOLUTION(spread, M, N)    \
    WEIGHTS(M, N)

SIZED(32, 32)
#if REAL_BITS == 32
SIZED(128, 32)
SIZED(128, 64)
CONVOLUTION(correlate, 128, 128) /* spread would spill its sums */
WEIGHTS(128, 128)
#else /* a thread's sums would not fit its registers */
SIZED(64, 32)
SIZED(64, 64)
#endif

/* --- groups of few channels --------------------------------------------------------------------- */

KERNEL correlate_few(real *out, const real *x, const real *weight, const real *bias,
                     int64 activation, double alpha, SHAPE_PARAMETERS) {
    const Epilogue finish = {bias, activation, (real)alpha};
    const int64 I = C / groups, each = O / groups;
    EACH_ELEMENT(at, images *P *Q *O) {
        const int64 o = at % O, q = at / O % Q, p = at / O / Q % P, image = at / O / Q / P;
        real sum = 0;
        for (int64 r = 0; r < R; r++) {
            const int64 h = p * stride_height - top + r * dilation_height;
            if (h < 0 || h >= H) continue;
            for (int64 s = 0; s < S; s++) {
                const int64 w = q * stride_width - left + s * dilation_width;
                if (w < 0 || w >= W) continue;
                const real *from = x + ((image * H + h) * W + w) * C + o / each * I;
                for (int64 i = 0; i < I; i++)
                    sum += from[i] * weight[((r * S + s) * I + i) * O + o];
            }
        }
        out[at] = finish(sum, o);
    }
}

KERNEL spread_few(real *out, const real *x, const real *weight, const real *bias,
                  int64 activation, double alpha, SHAPE_PARAMETERS) {
    const Epilogue finish = {bias, activation, (real)alpha};
    const int64 I = C / groups, each = O / groups;
    EACH_ELEMENT(at, images *H *W *C) {
        const int64 c = at % C, w = at / C % W, h = at / C / W % H, image = at / C / W / H;
        real sum = 0;
        for (int64 r = 0; r < R; r++) {
            const int64 y = h + top - r * dilation_height, p = y / stride_height;
            if (y < 0 || p >= P || p * stride_height != y) continue;
            for (int64 s = 0; s < S; s++) {
                const int64 z = w + left - s * dilation_width, q = z / stride_width;
                if (z < 0 || q >= Q || q * stride_width != z) continue;
                const real *from = x + ((image * P + p) * Q + q) * O + c / I * each;
                const real *by = weight + ((r * S + s) * I + c % I) * O + c / I * each;
                for (int64 o = 0; o < each; o++) sum += from[o] * by[o];
            }
        }
        out[at] = finish(sum, c);
    }
}

/* A layer for each part of the pixels; blockIdx.z is the tap and channel. */
KERNEL weights_few(real *out, const real *x, const real *grad_out, SHAPE_PARAMETERS) {
    __shared__ Sums cells[STRIP_THREADS];
    const int64 I = C / groups, each = O / groups, tap = blockIdx.z;
    const int64 i = tap % I, s = tap / I % S, r = tap / I / S;
    const Strip strip = strip_of(images * P * Q, O);
    Sums all = {};
    for (int64 first = strip.row; first < strip.end; first += RUN * strip.step) {
        const int64 end =
            first + RUN * strip.step < strip.end ? first + RUN * strip.step : strip.end;
        real sum = 0;
        for (int64 at = first; at < end; at += strip.step) {
            const int64 h = at / Q % P * stride_height - top + r * dilation_height;
            const int64 w = at % Q * stride_width - left + s * dilation_width;
            if (h < 0 || h >= H || w < 0 || w >= W) continue;
            const int64 channel = strip.column / each * I + i;
            sum += x[((at / Q / P * H + h) * W + w) * C + channel]
                   * grad_out[at * O + strip.column];
        }
        all.first += sum;
    }
    combine_slots(strip, cells, all);
    if (strip.active && strip.slot == 0)
        out[(blockIdx.y * R * S * I + tap) * O + strip.column] = (real)cells[strip.cell].first;
}
