#ifndef FASTDL_DATA_H
#define FASTDL_DATA_H

#include <stdint.h>

/* What a row of the user's data may hold. */
enum { BOOL, INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64, FLOAT32, FLOAT64, TYPES };

typedef struct {
    /* out (n) = source (n) of the type; a label has 64 bits whatever the float type. */
    void (*to_real[TYPES])(void *out, const void *source, int64_t n);
    void (*to_label[TYPES])(void *out, const void *source, int64_t n);
} DataBodies;

#endif
