"""Steps: a Program of one batch that is called from Python again and again.

A program's ops read step, seed and learning rate from the context, and a program has one. In a step
there may be several optimizers and several calls of models, each with numbers of its own. So an op
that needs such numbers gets a kernel which looks at the op's `Numbers` first.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from fastdl.kernels.dispatch cimport bodies_of
from fastdl.kernels.program cimport (
    WORTH_RELEASING, Program, Stretch, share_of_stretch,
)
from fastdl.kernels.rows cimport fits, point_at
from fastdl.kernels.runner cimport (
    Context, Kernel, Numbers, Op, Team, is_forced, note_run, team_start, threads_now,
)
from fastdl.kernels.values cimport Value, is_traced, make

cnp.import_array()


cdef Context with_numbers(const Op *op, const Context *context) noexcept nogil:
    """The context, with the op's own numbers for the program's."""
    cdef Context own = context[0]
    own.step, own.seed = op.numbers.step, op.numbers.seed
    own.learning_rate = op.numbers.learning_rate
    return own


cdef void run_with_numbers(
    const Op *op, const Context *context, int phase, int64_t piece
) noexcept nogil:
    cdef Context own = with_numbers(op, context)
    op.numbers.kernel.run_piece(op, &own, phase, piece)


cdef void span_with_numbers(
    const Op *op, const Context *context, int64_t start, int64_t count
) noexcept nogil:
    cdef Context own = with_numbers(op, context)
    op.numbers.kernel.span(op, &own, start, count)


cdef void tile_with_numbers(
    const Op *op, const Context *context, int64_t start, int64_t rows, int64_t count, int64_t stride,
    const void *part, int64_t part_stride
) noexcept nogil:
    cdef Context own = with_numbers(op, context)
    op.numbers.kernel.tile(op, &own, start, rows, count, stride, part, part_stride)


cdef class Step:
    """A program with numbers for some of its ops, and what is read from it after a run.

    Parameters
    ----------
    program : Program
    owners : list of list of list of int
        For each op of the program, or each op of its loop, and its tails: which of the numbers are
        its own; -1: none.
    results : list of (array, bool)
        Buffers that are copied out, and whether only as many rows of them as the batch has.
    """

    cdef Program program
    cdef Numbers *numbers           # of each op that has some
    cdef Kernel *kernels
    cdef int *owner
    cdef int count
    cdef list results
    cdef int64_t cut_rows           # of the batch that the program was last cut for
    cdef int cut_threads            # ... and for how many threads; 0: for any number, as forced
    cdef list optimizers, layers, checks, whole     # of quick calls
    cdef object latest

    def __cinit__(self, Program program not None, list owners not None, list results not None):
        cdef int i, k, n = 0
        cdef Op *op
        self.program, self.results = program, results
        self.count = sum(owner >= 0 for chains in owners for chain in chains for owner in chain)
        self.numbers = <Numbers *> calloc(self.count + 1, sizeof(Numbers))
        self.kernels = <Kernel *> calloc(self.count + 1, sizeof(Kernel))
        self.owner = <int *> calloc(self.count + 1, sizeof(int))
        if self.numbers == NULL or self.kernels == NULL or self.owner == NULL:
            raise MemoryError("Step: no memory for the numbers")
        if len(owners) != program.heads:
            raise ValueError(f"Step: {len(owners)} owners for {program.heads} ops")
        for i, chains in enumerate(owners):
            for k, chain in enumerate(chains):
                op = &program.ops[program.feeds + i]
                if op.loop != NULL:
                    op = &op.loop.ops[k]
                for owner in chain:
                    if owner >= 0:
                        self.kernels[n] = op.kernel[0]
                        self.kernels[n].run_piece = run_with_numbers
                        self.kernels[n].run_range = NULL
                        self.kernels[n].prepare = NULL
                        if op.kernel.span != NULL:
                            self.kernels[n].span = span_with_numbers
                        if op.kernel.tile != NULL:
                            self.kernels[n].tile = tile_with_numbers
                        self.numbers[n].kernel = op.kernel
                        self.owner[n] = owner
                        op.numbers = &self.numbers[n]
                        op.kernel = &self.kernels[n]
                        n += 1
                    op = <Op *> op.tail

    def __dealloc__(self):
        free(self.numbers)
        free(self.kernels)
        free(self.owner)

    def run(self, object sources, list numbers not None):
        """One batch.

        Parameters
        ----------
        sources : tuple or list of array
            The rows for each feed.
        numbers : list of (step, seed, learning rate)

        Returns
        -------
        list of Value, or None
            The results; None, and nothing has been done, where an array does not fit or is longer
            than the program has room for.

        Raises
        ------
        RuntimeError
            If another thread is running this step.
        """
        return self.run_batch(sources, numbers)

    cdef list run_batch(self, object sources, list numbers):
        cdef Program program = self.program
        cdef Stretch stretch
        cdef Team team
        cdef int64_t rows = 1, step, seed
        cdef double rate
        cdef cnp.ndarray array
        cdef int i
        if len(sources) != program.feeds:
            return None
        for i in range(program.feeds):
            source = sources[i]
            if not cnp.PyArray_CheckExact(source):
                return None
            array = source
            if not fits(array, program.feed_buffers[i]):
                return None
            if i and array.shape[0] != rows:
                return None
            rows = array.shape[0]
        if not 1 <= rows <= program.capacity:
            return None
        for i in range(self.count):
            step, seed, rate = <tuple> numbers[self.owner[i]]
            self.numbers[i].step, self.numbers[i].seed = step, seed
            self.numbers[i].learning_rate = rate
        memset(&stretch, 0, sizeof(stretch))
        stretch.batch = stretch.total = rows
        stretch.count = 1
        program.enter()
        try:
            for i in range(program.feeds):
                point_at(&program.ops[i], sources[i])
            if rows != self.cut_rows:
                self.cut(rows)
            if program.pace.cost <= WORTH_RELEASING and not is_forced():
                team_start(&team)
                share_of_stretch(&program.plan_, &stretch, &team, 0, 1)
            else:
                note_run(1)
                try:
                    if is_forced() or threads_now() != self.cut_threads:
                        self.cut(rows)
                    with nogil:
                        program.run_stretch(&stretch)
                finally:
                    note_run(-1)
            return [copy_of(buffer, rows if per_row else -1) for buffer, per_row in self.results]
        finally:
            program.leave()

    cdef int cut(self, int64_t rows) except -1:
        """Has the program cut its ops for batches of so many rows."""
        self.cut_rows = 0
        self.program.prepare(rows, rows, False)
        self.cut_rows, self.cut_threads = rows, 0 if is_forced() else threads_now()
        return 0

    def allow_quick(
        self, list optimizers not None, list layers not None, list checks not None,
        list whole not None, latest not None,
    ) -> None:
        """Lets `quick` be used.

        Parameters
        ----------
        optimizers, layers : list of (dict, int)
            The attributes of those whose numbers are wanted, optimizers first, and how many others
            of the same come before.
        checks : list of (dict, key, value)
            What must be the very same object still.
        whole : list of bool
            Which arrays hold whole numbers.
        latest : int
            What `quick` has to be given.
        """
        self.optimizers, self.layers, self.checks = optimizers, layers, checks
        self.whole, self.latest = whole, latest

    def quick(self, tuple sources not None, latest):
        """`run` with the numbers found here: the results, or None where it has to be asked for."""
        cdef list numbers, results
        cdef cnp.ndarray array
        cdef dict known
        cdef int i
        if latest != self.latest or len(sources) != len(self.whole):
            return None
        for known, key, value in self.checks:
            if known[key] is not value:
                return None
        for i in range(len(self.whole)):
            if not cnp.PyArray_CheckExact(sources[i]):
                return None
            array = sources[i]
            if cnp.PyArray_ISFLOAT(array) == self.whole[i]:
                return None
        numbers = []
        for known, before in self.optimizers:
            numbers.append((known["iterations"] + (<int> before + 1), 0, known["_rate"]))
        for known, before in self.layers:
            numbers.append((
                known.get("_draws", 0) + (<int> before + 1),
                known["seed"] if "seed" in known else known["_seed"], 0.0))
        results = self.run_batch(sources, numbers)
        if results is not None:
            for known, _before in self.optimizers:
                known["iterations"] += 1
            for known, _before in self.layers:
                known["_draws"] = known.get("_draws", 0) + 1
        return results

    def is_current(self) -> bool:
        """Whether the program computes with the bodies that are chosen now."""
        if self.program.feeds + self.program.heads == 0:
            return True
        return self.program.ops[0].bodies == bodies_of(self.program.ops[0].itemsize == 8)


cdef class Caller:
    """What is called for step after step: by the short way, where the last step may take it.

    Attributes
    ----------
    step : Step or None
        What ran last, where `Step.quick` may be tried.
    arrange : callable or None
        Makes of its results what is returned; None: the first one is.
    changes : object
        Its ``latest`` is what `Step.quick` is given.
    """

    cdef dict __dict__
    cdef public Step step
    cdef public object arrange, changes

    def __call__(self, *args, **kwargs):
        """Runs the step; see `compiled_step`."""
        if self.step is not None and not kwargs and not is_traced():
            results = self.step.quick(args, self.changes.latest)
            if results is not None:
                return results[0] if self.arrange is None else self.arrange(results)
        return self.call(args, kwargs)


cdef Value copy_of(cnp.ndarray buffer, int64_t rows):
    """A value with a copy of the buffer, or of its first rows."""
    cdef cnp.npy_intp shape[32]
    cdef cnp.ndarray copy
    cdef int i
    for i in range(buffer.ndim):
        shape[i] = buffer.shape[i]
    if rows >= 0:
        shape[0] = rows
    copy = cnp.PyArray_EMPTY(buffer.ndim, shape, cnp.PyArray_TYPE(buffer), 0)
    memcpy(cnp.PyArray_DATA(copy), cnp.PyArray_DATA(buffer), cnp.PyArray_NBYTES(copy))
    return make(copy)
