/* Functions of two numbers by their place in the table's ARITHMETIC and COMPARISONS, and gradients. */
#pragma once
#include "common.cuh"

enum {
    ADD, SUBTRACT, MULTIPLY, DIVIDE, POWER, MAXIMUM, MINIMUM, /* ARITHMETIC */
    LESS, LESS_EQUAL, EQUAL, NOT_EQUAL                        /* COMPARISONS */
};

/* Not inlined: it is many times as long as all the rest. */
static __device__ __noinline__ real power(real a, real b) { return pow(a, b); }

/* A NaN in either stays. */
DEVICE real larger_of(real a, real b) { return a > b || a != a ? a : b; }
DEVICE real smaller_of(real a, real b) { return a < b || a != a ? a : b; }

DEVICE real of_two(int64 function, real a, real b) {
    switch (function) {
    case ADD: return a + b;
    case SUBTRACT: return a - b;
    case MULTIPLY: return a * b;
    case DIVIDE: return a / b;
    case POWER: return power(a, b);
    case MAXIMUM: return larger_of(a, b);
    case MINIMUM: return smaller_of(a, b);
    case LESS: return a < b;
    case LESS_EQUAL: return a <= b;
    case EQUAL: return a == b;
    default: return a != b;
    }
}

/* The share of the first in a maximum or minimum. */
DEVICE real share(bool first, bool both) { return first ? (real)1 : both ? (real)0.5 : (real)0; }

/* The gradient of a. */
DEVICE real gradient_of_first(int64 function, real grad, real a, real b) {
    switch (function) {
    case ADD:
    case SUBTRACT: return grad;
    case MULTIPLY: return grad * b;
    case DIVIDE: return grad / b;
    case POWER: return grad * (b == 0 ? (real)0 : b * power(a, b - 1));
    case MAXIMUM: return grad * share(a > b, a == b);
    default: return grad * share(a < b, a == b);
    }
}

/* The gradient of b; log(a) * a**b is 0 where a is. */
DEVICE real gradient_of_second(int64 function, real grad, real a, real b) {
    switch (function) {
    case ADD: return grad;
    case SUBTRACT: return -grad;
    case MULTIPLY: return grad * a;
    case DIVIDE: return -grad * (a / b) / b;
    case POWER: return grad * (a == 0 && b >= 0 ? (real)0 : power(a, b) * log(a));
    case MAXIMUM: return grad * share(b > a, a == b);
    default: return grad * share(b < a, a == b);
    }
}
