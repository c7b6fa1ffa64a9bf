/* `real`, and vectors of it: the one place that knows how wide a register is.
 *
 * A wrapper (avx512_f32.c, ...) defines REAL_BITS and VECTOR_BYTES and includes the bodies; with
 * GCC's vector extensions the same source becomes zmm, ymm, xmm or NEON code. A span of n elements
 * is walked in whole vectors and one partial one: `load` and `store` take the number of lanes that
 * are really there, and in the main loop that number is a constant the compiler folds away. So a
 * tail runs the very instructions of the main loop, and every lane gives the same bits.
 */
#ifndef FASTDL_VECTOR_H
#define FASTDL_VECTOR_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h> /* only for partial loads and stores, below; brings POSIX's select() */
#define select select_lanes
#endif

#if REAL_BITS == 32
typedef float real;
typedef int32_t whole; /* as wide as real */
typedef uint32_t bits;
#else
typedef double real;
typedef int64_t whole;
typedef uint64_t bits;
#endif

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef whole ivec __attribute__((vector_size(VECTOR_BYTES))); /* also what comparisons give */
typedef real vec_unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(REAL_BITS / 8), may_alias));

enum { LANES = VECTOR_BYTES / (REAL_BITS / 8) };

/* Before a loop over the registers of a tile. GCC takes an array apart into registers only where
 * it has unrolled its loops early; Clang does so by itself. */
#if defined(__clang__)
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define INLINE static inline __attribute__((always_inline))
/* Of what is long, beside a short way through the same caller: it would need registers, and saving them
 * takes as long as the short way. */
#define NOINLINE static __attribute__((noinline))

INLINE vec broadcast(real x) { return x - (vec){0}; }

/* The same vector, in a register: else GCC loads it again for each use. */
INLINE vec held(vec x) {
#if defined(__aarch64__)
    __asm__("" : "+w"(x));
#elif defined(__AVX512F__)
    __asm__("" : "+v"(x));
#else
    __asm__("" : "+x"(x));
#endif
    return x;
}

/* The same address, which the compiler knows nothing more of: else it keeps a register for each row
 * of a tile. */
#define apart(p)                       \
    ({                                 \
        __typeof__((p) + 0) there = p; \
        __asm__("" : "+r"(there));     \
        there;                         \
    })

/* m ? a : b in each lane; m is all ones or all zeros, as comparisons give it. */
INLINE vec select(ivec m, vec a, vec b) { return (vec)((m & (ivec)a) | (~m & (ivec)b)); }

/* All ones in the lanes that exist. */
INLINE ivec lanes_below(int64_t lanes) {
    ivec index;
    for (int j = 0; j < LANES; j++) index[j] = j;
    return index < (whole)lanes;
}

/* Parts of vectors: masked instructions where the set has them. A memcpy of a length that is not
 * constant is a call, which would also spill every vector register. */
#if defined(__AVX512F__)
#if REAL_BITS == 32
INLINE vec load_part(const real *p, int64_t lanes) {
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << lanes) - 1), p);
}
INLINE void store_part(real *p, vec x, int64_t lanes) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << lanes) - 1), (__m512)x);
}
INLINE vec part_of(vec x, int64_t lanes) {
    return (vec)_mm512_maskz_mov_ps((__mmask16)((1u << lanes) - 1), (__m512)x);
}
#else
INLINE vec load_part(const real *p, int64_t lanes) {
    return (vec)_mm512_maskz_loadu_pd((__mmask8)((1u << lanes) - 1), p);
}
INLINE void store_part(real *p, vec x, int64_t lanes) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << lanes) - 1), (__m512d)x);
}
INLINE vec part_of(vec x, int64_t lanes) {
    return (vec)_mm512_maskz_mov_pd((__mmask8)((1u << lanes) - 1), (__m512d)x);
}
#endif
#elif defined(__AVX2__)
#if REAL_BITS == 32
INLINE __m256i part_mask(int64_t lanes) {
    return (__m256i)((ivec){0, 1, 2, 3, 4, 5, 6, 7} < (whole)lanes);
}
INLINE vec load_part(const real *p, int64_t lanes) {
    return (vec)_mm256_maskload_ps(p, part_mask(lanes));
}
/* In halves: a masked store is dozens of steps on AMD's processors. */
INLINE void store_part(real *p, vec x, int64_t lanes) {
    __m128 part = _mm256_castps256_ps128((__m256)x);
    if (lanes & 4) {
        _mm_storeu_ps(p, part);
        part = _mm256_extractf128_ps((__m256)x, 1);
        p += 4;
    }
    if (lanes & 2) {
        _mm_storel_pi((__m64 *)p, part);
        part = _mm_movehl_ps(part, part);
        p += 2;
    }
    if (lanes & 1) _mm_store_ss(p, part);
}
#else
INLINE __m256i part_mask(int64_t lanes) { return (__m256i)((ivec){0, 1, 2, 3} < (whole)lanes); }
INLINE vec load_part(const real *p, int64_t lanes) {
    return (vec)_mm256_maskload_pd(p, part_mask(lanes));
}
INLINE void store_part(real *p, vec x, int64_t lanes) {
    __m128d part = _mm256_castpd256_pd128((__m256d)x);
    if (lanes & 2) {
        _mm_storeu_pd(p, part);
        part = _mm256_extractf128_pd((__m256d)x, 1);
        p += 2;
    }
    if (lanes & 1) _mm_store_sd(p, part);
}
#endif
#else
INLINE vec load_part(const real *p, int64_t lanes) {
    vec x = {0};
    for (int i = 0; i < LANES - 1; i++)
        if (i < lanes) x[i] = p[i];
    return x;
}
INLINE void store_part(real *p, vec x, int64_t lanes) {
    for (int i = 0; i < LANES - 1; i++)
        if (i < lanes) p[i] = x[i];
}
#endif

#if !defined(__AVX512F__)
INLINE vec part_of(vec x, int64_t lanes) { return select(lanes_below(lanes), x, (vec){0}); }
#endif

/* Whether a part of a vector is loaded as fast as a whole one. */
#if defined(__AVX512F__)
enum { FAST_PARTS = 1 };
#else
enum { FAST_PARTS = 0 };
#endif

/* The first `lanes` lanes of x, 0 in the others. */
INLINE vec first_lanes(vec x, int64_t lanes) { return lanes >= LANES ? x : part_of(x, lanes); }

INLINE vec load(const real *p, int64_t lanes) {
    if (lanes >= LANES) return *(const vec_unaligned *)p;
    return load_part(p, lanes);
}

INLINE void store(real *p, vec x, int64_t lanes) {
    if (lanes >= LANES) *(vec_unaligned *)p = x;
    else store_part(p, x, lanes);
}

/* The same with zeros in the other lanes, where there is room: a load can take what was stored whole just
 * before, but has to wait until a part is in the cache. */
INLINE void store_roomy(real *p, vec x, int64_t lanes, int roomy) {
    if (roomy) *(vec_unaligned *)p = first_lanes(x, lanes);
    else store(p, x, lanes);
}

/* For arrays beyond the caches, which would drive out all else and be read before they are written:
 * stores that go past the caches, where there are such. p is aligned to the vector. Other threads
 * see them after far_stores_end. */
#if defined(__clang__)
INLINE void store_far(real *p, vec x) { __builtin_nontemporal_store(x, (vec *)p); }
#elif defined(__AVX512F__) && REAL_BITS == 32
INLINE void store_far(real *p, vec x) { _mm512_stream_ps(p, (__m512)x); }
#elif defined(__AVX512F__)
INLINE void store_far(real *p, vec x) { _mm512_stream_pd(p, (__m512d)x); }
#elif defined(__AVX2__) && REAL_BITS == 32
INLINE void store_far(real *p, vec x) { _mm256_stream_ps(p, (__m256)x); }
#elif defined(__AVX2__)
INLINE void store_far(real *p, vec x) { _mm256_stream_pd(p, (__m256d)x); }
#else
INLINE void store_far(real *p, vec x) { store(p, x, LANES); }
#endif

INLINE void far_stores_end(void) {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#endif
}

/* Elements of a line of the cache, and those of the n from p on that are before its first whole one. */
enum { LINE = 64 / sizeof(real) };
INLINE int64_t line_lead(const real *p, int64_t n) {
    const int64_t lead = (int64_t)(-(uintptr_t)p % 64 / sizeof(real));
    return lead < n ? lead : n;
}

/* Which lanes of a are larger than those of b, where a NaN is larger than all numbers and nothing is
 * larger than it; and a in these lanes, b in the others. (GCC makes vectors of comparisons.) */
#if defined(__AVX512F__) && REAL_BITS == 32
typedef __mmask16 Larger;
INLINE Larger larger(vec a, vec b) {
    const Larger number = _mm512_cmp_ps_mask((__m512)b, (__m512)b, _CMP_ORD_Q);
    return _mm512_mask_cmp_ps_mask(number, (__m512)a, (__m512)b, _CMP_NLE_UQ);
}
INLINE vec pick(Larger m, vec a, vec b) {
    return (vec)_mm512_mask_blend_ps(m, (__m512)b, (__m512)a);
}
#elif defined(__AVX512F__)
typedef __mmask8 Larger;
INLINE Larger larger(vec a, vec b) {
    const Larger number = _mm512_cmp_pd_mask((__m512d)b, (__m512d)b, _CMP_ORD_Q);
    return _mm512_mask_cmp_pd_mask(number, (__m512d)a, (__m512d)b, _CMP_NLE_UQ);
}
INLINE vec pick(Larger m, vec a, vec b) {
    return (vec)_mm512_mask_blend_pd(m, (__m512d)b, (__m512d)a);
}
#else
typedef ivec Larger;
INLINE Larger larger(vec a, vec b) { return ~(a <= b) & (b == b); }
INLINE vec pick(Larger m, vec a, vec b) { return select(m, a, b); }
#endif

/* The larger, the smaller of two; b where one of them is NaN. (GCC makes three instructions of the
 * comparison, where there is one that means the same.) */
#if defined(__AVX512F__) && REAL_BITS == 32
INLINE vec maximum(vec a, vec b) { return (vec)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE vec minimum(vec a, vec b) { return (vec)_mm512_min_ps((__m512)a, (__m512)b); }
#elif defined(__AVX512F__)
INLINE vec maximum(vec a, vec b) { return (vec)_mm512_max_pd((__m512d)a, (__m512d)b); }
INLINE vec minimum(vec a, vec b) { return (vec)_mm512_min_pd((__m512d)a, (__m512d)b); }
#elif defined(__AVX2__) && REAL_BITS == 32
INLINE vec maximum(vec a, vec b) { return (vec)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE vec minimum(vec a, vec b) { return (vec)_mm256_min_ps((__m256)a, (__m256)b); }
#elif defined(__AVX2__)
INLINE vec maximum(vec a, vec b) { return (vec)_mm256_max_pd((__m256d)a, (__m256d)b); }
INLINE vec minimum(vec a, vec b) { return (vec)_mm256_min_pd((__m256d)a, (__m256d)b); }
#else
INLINE vec maximum(vec a, vec b) { return select(a > b, a, b); }
INLINE vec minimum(vec a, vec b) { return select(a < b, a, b); }
#endif

/* Compiled to the vector instruction. */
INLINE vec square_root(vec x) {
    vec root;
    for (int k = 0; k < LANES; k++)
        root[k] = (real)(REAL_BITS == 32 ? __builtin_sqrtf((float)x[k]) : __builtin_sqrt(x[k]));
    return root;
}

/* sqrt(x) for the updates, whose speed it decides: exact, or, where the processor has an estimate of
 * 14 bits, that with a Newton step, within 0.8 units in the last place. The step makes NaN of 0 and
 * infinity: they are put back. The divider has then only a division to do, beside the multiplies.
 * (An estimate for the quotient too is no faster; AVX2's of 12 bits would need two steps.) */
#if defined(__AVX512F__) && REAL_BITS == 32
INLINE vec near_root(vec x) {
    const vec y = (vec)_mm512_rsqrt14_ps((__m512)x), root = x * y;
    const vec better = root + root * ((real)0.5 - root * ((real)0.5 * y));
    const __m512i zero_and_infinity_stay = _mm512_set1_epi32(0x00100100);
    return (vec)_mm512_fixupimm_ps((__m512)better, (__m512)x, zero_and_infinity_stay, 0);
}
#else
INLINE vec near_root(vec x) { return square_root(x); }
#endif

/* Runs the block for i = 0, LANES, 2*LANES, ...; `lanes` is how many elements of the vector at i
 * exist: the constant LANES but for the last one. */
#define EACH_VECTOR(n, ...)                                   \
    do {                                                      \
        int64_t i = 0;                                        \
        for (; i + LANES <= (n); i += LANES) {                \
            enum { lanes = LANES };                           \
            __VA_ARGS__                                       \
        }                                                     \
        if (i < (n)) {                                        \
            const int64_t lanes = (n) - i;                    \
            __VA_ARGS__                                       \
        }                                                     \
    } while (0)

#endif
