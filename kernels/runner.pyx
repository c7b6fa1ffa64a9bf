"""The runner: the only place that knows threads.

A run is a list of ops. Each op is phases, each phase a number of independent pieces that depends on
the problem's size alone, so results are the same bits for any number of threads, whoever computes a
piece. A thread takes a contiguous share of the pieces; where that is long work, one that is done with
its share takes pieces off the far end of another's. All threads walk the same list: a barrier stands
between two phases where either of them uses more than one thread, but not within a chain (see below).
With one thread it is a plain loop that never enters OpenMP.
"""

import os

from cython.parallel cimport parallel, threadid
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from fastdl.kernels.table import OPS


cdef extern from "threads.h" nogil:
    enum: HAS_OPENMP
    int openmp_threads()
    enum: MOST_SHARES, MOST_SHARED_PIECES
    void team_barrier(Team *team, int threads)
    void team_deal(Team *team, int thread, int64_t first, int64_t end)
    bint team_take(
        Team *team, int thread, int threads, bint backwards, int64_t *first, int64_t *end)


cdef extern from "process.h" nogil:
    bint process_was_forked
    void watch_forks()
    void note_threads_used()
    void count_run(int change)
    int runs_under_way()
    bint works_alone


# Work in nanoseconds that makes one more thread worth while in an eager call, where the threads
# have to be woken and joined; inside a program only a barrier is paid.
cdef enum: EAGER_GRAIN = 10000

# Work of a stage in nanoseconds from which threads help each other: in shorter ones less is won than it
# costs to have what the other thread's cache holds, in this stage and in the next.
cdef enum: LENT_NANOSECONDS = 400000

# More phases than any eager call has: an op of three, and an activation after it.
cdef enum: EAGER_STAGES = 16

cdef dict registered = {}
cdef int wanted_threads = 0         # 0: automatic
cdef int usable_processors = 1
cdef bint forced = False
cdef int threads_that_worked = 0
cdef object fetch = None            # brings weights home


# --- weights that lie elsewhere ------------------------------------------------------------------

def set_away(fetcher) -> None:
    """Says that weights lie elsewhere, in a GPU's memory, and what brings them home; None: they are
    here."""
    global fetch
    fetch = fetcher


def bring_weights_home() -> None:
    """Has them here, for whoever reads memory that is known to hold weights."""
    bring_home()


cdef int bring_home() except -1:
    if fetch is not None:
        fetch()
    return 0


# --- how many threads --------------------------------------------------------------------------

def _usable_processors() -> int:
    """Processors that this process may use: its affinity mask, limited by its cgroup's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return max(1, count)


def set_num_threads(count: int | None) -> None:
    """Sets the number of threads of all later calls; None: as many as the process may use.

    Parameters
    ----------
    count : int or None
        At least 1. It is obeyed also above the number of processors.

    Raises
    ------
    ValueError
        If ``count`` is less than 1 or not a whole number.
    """
    global wanted_threads
    if count is not None and (isinstance(count, bool) or int(count) != count
                              or not 1 <= count <= 1024):
        raise ValueError(f"set_num_threads: count must be a whole number from 1 to 1024, got {count!r}")
    wanted_threads = count or 0


def get_num_threads() -> int:
    """The number of threads that a call made now may use."""
    return threads_now()


def force_threads(bint on) -> None:
    """Whether every phase uses all threads, however little work it has; for the tests."""
    global forced
    forced = on


def work_alone(bint on) -> None:
    """Whether all that the calling thread runs uses this thread only, whatever is set for others."""
    global works_alone
    works_alone = on


def last_threads() -> int:
    """How many threads had work to do in the last run; for the tests."""
    return threads_that_worked


def has_openmp() -> bool:
    """Whether this build can use more than one thread."""
    return bool(HAS_OPENMP)


cdef int threads_now() noexcept nogil:
    if not HAS_OPENMP or process_was_forked or works_alone:
        return 1
    if wanted_threads:
        return wanted_threads
    return max(1, min(usable_processors, openmp_threads()) // max(1, runs_under_way()))


cdef bint is_forced() noexcept nogil:
    return forced


cdef void note_run(int change) noexcept nogil:
    count_run(change)


cdef void note_team() noexcept nogil:
    note_threads_used()


cdef void note_threads(int worked) noexcept nogil:
    global threads_that_worked
    threads_that_worked = worked


# --- the registry ------------------------------------------------------------------------------

cdef int register(str name, const Kernel *kernel, str arguments, str options="") except -1:
    op = OPS[name]
    declared = " ".join(a.name for a in op.arguments), " ".join(o.name for o in op.options)
    if declared != (arguments, options):
        raise ImportError(
            f"kernel {name}: written for arguments {arguments!r} and options {options!r}, "
            f"but the table declares {declared[0]!r} and {declared[1]!r}")
    registered[name] = <size_t> kernel
    return 0


cdef const Kernel *kernel_of(str name) except NULL:
    return <const Kernel *> <size_t> registered[name]


def registered_ops() -> tuple[str, ...]:
    """The names of all ops that have a kernel."""
    return tuple(registered)


# --- elementwise ops ---------------------------------------------------------------------------

cdef int64_t span_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return ceil_divide(op_rows(op, context), SPAN)


cdef void span_piece(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef int64_t start = piece * SPAN
    op.kernel.span(op, context, start, smaller(SPAN, op_rows(op, context) - start))


cdef double span_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return op.kernel.nanoseconds * op_rows(op, context)


cdef void prepare_span(Stage *stage, const Context *context) noexcept nogil:
    stage.run = run_span


cdef void run_span(const Stage *stage, const Context *context) noexcept nogil:
    stage.op.kernel.span(stage.op, context, 0, op_rows(stage.op, context))


cdef int register_elementwise(
    str name,
    Kernel *kernel,
    void (*span)(const Op *, const Context *, int64_t, int64_t) noexcept nogil,
    double nanoseconds,
    str arguments,
    str options="",
) except -1:
    kernel.phases = 1
    kernel.pieces = span_pieces
    kernel.run_piece = span_piece
    kernel.prepare = prepare_span
    kernel.cost = span_cost
    kernel.workspace = NULL
    kernel.span = span
    kernel.nanoseconds = nanoseconds
    return register(name, kernel, arguments, options)


# --- running -----------------------------------------------------------------------------------

cdef int plan(
    const Op *ops, int count, const Context *context, int threads, double grain, Stage *stages
) noexcept nogil:
    cdef int n = 0, i = 0, k
    cdef int64_t groups
    while i < count:
        if is_staged(&ops[i], context):
            stages[n].op, stages[n].phase, stages[n].threads = &ops[i], 0, 1
            stages[n].run, stages[n].lent, stages[n].chain = NULL, False, 0
            stages[n].pieces = 0 if ops[i].loop.iterations == 0 else plan(
                ops[i].loop.ops, ops[i].loop.heads, context, threads, grain, &stages[n + 1])
            for k in range(n + 1, n + 1 + <int> stages[n].pieces):
                stages[n].threads = max(stages[n].threads, stages[k].threads)
            stages[n].next = &stages[n + 1 + stages[n].pieces]
            n += 1 + <int> stages[n].pieces
            i += 1
            continue
        groups = chain_groups(&ops[i], context) if i + ops[i].chain < count else 1
        if groups > 1:
            n += plan_chain(&ops[i], context, threads, grain, groups, &stages[n])
            i += <int> ops[i].chain
        else:
            n += plan_phases(
                &ops[i], 0, ops[i].kernel.phases, context, threads, grain, &stages[n])
        i += 1
    return n


cdef int plan_phases(
    const Op *op, int phase, int end, const Context *context, int threads, double grain,
    Stage *stages
) noexcept nogil:
    """The stages of an op's phases from this one to end - 1."""
    cdef int64_t pieces, use
    cdef double cost
    cdef int n = 0
    while phase < end:
        pieces = op.kernel.pieces(op, context, phase)
        if pieces > 0:
            use, cost = threads, 0
            if use > 1 and not forced:
                cost = op.kernel.cost(op, context, phase)
                use = smaller(use, 1 + <int64_t> (cost / grain))
            stages[n].op = op
            stages[n].phase = phase
            stages[n].pieces = pieces
            stages[n].threads = <int> smaller(use, pieces)
            stages[n].lent = (
                (forced or cost > LENT_NANOSECONDS) and stages[n].threads <= MOST_SHARES
                and stages[n].threads < pieces <= MOST_SHARED_PIECES)
            stages[n].run = run_piece_alone if pieces == 1 else run_stage
            stages[n].chain = 0
            stages[n].next = &stages[n + 1]
            n += 1
        phase += 1
    return n


cdef void run_piece_alone(const Stage *stage, const Context *context) noexcept nogil:
    stage.op.kernel.run_piece(stage.op, context, stage.phase, 0)


cdef void run_stage(const Stage *stage, const Context *context) noexcept nogil:
    run_share(stage.op, context, stage, 0, stage.pieces)


cdef inline void run_share(
    const Op *op, const Context *context, const Stage *stage, int64_t piece, int64_t end
) noexcept nogil:
    if op.kernel.backwards >> stage.phase & 1:
        while end > piece:
            end -= 1
            op.kernel.run_piece(op, context, stage.phase, end)
    else:
        run_range(op, context, stage.phase, piece, end)


cdef void make_ready(
    Stage *stages, int count, const Context *context, Ready *room, bint roomy, bint moves
) noexcept nogil:
    cdef Stage *stage = stages
    while stage < stages + count:
        stage.ready, stage.moves = &room[stage - stages], moves
        stage.ready.roomy, stage.ready.reads, stage.ready.read_end = roomy, 0, NULL
        if stage.run != NULL and stage.chain == 0 and stage.op.kernel.prepare != NULL:
            stage.op.kernel.prepare(stage, context)
        stage = stage.next


cdef int work(
    const Stage *stages, int count, const Context *context, Team *team, int thread, int size,
    int busy, bint *worked
) noexcept nogil:
    cdef Context own = context[0]
    cdef Powers powers
    powers.step, own.powers = -1, &powers
    return share_of_stages(stages, count, &own, team, thread, size, busy, worked, NULL, NULL)


cdef int share_of_stages(
    const Stage *stages, int count, const Context *context, Team *team, int thread, int size,
    int busy, bint *worked, const Op *shared, const Op *copies
) noexcept nogil:
    cdef int share
    cdef int64_t pieces, piece, end
    cdef const Stage *next = stages
    cdef const Stage *stage
    cdef const Op *op
    if size == 1:
        worked[0] = True
    while next < stages + count:
        if size == 1 and copies == NULL:
            next = run_to_loop(next, stages + count, context)
            if next == stages + count:
                break
        stage, next = next, next.next
        share = min(stage.threads, size)
        if stage.run == NULL:
            busy = share_of_loop(stage, context, team, thread, size, busy, worked)
            continue
        pieces = stage.groups if stage.chain > 0 else stage.pieces
        piece, end = pieces * thread // share, pieces * (thread + 1) // share
        if stage.lent and 1 < share and thread < share:
            team_deal(team, thread, piece, end)
        if share > 1 or busy > 1:
            team_barrier(team, size)
        busy = share
        if thread >= share:
            continue
        worked[0] = True
        op = stage.op if copies == NULL else &copies[stage.op - shared]
        if share == 1 and copies == NULL:
            stage.run(stage, context)
        elif share == 1 or not stage.lent:
            run_some(op, context, stage, piece, end)
        else:
            while team_take(
                    team, thread, share, op.kernel.backwards >> stage.phase & 1, &piece, &end):
                run_some(op, context, stage, piece, end)
    return busy


cdef inline void run_some(
    const Op *op, const Context *context, const Stage *stage, int64_t piece, int64_t end
) noexcept nogil:
    """Pieces of a stage, or groups of a chain."""
    if stage.chain > 0:
        run_groups(stage, context, piece, end)
    else:
        run_share(op, context, stage, piece, end)


# --- chains ------------------------------------------------------------------------------------
# Where an op's output is larger than the caches and the ops that follow read it row by row, they go
# through the rows of the batch together, a group of rows at a time, so that they find it in the cache;
# and no barrier stands between them. Phases before those that go by rows come first, those after them
# last; ops between, which do not go by rows, are among these. fastdl/row_chains.py says which ops may.

cdef int64_t chain_groups(const Op *op, const Context *context) noexcept nogil:
    """Into how many groups of rows all ops of a chain divide; 1: it is none."""
    cdef int64_t groups = 0, k
    if op.chain == 0:
        return 1
    for k in range(op.chain + 1):
        if op[k].kernel.row_groups != NULL:
            if op_rows(&op[k], context) != op_rows(op, context):
                return 1
            groups = common_groups(op[k].kernel.row_groups(&op[k], context), groups)
    return groups


cdef int plan_chain(
    const Op *ops, const Context *context, int threads, double grain, int64_t groups, Stage *stages
) noexcept nogil:
    cdef int n = 0, first, k, phase, count = 1 + <int> ops[0].chain
    for k in range(count):
        if ops[k].kernel.row_groups != NULL:
            n += plan_phases(
                &ops[k], 0, ops[k].kernel.by_rows, context, threads, grain, &stages[n])
    first = n
    for k in range(count):
        if ops[k].kernel.row_groups != NULL:
            phase = ops[k].kernel.by_rows
            n += plan_phases(&ops[k], phase, phase + 1, context, threads, grain, &stages[n])
            stages[first].threads = max(stages[first].threads, stages[n - 1].threads)
            stages[first].lent = stages[first].lent or stages[n - 1].lent
    stages[first].chain = n - 1 - first
    stages[first].groups = groups
    stages[first].next = &stages[n]
    stages[first].threads = <int> smaller(stages[first].threads, groups)
    stages[first].lent = stages[first].lent and stages[first].threads < groups
    stages[first].run = run_chain
    for k in range(count):
        phase = 0 if ops[k].kernel.row_groups == NULL else ops[k].kernel.by_rows + 1
        n += plan_phases(
            &ops[k], phase, ops[k].kernel.phases, context, threads, grain, &stages[n])
    return n


cdef void run_chain(const Stage *stage, const Context *context) noexcept nogil:
    run_groups(stage, context, 0, stage.groups)


cdef void run_groups(
    const Stage *stage, const Context *context, int64_t group, int64_t end
) noexcept nogil:
    cdef int64_t groups = stage.groups, k
    while group < end:
        for k in range(stage.chain + 1):
            run_share(
                stage[k].op, context, &stage[k], stage[k].pieces * group // groups,
                stage[k].pieces * (group + 1) // groups)
        group += 1


# --- loops -------------------------------------------------------------------------------------
# Where rows have nothing to do with each other, a piece of a loop is a group of rows, which goes
# through all iterations without waiting for others: what it wrote is in its own core's cache. In
# other loops the ops of each iteration are stages. Threads may then be in different iterations where
# no barrier holds them, so each moves the arguments of copies of its own, as each group does.

cdef bint is_staged(const Op *op, const Context *context) noexcept nogil:
    return op.loop != NULL and row_groups(op.loop, context) == 1


cdef int64_t row_groups(const Loop *loop, const Context *context) noexcept nogil:
    """A power of two, so that threads' shares of groups are their shares of rows."""
    cdef int64_t groups = 1, least
    cdef double work
    if loop.row_bytes == NULL:
        return 1
    work = total_cost(loop.ops, loop.heads, context)
    least = HEAVY_GROUP_ROWS if work > HEAVY_ROW_NANOSECONDS * context.rows else GROUP_ROWS
    while (2 * groups <= MOST_GROUPS and 2 * groups * least <= context.rows
            and 2 * groups * GROUP_NANOSECONDS <= work):
        groups *= 2
    return groups


cdef int share_of_loop(
    const Stage *stage, const Context *context, Team *team, int thread, int size, int busy,
    bint *worked
) noexcept nogil:
    cdef const Loop *loop = stage.op.loop
    cdef Op *copies = loop.copies + thread * loop.count
    cdef int64_t k
    if stage.threads == 1 and busy > 1:
        team_barrier(team, size)
        busy = 1
    if stage.threads == 1 and thread > 0:
        return busy     # the first thread goes through all iterations alone
    copy_ops(loop, copies)
    for k in range(loop.iterations):
        move_arguments(loop, copies, context, k, 0)
        busy = share_of_stages(
            stage + 1, <int> stage.pieces, context, team, thread, size, busy, worked, loop.ops,
            copies)
    return busy


cdef void copy_ops(const Loop *loop, Op *copies) noexcept nogil:
    cdef int i
    memcpy(copies, loop.ops, loop.count * sizeof(Op))
    for i in range(loop.count):
        if loop.ops[i].tail != NULL:
            copies[i].tail = &copies[loop.ops[i].tail - loop.ops]


cdef void move_arguments(
    const Loop *loop, Op *copies, const Context *context, int64_t iteration, int64_t row
) noexcept nogil:
    """To the iteration's blocks, in each of them to this row of the batch."""
    cdef const Moving *m
    cdef int i
    cdef int64_t block
    for i in range(loop.moves):
        m = &loop.moving[i]
        block = (m.start + m.step * iteration) % m.period
        copies[m.op].arguments[m.argument] = (
            m.base + block * (m.row_bytes * context.rows + m.bytes) + row * m.row_bytes)


cdef int64_t loop_pieces(const Op *op, const Context *context, int phase) noexcept nogil:
    return row_groups(op.loop, context)


cdef void loop_alone(const Op *op, const Context *context, int phase, int64_t piece) noexcept nogil:
    cdef const Loop *loop = op.loop
    cdef Op *copies = loop.copies + piece * loop.count
    cdef Stage *stages = loop.stages + piece * loop.phases
    cdef Context own = context[0]
    cdef int64_t groups = row_groups(loop, context), row = context.rows * piece // groups, k
    cdef int i, inner, count
    own.rows = context.rows * (piece + 1) // groups - row
    copy_ops(loop, copies)
    if groups > 1:
        for i in range(loop.count):
            copies[i].workspace = <char *> copies[i].workspace + piece * loop.scratch
            for inner in range(MAX_ARGUMENTS):
                if copies[i].arguments[inner] != NULL:
                    copies[i].arguments[inner] += row * loop.row_bytes[i * MAX_ARGUMENTS + inner]
    move_arguments(loop, copies, context, 0, row)
    count = plan(copies, loop.heads, &own, 1, 0, stages)
    make_ready(stages, count, &own, loop.ready + piece * loop.phases, False, True)
    for k in range(loop.iterations):
        move_arguments(loop, copies, context, k, row)
        run_to_loop(stages, stages + count, &own)


cdef double total_cost(const Op *ops, int count, const Context *context) noexcept nogil:
    cdef double cost = 0
    cdef int i, phase
    for i in range(count):
        for phase in range(ops[i].kernel.phases):
            cost += ops[i].kernel.cost(&ops[i], context, phase)
    return cost


cdef double loop_cost(const Op *op, const Context *context, int phase) noexcept nogil:
    return total_cost(op.loop.ops, op.loop.heads, context) * op.loop.iterations


loop_kernel.phases = 1
loop_kernel.pieces = loop_pieces
loop_kernel.run_piece = loop_alone
loop_kernel.cost = loop_cost


cdef void run_once(const Op *ops, int count, const Context *context) noexcept nogil:
    cdef Stage stages[EAGER_STAGES]
    run_staged(ops, count, context, stages)


cdef void run_staged(
    const Op *ops, int count, const Context *context, Stage *stages
) noexcept nogil:
    cdef Team team
    cdef int threads = 1, n, i
    n = plan(ops, count, context, threads_now(), EAGER_GRAIN, stages)
    for i in range(n):
        threads = max(threads, stages[i].threads)
    team_start(&team)
    if threads == 1:
        work_once(stages, n, context, &team, 0, 1)
    else:
        note_threads_used()
        with parallel(num_threads=threads):
            work_once(stages, n, context, &team, threadid(), team_size())
    note_threads(team_worked(&team))


cdef void work_once(
    const Stage *stages, int count, const Context *context, Team *team, int thread, int size
) noexcept nogil:
    cdef bint worked = False
    cdef uint64_t state = flush_denormals()
    if thread > 0:
        team_spread(team)
    work(stages, count, context, team, thread, size, 1, &worked)
    restore_denormals(state)
    team_note(team, worked)


usable_processors = _usable_processors()
watch_forks()
