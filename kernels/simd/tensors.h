#ifndef FASTDL_TENSORS_H
#define FASTDL_TENSORS_H

#include <stdint.h>

/* In the order of UNARY, ARITHMETIC and COMPARISONS in table/tensors.py. */
enum { EXP, LOG, SQRT, SQUARE, ABS, UNARY_FUNCTIONS };
enum { ADD, SUBTRACT, MULTIPLY, DIVIDE, POWER, MAXIMUM, MINIMUM, ARITHMETIC_FUNCTIONS };
enum { LESS, LESS_EQUAL, EQUAL, NOT_EQUAL, COMPARISONS };

enum { REDUCE_SUM, REDUCE_MAX, REDUCE_MIN, REDUCTIONS };

/* Sums and partial results are made in stretches of so many columns. */
enum { REDUCED_COLUMNS = 512 };

/* A function of two arguments: out (n) = function(a (n), b (n)); out may be an input. */
typedef void (*BinaryBody)(void *out, const void *a, const void *b, int64_t n);
/* Its gradients; either may be NULL. */
typedef void (*BinaryBackwardBody)(void *grad_a, void *grad_b, const void *grad_out, const void *a,
                                   const void *b, int64_t n);

typedef struct {
    void (*unary[UNARY_FUNCTIONS])(void *out, const void *x, int64_t n);
    /* saved (n) is x or out, as the table says. */
    void (*unary_backward[UNARY_FUNCTIONS])(void *grad_x, const void *grad_out, const void *saved,
                                            int64_t n);
    void (*sign)(void *out, const void *x, int64_t n);
    void (*clip)(void *out, const void *x, double low, double high, int64_t n);
    void (*clip_backward)(void *grad_x, const void *grad_out, const void *x, double low, double high,
                          int64_t n);
    BinaryBody arithmetic[ARITHMETIC_FUNCTIONS];
    BinaryBackwardBody arithmetic_backward[ARITHMETIC_FUNCTIONS];
    BinaryBody compare[COMPARISONS];
    /* a or b may be NULL: then its value stands for it. */
    void (*where)(void *out, const void *condition, const void *a, const void *b, double a_value,
                  double b_value, int64_t n);
    /* grad_a or grad_b may be NULL. */
    void (*where_backward)(void *grad_a, void *grad_b, const void *grad_out, const void *condition,
                           int64_t n);

    /* out (n) = function(x (n), value), or of (value, x). */
    void (*scalar)(BinaryBody function, void *out, const void *x, double value, int swapped,
                   int64_t n);
    void (*scalar_backward)(BinaryBackwardBody function, void *grad_x, const void *grad_out,
                            const void *x, double value, int swapped, int64_t n);
    /* out (rows, columns) = function(x (rows, columns), y (columns)); rows are `stride` apart. */
    void (*vector)(BinaryBody function, void *out, const void *x, const void *y, int swapped,
                   int64_t rows, int64_t columns, int64_t stride);
    /* grad_x (rows, columns) and, unless NULL, grad_y (columns), summed over the rows. */
    void (*vector_backward)(BinaryBackwardBody function, void *grad_x, void *grad_y,
                            const void *grad_out, const void *x, const void *y, int swapped,
                            int64_t rows, int64_t columns, int64_t stride);

    /* out (columns) = x (rows, columns) reduced over its rows, which are `stride` apart; sums are
     * divided by `divisor`. */
    void (*reduce[REDUCTIONS])(void *out, const void *x, double divisor, int64_t rows,
                               int64_t columns, int64_t stride);
    /* grad_x (rows, columns) = grad_out (columns) where x is out (columns), in equal parts. */
    void (*extreme_backward)(void *grad_x, const void *grad_out, const void *x, const void *out,
                             int64_t rows, int64_t columns);
    /* out (rows, columns) = x (columns) / divisor for each row; rows are `stride` apart. */
    void (*spread)(void *out, const void *x, double divisor, int64_t rows, int64_t columns,
                   int64_t stride);
    /* out (rows, columns) = x (rows, columns), both with rows so many elements apart, which may be
     * negative. */
    void (*copy)(void *out, int64_t out_stride, const void *x, int64_t x_stride, int64_t rows,
                 int64_t columns);
    /* out (columns) = sum of weights (rows) * x (rows, columns), added to out where `accumulate`. */
    void (*weighted)(void *out, const void *x, const double *weights, int64_t rows,
                     int64_t columns, int accumulate);
    /* out (n) += x (n) */
    void (*accumulate)(void *out, const void *x, int64_t n);
    void (*one_hot)(void *out, const int64_t *labels, int64_t rows, int64_t classes);
} TensorBodies;

#endif
