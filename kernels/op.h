/* The contract between the runner and the kernels.
 *
 * An Op is one call of an operation: which kernel, on which arrays, of which sizes, with which
 * options. A Kernel says how the work is cut. Both are plain data, so that a program is a flat
 * array of Ops that runs without Python.
 */
#ifndef FASTDL_OP_H
#define FASTDL_OP_H

#include <stddef.h>
#include <stdint.h>

#include "simd/bodies.h"

enum { MAX_ARGUMENTS = 12, MAX_SIZES = 10, MAX_OPTIONS = 14 };

/* Powers whose exponent is the step, and what an update makes of them. It needs the same ones for every
 * span, and a span may be one row of a tile, which takes less time than they do; and in the next batch the
 * next ones. */
typedef struct {
    int64_t step; /* -1: nothing is known */
    double bases[2], powers[2], results[2];
} Powers;

/* What changes from batch to batch while the ops stay as they are. */
typedef struct {
    int64_t rows;          /* of this batch */
    int64_t first;         /* position in `order` of the batch's first row */
    const int64_t *order;  /* the rows of the data in the order of this epoch; NULL: as they lie */
    int64_t step;          /* updates made, counted from 1 while the first one runs */
    int64_t seed;
    double learning_rate;
    Powers *powers;        /* the running thread's own; the runner sets it */
} Context;

typedef union {
    double number;   /* "float" options */
    int64_t whole;   /* "int", "bool" and "choice" (its index) options */
} Option;

typedef struct Op Op;
typedef struct Loop Loop;

typedef struct Stage Stage;
typedef struct Ready Ready;

typedef struct {
    int phases;
    /* The number of independent pieces of a phase. It may depend on the sizes and rows alone, never
     * on the number of threads: that is what makes results the same for any number. */
    int64_t (*pieces)(const Op *op, const Context *context, int phase);
    /* Computes one piece. Pieces of one phase run in any order, on any thread, at the same time. */
    void (*run_piece)(const Op *op, const Context *context, int phase, int64_t piece);
    /* The same bits for pieces first ... end - 1, where they are cheaper together; NULL: they are not. */
    void (*run_range)(const Op *op, const Context *context, int phase, int64_t first, int64_t end);
    /* For a stage that one thread runs: works out what is the same for all batches of so many rows, into
     * `ready`, and says by `run` who uses that. NULL: there is little to be gained. */
    void (*prepare)(Stage *stage, const Context *context);
    /* Roughly the nanoseconds that a phase takes on one thread: decides how many threads join. */
    double (*cost)(const Op *op, const Context *context, int phase);
    /* Bytes of scratch memory that phases share, for this many rows; NULL: none. */
    size_t (*workspace)(const Op *op, int64_t rows);
    /* Elementwise ops: the same as run_piece, for elements start ... start + count - 1. NULL: other
     * ops. A product calls it on each row of a finished tile (see `tail`). */
    void (*span)(const Op *op, const Context *context, int64_t start, int64_t count);
    /* The same for `rows` spans of `count` elements, the next one `stride` behind the last; NULL where
     * calling `span` for each is as good. `part`: where what the op runs behind has this tile of its output,
     * from row to row `part_stride`, to be read instead of an argument that is NULL. */
    void (*tile)(const Op *op, const Context *context, int64_t start, int64_t rows, int64_t count,
                 int64_t stride, const void *part, int64_t part_stride);
    double nanoseconds; /* of an elementwise op: the time for one element, for its cost */
    int64_t variant;    /* which of them, where several ops share these functions */
    /* Bit p: each thread goes through its pieces of phase p from the last to the first, as they read
     * again what the phase, or the op, before has just read: what it read last is still cached. */
    int backwards;
    /* Bit a: as a tail, the op reads argument a at every element, and nobody has just written it. */
    int reads;
    int adds; /* whether the op is out = a + b: a product can do that of such a tail */
    /* Of an op one of whose phases, `by_rows`, goes through the rows of the batch in order: into how many
     * groups of equally many rows, none of them cut, equal numbers of its pieces divide. A divisor of that
     * does too. NULL: there is no such phase. */
    int64_t (*row_groups)(const Op *op, const Context *context);
    int by_rows;
} Kernel;

/* Step, seed and learning rate of an op that has its own, and the kernel that is to see them. */
typedef struct {
    const Kernel *kernel;
    int64_t step, seed;
    double learning_rate;
} Numbers;

struct Op {
    const Kernel *kernel;
    const Bodies *bodies;          /* the C bodies for this op's float type and instruction set */
    const Numbers *numbers;        /* NULL: those of the context; see step.pyx */
    const Op *tail;                /* elementwise op to run on each finished tile; chained */
    const Loop *loop;              /* for an op that stands for a loop over others; else NULL */
    void *workspace;
    int64_t chain;                 /* this op and so many after it may go through the rows together */
    int64_t itemsize;              /* of the float type: 4 or 8 */
    int64_t rows_per_item;         /* B is this times context->rows ... */
    int64_t fixed_rows;            /* ... or, where that is 0, this; without B: the first letter */
    int64_t sizes[MAX_SIZES];      /* the lengths of the table entry's letters, in their order */
    Option options[MAX_OPTIONS];   /* in the order of the table */
    char *arguments[MAX_ARGUMENTS];/* in the order of the table; NULL: an optional one left out */
};

/* An argument whose place changes from iteration to iteration, and with the rows of the batch: it is
 * block number (start + step*iteration) % period of an array of blocks. */
typedef struct {
    int op, argument;          /* which, of the loop's ops */
    char *base;                /* the first block */
    int64_t start, step, period;
    int64_t row_bytes, bytes;  /* a block has row_bytes for each row of the batch, and bytes */
} Moving;

/* Ops that run many times over, on other parts of their arrays each time. */
struct Loop {
    Op *ops;                   /* those in order, then the tails of some of them */
    int heads, count;          /* ops without the tails, and in all */
    int64_t iterations;
    const Moving *moving;
    int moves;
    Op *copies;                /* `count` for each thread or group, which moves their arguments */
    int phases;                /* of the heads in all, and for each group as many ... */
    Stage *stages;             /* ... stages of its copies */
    Ready *ready;
    /* Of a loop in which no row of the batch has to do with another: the bytes that each argument
     * of each op has for a row, 0 where all rows read the same. Then a group of rows goes through
     * all iterations by itself. NULL: not such a loop. */
    int64_t *row_bytes;
    size_t scratch;            /* of a group */
};

/* Groups of a loop's rows: at most so many, of so many rows at least (or of fewer, where a row is
 * much work) ... */
enum { MOST_GROUPS = 16, GROUP_ROWS = 16, HEAVY_GROUP_ROWS = 2, HEAVY_ROW_NANOSECONDS = 10000 };
/* ... and of so much work in an iteration. */
enum { GROUP_NANOSECONDS = 8000 };

enum { MOST_READS = 4 };

/* What the stage of a product, a loss or an update has worked out. */
struct Ready {
    int roomy; /* known before: behind all that an op writes is room to the end of its cache line */
    /* Where it keeps addresses that it reads from, and one where that ends; NULL: none. */
    int reads;
    const void **read[MOST_READS];
    const void **read_end;
    union {
        struct {
            ProductBody body;
            Product product;
        };
        LossCall loss;
        struct {
            UpdateBody update_body;
            UpdateCall update;
            Powers powers;
        };
    };
};

/* One phase of one op, cut for a given number of rows and threads; or a loop: then `pieces` is the
 * number of its own stages, which follow. */
struct Stage {
    const Op *op;
    int phase;
    int threads;
    int lent; /* whether a thread that is done with its share of the pieces helps others with theirs */
    int moves; /* whether the op's arguments are others each time */
    int64_t pieces;
    void (*run)(const Stage *stage, const Context *context); /* all of it, on one thread; NULL: a loop */
    int chain;      /* so many stages that follow go through the rows of the batch together with this one, */
    int64_t groups; /* in so many groups */
    Stage *next;    /* the one that follows them; of a loop: that follows its own */
    Ready *ready;
};

/* Runs stages on one thread, as far as the first loop; returns where that, or the end, is. */
static inline const Stage *run_to_loop(const Stage *stage, const Stage *end, const Context *context) {
    for (; stage < end && stage->run; stage = stage->next) stage->run(stage, context);
    return stage;
}

static inline void run_range(const Op *op, const Context *context, int phase, int64_t first,
                             int64_t end) {
    if (op->kernel->run_range) {
        op->kernel->run_range(op, context, phase, first, end);
        return;
    }
    for (int64_t piece = first; piece < end; piece++)
        op->kernel->run_piece(op, context, phase, piece);
}

/* Runs the tails of an op on what is finished of its output: `rows` stretches of `count` elements, the
 * first from `start` on, the next one `stride` behind the last. `part` as `tile` has it. */
static inline void run_tails(const Op *op, const Context *context, int64_t start, int64_t rows,
                             int64_t count, int64_t stride, const void *part, int64_t part_stride) {
    for (const Op *tail = op->tail; tail; tail = tail->tail) {
        if (tail->kernel->tile) {
            tail->kernel->tile(tail, context, start, rows, count, stride, part, part_stride);
            continue;
        }
        for (int64_t row = 0; row < rows; row++)
            tail->kernel->span(tail, context, start + row * stride, count);
    }
}

static inline int64_t op_rows(const Op *op, const Context *context) {
    return op->rows_per_item ? op->rows_per_item * context->rows : op->fixed_rows;
}

/* Elements that one piece of a streaming op takes: 16 KB of float32, three arrays of which fit L1.
 * A multiple of every vector length, and of Philox's four words. */
enum { SPAN = 4096 };

/* Whether a cache line begins there. */
static inline int starts_line(const void *p) { return (uintptr_t)p % 64 == 0; }

/* Equal groups into which `a` and `b` both divide. */
static inline int64_t common_groups(int64_t a, int64_t b) {
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Rows of this width that make a piece of about SPAN elements. */
static inline int64_t rows_in_span(int64_t width) {
    return width > 0 && width < SPAN ? SPAN / width : 1;
}

#endif
