/* The optimizers' updates: plain and with all that may happen to a gradient first, each in Keras's
 * form and in PyTorch's, with as much state as there can be. */
#include "checks.h"

typedef struct {
    real *param, *grad, *state[3];     /* what the body works on */
    real *before, *was[3];             /* copies: what it started from */
    int64_t n;
} Arrays;

static Arrays drawn_arrays(int64_t n) {
    Arrays a = {.n = n, .param = drawn(n, -1, 1), .grad = drawn(n, -1, 1), .before = array(n)};
    for (int k = 0; k < 3; k++) a.state[k] = drawn(n, 0.5, 1), a.was[k] = array(n);
    memcpy(a.before, a.param, (size_t)n * sizeof(real));
    for (int k = 0; k < 3; k++) memcpy(a.was[k], a.state[k], (size_t)n * sizeof(real));
    return a;
}

/* The gradient and the parameter that an update goes on with. */
static double first_steps(const GradientOptions *o, double g, double *w) {
    g += o->l1 * ((*w > 0) - (*w < 0)) + 2 * o->l2 * *w;
    if (o->scale) g *= *(const real *)o->scale;
    if (o->clipvalue) g = fmin(o->clipvalue, fmax(-o->clipvalue, g));
    *w -= o->decay * *w;
    return g;
}

static void compare(const char *what, const Arrays *a, int64_t i, double w, const double *state) {
    near(what, a->n, i, a->param[i], w, 8 * EPSILON);
    for (int k = 0; k < 3; k++) near(what, a->n, i, a->state[k][i], state[k], 8 * EPSILON);
}

/* Runs an update of one stretch: of the call are given the state, the learning rate and the options. */
static void update(int kind, const Arrays *a, UpdateCall call) {
    call.arrays[PARAM] = a->param, call.arrays[GRAD] = a->grad;
    call.rows = 1, call.n = call.stride = call.grad_stride = a->n;
    bodies->update->choose[kind](&call)(&call);
}

static void check_each(int64_t n, const GradientOptions *first, int torch) {
    Arrays a = drawn_arrays(n);
    update(ADAM, &a, (UpdateCall){.arrays = {[STATE] = a.state[0], a.state[1], torch ? a.state[2] : NULL},
                                  .learning_rate = 0.01, .first = *first, .adam = {0.9, 0.99, 1e-7}});
    for (int64_t i = 0; i < n; i++) {
        double w = a.before[i];
        const double g = first_steps(first, a.grad[i], &w);
        const double m = 0.9 * a.was[0][i] + 0.1 * g, v = 0.99 * a.was[1][i] + 0.01 * g * g;
        const double most = torch ? fmax(v, a.was[2][i]) : a.was[2][i];
        compare("adam", &a, i, w - 0.01 * m / (sqrt(torch ? most : v) + 1e-7),
                (double[]){m, v, most});
    }
    a = drawn_arrays(n);
    for (int64_t i = 0; i < n; i++) /* the mean: its square is far below the squares' */
        a.was[1][i] = a.state[1][i] *= (real)0.25;
    update(RMSPROP, &a, (UpdateCall){.arrays = {[STATE] = a.state[0], a.state[1], a.state[2]},
                                     .learning_rate = 0.01, .first = *first,
                                     .rmsprop = {0.9, 0.7, 1e-4, 1, torch}});
    for (int64_t i = 0; i < n; i++) {
        double w = a.before[i];
        const double g = first_steps(first, a.grad[i], &w);
        const double s = 0.9 * a.was[0][i] + 0.1 * g * g, mean = 0.9 * a.was[1][i] + 0.1 * g;
        const double variance = fmax(0, s - mean * mean);
        const double root = torch ? sqrt(variance) + 1e-4 : sqrt(variance + 1e-4);
        const double v = 0.7 * a.was[2][i] + (torch ? g : 0.01 * g) / root;
        near("rmsprop", n, i, a.param[i], w - (torch ? 0.01 * v : v), 16 * EPSILON);
        near("rmsprop velocity", n, i, a.state[2][i], v, 32 * EPSILON);
        near("rmsprop square", n, i, a.state[0][i], s, 8 * EPSILON);
        near("rmsprop mean", n, i, a.state[1][i], mean, 8 * EPSILON);
    }
    a = drawn_arrays(n);
    update(SGD, &a, (UpdateCall){.arrays = {[STATE] = a.state[0]}, .learning_rate = 0.1, .first = *first,
                                 .sgd = {0.9, !torch, torch}});
    for (int64_t i = 0; i < n; i++) {
        double w = a.before[i];
        const double g = first_steps(first, a.grad[i], &w);
        const double v = 0.9 * a.was[0][i] + (torch ? g : -0.1 * g);
        compare("sgd", &a, i, torch ? w - 0.1 * v : w + 0.9 * v - 0.1 * g,
                (double[]){v, a.was[1][i], a.was[2][i]});
    }
    a = drawn_arrays(n);
    update(ADAGRAD, &a, (UpdateCall){.arrays = {[STATE] = a.state[0]}, .learning_rate = 0.01,
                                     .first = *first, .adagrad = {1e-4, torch}});
    for (int64_t i = 0; i < n; i++) {
        double w = a.before[i];
        const double g = first_steps(first, a.grad[i], &w), s = a.was[0][i] + g * g;
        compare("adagrad", &a, i, w - 0.01 * g / (torch ? sqrt(s) + 1e-4 : sqrt(s + 1e-4)),
                (double[]){s, a.was[1][i], a.was[2][i]});
    }
    done("updates");
}

/* A tile of two rows: what lies behind each of them stays as it is. The gradient's lie side by side. */
static void check_tile(int64_t n) {
    const int64_t wide = n / 2, most = wide > 0 ? wide - 1 : 0;
    const Arrays a = drawn_arrays(n);
    const UpdateCall call = {.arrays = {a.param, a.grad}, .rows = 2, .n = most, .stride = wide,
                             .grad_stride = most, .learning_rate = 0.1};
    bodies->update->choose[SGD](&call)(&call);
    for (int64_t i = 0; i < n; i++) {
        const int inside = i < 2 * wide && i % wide < most;
        const double g = inside ? a.grad[i / wide * most + i % wide] : 0;
        near("sgd of a tile", n, i, a.param[i], a.before[i] - 0.1 * g, 4 * EPSILON);
    }
    done("tile");
}

static void check_norms(int64_t n) {
    const real *w = drawn(n, -1, 1), *g = drawn(n, -1, 1);
    double plain = 0, squares = 0, penalty = 0;
    for (int64_t i = 0; i < n; i++) {
        const double full = g[i] + (double)(real)0.1 * ((w[i] > 0) - (w[i] < 0)) + 0.5 * w[i];
        plain += (double)g[i] * g[i], squares += full * full;
        penalty += 0.1 * fabs((double)w[i]) + 0.25 * w[i] * w[i];
    }
    const UpdateBodies *b = bodies->update;
    near("squared norm", n, 0, b->squared_norm(g, NULL, n, 0, 0), plain, 1e-14 * plain);
    near("squared norm", n, 1, b->squared_norm(g, w, n, 0.1, 0.25), squares, 8 * EPSILON * squares);
    near("penalty", n, 0, b->penalty(w, n, 0.1, 0.25), penalty, 1e-14 * penalty);
    real *scale = array(1);
    for (double norm = 0.5; norm < 3; norm *= 4) {
        b->clip_scale(scale, 1, norm);
        near("clip scale", n, 0, *scale, fmin(1, norm), 0);
    }
    done("norms");
}

void check_updates(void) {
    const real half = (real)0.5;
    const GradientOptions plain = {0}, full = {&half, 0.3, 0.125, 0.25, 1.25, 0.125};
    for (int64_t n = 1; n <= 37; n++) {
        for (int torch = 0; torch < 2; torch++)
            check_each(n, &plain, torch), check_each(n, &full, torch);
        check_tile(n), check_norms(n);
    }
}
