/* State of the process. A header's statics are each module's own, so only runner.pyx includes it. */
#ifndef FASTDL_PROCESS_H
#define FASTDL_PROCESS_H

#include <pthread.h>
#include <stdatomic.h>

/* OpenMP's threads do not survive a fork: where there were any, the child works on one thread. */
static int threads_were_used = 0, process_was_forked = 0;
static void note_fork(void) { process_was_forked |= threads_were_used; }
static inline void watch_forks(void) { pthread_atfork(NULL, NULL, note_fork); }
static inline void note_threads_used(void) { threads_were_used = 1; }

/* Long runs under way; they share the automatic number of threads. */
static atomic_int runs;
static inline void count_run(int change) { atomic_fetch_add(&runs, change); }
static inline int runs_under_way(void) { return atomic_load(&runs); }

/* Threads of which many run Programs side by side use no others. */
static _Thread_local int works_alone;

#endif
