#ifndef FASTDL_DATA_H
#define FASTDL_DATA_H

#include <stdint.h>

/* What a row of the user's data may hold. */
enum { BOOL, INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64, FLOAT32, FLOAT64, TYPES };

/* out (rows, n) = rows order[0], order[1], ... of the source, `stride` bytes apart; order NULL: the
 * first ones as they lie. Labels have 64 bits whatever the float type. */
typedef void (*Cast)(void *out, const void *source, int64_t stride, const int64_t *order,
                     int64_t rows, int64_t n);

typedef struct {
    Cast to_real[TYPES], to_label[TYPES];
} DataBodies;

#endif
