/* Dropout and noise, by the CPU's own random words: the masks are the same bits. */
#include "philox.cuh"

/* A thread has the four elements of one counter, so that no word is made twice. */
DEVICE void dropout(real *out, const real *x, double rate, int64 stream, const Context *context,
                    int64 n) {
    const double limit = ceil(rate * 4294967296.0);
    const uint32 threshold = (uint32)(limit < 4294967295.0 ? limit : 4294967295.0);
    const real factor = (real)(1 / (1 - rate));
    EACH_ELEMENT(group, (n + 3) / 4) {
        const Words words =
            philox((uint64)group, (uint32)stream, (uint32)context->step, (uint64)context->seed);
        for (int k = 0; k < 4 && 4 * group + k < n; k++) {
            const int64 i = 4 * group + k;
            out[i] = words.word[k] >= threshold ? x[i] * factor : (real)0;
        }
    }
}

KERNEL dropout_forward(real *out, const real *x, double rate, int64 stream,
                       const Context *context, int64 n) {
    dropout(out, x, rate, stream, context, n);
}

KERNEL dropout_backward(real *grad_x, const real *grad_out, double rate, int64 stream,
                        const Context *context, int64 n) {
    dropout(grad_x, grad_out, rate, stream, context, n);
}

/* Two words make two normal numbers (Box & Muller 1958), from their upper 24 bits. */
DEVICE void normals(real *pair, uint32 radius, uint32 angle) {
    const real unit = (real)1 / (1 << 24);
    const real size = sqrt(-2 * log(((real)(radius >> 8) + 1) * unit));
    const real turns = (real)(angle >> 8) * unit;
    pair[0] = size * cospi(2 * turns);
    pair[1] = size * sinpi(2 * turns);
}

KERNEL gaussian_noise_forward(real *out, const real *x, double stddev, int64 stream,
                              const Context *context, int64 n) {
    EACH_ELEMENT(group, (n + 3) / 4) {
        const Words words =
            philox((uint64)group, (uint32)stream, (uint32)context->step, (uint64)context->seed);
        real normal[4];
        normals(normal, words.word[0], words.word[1]);
        normals(normal + 2, words.word[2], words.word[3]);
        for (int k = 0; k < 4 && 4 * group + k < n; k++) {
            const int64 i = 4 * group + k;
            out[i] = x[i] + (real)stddev * normal[k];
        }
    }
}
