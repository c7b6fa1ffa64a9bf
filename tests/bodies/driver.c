/* Runs C bodies of one float type (-DREAL_BITS=32 or 64) against naive C in double.
 *
 * As a library, `check` is given those of an instruction set that is built and runs here. With
 * -DBODIES=fastdl_<set>_f<bits> it is a program to be linked with the set's bodies, for another
 * processor. Both print a line for each check that fails, and then the number of checks.
 */
#include "checks.h"

const Bodies *bodies;

enum { GUARD = 32, ARRAYS = 64 };
static const real UNTOUCHED = 12345;
static int checks, failures, arrays;
static real *block[ARRAYS];
static int64_t length[ARRAYS];

real *array(int64_t n) {
    if (arrays == ARRAYS) abort();
    real *p = malloc((size_t)(n + 2 * GUARD) * sizeof(real));
    for (int64_t i = 0; i < n + 2 * GUARD; i++) p[i] = UNTOUCHED;
    block[arrays] = p;
    length[arrays++] = n;
    return p + GUARD;
}

void done(const char *what) {
    while (arrays > 0) {
        const real *p = block[--arrays], *end = p + GUARD + length[arrays];
        int touched = 0;
        for (int64_t i = 0; i < GUARD; i++) touched |= p[i] != UNTOUCHED || end[i] != UNTOUCHED;
        checks++;
        failures += touched;
        if (touched) printf("%s: wrote outside array %d\n", what, arrays);
        free(block[arrays]);
    }
}

double uniform(void) { /* Knuth's MMIX generator */
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53;
}

real *drawn(int64_t n, double low, double high) {
    real *x = array(n);
    for (int64_t i = 0; i < n; i++) x[i] = (real)(low + (high - low) * uniform());
    return x;
}

void near(const char *what, int64_t n, int64_t i, double got, double wanted, double bound) {
    checks++;
    if (!(fabs(got - wanted) <= bound) && !(isnan(got) && isnan(wanted)) && got != wanted) {
        failures++;
        printf("%s (%lld)[%lld]: %.17g, not %.17g +- %.2g\n", what, (long long)n, (long long)i, got,
               wanted, bound);
    }
}

uint32_t word(Draw draw, uint64_t element) {
    const uint64_t group = element / 4;
    uint32_t x[4] = {(uint32_t)group, (uint32_t)(group >> 32), draw.stream, draw.step};
    uint32_t k0 = (uint32_t)draw.seed, k1 = (uint32_t)(draw.seed >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        const uint64_t p0 = 0xD2511F53ull * x[0], p1 = 0xCD9E8D57ull * x[2];
        const uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ x[1] ^ k0, (uint32_t)p1,
                                  (uint32_t)(p0 >> 32) ^ x[3] ^ k1, (uint32_t)p0};
        memcpy(x, next, sizeof next);
    }
    return x[element % 4];
}

int check(const Bodies *given) {
    bodies = given;
    checks = failures = 0;
    check_elements(), check_rows(), check_updates();
    check_products(), check_images(), check_sequences();
    printf("%d checks, %d failed\n", checks, failures);
    fflush(stdout);
    return failures > 0;
}

#ifdef BODIES
extern const Bodies BODIES;
int main(void) { return check(&BODIES); }
#endif
