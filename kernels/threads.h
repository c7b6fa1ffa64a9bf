/* What the runner needs of the machine: a barrier, flushed denormals, a clock. */
#ifndef FASTDL_THREADS_H
#define FASTDL_THREADS_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#ifdef _OPENMP
#include <omp.h>
static inline int team_size(void) { return omp_get_num_threads(); }
static inline int openmp_threads(void) { return omp_get_max_threads(); }
enum { HAS_OPENMP = 1 };
#else
static inline int team_size(void) { return 1; }
static inline int openmp_threads(void) { return 1; }
enum { HAS_OPENMP = 0 };
#endif

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* What is left of a thread's share of a stage: its pieces `first` to `end` - 1, in 24 bits each, below
 * the barrier's generation before the stage, which a thread that is still in the stage before it does
 * not take for its own. */
typedef struct {
    _Alignas(64) atomic_uint_least64_t left;
} Share;

enum { MOST_SHARES = 64, MOST_SHARED_PIECES = (1 << 24) - 1 };

/* The threads of one run: a barrier, a count of those that had work, the first one's processor, and
 * their shares of the stage that they are in. */
typedef struct {
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_int generation;
    atomic_int worked;
    int home;
    Share shares[MOST_SHARES];
} Team;

static inline int processor_now(void) {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}

static inline void team_start(Team *team) {
    atomic_init(&team->arrived, 0);
    atomic_init(&team->generation, 0);
    atomic_init(&team->worked, 0);
    team->home = processor_now();
}

/* For every thread but the first. One that was woken on the first one's processor would share it for
 * some tenths of a second, until the kernel notices: it moves at once, to any other that it may use. */
static inline void team_spread(const Team *team) {
#if defined(__linux__)
    cpu_set_t all, others;
    if (processor_now() != team->home || sched_getaffinity(0, sizeof all, &all)) return;
    others = all;
    CPU_CLR(team->home, &others);
    if (CPU_COUNT(&others) == 0) return;
    sched_setaffinity(0, sizeof others, &others);
    sched_setaffinity(0, sizeof all, &all);
#else
    (void)team;
#endif
}
static inline void team_note(Team *team, int had_work) { atomic_fetch_add(&team->worked, had_work); }
static inline int team_worked(Team *team) { return atomic_load(&team->worked); }

/* Spins for some microseconds, then yields, then sleeps: steps are much shorter than a sleep, and a
 * thread that waits for long must not take a core from others. */
static inline void team_barrier(Team *team, int threads) {
    const int generation = atomic_load_explicit(&team->generation, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) == threads - 1) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&team->generation, generation + 1, memory_order_release);
        return;
    }
    for (int waits = 0;
         atomic_load_explicit(&team->generation, memory_order_acquire) == generation; waits++) {
        if (waits < 500) { /* some 10 to 30 microseconds */
            relax();
        } else if (waits < 1500) {
            sched_yield();
        } else {
            const struct timespec pause = {0, 50000};
            nanosleep(&pause, NULL);
        }
    }
}

/* Gives the thread its share of the next stage; the barrier before that stage comes after it. */
static inline void team_deal(Team *team, int thread, int64_t first, int64_t end) {
    const uint64_t generation = (uint16_t)atomic_load_explicit(&team->generation, memory_order_relaxed);
    atomic_store_explicit(&team->shares[thread].left,
                          generation << 48 | (uint64_t)first << 24 | (uint64_t)end,
                          memory_order_relaxed);
}

/* Takes some of the pieces that are left: half of the thread's own, from the front (or, `backwards`, from
 * the back); and when those are gone, half of another thread's, from the other end. So a thread that is
 * held up by whatever else its processor does is helped by those that are not. Whether there were any. */
static inline int team_take(Team *team, int thread, int threads, int backwards, int64_t *first,
                            int64_t *end) {
    const uint64_t generation =
        (uint16_t)(atomic_load_explicit(&team->generation, memory_order_relaxed) - 1);
    for (int k = 0; k < threads; k++) {
        Share *share = &team->shares[(thread + k) % threads];
        const int front = (k == 0) != backwards;
        uint64_t left = atomic_load_explicit(&share->left, memory_order_relaxed);
        for (;;) {
            const uint64_t from = left >> 24 & MOST_SHARED_PIECES, to = left & MOST_SHARED_PIECES;
            const uint64_t half = (to - from + 1) / 2;
            if (left >> 48 != generation || from == to) break;
            const uint64_t now = front ? left + (half << 24) : left - half;
            if (atomic_compare_exchange_weak_explicit(&share->left, &left, now, memory_order_relaxed,
                                                      memory_order_relaxed)) {
                *first = (int64_t)(front ? from : to - half);
                *end = *first + (int64_t)half;
                return 1;
            }
        }
    }
    return 0;
}

/* Makes this thread treat denormals as zero; returns what to give back to restore_denormals. */
static inline uint64_t flush_denormals(void) {
#if defined(__x86_64__)
    const unsigned state = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(state | 0x8040u); /* flush to zero, denormals are zero */
    return state;
#elif defined(__aarch64__)
    uint64_t state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state));
    __asm__ volatile("msr fpcr, %0" ::"r"(state | (1ull << 24)));
    return state;
#else
    return 0;
#endif
}

static inline void restore_denormals(uint64_t state) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((unsigned)state);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" ::"r"(state));
#endif
    (void)state;
}

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

#endif
