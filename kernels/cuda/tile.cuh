/* Tiles of a product, for matrices and for convolutions: what a block of 256 threads does.
 *
 * The tile's elements, sums along the depth, lie in the threads' registers. Slices of both operands,
 * DEPTH deep, come to shared memory while the slice before is multiplied. An operand is a type with
 *
 *     void fetch(real *mine, int64 depth, int64 end)
 *
 * which gets this thread's share of the slice from `depth`, with 0 from `end` on and outside of the
 * operand, and with LINED: whether what lies together lies along the depth.
 */
#pragma once
#include "activation.cuh"

enum { SIDE = 16, THREADS = SIDE * SIDE, DEPTH = 16, PADDING = 4 };

/* A kernel of a tile: two blocks share a multiprocessor, so that one computes while the other waits. */
#define TILE_KERNEL extern "C" __launch_bounds__(THREADS, 2) __global__ void

/* Room for a slice, a multiple of 16 bytes wide. */
#define SLICE(name, LONG) __shared__ __align__(16) real name[DEPTH * ((LONG) + PADDING)]

/* A slice of an operand, LONG across: element k of a thread's share lies at across(k), deep(k), each
 * FURTHER across, or DEEPER, than the one before. */
template <int LONG, bool LINED> struct Slice {
    enum {
        SHARE = LONG * DEPTH / THREADS,
        STRIDE = LONG + PADDING,
        FURTHER = LINED ? THREADS / DEPTH : 0,
        DEEPER = LINED ? 0 : THREADS / LONG,
    };

    static METHOD int thread() { return threadIdx.y * SIDE + threadIdx.x; }
    static METHOD int across(int k) {
        return (LINED ? thread() / DEPTH : thread() % LONG) + k * FURTHER;
    }
    static METHOD int deep(int k) {
        return (LINED ? thread() % DEPTH : thread() / LONG) + k * DEEPER;
    }
    static METHOD void put(real *slice, const real *mine) {
#pragma unroll
        for (int k = 0; k < SHARE; k++) slice[deep(k) * STRIDE + across(k)] = mine[k];
    }
};

/* A matrix as an operand: rows are `stride` apart; `first` of `length` along its long axis. */
template <int LONG, bool LINED_> struct Matrix {
    enum { LINED = LINED_ };
    typedef Slice<LONG, LINED> Part;
    const real *from;
    int64 stride, first, length;

    METHOD real get(int64 i, int64 d) const {
        return from[LINED ? (first + i) * stride + d : d * stride + first + i];
    }
    METHOD void fetch(real *mine, int64 depth, int64 end) const {
        const int64 i = first + Part::across(0), d = depth + Part::deep(0);
        const real *at = from + (LINED ? i * stride + d : d * stride + i);
#pragma unroll
        for (int k = 0; k < Part::SHARE; k++) {
            const bool inside = i + k * Part::FURTHER < length && d + k * Part::DEEPER < end;
            mine[k] = inside ? *at : (real)0;
            at += stride * (Part::FURTHER + Part::DEEPER);
        }
    }
};

/* M x N elements: thread (x, y) has groups of rows that lie together, for wide loads from shared
 * memory, and every 16th column, so that a warp writes lines. */
template <int M, int N> struct Tile {
    enum { DOWN = M / SIDE, ACROSS = N / SIDE, GROUP = DOWN < 4 ? DOWN : 4 };
    enum { SMALL = M * N <= 64 * 64 }; /* small enough to add up layers */
    real sum[DOWN][ACROSS];

    static METHOD int row(int i) { return (i / GROUP * SIDE + threadIdx.y) * GROUP + i % GROUP; }
    static METHOD int column(int j) { return threadIdx.x + SIDE * j; }

    METHOD void clear() {
#pragma unroll
        for (int i = 0; i < DOWN; i++)
#pragma unroll
            for (int j = 0; j < ACROSS; j++) sum[i][j] = 0;
    }

    /* Adds the product of two slices, rows of which are M and N long and PADDING apart. */
    METHOD void add(const real *slice_a, const real *slice_b) {
#pragma unroll 4
        for (int k = 0; k < DEPTH; k++) {
            real x[DOWN], y[ACROSS];
#pragma unroll
            for (int i = 0; i < DOWN; i++) x[i] = slice_a[k * (M + PADDING) + row(i)];
#pragma unroll
            for (int j = 0; j < ACROSS; j++) y[j] = slice_b[k * (N + PADDING) + column(j)];
#pragma unroll
            for (int i = 0; i < DOWN; i++)
#pragma unroll
                for (int j = 0; j < ACROSS; j++) sum[i][j] += x[i] * y[j];
        }
    }

    template <class A, class B>
    METHOD void multiply(const A &a, const B &b, int64 begin, int64 end, real *slice_a,
                         real *slice_b) {
        typedef Slice<M, A::LINED> PartA;
        typedef Slice<N, B::LINED> PartB;
        real next_a[PartA::SHARE], next_b[PartB::SHARE];
        clear();
        a.fetch(next_a, begin, end);
        b.fetch(next_b, begin, end);
        for (int64 d = begin; d < end; d += DEPTH) {
            PartA::put(slice_a, next_a);
            PartB::put(slice_b, next_b);
            __syncthreads();
            if (d + DEPTH < end) {
                a.fetch(next_a, d + DEPTH, end);
                b.fetch(next_b, d + DEPTH, end);
            }
            add(slice_a, slice_b);
            __syncthreads();
        }
    }

    /* Adds a product whose first operand is in shared memory, `depth` slices behind each other. */
    template <class B>
    METHOD void multiply_add(const real *slices_a, const B &b, int64 begin, int64 depth,
                             real *slice_b) {
        typedef Slice<N, B::LINED> PartB;
        real next[PartB::SHARE];
        b.fetch(next, begin, begin + depth);
        for (int64 d = 0; d < depth; d += DEPTH) {
            PartB::put(slice_b, next);
            __syncthreads();
            if (d + DEPTH < depth) b.fetch(next, begin + d + DEPTH, begin + depth);
            add(slices_a + d * (M + PADDING), slice_b);
            __syncthreads();
        }
    }

    /* Element (i, j) of the thread goes to out[at(i, j)], or nowhere where that is below 0. */
    template <class At, class Value> METHOD void write(real *out, At at, Value value) const {
#pragma unroll
        for (int i = 0; i < DOWN; i++)
#pragma unroll
            for (int j = 0; j < ACROSS; j++) {
                const int64 place = at(i, j);
                if (place >= 0) out[place] = value(sum[i][j], j);
            }
    }

    /* The elements are the sums, in order, of those that `write` has put into the layers. */
    template <class At> METHOD void add_layers(const real *layers, int64 size, int64 count, At at) {
        clear();
#pragma unroll(DOWN * ACROSS > 4 ? 1 : 4)
        for (int64 k = 0; k < count; k++)
#pragma unroll
            for (int i = 0; i < DOWN; i++)
#pragma unroll
                for (int j = 0; j < ACROSS; j++) {
                    const int64 place = at(i, j);
                    if (place >= 0) sum[i][j] += layers[k * size + place];
                }
    }
};

/* The parts (gridDim.z) into which a depth is cut: each writes a layer of `size` elements. Where there
 * are counters, one for each of small tiles, the last block of a tile to come adds them up; else
 * `merge` does, a launch of its own. */
struct Parts {
    real *layers;
    uint32 *counters; /* 0 before and after */
    int64 count, size;

    METHOD real *mine() const { return layers + blockIdx.z * size; }

    /* Whether this block comes last: all others have written. It changes room[0]. */
    METHOD bool comes_last(real *room) const {
        if (!counters) return false;
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0 && threadIdx.y == 0) {
            const bool last = atomicAdd(counters + blockIdx.x, 1u) + 1 == (uint32)count;
            if (last) counters[blockIdx.x] = 0;
            room[0] = last;
        }
        __syncthreads();
        __threadfence();
        return room[0] != 0;
    }
};

/* What is done to finished elements: of a product whose depth is cut into parts, by `merge`. */
struct Epilogue {
    const real *bias;
    int64 activation;
    real alpha;

    METHOD real operator()(real x, int64 column) const {
        return ::activation(activation, bias ? x + bias[column] : x, alpha);
    }
};
