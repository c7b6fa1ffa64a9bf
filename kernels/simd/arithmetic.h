#ifndef FASTDL_ARITHMETIC_H
#define FASTDL_ARITHMETIC_H

#include <stdint.h>

/* All arrays (n); out may be an input. */
typedef struct {
    void (*add)(void *out, const void *a, const void *b, int64_t n);
    void (*multiply)(void *out, const void *a, const void *b, int64_t n);
    void (*scale)(void *out, const void *x, double factor, int64_t n);
} ArithmeticBodies;

#endif
