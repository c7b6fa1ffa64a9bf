/* What all kernels share: types, loops over elements and rows, reductions in a fixed order.
 *
 * A kernel's parameters are pointers, int64 and double, nothing else: so every launch is a list of
 * 8-byte words, which both drivers (CuPy's and the host emulator's) understand without a signature.
 * REAL_BITS, 32 or 64, comes from the compiler's command line.
 */
#pragma once

#if REAL_BITS == 32
typedef float real;
#define REAL(x) x##f
#else
typedef double real;
#define REAL(x) x
#endif

typedef long long int64;
typedef unsigned int uint32;
typedef unsigned long long uint64;

#define KERNEL extern "C" __global__ void
#define METHOD __device__ __forceinline__
#define DEVICE static METHOD

/* What changes from batch to batch; it lies on the device, so that a captured graph can be replayed.
 * fastdl/gpu/core.py has the same fields. */
struct Context {
    int64 first;           /* position in `order` of the batch's first row */
    const int64 *order;    /* the rows of the data in the order of this epoch; NULL: as they lie */
    int64 step;            /* updates made, counted from 1 while the first one runs */
    int64 seed;
    double learning_rate;
    const double *rates;   /* the learning rates of this step and the next ones; NULL: all the same */
};

enum { WARP = 32, MOST_WARPS = 32 };

#define INFINITE ((real)__int_as_float(0x7f800000))
#define NOT_A_NUMBER ((real)__int_as_float(0x7fc00000))
#define INT64_LARGEST ((int64)0x7fffffffffffffff)

/* NaN in b stays, NaN in a is passed over, as the CPU's bodies have it. */
DEVICE real maximum(real a, real b) { return a > b ? a : b; }
DEVICE real minimum(real a, real b) { return a < b ? a : b; }
DEVICE real sign(real x) { return x > 0 ? (real)1 : x < 0 ? (real)-1 : x; }
DEVICE real clamp(real x, real limit) { return maximum(-limit, minimum(limit, x)); }

/* --- elements: launched by `elements` in fastdl/gpu/core.py, any number of blocks ------------- */

#define EACH_ELEMENT(i, n)                                                                 \
    for (int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x; i < (n);                 \
         i += (int64)gridDim.x * blockDim.x)

/* --- rows: launched by `rows` in fastdl/gpu/core.py -------------------------------------------
 * A row belongs to blockDim.x threads: a warp or, where rows are narrow, a power of two of its lanes,
 * blockDim.y of which share a block; or, where rows are wide, a whole block. All threads of a row must
 * call a reduction, and all get its result. */

#define ROW ((int64)blockIdx.x * blockDim.y + threadIdx.y)
#define EACH_COLUMN(i, n) for (int64 i = threadIdx.x; i < (n); i += blockDim.x)

/* The lanes of a warp that have this thread's row. */
DEVICE uint32 row_lanes() {
    if (blockDim.x >= WARP) return 0xffffffffu;
    return ((1u << blockDim.x) - 1) << (threadIdx.y * blockDim.x) % WARP;
}

/* Defines name(x): the combination of all the row's x, in a fixed order. `neutral` fills a warp. */
#define ROW_REDUCTION(type, name, neutral, combine)                                        \
    DEVICE type name(type x) {                                                             \
        const uint32 lanes = row_lanes();                                                  \
        for (int distance = (blockDim.x < WARP ? blockDim.x : WARP) / 2; distance > 0;     \
             distance /= 2) {                                                              \
            const type y = __shfl_xor_sync(lanes, x, distance);                            \
            x = combine;                                                                   \
        }                                                                                  \
        if (blockDim.x <= WARP) return x;                                                  \
        __shared__ type parts[MOST_WARPS];                                                 \
        __syncthreads(); /* the last reduction's parts have been read */                   \
        if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = x;                        \
        __syncthreads();                                                                   \
        x = threadIdx.x % WARP < blockDim.x / WARP ? parts[threadIdx.x % WARP] : neutral;  \
        for (int distance = WARP / 2; distance > 0; distance /= 2) {                       \
            const type y = __shfl_xor_sync(0xffffffffu, x, distance);                      \
            x = combine;                                                                   \
        }                                                                                  \
        return x;                                                                          \
    }

ROW_REDUCTION(real, row_sum, 0, x + y)
ROW_REDUCTION(real, row_maximum, -INFINITE, maximum(x, y))
ROW_REDUCTION(double, row_sum_double, 0, x + y)
