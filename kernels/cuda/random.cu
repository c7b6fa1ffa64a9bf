/* Dropout, by the CPU's own random words: the masks are the same bits. */
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
