/* Walks down the columns of a matrix (rows, C), for statistics and sums of each column.
 *
 * A block of 32 x 8 threads has a strip of 32 columns, or all where there are fewer, and the
 * gridDim.y-th part of the rows: `Strips` in fastdl/gpu/norms.py. A thread stays in its column, so
 * what belongs to a column alone is worked out once. Of a narrow matrix a warp has several rows
 * side by side, so that it reads whole lines. What the threads of a column have found is combined
 * in a tree of a fixed shape; blocks leave theirs to a second launch, which combines them by warps.
 */
#pragma once
#include "common.cuh"

enum { STRIP = 32, STRIP_THREADS = STRIP * 8 };

/* Rows whose sums are formed in `real`, before they join a sum in double: no chain of float32
 * additions is long. */
enum { RUN = 64 };

struct Strip {
    int64 column, row, step, end; /* a thread's rows are row, row + step, ... */
    int slot, slots;              /* which of its column's threads it is, of how many */
    int cell, width;              /* where its result goes to, and the distance to the next slot's */
    bool active;
};

DEVICE Strip strip_of(int64 rows, int64 C) {
    const int lane = threadIdx.x, width = C < STRIP ? (int)C : STRIP, fold = STRIP / width;
    Strip s;
    s.column = (int64)blockIdx.x * STRIP + lane % width;
    s.slot = threadIdx.y * fold + lane / width;
    s.slots = 8 * fold;
    s.width = width;
    s.cell = s.slot * width + lane % width;
    s.active = s.column < C && lane / width < fold;
    s.row = rows * blockIdx.y / gridDim.y + s.slot;
    s.step = s.slots;
    s.end = s.active ? rows * (blockIdx.y + 1) / gridDim.y : 0;
    return s;
}

/* Puts what each thread has found into `cells` (STRIP_THREADS) and combines, by `take`, what those
 * of a column have: it is in the cell of its slot 0 then, for all threads to read. */
template <class T> DEVICE void combine_slots(const Strip &s, T *cells, const T &mine) {
    if (s.active) cells[s.cell] = mine;
    int half = 4;
    while (2 * half < s.slots) half *= 2;
    for (; half > 0; half /= 2) {
        __syncthreads();
        if (s.active && s.slot < half && s.slot + half < s.slots)
            cells[s.cell].take(cells[s.cell + half * s.width]);
    }
    __syncthreads();
}

/* Whether this thread is the one that finishes its column, whose values `cells` have together. Those
 * of a column in parts are put by for the second launch instead. */
template <class T> DEVICE bool finishes(const Strip &s, const T *cells, T *parts) {
    if (!s.active || s.slot > 0) return false;
    if (gridDim.y > 1) parts[s.column * gridDim.y + blockIdx.y] = cells[s.cell];
    return gridDim.y == 1;
}

DEVICE double shuffled(double x, int distance) {
    return __shfl_xor_sync(0xffffffffu, x, distance);
}

/* Two sums. */
struct Sums {
    double first, second;

    METHOD void take(const Sums &from) {
        first += from.first;
        second += from.second;
    }
    METHOD Sums neighbours(int distance) const {
        return {shuffled(first, distance), shuffled(second, distance)};
    }
};

/* The mean of `count` values and the sum of their squared deviations from it. */
struct Moments {
    double count, mean, square;

    /* Chan, Golub & LeVeque 1979 */
    METHOD void take(const Moments &from) {
        if (from.count == 0) return;
        const double all = count + from.count, share = from.count / all;
        const double apart = from.mean - mean;
        mean = count == 0 ? from.mean : mean + apart * share;
        square += from.square + (count == 0 ? 0 : apart * apart * (count * share));
        count = all;
    }
    METHOD Moments neighbours(int distance) const {
        return {shuffled(count, distance), shuffled(mean, distance), shuffled(square, distance)};
    }
};

/* Combines what a warp's lanes have: the first has the result. */
template <class T> DEVICE void combine_lanes(T *mine) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) mine->take(mine->neighbours(distance));
}

/* Combines the parts that the blocks of a column have left, which lie together. */
template <class T> DEVICE T combine_parts(const T *of_column, int64 parts) {
    T total = {};
    for (int64 i = threadIdx.x; i < parts; i += WARP) total.take(of_column[i]);
    combine_lanes(&total);
    return total;
}
