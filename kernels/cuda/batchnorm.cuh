/* What a column of batch normalisation is made with, forward and backward. 1/sqrt(0) is taken as 0 where
 * epsilon is 0 too. */
#pragma once
#include "columns.cuh"

DEVICE double inverse_root(double variance) { return variance == 0 ? 0.0 : 1 / sqrt(variance); }

/* What a column's gradient is made with. */
struct Slopes {
    real scale, center, slope;
};

/* The parameters' gradients from the column's sums of grad_out and grad_out*(x - mean), and the
 * slopes: center and slope are 0 where the statistics are constants. */
DEVICE Slopes finish_sums(real *grad_gamma, real *grad_beta, const Sums &sums, real variance,
                          const real *gamma, double epsilon, int64 rows, bool constants) {
    const double root = inverse_root((double)variance + epsilon);
    const double share = rows > 0 && !constants ? 1.0 / (double)rows : 0.0;
    *grad_gamma = (real)(sums.second * root);
    *grad_beta = (real)sums.first;
    return {(real)root * (gamma ? *gamma : (real)1), (real)(sums.first * share),
            (real)(sums.second * share * root * root)};
}
