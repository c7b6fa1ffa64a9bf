#ifndef FASTDL_CALIBRATE_H
#define FASTDL_CALIBRATE_H

#include <stdint.h>

typedef struct {
    /* Makes `iterations` rounds of independent multiply-adds in registers; returns the number of
     * floating-point operations. `sink` (64 bytes) takes the result, so that it has to be made. */
    int64_t (*fma_peak)(void *sink, int64_t iterations);
    /* a (n) = b (n) + 3*c (n): the triad of STREAM (McCalpin 1995). */
    void (*triad)(void *a, const void *b, const void *c, int64_t n);
    /* param, m and v (n) each plus grad (n): the traffic of Adam, four reads and three writes an
     * element, without its arithmetic. */
    void (*update)(void *param, void *m, void *v, const void *grad, int64_t n);
} CalibrateBodies;

#endif
