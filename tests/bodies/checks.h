/* What the checks of the C bodies share: arrays with guards, drawn numbers, and the comparison.
 *
 * Each check makes its arrays by `array` or `drawn`, runs bodies on them, holds every element
 * against naive C in double by `near`, and ends with `done`.
 */
#ifndef CHECKS_H
#define CHECKS_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simd/bodies.h"

#if REAL_BITS == 32
typedef float real;
#define EPSILON 0x1p-23
#else
typedef double real;
#define EPSILON 0x1p-52
#endif

extern const Bodies *bodies;

/* n elements between guards that nothing may write to; `done` looks at those and frees them all. */
real *array(int64_t n);
real *drawn(int64_t n, double low, double high);
void done(const char *what);

double uniform(void);
void near(const char *what, int64_t n, int64_t i, double got, double wanted, double bound);

static inline double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* What a random number is drawn by: Philox4x32-10 (Salmon et al. 2011) of one counter. */
uint32_t word(Draw draw, uint64_t element);

void check_elements(void);
void check_rows(void);
void check_updates(void);
void check_products(void);
void check_images(void);
void check_sequences(void);

#endif
