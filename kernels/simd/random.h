#ifndef FASTDL_RANDOM_H
#define FASTDL_RANDOM_H

#include <stdint.h>

/* Which random numbers: element i of an array draws word i % 4 of Philox4x32-10 with key = (low
 * word of seed, high word) and counter = (low word of i / 4, high word, stream, low word of step).
 */
typedef struct {
    uint64_t seed;
    uint32_t stream, step;
} Draw;

typedef struct {
    /* words (4*groups): those of elements 4*group, 4*group + 1, ... */
    void (*words)(uint32_t *words, uint64_t group, int64_t groups, Draw draw);
    /* out (n) = x (n) * scale where the element's word is at least `threshold`, else 0; x and out
     * begin at element `start` of their arrays, and may be the same. */
    void (*dropout)(void *out, const void *x, uint32_t threshold, double scale, Draw draw,
                    int64_t start, int64_t n);
    /* out (n) = x (n) + stddev * the element's normal number. */
    void (*gaussian_noise)(void *out, const void *x, double stddev, Draw draw, int64_t start,
                           int64_t n);
} RandomBodies;

#endif
