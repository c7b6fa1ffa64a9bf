/* What a Program does around its ops: rows of the user's data in, rows of results out, and on to the
 * next batch. Where the data and the results lie stands in a table on the device, so that a captured
 * graph serves other arrays too.
 */
#include "common.cuh"

/* out (rows, count) = the batch's rows of a source, cast. */
template <class Out, class In>
DEVICE void gather(Out *out, const In *source, const Context *context, int64 rows, int64 count) {
    const int64 first = context->first;
    const int64 *order = context->order;
    EACH_ELEMENT(i, rows *count) {
        const int64 row = first + i / count;
        out[i] = (Out)source[(order ? order[row] : row) * count + i % count];
    }
}

/* The types in the order of fastdl/gpu/program.py. */
template <class Out>
DEVICE void gather_any(Out *out, const void *const *table, const Context *context, int64 which,
                       int64 type, int64 rows, int64 count) {
    const void *source = table[which];
    switch (type) {
    case 0: return gather(out, (const bool *)source, context, rows, count);
    case 1: return gather(out, (const signed char *)source, context, rows, count);
    case 2: return gather(out, (const unsigned char *)source, context, rows, count);
    case 3: return gather(out, (const short *)source, context, rows, count);
    case 4: return gather(out, (const unsigned short *)source, context, rows, count);
    case 5: return gather(out, (const int *)source, context, rows, count);
    case 6: return gather(out, (const uint32 *)source, context, rows, count);
    case 7: return gather(out, (const int64 *)source, context, rows, count);
    case 8: return gather(out, (const uint64 *)source, context, rows, count);
    case 9: return gather(out, (const float *)source, context, rows, count);
    case 10: return gather(out, (const double *)source, context, rows, count);
    }
}

KERNEL gather_real(real *out, const void *const *table, const Context *context, int64 which,
                   int64 type, int64 rows, int64 count) {
    gather_any(out, table, context, which, type, rows, count);
}

KERNEL gather_label(int64 *out, const void *const *table, const Context *context, int64 which,
                    int64 type, int64 rows, int64 count) {
    gather_any(out, table, context, which, type, rows, count);
}

/* Rows of results (rows, words), in words of 4 bytes, to their places in all the results. */
KERNEL scatter(void *const *table, const uint32 *buffer, const Context *context, int64 which,
               int64 rows, int64 words) {
    uint32 *results = (uint32 *)table[which] + context->first * words;
    EACH_ELEMENT(i, rows *words) results[i] = buffer[i];
}

KERNEL next_batch(Context *context, int64 rows) {
    if (threadIdx.x > 0) return;
    context->first += rows;
    context->step += 1;
    if (context->rates) {
        context->rates += 1;
        context->learning_rate = *context->rates;
    }
}
