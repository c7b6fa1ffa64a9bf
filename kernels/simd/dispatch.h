/* The instruction sets of this build, worst first, and which of them this processor has. */
#ifndef FASTDL_DISPATCH_H
#define FASTDL_DISPATCH_H

#include "bodies.h"

typedef struct {
    const char *name;
    const Bodies *bodies[2]; /* float32, float64 */
} InstructionSet;

#if defined(__x86_64__)

extern const Bodies fastdl_baseline_f32, fastdl_baseline_f64;
extern const Bodies fastdl_avx2_f32, fastdl_avx2_f64;
extern const Bodies fastdl_avx512_f32, fastdl_avx512_f64;

static const InstructionSet instruction_sets[] = {
    {"baseline", {&fastdl_baseline_f32, &fastdl_baseline_f64}},
    {"avx2", {&fastdl_avx2_f32, &fastdl_avx2_f64}},
    {"avx512", {&fastdl_avx512_f32, &fastdl_avx512_f64}},
};
enum { INSTRUCTION_SETS = 3 };

static inline int processor_has(int set) {
    __builtin_cpu_init();
    if (set == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (set == 2)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    return 1;
}

#else

extern const Bodies fastdl_neon_f32, fastdl_neon_f64;

static const InstructionSet instruction_sets[] = {
    {"neon", {&fastdl_neon_f32, &fastdl_neon_f64}},
};
enum { INSTRUCTION_SETS = 1 };

static inline int processor_has(int set) { return set == 0; }

#endif

#endif
