/* Losses with their gradients, row by row: see simd/loss.inc for the formulas.
 *
 * A loss and its backward op are one kernel. grad_pred is multiplied by factor and by weight[row]:
 * of a loss these are scale/rows and the sample weight, of a backward op 1 and grad_loss[row]; a
 * backward op has no `loss` to write.
 */
#include "common.cuh"

#define CLIP_LOW ((real)1e-7) /* Keras's epsilon */
#define CLIP_HIGH ((real)(1 - 1e-7))

/* log of p clipped. In float32, 1 - 1e-7 is too coarse a number to take the logarithm of. */
DEVICE real log_clipped(real p) {
    return p > CLIP_HIGH ? (real)-1.0000000494736474e-07 : log(maximum(CLIP_LOW, p));
}

/* NaN is not outside: it has to reach the gradient. */
DEVICE bool outside(real p) { return p < CLIP_LOW || p > CLIP_HIGH; }

/* --- elementwise: means over a row ------------------------------------------------------------- */

enum {
    MEAN_SQUARED_ERROR, MEAN_ABSOLUTE_ERROR, HUBER, BINARY_CROSSENTROPY,
    BINARY_CROSSENTROPY_OF_LOGITS
};

/* The loss of one output, and its derivative. `option` is huber's delta, or the smoothing. */
DEVICE real each_loss(int64 kind, real x, real t, real option, real *slope) {
    const real d = x - t;
    if (kind == MEAN_SQUARED_ERROR) {
        *slope = 2 * d;
        return d * d;
    }
    if (kind == MEAN_ABSOLUTE_ERROR) {
        *slope = sign(d);
        return fabs(d);
    }
    if (kind == HUBER) {
        const real inner = clamp(d, option); /* d, kept within delta */
        *slope = inner;
        return inner * (d - inner * (real)0.5);
    }
    t = t * (1 - option) + option * (real)0.5;
    if (kind == BINARY_CROSSENTROPY_OF_LOGITS) {
        const real small = exp(-fabs(x));
        *slope = (x < 0 ? small : (real)1) / (1 + small) - t;
        return maximum(0, x) - x * t + log1p(small);
    }
    *slope = outside(x) ? (real)0 : (x - t) / (x * (1 - x));
    return -(t * log_clipped(x)) - (1 - t) * log_clipped(1 - x);
}

KERNEL elementwise(real *loss, real *grad_pred, const real *pred, const real *target,
                   const real *weight, double factor, int64 kind, double option, int64 rows,
                   int64 C) {
    const int64 row = ROW;
    if (row >= rows) return;
    const real f = (weight ? (real)factor * weight[row] : (real)factor) / (real)C;
    real sum = 0;
    EACH_COLUMN(i, C) {
        const int64 at = row * C + i;
        real slope;
        sum += each_loss(kind, pred[at], target[at], (real)option, &slope);
        if (grad_pred) grad_pred[at] = f * slope;
    }
    sum = row_sum(sum);
    if (loss && threadIdx.x == 0) loss[row] = sum / (real)(C ? C : 1);
}

/* --- categorical ------------------------------------------------------------------------------- */

/* A row's target: given, or a label, which is `base` everywhere and `hot` more at one place. */
struct Target {
    const real *target; /* NULL: a label */
    int64 label;
    real keep, base;
};

DEVICE Target row_target(const real *target, const int64 *labels, double smoothing, int64 row,
                         int64 C) {
    const Target t = {target ? target + row * C : target, labels ? labels[row] : 0,
                      (real)(1 - smoothing), (real)(smoothing / (double)C)};
    return t;
}

DEVICE real target_at(const Target &t, int64 i) {
    return t.target ? t.target[i] * t.keep + t.base : i == t.label ? t.base + t.keep : t.base;
}

/* A label that is none, in a program, where nobody has looked: a loss of NaN and no gradient. */
DEVICE bool is_missing(const Target &t, int64 C) {
    return !t.target && (t.label < 0 || t.label >= C);
}

/* With targets t: loss = total*log(sum(exp(x - max))) - sum(t*(x - max)), total = sum(t), and
 * grad = factor*(total*softmax(x) - t). */
DEVICE void of_logits(real *loss, real *grad, const real *x, const Target &t, real factor,
                      int64 row, int64 C) {
    const bool missing = is_missing(t, C);
    real largest = -INFINITE, sum = 0, total = 0, pick = 0;
    EACH_COLUMN(i, C) largest = maximum(x[i], largest);
    largest = row_maximum(largest);
    EACH_COLUMN(i, C) {
        const real d = x[i] - largest, y = target_at(t, i);
        sum += exp(d);
        total += y;
        pick += y == 0 ? (real)0 : y * d; /* a logit of -Inf that is not wanted costs nothing */
    }
    sum = row_sum(sum);
    total = t.target ? row_sum(total) : (real)1;
    pick = row_sum(pick);
    if (loss && threadIdx.x == 0) {
        loss[row] = missing ? NOT_A_NUMBER : C == 0 ? (real)0 : total * log(sum) - pick;
    }
    if (!grad) return;
    if (missing) factor = 0;
    EACH_COLUMN(i, C) {
        grad[i] = factor * total / sum * exp(x[i] - largest) - factor * target_at(t, i);
    }
}

/* With p = pred/sum(pred) clipped: loss = -sum(t*log(p)) and grad = factor/sum(pred)*(sum(u) - u/p),
 * where u is t, but 0 where p was clipped. */
DEVICE void of_probabilities(real *loss, real *grad, const real *x, const Target &t, real factor,
                             int64 row, int64 C) {
    const bool missing = is_missing(t, C);
    real sum = 0, inside = 0, pick = 0;
    EACH_COLUMN(i, C) sum += x[i];
    sum = row_sum(sum);
    EACH_COLUMN(i, C) {
        const real p = x[i] / sum, y = target_at(t, i);
        inside += outside(p) ? (real)0 : y;
        pick += y * log_clipped(p);
    }
    inside = row_sum(inside);
    pick = row_sum(pick);
    if (loss && threadIdx.x == 0) loss[row] = missing ? NOT_A_NUMBER : 0 - pick;
    if (!grad) return;
    factor = missing ? (real)0 : factor / sum;
    EACH_COLUMN(i, C) {
        const real p = x[i] / sum;
        grad[i] = factor * (inside - (outside(p) ? (real)0 : target_at(t, i) / p));
    }
}

KERNEL categorical(real *loss, real *grad_pred, const real *pred, const real *target,
                   const int64 *labels, const real *weight, double factor, int64 from_logits,
                   double smoothing, int64 rows, int64 C) {
    const int64 row = ROW;
    if (row >= rows) return;
    const Target t = row_target(target, labels, smoothing, row, C);
    const real f = weight ? (real)factor * weight[row] : (real)factor;
    real *grad = grad_pred ? grad_pred + row * C : grad_pred;
    if (from_logits) of_logits(loss, grad, pred + row * C, t, f, row, C);
    else of_probabilities(loss, grad, pred + row * C, t, f, row, C);
}
