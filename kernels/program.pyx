"""Programs: a list of ops that runs over many batches in one call, without the GIL.

A Program is a flat array of Op structs over buffers that its maker has laid out. Each batch it
gathers rows of the user's data (casting them), runs the ops, and hands rows of results out. The
number of rows is read from the context, so the short last batch needs nothing of its own.
`course.pyx` takes programs over data for many epochs.
"""

import numpy as np

cimport numpy as cnp
from cython.parallel cimport parallel, threadid
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastdl.kernels.call cimport Function, allocate
from fastdl.kernels.dispatch cimport bodies_of
from fastdl.kernels.rows cimport (
    Feed, copy_rows, fits, gather_into, note_address, note_stages, point_at, point_to, scatter_from,
)
from fastdl.kernels.runner cimport (
    MAX_ARGUMENTS, MOST_GROUPS, Context, Loop, Memo, Moving, Op, Ready,
    Stage, Team, bring_home, ceil_divide, flush_denormals, is_forced, loop_kernel, make_ready,
    note_run, note_team, note_threads, now_ns, op_rows, plan, restore_denormals, row_groups,
    run_to_loop, share_of_stages, smaller, team_note, team_size, team_spread, team_start,
    team_worked, threads_now, work,
)

from fastdl.kernels import door
from fastdl.kernels.table import DYNAMIC_OPTIONS

cnp.import_array()


# Work in nanoseconds that makes one more thread worth while: what a barrier costs, some times over.
cdef enum: PROGRAM_GRAIN = 2500

# What rows read together must stay in each core's cache where groups of them go through a loop.
cdef enum: SHARED_BYTES = 1048576, CACHE_LINE = 64


cdef class Program:
    """A list of ops over fixed buffers.

    Parameters
    ----------
    capacity : int
        The most rows a batch may have; the first axis of every batched buffer.
    steps : list of (name, arrays, options, per_item, is_tail), or of (iterations, steps, moving)
        The ops in order: the table's name; an array (or None, or False) for each of its arguments;
        its options by name; how many rows of the op one row of the batch makes (0: the op's rows
        do not depend on the batch); whether it runs as a tail of the op before it. Or a loop: how
        often it runs, the same of the ops in it, and a list of (step, argument, array, (start,
        step, period), (row_bytes, bytes)) for arguments that are another block of an array in each
        iteration, as `Moving` in op.h says.
    feeds, fetches : list of array
        The buffers that the user's data goes to, and those that results come from.
    totals : array of float64, one axis
        What the accumulate ops add to.
    roomy : bool
        Whether behind each array that an op writes is room to the end of its cache line, where zeros
        may be written.
    together : list of int, optional
        Of each op (without tails), how many that follow may go through the rows together with it: see
        fastdl/row_chains.py. They then have scratch memory side by side.
    """

    def __cinit__(self, int64_t capacity, list steps not None, list feeds not None,
                  list fetches not None, cnp.ndarray totals not None, bint roomy=False,
                  object together=()):
        cdef int i, n = 0
        if capacity < 1:
            raise ValueError(f"Program: capacity must be at least 1, got {capacity}")
        if totals.ndim != 1 or totals.dtype != np.float64 or not totals.flags.c_contiguous:
            raise ValueError("Program: totals must be a contiguous float64 array with one axis")
        self.capacity, self.roomy = capacity, roomy
        self.totals = totals
        self.totals_at = <double *> cnp.PyArray_DATA(totals)
        self.totals_count = totals.size
        self.keep = [totals]
        self.feed_buffers = tuple(feeds)
        self.fetch_buffers = tuple(fetches)
        self.feeds, self.fetches = len(feeds), len(fetches)
        self.heads = count_heads(steps)
        self.ops = <Op *> calloc(self.feeds + self.heads + self.fetches + 1, sizeof(Op))
        self.tails = <Op *> calloc(len(steps) - self.heads + 1, sizeof(Op))
        self.loops = <Loop *> calloc(sum(len(step) == 3 for step in steps) + 1, sizeof(Loop))
        self.scratch = <size_t *> calloc(
            self.feeds + self.heads + self.fetches + 1, sizeof(size_t))
        if (self.ops == NULL or self.tails == NULL or self.loops == NULL
                or self.scratch == NULL):
            raise MemoryError("Program: no memory for the ops")

        self.sources = <Feed *> calloc(self.feeds + 1, sizeof(Feed))
        if self.sources == NULL:
            raise MemoryError("Program: no memory for the feeds")
        self.written = set()
        for i, buffer in enumerate(feeds):
            gather_into(&self.ops[n], &self.sources[i], buffer, capacity)
            n += 1
        self.add_steps(steps, &self.ops[n], self.tails)
        for i, count in enumerate(together):
            self.ops[n + i].chain = count
        n += self.heads
        for buffer in fetches:
            scatter_from(&self.ops[n], buffer, capacity)
            for i in range(MAX_ARGUMENTS):
                self.note(&self.ops[n].arguments[i], buffer, False)
            n += 1
        self.stage_room += self.feeds + self.fetches
        self.give_copies(1)
        for i in range(KINDS):
            self.plan_.stages[i] = <Stage *> calloc(self.stage_room + 1, sizeof(Stage))
            self.plan_.ready[i] = <Ready *> calloc(self.stage_room + 1, sizeof(Ready))
            if self.plan_.stages[i] == NULL or self.plan_.ready[i] == NULL:
                raise MemoryError("Program: no memory for the stages")

    def __dealloc__(self):
        cdef int i
        if self.ops != NULL:
            free(self.ops[0].workspace)
        for i in range(self.loop_count):
            free(self.loops[i].ops)
            free(<void *> self.loops[i].moving)
            free(self.loops[i].copies)
            free(self.loops[i].stages)
            free(self.loops[i].ready)
            free(self.loops[i].row_bytes)
        free(self.loops)
        free(self.scratch)
        free(self.ops)
        free(self.tails)
        if self.sources != NULL:
            for i in range(self.feeds):
                free(self.sources[i].readers)
        free(self.sources)
        for i in range(KINDS):
            free(self.plan_.stages[i])
            free(self.plan_.ready[i])

    cdef int add_steps(self, list steps, Op *heads, Op *tails) except -1:
        """Fills in the ops of the steps: heads in one array, tails in the other."""
        cdef int64_t elements = 0
        cdef Op *op
        cdef Op *last = NULL
        cdef Context unused
        for step in steps:
            if len(step) == 3:
                iterations, inner, moving = step
                self.add_loop(heads, iterations, inner, moving)
                heads, last = heads + 1, NULL
                continue
            name, arrays, options, per_item, is_tail = step
            if is_tail:
                if last == NULL:
                    raise ValueError(f"Program: {name} is a tail of nothing")
                op = last.tail = tails
                tails += 1
            else:
                op = heads
                heads += 1
            self.add(op, &unused, name, arrays, options, per_item)
            if is_tail and (op.kernel.span == NULL or op.fixed_rows != elements):
                raise ValueError(f"Program: {name} cannot run as a tail there")
            elements = 0 if arrays[0] is False else arrays[0].size
            last = op
            self.stage_room += op.kernel.phases
        return 0

    cdef int add_loop(self, Op *op, int64_t iterations, list steps, list moving) except -1:
        from fastdl import kernels
        cdef Loop *loop = &self.loops[self.loop_count]
        cdef Moving *moves
        cdef list places = places_of(steps)
        loop.heads, loop.count = count_heads(steps), len(steps)
        loop.iterations = iterations
        loop.moves = len(moving)
        self.loop_count += 1
        loop.ops = <Op *> calloc(loop.count + 1, sizeof(Op))
        moves = <Moving *> calloc(loop.moves + 1, sizeof(Moving))
        loop.moving = moves
        if loop.ops == NULL or moves == NULL:
            raise MemoryError("Program: no memory for the ops of a loop")
        loop.phases = -self.stage_room
        self.add_steps(steps, loop.ops, &loop.ops[loop.heads])
        loop.phases += self.stage_room
        for step, argument, array, (start, advance, period), (row_bytes, fixed_bytes) in moving:
            last = start + advance * (iterations - 1)
            blocks = 1 + min(max(start, last), period - 1)
            if min(start, last) < 0 or period < 1 or array.nbytes < blocks * (
                    row_bytes * self.capacity + fixed_bytes):
                raise ValueError(f"Program: argument {argument} of step {step} leaves its array")
            moves.op, moves.argument = places[step], argument
            moves.base = <char *> cnp.PyArray_DATA(<cnp.ndarray> array)
            moves.start, moves.step, moves.period = start, advance, period
            moves.row_bytes, moves.bytes = row_bytes, fixed_bytes
            role = getattr(kernels, steps[step][0]).op.arguments[argument].role
            self.note(&moves.base, array, role != "in")
            moves += 1
            self.keep.append(array)
        self.find_rows(loop, steps, places)
        op.kernel = &loop_kernel
        op.loop = loop
        self.stage_room += 1
        return 0

    cdef int find_rows(self, Loop *loop, list steps, list places) except -1:
        """Fills in what arguments have for a row, if all that the loop writes belongs to rows."""
        from fastdl import kernels
        cdef int64_t shared = 0
        rows = np.zeros((loop.count + 1, MAX_ARGUMENTS), np.int64)
        if loop.iterations < 2:
            return 0
        for place, (name, arrays, _, per_item, _) in zip(places, steps):
            declared = getattr(kernels, name).op
            if not per_item or any(o.name in DYNAMIC_OPTIONS for o in declared.options):
                return 0
            for i, (argument, array) in enumerate(zip(declared.arguments, arrays)):
                if array is None or array is False:
                    continue
                if argument.batched:
                    rows[place, i] = array.nbytes // self.capacity
                elif argument.role != "in":
                    return 0
                else:
                    shared += array.nbytes
        if shared > SHARED_BYTES:
            return 0
        loop.row_bytes = <int64_t *> calloc(rows.size, sizeof(int64_t))
        if loop.row_bytes == NULL:
            raise MemoryError("Program: no memory for the rows of a loop")
        for i in range(rows.size):
            loop.row_bytes[i] = rows.flat[i]
        return 0

    cdef int add(self, Op *op, Context *context, str name, list arrays, dict options,
                 int64_t per_item) except -1:
        from fastdl import kernels
        cdef Function function = getattr(kernels, name)
        op[0] = function.blank
        for i, option in enumerate(function.op.options):
            if option.name in options:
                function.set_option(op, context, i, options[option.name])
            elif option.default is None and option.name not in DYNAMIC_OPTIONS:
                raise ValueError(f"Program: {name}: option {option.name} is missing")
        arrays = list(arrays)
        if not function.set_arrays(op, arrays, False):
            copies = door.prepare(function.op, list(arrays), function.options_of(op))
            raise ValueError(f"Program: {name}: arrays overlap or are not contiguous: {copies}")
        if per_item:
            if op.fixed_rows != per_item * self.capacity:
                raise ValueError(
                    f"Program: {name} has {op.fixed_rows} rows, not {per_item} for each of "
                    f"{self.capacity}")
        if per_item:
            op.rows_per_item = per_item
        for i, argument in enumerate(function.op.arguments):
            if isinstance(arrays[i], np.ndarray):
                self.note(&op.arguments[i], arrays[i], argument.role != "in")
        self.keep.append(arrays)
        return 0

    cdef int note(self, char **address, cnp.ndarray array, bint written) except -1:
        """Notes where an argument of an op is kept, of feeds, and what memory it is in, if written."""
        cdef int i
        for i in range(self.feeds):
            note_address(&self.sources[i], address, written)
        if written:
            self.written.add(block_of(array))
        return 0

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
        cdef Memo memo
        cdef Team team
        cdef uint64_t state
        cdef const Stage *stage = self.plan_.stages[ANSWER]
        cdef const Stage *end
        cdef bint worked
        cdef int i, count = self.feeds + self.heads + self.fetches
        if not cnp.PyArray_CheckExact(x) or self.bound is not None or is_forced():
            return None
        source = x
        buffer = self.feed_buffers[0]
        if (not fits(source, buffer) or not 1 <= source.shape[0] <= self.capacity
                or self.ops[0].bodies != bodies_of(self.ops[0].itemsize == 8)):
            return None
        memset(&context, 0, sizeof(context))
        memo.known, context.memo = 0, &memo
        context.rows = source.shape[0]
        if self.plan_.rows[ANSWER] != context.rows and (
                total_cost(self.ops, count, &context) > WORTH_RELEASING):
            return None
        bring_home()
        buffer = self.fetch_buffers[0]
        shape[0] = context.rows
        for i in range(1, buffer.ndim):
            shape[i] = buffer.shape[i]
        result = cnp.PyArray_EMPTY(buffer.ndim, shape, cnp.PyArray_TYPE(buffer), 0)
        point_at(&self.ops[0], source)
        point_to(&self.ops[count - 1], result)
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
        cdef int i, ops = self.feeds + self.heads + self.fetches, threads = threads_now()
        memset(&context, 0, sizeof(context))
        context.rows = smaller(batch, total)
        for i in range(self.feeds):
            copy_rows(&self.sources[i])
            self.sources[i].in_place = (
                in_order and self.sources[i].alike and not self.sources[i].written)
        self.give_workspace(context.rows)
        self.give_workspace((total - 1) % batch + 1)
        cost = total_cost(self.ops, ops, &context)
        if cost != self.pace.cost or threads != self.planned_threads:
            pace_start(&self.pace, cost)
        self.planned_threads = threads
        if cost < ALONE_BELOW and not is_forced():
            threads = 1
        self.plan_.threads = 1
        self.cut(FULL, smaller(batch, total), threads)
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
        count = plan(
            self.ops, self.feeds + self.heads + self.fetches, &context, threads, PROGRAM_GRAIN,
            stages)
        for i in range(count):
            self.plan_.threads = max(self.plan_.threads, stages[i].threads)
        make_ready(stages, count, &context, self.plan_.ready[kind], self.roomy, False)
        for i in range(self.feeds):
            if self.sources[i].in_place:
                note_stages(&self.sources[i], stages, count)
        self.plan_.rows[kind], self.plan_.count[kind] = rows, count
        return 0

    cdef int give_workspace(self, int64_t rows) except -1 nogil:
        """Makes the scratch memory, one for all ops, large enough for batches of this length."""
        cdef Context context
        cdef size_t needed
        cdef void *memory = self.ops[0].workspace
        cdef bint grown = False
        cdef int i, ops = self.feeds + self.heads + self.fetches
        memset(&context, 0, sizeof(context))
        context.rows = rows
        for i in range(ops):
            needed = op_workspace(&self.ops[i], &context)
            grown |= needed > self.scratch[i]
            self.scratch[i] = max(self.scratch[i], needed)
        needed = place_workspace(self.ops, self.scratch, ops, NULL)
        for i in range(self.loop_count):
            needed = max(needed, self.loop_workspace(&self.loops[i], &context))
        if needed > self.workspace_bytes:
            memory = allocate(needed)
            free(self.ops[0].workspace)
            for i in range(self.loop_count):
                set_workspace(self.loops[i].ops, self.loops[i].heads, memory)
            self.workspace_bytes, grown = needed, True
        if grown:
            self.plan_.rows[ANSWER] = 0     # its stages know the old memory
            place_workspace(self.ops, self.scratch, ops, <char *> memory)
        return 0

    cdef size_t loop_workspace(self, Loop *loop, Context *context) noexcept nogil:
        """Of all groups of rows that go through the loop side by side."""
        cdef int64_t groups = row_groups(loop, context), part
        cdef Context own = context[0]
        cdef size_t needed = 0
        for part in range(1 if groups == 1 else 2):
            own.rows = ceil_divide(context.rows, groups) - part
            needed = max(needed, most_workspace(loop.ops, loop.heads, &own))
        if groups == 1:
            return needed
        loop.scratch = max(loop.scratch, <size_t> ceil_divide(needed, CACHE_LINE) * CACHE_LINE)
        return groups * loop.scratch

    cdef int give_copies(self, int threads) except -1 nogil:
        """Makes room for the copies of the ops in loops: of each thread, or each group of rows."""
        cdef Loop *loop
        cdef void *memory
        cdef int i
        threads = max(threads, MOST_GROUPS)
        if threads <= self.copies_for:
            return 0
        for i in range(self.loop_count):
            loop = &self.loops[i]
            memory = allocate(threads * (loop.count + 1) * sizeof(Op))
            free(loop.copies)
            loop.copies = <Op *> memory
            memory = allocate(threads * (loop.phases + 1) * sizeof(Stage))
            free(loop.stages)
            loop.stages = <Stage *> memory
            memory = allocate(threads * (loop.phases + 1) * sizeof(Ready))
            free(loop.ready)
            loop.ready = <Ready *> memory
        self.copies_for = threads
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
            self.give_workspace(context.rows)
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
    cdef Memo memo
    cdef uint64_t state = flush_denormals()
    cdef int64_t k, first
    cdef int busy = 1, kind
    cdef bint worked = size == 1
    cdef const Stage *stage
    cdef const Stage *end
    memo.known = 0
    context.memo = &memo
    if thread > 0:
        team_spread(team)
    for k in range(stretch.first, stretch.first + stretch.count):
        first = k * stretch.batch
        kind = first + stretch.batch > stretch.total
        context.first = first
        context.rows = cut.rows[kind]
        if stretch.rates != NULL:
            context.learning_rate = stretch.rates[k - stretch.first]
        stage, end = cut.stages[kind], cut.stages[kind] + cut.count[kind]
        if size == 1:
            stage = run_to_loop(stage, end, &context)
        if stage < end:
            busy = share_of_stages(
                stage, <int> (end - stage), &context, team, thread, size, busy, &worked, NULL, NULL)
        context.step += 1
    restore_denormals(state)
    team_note(team, worked)


cdef tuple block_of(cnp.ndarray array):
    """Where the memory begins and ends that an array is a part of."""
    cdef object owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    first = <size_t> cnp.PyArray_DATA(<cnp.ndarray> owner)
    return first, first + owner.nbytes


cdef int count_heads(list steps) except -1:
    """How many steps are no tails."""
    return sum(len(step) == 3 or not step[4] for step in steps)


cdef list places_of(list steps):
    """Where each step's op lies in an array of the heads and then the tails."""
    tails = [len(step) == 5 and step[4] for step in steps]
    order = sorted(range(len(steps)), key=lambda i: (tails[i], i))
    return [order.index(i) for i in range(len(steps))]


cdef size_t most_workspace(const Op *ops, int count, const Context *context) noexcept nogil:
    cdef size_t needed = 0
    cdef int i
    for i in range(count):
        needed = max(needed, op_workspace(&ops[i], context))
    return needed


cdef size_t op_workspace(const Op *op, const Context *context) noexcept nogil:
    return 0 if op.kernel.workspace == NULL else op.kernel.workspace(op, op_rows(op, context))


cdef size_t place_workspace(
    Op *ops, const size_t *scratch, int count, char *memory
) noexcept nogil:
    """Gives ops their parts of this memory, those of a chain side by side; NULL: only says how much
    it must be."""
    cdef size_t at = 0, most = 0
    cdef int64_t chained = 0
    cdef int i
    for i in range(count):
        if chained == 0:
            at, chained = 0, ops[i].chain + 1
        if memory != NULL:
            ops[i].workspace = memory + at
        at += <size_t> ceil_divide(scratch[i], CACHE_LINE) * CACHE_LINE
        most = max(most, at)
        chained -= 1
    return most


cdef void set_workspace(Op *ops, int count, void *memory) noexcept nogil:
    cdef int i
    for i in range(count):
        ops[i].workspace = memory


cdef double total_cost(const Op *ops, int count, const Context *context) noexcept nogil:
    """Roughly the nanoseconds that one batch takes on one thread."""
    cdef double cost = 0
    cdef int i, phase
    for i in range(count):
        for phase in range(ops[i].kernel.phases):
            cost += ops[i].kernel.cost(&ops[i], context, phase)
    return cost
