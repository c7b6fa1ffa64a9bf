/* Whether a program runs on one thread or on all that it was cut for.
 *
 * A batch shorter than ALONE_BELOW is left to one thread, one longer than TOGETHER_ABOVE to all of them.
 * Between, where arrays wander between the cores' caches and others may want a core, a program finds out
 * by running: it takes the way that looks faster, and looks at the other one for some batches now and
 * then: after 2, 4, 8 ... times as long as a look takes, at most after OFTEN times, or SELDOM where the
 * other way takes more than FAR_BEHIND times as long; and soon when the ways have changed places. So what
 * disturbs a program for some milliseconds, as another library's threads do that spin when their work is
 * done, is soon forgotten, and looking costs a few percent at most. (Results are the same bits.)
 */
#ifndef FASTDL_PACE_H
#define FASTDL_PACE_H

#include <stdint.h>

/* All in nanoseconds. */
enum { ALONE_BELOW = 20000, TOGETHER_ABOVE = 3000000, FIRST_TOGETHER = 200000 };
enum { LOOK_NANOSECONDS = 2000000, OFTEN = 32, SELDOM = 256 };
static const double FAR_BEHIND = 1.5;

/* How much slower than seen before a way may look after one stretch: others' bursts pass. And how much
 * slower all threads may look and still be chosen: a burst on any core holds all of them up. */
static const double PATIENCE = 1.1, BENEFIT_OF_DOUBT = 1.15;

typedef struct {
    double cost;        /* of a full batch on one thread, as estimated */
    double seen[2];     /* of a batch, on one thread and on all; 0: not yet */
    int warm;           /* both ways have run once: what is seen from now on counts */
    int interval;       /* from a look at the slower way to the next, in times of its length */
    int64_t until_look; /* batches to the next look */
} Pace;

/* For batches of another cost, or other threads: nothing is known. */
static inline void pace_start(Pace *p, double cost) { *p = (Pace){.cost = cost}; }

static inline int pace_is_certain(const Pace *p) { return p->cost > TOGETHER_ABOVE; }

static inline int pace_together(const Pace *p) {
    if (pace_is_certain(p)) return 1;
    if (p->seen[0] > 0 && p->seen[1] > 0) return p->seen[1] < BENEFIT_OF_DOUBT * p->seen[0];
    return p->cost > FIRST_TOGETHER;
}

/* Batches of a look. */
static inline int64_t pace_few(const Pace *p) {
    return (int64_t)(LOOK_NANOSECONDS / (p->cost > 1 ? p->cost : 1)) + 1;
}

static inline void pace_note(Pace *p, int together, double nanoseconds) {
    const double seen = p->seen[together];
    if (!p->warm) return;
    p->seen[together] = seen > 0 && nanoseconds > PATIENCE * seen ? PATIENCE * seen : nanoseconds;
}

/* After a look: when the next one is due. `before`: whether all threads were the faster way until then. */
static inline void pace_plan_look(Pace *p, int before) {
    const int now = pace_together(p);
    const int most = p->seen[!now] > FAR_BEHIND * p->seen[now] ? SELDOM : OFTEN;
    const int longer = 2 * p->interval < most ? 2 * p->interval : most;
    p->interval = now != before || !p->warm ? 1 : longer;
    p->until_look = p->interval * pace_few(p);
}

#endif
