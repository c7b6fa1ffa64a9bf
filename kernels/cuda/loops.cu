/* A loop over time in one launch: a block has some rows of the batch, which no other rows have a part
 * in, and runs every op of every iteration on them. So nothing waits for a launch, and a block waits
 * only for itself.
 *
 * What an iteration's ops are stands in a table of words of 8 bytes, OP_WORDS for each op: its code,
 * the two sizes and two options, and its arrays in the order of the table (fastdl/gpu/loops.py has
 * the same). The weights come from the second cache in every iteration, 64 bytes a cycle: worth it
 * while they are small and there are no more blocks than multiprocessors.
 */
#include "cells.cuh"

enum { OP_WORDS = 12, ARRAYS = 5, MOST_ROWS = 8, ROOM = 4096, LOOP_THREADS = 512 };

enum { DENSE, DENSE_BACKWARD, ADD, LSTM, LSTM_BACKWARD, GRU, GRU_BACKWARD, CHOOSE, CHOOSE_BACKWARD };

struct LoopOp {
    const int64 *words;

    METHOD real *array(int i) const { return (real *)words[ARRAYS + i]; }
};

/* The elements of this block's rows, `width` each. */
#define EACH_OF_ROWS(i, width)                                                               \
    for (int64 i = first * (width) + threadIdx.x; i < (first + count) * (width); i += LOOP_THREADS)

/* Brings this block's rows of x to shared memory. */
DEVICE void bring_rows(real *room, const real *x, int64 first, int64 count, int64 width) {
    for (int64 i = threadIdx.x; i < count * width; i += LOOP_THREADS)
        room[i] = x[first * width + i];
    __syncthreads();
}

/* out (rows, O) = x (rows, I) times weight (I, O), + bias: a thread has a column, of `count` rows, for
 * which there are ROWS sums. */
template <int ROWS>
DEVICE void dense(const LoopOp &op, const real *room, int64 first, int64 count, int64 I, int64 O) {
    real *out = op.array(0);
    const real *weight = op.array(2), *bias = op.array(3);
    for (int64 o = threadIdx.x; o < O; o += LOOP_THREADS) {
        real sum[ROWS] = {};
#pragma unroll 8
        for (int64 i = 0; i < I; i++) {
            const real w = weight[i * O + o];
#pragma unroll
            for (int r = 0; r < ROWS; r++) sum[r] += room[r * I + i] * w;
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            if (r < count) out[(first + r) * O + o] = bias ? sum[r] + bias[o] : sum[r];
    }
}

/* grad_x (rows, I) = grad_out (rows, O) times weight (I, O) transposed: a warp has a column of it. */
template <int ROWS>
DEVICE void dense_backward(const LoopOp &op, const real *room, int64 first, int64 count, int64 I,
                           int64 O) {
    real *grad_x = op.array(0);
    const real *weight = op.array(2);
    const int lane = threadIdx.x % WARP;
    for (int64 i = threadIdx.x / WARP; i < I; i += LOOP_THREADS / WARP) {
        real sum[ROWS] = {};
#pragma unroll 8
        for (int64 o = lane; o < O; o += WARP) {
            const real w = weight[i * O + o];
#pragma unroll
            for (int r = 0; r < ROWS; r++) sum[r] += room[r * O + o] * w;
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            for (int distance = WARP / 2; distance > 0; distance /= 2)
                sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], distance);
            if (lane == 0 && r < count) grad_x[(first + r) * I + i] = sum[r];
        }
    }
}

/* As many sums as there are rows, or a few more: those of rows that are none see what lies in room. */
#define BY_ROWS(name)                                                                        \
    if (count == 1) name<1>(op, room, first, count, width, other);                           \
    else if (count == 2) name<2>(op, room, first, count, width, other);                      \
    else if (count <= 4) name<4>(op, room, first, count, width, other);                      \
    else name<MOST_ROWS>(op, room, first, count, width, other)

extern "C" __launch_bounds__(LOOP_THREADS, 1) __global__ void loop(
    const int64 *words, int64 iterations, int64 ops, int64 rows, int64 each) {
    __shared__ real room[ROOM];
    const int64 first = blockIdx.x * each, count = rows - first < each ? rows - first : each;
    for (int64 k = 0; k < iterations * ops; k++) {
        const LoopOp op = {words + k * OP_WORDS};
        const int64 width = op.words[1], other = op.words[2];
        const int64 activation = op.words[3], recurrent = op.words[4];
        switch (op.words[0]) {
        case DENSE:
            bring_rows(room, op.array(1), first, count, width);
            BY_ROWS(dense);
            break;
        case DENSE_BACKWARD:
            bring_rows(room, op.array(1), first, count, other);
            BY_ROWS(dense_backward);
            break;
        case CHOOSE: {
            real *out = op.array(0);
            const real *x = op.array(1), *rest = op.array(2), *mask = op.array(3);
            EACH_OF_ROWS(i, width) out[i] = mask[i / width] != 0 ? x[i] : rest ? rest[i] : (real)0;
            break;
        }
        case CHOOSE_BACKWARD: {
            real *grad_x = op.array(0), *grad_other = op.array(1);
            const real *grad_out = op.array(2), *mask = op.array(3);
            EACH_OF_ROWS(i, width) {
                const bool chosen = mask[i / width] != 0;
                grad_x[i] = chosen ? grad_out[i] : (real)0;
                if (grad_other) grad_other[i] = chosen ? (real)0 : grad_out[i];
            }
            break;
        }
        case ADD: {
            real *out = op.array(0);
            const real *a = op.array(1), *b = op.array(2);
            EACH_OF_ROWS(i, width) out[i] = a[i] + b[i];
            break;
        }
        case LSTM: {
            const LstmForward step = {op.array(0), op.array(1), op.array(2),
                                      op.array(3), op.array(4), op.array(5)};
            EACH_OF_ROWS(i, width) step.unit(i, width, activation, recurrent);
            break;
        }
        case LSTM_BACKWARD: {
            const LstmBackward step = {op.array(0), op.array(1), op.array(2), op.array(3),
                                       op.array(4), op.array(5), op.array(6)};
            EACH_OF_ROWS(i, width) step.unit(i, width, activation, recurrent);
            break;
        }
        case GRU: {
            const GruForward step = {op.array(0), op.array(1), op.array(2), op.array(3),
                                     op.array(4)};
            EACH_OF_ROWS(i, width) step.unit(i, width, activation, recurrent);
            break;
        }
        case GRU_BACKWARD: {
            const GruBackward step = {op.array(0), op.array(1), op.array(2), op.array(3),
                                      op.array(4), op.array(5), op.array(6)};
            EACH_OF_ROWS(i, width) step.unit(i, width, activation, recurrent);
            break;
        }
        }
        __syncthreads();
    }
}
