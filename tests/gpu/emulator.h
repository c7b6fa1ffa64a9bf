/* CUDA's words for C++ on the host, and blocks of threads that really meet at barriers.
 *
 * The .cu files are compiled with this before them and nothing in them changed. Threads of a block
 * are coroutines, each with a stack of its own. One runs until it comes to a barrier or a shuffle,
 * or ends; then another of its warp does, and when none of the warp can go on another warp's, in
 * forward, reverse or random order. So a thread and a warp get as far ahead of the others as the
 * program allows, and a barrier that is missing shows in the results. Blocks run one after the
 * other, in the same order. Shared memory holds NaN before a block begins.
 */
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <sys/mman.h>
#include <tuple>
#include <type_traits>
#include <utility>

#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static __attribute__((section("emulated_shared")))

using std::ceil; using std::cos; using std::erf; using std::erfc; using std::exp; using std::expm1;
using std::fabs; using std::floor; using std::fmod; using std::isfinite; using std::isinf;
using std::isnan; using std::log; using std::log1p; using std::pow; using std::sin; using std::sqrt;
using std::tanh; using std::fma; using std::rint; using std::round; using std::trunc; using std::fmax;
using std::fmin; using std::copysign;

inline float __int_as_float(int x) { float y; std::memcpy(&y, &x, 4); return y; }
inline float rsqrt(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float normcdf(float x) { return (float)(0.5 * std::erfc(-(double)x * 0.70710678118654752440)); }
inline double normcdf(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }
inline float cospi(float x) { return (float)std::cos(3.14159265358979323846 * (double)x); }
inline double cospi(double x) { return std::cos(3.14159265358979323846 * x); }
inline float sinpi(float x) { return (float)std::sin(3.14159265358979323846 * (double)x); }
inline double sinpi(double x) { return std::sin(3.14159265358979323846 * x); }
template <class T> T min(T a, T b) { return b < a ? b : a; }
template <class T> T max(T a, T b) { return a < b ? b : a; }

struct dim3 {
    unsigned x, y, z;
};
struct uint3 {
    unsigned x, y, z;
};
template <class T> struct pair_of { T x, y; };
template <class T> struct four_of { T x, y, z, w; };
typedef pair_of<float> float2; typedef pair_of<double> double2; typedef four_of<float> float4;

namespace emulated {

enum { MOST_THREADS = 1024, WARP_SIZE = 32, STACK = 64 * 1024 };
enum State { READY, AT_BARRIER, AT_SHUFFLE, DONE };
enum Order { FORWARD, REVERSE, RANDOM };
enum Failure { FINE, DEADLOCK };

static dim3 grid, block, block_index, thread_index;
static int thread, threads;
static State state[MOST_THREADS];
static unsigned masks[MOST_THREADS];        /* of the shuffle that a thread waits in */
static int shuffles[MOST_THREADS];          /* how many it has done: slots alternate */
static uint64_t slots[2][MOST_THREADS];
static void *contexts[MOST_THREADS], *scheduler;
static char *stacks;
static std::function<void()> body;

/* Puts what a call must keep on the stack, its pointer in *save, and goes on with another stack. */
#if defined(__x86_64__)
extern "C" void emulated_switch(void **save, void *other);
asm(R"(
.text
.type emulated_switch, @function
emulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
#define SWITCH_TO(save, other) emulated_switch(save, other)
static void thread_main();
static void *fresh(char *stack) {
    void **top = (void **)(stack + STACK) - 2;
    *top = (void *)thread_main; /* where the switch returns to; the stack as behind a call */
    for (int k = 1; k <= 6; k++) top[-k] = nullptr;
    return top - 6;
}
#else
#include <ucontext.h>
static ucontext_t saved[MOST_THREADS + 1];
static void emulated_switch(void **save, void *other) {
    ucontext_t *here = save == &scheduler ? &saved[MOST_THREADS] : &saved[save - contexts];
    *save = here;
    swapcontext(here, (ucontext_t *)other);
}
#define SWITCH_TO(save, other) emulated_switch(save, other)
static void thread_main();
static void *fresh(char *stack) {
    ucontext_t *made = &saved[(stack - stacks) / STACK];
    getcontext(made);
    made->uc_stack.ss_sp = stack;
    made->uc_stack.ss_size = STACK;
    made->uc_link = nullptr;
    makecontext(made, thread_main, 0);
    return made;
}
#endif

static void wait(State why) {
    const int me = thread;
    state[me] = why;
    SWITCH_TO(&contexts[me], scheduler);
}

static void thread_main() {
    body();
    wait(DONE);
    std::abort();
}

static uint64_t random_state = 88172645463325252u;
static unsigned random_below(unsigned n) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % n;
}

static void shuffle(int *order, int n) {
    for (int k = n - 1; k > 0; k--) std::swap(order[k], order[random_below((unsigned)k + 1)]);
}

/* Lets the warp go on if all threads of the mask have come. */
static bool release_warp(int first) {
    for (int t = first; t < first + WARP_SIZE && t < threads; t++) {
        if (state[t] != AT_SHUFFLE) continue;
        bool all = true;
        for (int k = 0; k < WARP_SIZE && first + k < threads; k++)
            if (masks[t] >> k & 1) all &= state[first + k] == AT_SHUFFLE && masks[first + k] == masks[t];
        if (!all) continue;
        for (int k = 0; k < WARP_SIZE && first + k < threads; k++)
            if (masks[t] >> k & 1) state[first + k] = READY;
        return true;
    }
    return false;
}

/* Runs a warp's threads until all of them have ended or wait at the block's barrier, or for each
 * other in vain. */
static void run_warp(int first, int order_kind) {
    const int size = threads - first < WARP_SIZE ? threads - first : WARP_SIZE;
    int order[WARP_SIZE];
    for (int k = 0; k < size; k++) order[k] = first + (order_kind == REVERSE ? size - 1 - k : k);
    do {
        if (order_kind == RANDOM) shuffle(order, size);
        for (int k = 0; k < size; k++) {
            const int t = order[k];
            if (state[t] != READY) continue;
            thread = t;
            thread_index = {t % block.x, t / block.x % block.y, t / block.x / block.y};
            SWITCH_TO(&scheduler, contexts[t]);
        }
    } while (release_warp(first));
}

static Failure run_block(int order_kind) {
    const int warps = (threads + WARP_SIZE - 1) / WARP_SIZE;
    int order[MOST_THREADS / WARP_SIZE];
    for (int w = 0; w < warps; w++) order[w] = order_kind == REVERSE ? warps - 1 - w : w;
    for (int t = 0; t < threads; t++) {
        state[t] = READY;
        shuffles[t] = 0;
        contexts[t] = fresh(stacks + (size_t)t * STACK);
    }
    for (;;) {
        if (order_kind == RANDOM) shuffle(order, warps);
        for (int k = 0; k < warps; k++) run_warp(order[k] * WARP_SIZE, order_kind);
        int waiting = 0, done = 0;
        for (int t = 0; t < threads; t++) {
            waiting += state[t] == AT_BARRIER;
            done += state[t] == DONE;
        }
        if (done == threads) return FINE;
        if (waiting + done < threads) return DEADLOCK;
        for (int t = 0; t < threads; t++)
            if (state[t] == AT_BARRIER) state[t] = READY;
    }
}

extern "C" {
extern char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));
}

static Failure run_grid(int order) {
    const unsigned blocks = grid.x * grid.y * grid.z;
    threads = (int)(block.x * block.y * block.z);
    if (!stacks)
        stacks = (char *)mmap(nullptr, (size_t)MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    const unsigned first = order == RANDOM ? random_below(blocks) : 0;
    for (unsigned k = 0; k < blocks; k++) {
        const unsigned b = order == REVERSE ? blocks - 1 - k : (k + first) % blocks;
        block_index = {b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y};
        if (__start_emulated_shared)
            std::memset(__start_emulated_shared, 0xff,
                        (size_t)(__stop_emulated_shared - __start_emulated_shared));
        if (run_block(order)) return DEADLOCK;
    }
    return FINE;
}

/* A kernel's arguments from 8-byte words. */
template <class T> T argument(uint64_t word) {
    static_assert(std::is_pointer<T>::value || std::is_same<T, long long>::value ||
                      std::is_same<T, double>::value,
                  "a kernel takes pointers, int64 and double");
    T value;
    std::memcpy(&value, &word, sizeof value);
    return value;
}

template <class... A, size_t... I>
int run(void (*kernel)(A...), int count, const uint64_t *words, int order,
        std::index_sequence<I...>) {
    if (count != (int)sizeof...(A)) return -(int)sizeof...(A) - 1;
    const std::tuple<A...> given(argument<A>(words[I])...);
    body = [kernel, &given] { std::apply(kernel, given); };
    return run_grid(order);
}

template <class... A> int run(void (*kernel)(A...), int count, const uint64_t *words, int order) {
    return run(kernel, count, words, order, std::index_sequence_for<A...>());
}

/* What each thread of the mask gives, once all have given it. */
template <class T> T exchange(unsigned mask, T value, int lane) {
    static_assert(sizeof(T) <= 8, "shuffles are of 4 or 8 bytes");
    const int me = thread, first = me - me % WARP_SIZE;
    const int turn = shuffles[me]++ & 1;
    std::memcpy(&slots[turn][me], &value, sizeof value);
    masks[me] = mask;
    wait(AT_SHUFFLE);
    T result;
    const uint64_t nothing = ~(uint64_t)0;
    const bool there = lane >= 0 && lane < WARP_SIZE && first + lane < threads && mask >> lane & 1;
    std::memcpy(&result, there ? &slots[turn][first + lane] : &nothing, sizeof result);
    return result;
}

inline int lane() { return thread % WARP_SIZE; }

} // namespace emulated

#define threadIdx (emulated::thread_index)
#define blockIdx (emulated::block_index)
#define blockDim (emulated::block)
#define gridDim (emulated::grid)

inline void __syncthreads() { emulated::wait(emulated::AT_BARRIER); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulated::exchange(mask, 0, 0); }
inline void __threadfence() {}
inline int __ffs(unsigned bits) { return __builtin_ffs((int)bits); }

template <class T> T __shfl_sync(unsigned mask, T x, int lane, int = 32) {
    return emulated::exchange(mask, x, lane);
}
template <class T> T __shfl_xor_sync(unsigned mask, T x, int distance, int = 32) {
    return emulated::exchange(mask, x, emulated::lane() ^ distance);
}
template <class T> T __shfl_down_sync(unsigned mask, T x, unsigned distance, int = 32) {
    const int from = emulated::lane() + (int)distance;
    return emulated::exchange(mask, x, from < 32 ? from : emulated::lane());
}
template <class T> T __shfl_up_sync(unsigned mask, T x, unsigned distance, int = 32) {
    const int from = emulated::lane() - (int)distance;
    return emulated::exchange(mask, x, from >= 0 ? from : emulated::lane());
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    unsigned bits = predicate ? 1u << emulated::lane() : 0;
    for (int distance = 1; distance < 32; distance *= 2) {
        const unsigned other = __shfl_xor_sync(mask, bits, distance);
        bits |= other;
    }
    return bits & mask;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

template <class T, class U> T atomicAdd(T *at, U x) { const T old = *at; *at = old + (T)x; return old; }
template <class T, class U> T atomicMax(T *at, U x) { const T old = *at; if (old < (T)x) *at = (T)x; return old; }
template <class T, class U> T atomicMin(T *at, U x) { const T old = *at; if ((T)x < old) *at = (T)x; return old; }
template <class T, class U> T atomicExch(T *at, U x) { const T old = *at; *at = (T)x; return old; }
template <class T, class U, class V> T atomicCAS(T *at, U expected, V x) {
    const T old = *at;
    if (old == (T)expected) *at = (T)x;
    return old;
}
