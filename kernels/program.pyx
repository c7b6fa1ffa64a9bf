"""Programs: a list of ops that runs over many batches in one call, without the GIL.

Each batch a Program gathers rows of the user's data (casting them), runs its ops (`ops.pyx`) over
buffers that its maker has laid out, and hands rows of results out. The number of rows is read from
the context, so the short last batch needs nothing of its own. `course.pyx` takes programs over data
for many epochs.
"""

import numpy as np

cimport numpy as cnp
from cython.parallel cimport parallel, threadid
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastdl.kernels.dispatch cimport bodies_of
from fastdl.kernels.ops cimport Ops, block_of
from fastdl.kernels.rows cimport copy_rows, fits, note_stages, point_at, point_to
from fastdl.kernels.runner cimport (
    Context, Powers, Ready, Stage, Team, bring_home, ceil_divide, flush_denormals, is_forced,
    make_ready, note_run, note_team, note_threads, now_ns, plan, restore_denormals, run_to_loop,
    share_of_stages, smaller, team_note, team_size, team_spread, team_start, team_worked,
    threads_now, total_cost, work,
)

cnp.import_array()


# Work in nanoseconds that makes one more thread worth while: what a barrier costs, some times over.
cdef enum: PROGRAM_GRAIN = 2500


cdef class Program(Ops):
    """Ops over fixed buffers, which run over rows of the user's data. Its parameters are those of `Ops`."""

    def __cinit__(self, *arguments, **options):
        cdef int i
        for i in range(KINDS):
            self.plan_.stages[i] = <Stage *> calloc(self.stage_room + 1, sizeof(Stage))
            self.plan_.ready[i] = <Ready *> calloc(self.stage_room + 1, sizeof(Ready))
            if self.plan_.stages[i] == NULL or self.plan_.ready[i] == NULL:
                raise MemoryError("Program: no memory for the stages")

    def __dealloc__(self):
        cdef int i
        for i in range(KINDS):
            free(self.plan_.stages[i])
            free(self.plan_.ready[i])

    def bind(self, list sources not None, list results not None) -> None:
        """Says where the user's rows are and where the results go.

        Parameters
        ----------
        sources : list of array, shape (rows, ...) like the feed's buffer after the first axis
        results : list of array, likewise for the fetches, of the buffer's type
        """
        cdef cnp.ndarray array
        cdef int64_t rows = -1
        if self.busy:
            raise RuntimeError("Program: is running in another thread")
        if len(sources) != self.feeds or len(results) != self.fetches:
            raise ValueError(
                f"Program: wants {self.feeds} sources and {self.fetches} results, got "
                f"{len(sources)} and {len(results)}")
        for i, source in enumerate(sources):
            array = source
            if not fits(array, self.feed_buffers[i]):
                raise ValueError(
                    f"Program: source {i} is {array.dtype} {(<object> array).shape}; wanted are "
                    f"native numbers, rows of {self.feed_buffers[i].shape[1:]}, each contiguous")
            if rows >= 0 and array.shape[0] != rows:
                raise ValueError(
                    f"Program: source {i} has {array.shape[0]} rows, the one before {rows}")
            rows = array.shape[0]
        for i, result in enumerate(results):
            array = result
            buffer = self.fetch_buffers[i]
            if (array.dtype != buffer.dtype or (<object> array).shape[1:] != buffer.shape[1:]
                    or not array.flags.c_contiguous or not array.flags.writeable
                    or (rows >= 0 and array.shape[0] != rows)):
                raise ValueError(
                    f"Program: result {i} is {array.dtype} {(<object> array).shape}, wanted "
                    f"{buffer.dtype} {(rows, *buffer.shape[1:])}, contiguous")
            rows = array.shape[0]
        for i, source in enumerate(sources):
            point_at(&self.ops[i], source)
            if self.sources[i].alike:
                first, end = block_of(source)
                for written, written_end in self.written:
                    if first < written_end and written < end:   # ops would change the rows
                        self.sources[i].alike = False
        for i, result in enumerate(results):
            point_to(&self.ops[self.feeds + self.heads + i], result)
        self.bound = [list(sources), list(results)]

    def unbind(self) -> None:
        """Forgets the arrays of the last bind."""
        cdef int i
        self.bound = None
        for i in range(self.feeds):
            copy_rows(&self.sources[i])

    cdef int enter(self) except -1:
        """Takes the program for one thread; `leave` gives it back."""
        bring_home()
        if self.busy:
            raise RuntimeError("Program: is running in another thread")
        self.busy = True
        return 0

    cdef int leave(self) except -1:
        self.busy = False
        return 0

    def answer(self, object x):
        """The result for a few rows, on this thread and without leaving the GIL.

        For calls that are too short for anything else; None where this one is not such a call, or
        the array does not fit, or another instruction set has been chosen: then bind and run.
        Only for programs with one feed and one fetch.
        """
        cdef cnp.ndarray source, buffer, result
        cdef cnp.npy_intp shape[32]
        cdef Context context
        cdef Powers powers
        cdef Team team
        cdef uint64_t state
        cdef const Stage *stage = self.plan_.stages[ANSWER]
        cdef const Stage *end
        cdef bint worked
        cdef int i
        if not cnp.PyArray_CheckExact(x) or self.bound is not None or is_forced():
            return None
        source = x
        buffer = self.feed_buffers[0]
        if (not fits(source, buffer) or not 1 <= source.shape[0] <= self.capacity
                or self.ops[0].bodies != bodies_of(self.ops[0].itemsize == 8)):
            return None
        memset(&context, 0, sizeof(context))
        powers.step, context.powers = -1, &powers
        context.rows = source.shape[0]
        if self.plan_.rows[ANSWER] != context.rows and (
                total_cost(self.ops, self.count, &context) > WORTH_RELEASING):
            return None
        bring_home()
        buffer = self.fetch_buffers[0]
        shape[0] = context.rows
        for i in range(1, buffer.ndim):
            shape[i] = buffer.shape[i]
        result = cnp.PyArray_EMPTY(buffer.ndim, shape, cnp.PyArray_TYPE(buffer), 0)
        point_at(&self.ops[0], source)
        point_to(&self.ops[self.count - 1], result)
        if self.plan_.rows[ANSWER] != context.rows:
            self.give_workspace(context.rows)
            self.cut(ANSWER, context.rows, 1)
        end = stage + self.plan_.count[ANSWER]
        state = flush_denormals()
        stage = run_to_loop(stage, end, &context)
        if stage < end:
            team_start(&team)
            share_of_stages(
                stage, <int> (end - stage), &context, &team, 0, 1, 1, &worked, NULL, NULL)
        restore_denormals(state)
        return result

    cdef int64_t bound_rows(self) except -1:
        """The rows of the arrays that are bound."""
        if self.bound is None:
            raise RuntimeError("Program: nothing is bound")
        for arrays in self.bound:
            if arrays:
                return len(arrays[0])
        return 0

    cdef int prepare(self, int64_t batch, int64_t total, bint in_order) except -1 nogil:
        """Cuts the ops into stages for full batches and for the last one."""
        cdef double cost
        cdef Context context
        cdef int i, threads = threads_now()
        memset(&context, 0, sizeof(context))
        context.rows = smaller(batch, total)
        for i in range(self.feeds):
            copy_rows(&self.sources[i])
            self.sources[i].in_place = (
                in_order and self.sources[i].alike and not self.sources[i].written)
        if self.give_workspace(context.rows) | self.give_workspace((total - 1) % batch + 1):
            self.plan_.rows[ANSWER] = 0     # its stages know the old memory
        cost = total_cost(self.ops, self.count, &context)
        if cost != self.pace.cost or threads != self.planned_threads:
            pace_start(&self.pace, cost)
        self.planned_threads = threads
        if cost < ALONE_BELOW and not is_forced():
            threads = 1
        self.plan_.threads = 1
        self.cut(FULL, smaller(batch, total), threads)
        if (total - 1) % batch + 1 < context.rows:
            self.cut(LAST, (total - 1) % batch + 1, threads)
        self.give_copies(self.plan_.threads)
        return 0

    cdef int cut(self, int kind, int64_t rows, int threads) except -1 nogil:
        """Cuts the ops into stages for so many rows."""
        cdef Context context
        cdef Stage *stages = self.plan_.stages[kind]
        cdef int i, count
        memset(&context, 0, sizeof(context))
        context.rows = rows
        count = plan(self.ops, self.count, &context, threads, PROGRAM_GRAIN, stages)
        for i in range(count):
            self.plan_.threads = max(self.plan_.threads, stages[i].threads)
        make_ready(stages, count, &context, self.plan_.ready[kind], self.roomy, False)
        for i in range(self.feeds):
            if self.sources[i].in_place:
                note_stages(&self.sources[i], stages, count)
        self.plan_.rows[kind], self.plan_.count[kind] = rows, count
        return 0

    cdef bint together(self) noexcept nogil:
        """Whether all threads are the faster way rather than one, as far as is known."""
        return self.plan_.threads > 1 and (is_forced() or pace_together(&self.pace))

    cdef void run_stretch(self, const Stretch *stretch) noexcept nogil:
        cdef Stretch part = stretch[0]
        cdef Pace *pace = &self.pace
        cdef int64_t left = stretch.count, few = pace_few(pace)
        cdef bint decided = self.plan_.threads == 1 or is_forced() or pace_is_certain(pace)
        cdef bint together
        while left > 0:
            together = self.together()
            part.count = left
            if decided or left < 2 * few:
                self.run_part(&part, together)
                pace.until_look -= part.count
            elif pace.until_look <= 0:
                part.count = few
                self.run_timed(&part, not together)
                pace_plan_look(pace, together)
            else:
                if left - pace.until_look >= 2 * few:
                    part.count = pace.until_look
                self.run_timed(&part, together)
                pace.until_look -= part.count
                pace.warm = True
            left -= part.count
            part.first += part.count
            part.context.step += part.count
            if part.rates != NULL:
                part.rates += part.count

    cdef void run_part(self, const Stretch *stretch, bint together) noexcept nogil:
        cdef Team team
        team_start(&team)
        if together:
            note_team()
            with parallel(num_threads=self.plan_.threads):
                share_of_stretch(&self.plan_, stretch, &team, threadid(), team_size())
        else:
            share_of_stretch(&self.plan_, stretch, &team, 0, 1)
        note_threads(team_worked(&team))

    cdef void run_timed(self, const Stretch *stretch, bint together) noexcept nogil:
        cdef int64_t begin = now_ns()
        self.run_part(stretch, together)
        pace_note(&self.pace, together, <double> (now_ns() - begin) / stretch.count)

    def run(self, int64_t batch, *, int64_t step=0, int64_t seed=0, double learning_rate=0,
            bint keep_totals=False) -> None:
        """Runs all rows that are bound, in batches, in the order in which they lie.

        Totals are set to zero first, unless they are to be kept and added to.

        Raises
        ------
        RuntimeError
            If nothing is bound, or another thread is running this program.
        """
        cdef Stretch stretch
        cdef int64_t total
        if not 1 <= batch <= self.capacity:
            raise ValueError(f"Program: batch must be 1 ... {self.capacity}, got {batch}")
        total = self.bound_rows()
        if not keep_totals:
            self.totals.fill(0)
        if total == 0:
            return
        memset(&stretch, 0, sizeof(stretch))
        stretch.batch, stretch.total = batch, total
        stretch.count = ceil_divide(total, batch)
        stretch.context.step, stretch.context.seed = step, seed
        stretch.context.learning_rate = learning_rate
        self.enter()
        note_run(1)
        try:
            with nogil:
                self.prepare(batch, total, True)
                self.run_stretch(&stretch)
        finally:
            note_run(-1)
            self.leave()

    def step_through(self, visit, int64_t batch, int64_t index, cnp.ndarray order=None, *,
                     int64_t step=0, int64_t seed=0, double learning_rate=0) -> None:
        """Runs one batch op by op, for those who want to look between two of them.

        Parameters
        ----------
        visit : callable
            ``visit(i)`` is called after the i-th op, feeds first; what it returns, if true, ends
            the batch there.
        batch : int
            Rows of a full batch.
        index : int
            Which batch of the rows that are bound.
        order : array of int64, optional
            The order of the rows.
        """
        cdef Context context
        cdef Team team
        cdef Stage *stages = self.plan_.stages[0]
        cdef uint64_t state
        cdef int64_t total = self.bound_rows()
        cdef int i, count
        cdef bint worked = False
        if not 1 <= batch <= self.capacity or not 0 <= index < ceil_divide(total, batch):
            raise ValueError(f"Program: no batch {index} of {batch} rows in {total}")
        if order is not None and (order.dtype != np.int64 or order.size != total
                                  or not order.flags.c_contiguous):
            raise ValueError("Program: the order must be int64, one for each row")
        memset(&context, 0, sizeof(context))
        context.first = index * batch
        context.rows = smaller(batch, total - context.first)
        context.order = NULL if order is None else <int64_t *> cnp.PyArray_DATA(order)
        context.step, context.seed, context.learning_rate = step, seed, learning_rate
        self.totals.fill(0)
        self.enter()
        try:
            for i in range(self.feeds):
                copy_rows(&self.sources[i])
            if self.give_workspace(context.rows):
                self.plan_.rows[ANSWER] = 0
            self.give_copies(1)
            team_start(&team)
            for i in range(self.feeds + self.heads):
                state = flush_denormals()
                count = plan(&self.ops[i], 1, &context, 1, PROGRAM_GRAIN, stages)
                work(stages, count, &context, &team, 0, 1, 1, &worked)
                restore_denormals(state)
                if visit(i):
                    break
        finally:
            self.leave()


cdef void share_of_stretch(
    const Plan *cut, const Stretch *stretch, Team *team, int thread, int size
) noexcept nogil:
    """One thread's share of all batches of a stretch."""
    cdef Context context = stretch.context
    cdef Powers powers
    cdef uint64_t state = flush_denormals()
    cdef int64_t k, first = stretch.first * stretch.batch
    cdef int busy = 1, kind
    cdef bint worked = size == 1
    cdef const Stage *stage
    cdef const Stage *end
    powers.step, context.powers = -1, &powers
    if thread > 0:
        team_spread(team)
    for k in range(stretch.count):
        kind = first + cut.rows[FULL] > stretch.total
        context.first = first
        context.rows = cut.rows[kind]
        if stretch.rates != NULL:
            context.learning_rate = stretch.rates[k]
        stage, end = cut.stages[kind], cut.stages[kind] + cut.count[kind]
        if size == 1:
            stage = run_to_loop(stage, end, &context)
        if stage < end:
            busy = share_of_stages(
                stage, <int> (end - stage), &context, team, thread, size, busy, &worked, NULL, NULL)
        context.step += 1
        first += stretch.batch
    restore_denormals(state)
    team_note(team, worked)
