"""The ops of a program: a flat array of Op structs, made from a list of steps.

Feeds come first, then the steps' ops, then fetches. Tails, and ops within loops, lie in arrays of
their own. All have one scratch memory.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastdl.kernels.call cimport Function, allocate
from fastdl.kernels.rows cimport Feed, gather_into, note_address, scatter_from
from fastdl.kernels.runner cimport (
    MAX_ARGUMENTS, MOST_GROUPS, Context, Loop, Moving, Op, Ready, Stage, ceil_divide, loop_kernel,
    op_rows, row_groups,
)

from fastdl.kernels import door
from fastdl.kernels.table import DYNAMIC_OPTIONS

cnp.import_array()


# What rows read together must stay in each core's cache where groups of them go through a loop.
cdef enum: SHARED_BYTES = 1048576, CACHE_LINE = 64


cdef class Ops:
    """What a Program is made of.

    Parameters
    ----------
    capacity : int
        The most rows a batch may have; the first axis of every batched buffer.
    steps : list of (name, arrays, options, per_item, is_tail), or of (iterations, steps, moving)
        The ops in order: the table's name; an array (or None, or False) for each of its arguments,
        one without strides (see `handed_on`) for what an op hands to its tail; its options by name;
        how many rows of the op one row of the batch makes (0: the op's rows do not depend on the batch);
        whether it runs as a tail of the op before it. Or a loop: how often it runs, the same of the ops
        in it, and a list of (step, argument, array, (start, step, period), (row_bytes, bytes)) for
        arguments that are another block of an array in each iteration, as `Moving` in op.h says.
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
        self.count = self.feeds + self.heads + self.fetches
        self.ops = <Op *> calloc(self.count + 1, sizeof(Op))
        self.tails = <Op *> calloc(len(steps) - self.heads + 1, sizeof(Op))
        self.loops = <Loop *> calloc(sum(len(step) == 3 for step in steps) + 1, sizeof(Loop))
        self.scratch = <size_t *> calloc(self.count + 1, sizeof(size_t))
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

    cdef int add_steps(self, list steps, Op *heads, Op *tails) except -1:
        """Fills in the ops of the steps: heads in one array, tails in the other."""
        cdef int64_t elements = 0
        cdef bint handing = False, handed
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
            handed = self.add(op, &unused, name, arrays, options, per_item)
            if is_tail and (op.kernel.span == NULL or op.fixed_rows != elements):
                raise ValueError(f"Program: {name} cannot run as a tail there")
            if handing != (is_tail and handed):
                raise ValueError(f"Program: {name}: only an op's tail reads what has no memory")
            handing = handed and not is_tail
            elements = 0 if arrays[0] is False else arrays[0].size
            last = op
            self.stage_room += op.kernel.phases
        if handing:
            raise ValueError("Program: nobody reads what the last op hands on")
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
        """Fills in an op; whether it makes or reads what has no memory."""
        from fastdl import kernels
        cdef Function function = getattr(kernels, name)
        op[0] = function.blank
        for i, option in enumerate(function.op.options):
            if option.name in options:
                function.set_option(op, context, i, options[option.name])
            elif option.default is None and option.name not in DYNAMIC_OPTIONS:
                raise ValueError(f"Program: {name}: option {option.name} is missing")
        arrays = list(arrays)
        handed = handed_on(function, arrays)
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
        for i in handed:
            op.arguments[i], arrays[i] = NULL, None
        for i, argument in enumerate(function.op.arguments):
            if isinstance(arrays[i], np.ndarray):
                self.note(&op.arguments[i], arrays[i], argument.role != "in")
                if self.roomy and argument.role == "out" and not has_room(arrays[i]):
                    raise ValueError(
                        f"Program: {name}: {argument.name} ends where its memory does, not its cache line")
        self.keep.append(arrays)
        return len(handed) > 0

    cdef int note(self, char **address, cnp.ndarray array, bint written) except -1:
        """Notes where an argument of an op is kept, of feeds, and what memory it is in, if written."""
        cdef int i
        for i in range(self.feeds):
            note_address(&self.sources[i], address, written)
        if written:
            self.written.add(block_of(array))
        return 0

    cdef int give_workspace(self, int64_t rows) except -1 nogil:
        """Makes the scratch memory, one for all ops, large enough for batches of this length; whether ops
        have it elsewhere now."""
        cdef Context context
        cdef size_t needed
        cdef void *memory = self.ops[0].workspace
        cdef bint grown = False
        cdef int i, ops = self.count
        memset(&context, 0, sizeof(context))
        context.rows = rows
        for i in range(ops):
            needed = op_workspace(&self.ops[i], &context)
            grown |= needed > self.scratch[i]
            self.scratch[i] = max(self.scratch[i], needed)
        needed = place_workspace(self.ops, self.scratch, ops, NULL)
        for i in range(self.loop_count):
            needed = max(needed, loop_workspace(&self.loops[i], &context))
        if needed > self.workspace_bytes:
            memory = allocate(needed)
            free(self.ops[0].workspace)
            for i in range(self.loop_count):
                set_workspace(self.loops[i].ops, self.loops[i].heads, memory)
            self.workspace_bytes, grown = needed, True
        if grown:
            place_workspace(self.ops, self.scratch, ops, <char *> memory)
        return grown

    def scratch_bytes(self) -> int:
        """Bytes of scratch memory for full batches."""
        cdef Context context
        cdef Loop loop
        cdef size_t needed
        cdef size_t *scratch = <size_t *> calloc(self.count + 1, sizeof(size_t))
        cdef int i
        if scratch == NULL:
            raise MemoryError("Program: no memory to count its memory")
        memset(&context, 0, sizeof(context))
        context.rows = self.capacity
        for i in range(self.count):
            scratch[i] = op_workspace(&self.ops[i], &context)
        needed = place_workspace(self.ops, scratch, self.count, NULL)
        free(scratch)
        for i in range(self.loop_count):
            loop = self.loops[i]    # a copy: others may be running it
            needed = max(needed, loop_workspace(&loop, &context))
        return needed

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


cdef list handed_on(Function function, list arrays):
    """Which arguments are those of an op that hands its output on to its tail, or of that tail: arrays
    without strides. Ordinary ones take their places, to be checked as all are; they are never touched."""
    cdef int i
    found = []
    for i, (argument, array) in enumerate(zip(function.op.arguments, arrays)):
        if (isinstance(array, np.ndarray) and array.size > 1 and not any(array.strides)
                and (function.op.hands_on if argument.role == "out"
                     else argument.role == "in" and function.kernel.tile != NULL)):
            arrays[i] = np.empty(array.shape, array.dtype)
            found.append(i)
    return found


cdef tuple block_of(cnp.ndarray array):
    """Where the memory begins and ends that an array is a part of."""
    cdef object owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    first = <size_t> cnp.PyArray_DATA(<cnp.ndarray> owner)
    return first, first + owner.nbytes


cdef bint has_room(cnp.ndarray array):
    """Whether the memory that an array is a part of goes on to the end of its last cache line."""
    cdef size_t end = <size_t> cnp.PyArray_DATA(array) + array.nbytes
    return ceil_divide(end, CACHE_LINE) * CACHE_LINE <= block_of(array)[1]


cdef int count_heads(list steps) except -1:
    """How many steps are no tails."""
    return sum(len(step) == 3 or not step[4] for step in steps)


cdef list places_of(list steps):
    """Where each step's op lies in an array of the heads and then the tails."""
    tails = [len(step) == 5 and step[4] for step in steps]
    order = sorted(range(len(steps)), key=lambda i: (tails[i], i))
    return [order.index(i) for i in range(len(steps))]


cdef size_t loop_workspace(Loop *loop, const Context *context) noexcept nogil:
    """Of all groups of rows that go through a loop side by side."""
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
