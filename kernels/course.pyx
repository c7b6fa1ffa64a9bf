"""Courses: programs over data for many epochs, the native half of `fit`.

A Course shuffles, trains, validates and keeps the totals of every epoch, without the GIL, and comes
back when somebody in Python has to act. Batches run in chunks of some milliseconds, each in one
parallel region; between two chunks it looks for signals and at the clock.
"""

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

from fastdl.kernels.program cimport Program, Stretch
from fastdl.kernels.runner cimport ceil_divide, note_run, now_ns, smaller, threads_now

cnp.import_array()


cdef enum: CHUNK_NANOSECONDS = 20000000

# A schedule is asked for the rates of so many steps at once, where the fit has as many: short
# epochs together, and of long ones a part.
cdef enum: FEWEST_RATES = 1024
cdef enum: MOST_RATES = 65536


# --- the order of an epoch -----------------------------------------------------------------------

cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014)."""
    x = (x ^ (x >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t> 0x94D049BB133111EB
    return x ^ (x >> 31)


cdef extern from *:
    """
    static inline int64_t below(uint64_t word, int64_t n) {
        return (int64_t)(((unsigned __int128)word * (uint64_t)n) >> 64);
    }
    """
    int64_t below(uint64_t word, int64_t n) noexcept nogil


cdef void shuffle(int64_t *order, int64_t n, uint64_t seed, uint64_t epoch) noexcept nogil:
    """The order of one epoch, from seed and epoch alone (Fisher & Yates over SplitMix64)."""
    cdef uint64_t key = mix(mix(seed + <uint64_t> 0x9E3779B97F4A7C15) + epoch)
    cdef int64_t i, k, moved
    for i in range(n):
        order[i] = i
    for i in range(n - 1, 0, -1):
        k = below(mix(key + <uint64_t> i * <uint64_t> 0x9E3779B97F4A7C15), i + 1)
        moved = order[i]
        order[i] = order[k]
        order[k] = moved


def epoch_order(int64_t rows, int64_t seed, int64_t epoch) -> np.ndarray:
    """The order in which an epoch of `fit` takes the rows."""
    cdef cnp.ndarray order = np.empty(max(rows, 0), np.int64)
    shuffle(<int64_t *> cnp.PyArray_DATA(order), max(rows, 0), seed, epoch)
    return order


# --- the course ----------------------------------------------------------------------------------

def rates_ahead(schedule, int64_t step, int64_t here, int64_t later):
    """The learning rates from a step on, as many as a schedule is asked for at once.

    Parameters
    ----------
    here, later : int
        Steps that are left in this epoch, and after it.
    """
    cdef int64_t count = smaller(max(here, smaller(FEWEST_RATES, here + later)), MOST_RATES)
    cdef cnp.ndarray rates = np.ascontiguousarray(
        schedule.rates(np.arange(step, step + count)), np.float64)
    if rates.size != count:
        raise ValueError(
            f"{type(schedule).__name__}: gave {rates.size} rates for {count} steps")
    return rates


cdef class Course:
    """Epochs of training, each with its validation: the native half of `fit`.

    ``advance`` goes on until the asked-for point and says which it reached; between two calls
    Python may look at anything, change the learning rate, or stop. To set ``interrupted`` from
    another thread ends a call under way as Ctrl-C does in the main thread.

    Attributes
    ----------
    epoch, batch, step : int
        The place: epoch, batches of it that are done, updates made so far.
    learning_rate : float
        Of all coming updates, where there is no schedule.
    schedule : LearningRateSchedule or None
        Its ``rates(steps)`` is asked for many steps at once, at least anew for every epoch that is
        run for itself.
    watched : int
        So many first pairs of the totals, those of the losses, are looked at after each stretch:
        `advance` returns "not finite" where one has become so.
    """

    cdef Program train, validate
    cdef readonly int64_t epoch, batch, epochs, batches
    cdef int64_t rows, batch_size, validation_rows, validation_batch, chunk
    cdef int64_t clock      # when it was last read: an epoch may be shorter than reading it twice
    cdef public double learning_rate
    cdef object schedule_
    cdef cnp.ndarray rates
    cdef int64_t rates_first, rates_end     # the steps whose rates are known
    cdef public int64_t step
    cdef public int watched
    cdef readonly int64_t seed
    cdef readonly object history
    cdef object order
    cdef int64_t *order_at
    cdef bint shuffled, begun
    cdef public bint interrupted

    def __cinit__(self, Program train not None, Program validate, *, int64_t batch_size,
                  int64_t validation_batch, int64_t first_epoch, int64_t epochs, bint shuffle,
                  int64_t step, int64_t seed):
        self.train, self.validate = train, validate
        self.rows = train.bound_rows()
        if not 1 <= batch_size <= train.capacity or self.rows < 1:
            raise ValueError("Course: no rows, or a batch that the program has no room for")
        if validate is not None:
            self.validation_rows = validate.bound_rows()
            if not 1 <= validation_batch <= validate.capacity:
                raise ValueError("Course: a validation batch that the program has no room for")
        self.batch_size, self.validation_batch = batch_size, validation_batch
        self.batches = ceil_divide(self.rows, batch_size)
        self.epoch, self.epochs = first_epoch, max(epochs, first_epoch)
        self.step, self.seed, self.shuffled = step, seed, shuffle
        self.chunk = 1
        columns = len(train.totals) + (len(validate.totals) if validate is not None else 0)
        self.history = np.zeros((self.epochs - first_epoch, columns))
        if shuffle:
            self.order = np.empty(self.rows, np.int64)
            self.order_at = <int64_t *> cnp.PyArray_DATA(<cnp.ndarray> self.order)

    @property
    def schedule(self):
        return self.schedule_

    @schedule.setter
    def schedule(self, schedule):
        if schedule is not self.schedule_:
            self.schedule_ = schedule
            self.rates_end = 0

    def go_to(self, int64_t batch, int64_t step, cnp.ndarray totals not None) -> None:
        """Goes on from within the epoch: ``batch`` batches of it done, with these totals.

        Raises
        ------
        ValueError
            If the epoch has fewer batches, or the totals are not those of this program.
        """
        if not 0 <= batch <= self.batches:
            raise ValueError(f"Course: an epoch has {self.batches} batches, not {batch}")
        self.train.totals[...] = totals
        if self.shuffled:
            shuffle(self.order_at, self.rows, self.seed, self.epoch)
        self.batch, self.step, self.begun = batch, step, True

    def advance(self, str until not None, double seconds, int64_t batch=0) -> str:
        """Trains on; returns which point it reached.

        Parameters
        ----------
        until : {"batch", "epoch", "end"}
            Where to stop; an epoch ends after its validation.
        seconds : float
            Come back after about this long in any case.
        batch : int
            With until="batch" how many batches of the epoch are to be done then; at least one more
            is, and the epoch does not end.

        Returns
        -------
        {"batch", "epoch", "end", "time", "not finite"}

        Raises
        ------
        KeyboardInterrupt
            Between two batches; everything is consistent and training may go on.
        """
        cdef bint by_batch = until == "batch", by_epoch = until != "end"
        cdef int64_t deadline, looked
        cdef double *row
        cdef int64_t first_epoch = self.epochs - len(self.history)
        cdef int64_t columns = self.history.shape[1]
        cdef cnp.ndarray history = self.history
        cdef double *history_at = <double *> cnp.PyArray_DATA(history)
        cdef str reached = "end"
        if self.interrupted:
            self.look()
        if self.epoch >= self.epochs:
            return "end"
        if self.train.bound_rows() != self.rows or (
                self.validate is not None and self.validate.bound_rows() != self.validation_rows):
            raise RuntimeError("Course: other rows have been bound to its programs")
        self.train.enter()
        try:
            if self.validate is not None:
                self.validate.enter()
        except RuntimeError:
            self.train.leave()
            raise
        note_run(1)
        self.clock = looked = now_ns()
        deadline = looked + <int64_t> (seconds * 1e9)
        try:
            with nogil:
                self.prepare()
                while self.epoch < self.epochs:
                    if not self.begun:
                        if self.shuffled:
                            shuffle(self.order_at, self.rows, self.seed, self.epoch)
                        memset(self.train.totals_at, 0, self.train.totals_count * sizeof(double))
                        self.begun = True
                        if by_epoch:
                            self.rates_end = 0
                    if self.batch < self.batches:
                        if self.schedule_ is not None and not (
                                self.rates_first <= self.step < self.rates_end):
                            self.ask_schedule(not by_epoch)
                        self.train_chunk(
                            smaller(self.chunk, max(1, batch - self.batch)) if by_batch
                            else self.chunk)
                        if self.watched and not self.totals_are_finite():
                            with gil:
                                reached = "not finite"
                            break
                        if by_batch and (self.batch >= batch or self.batch == self.batches):
                            self.look()
                            with gil:
                                reached = "batch"
                            break
                    if self.batch == self.batches:
                        row = history_at + (self.epoch - first_epoch) * columns
                        memcpy(row, self.train.totals_at,
                               self.train.totals_count * sizeof(double))
                        if self.validate is not None:
                            self.validation()
                            memcpy(row + self.train.totals_count, self.validate.totals_at,
                                   self.validate.totals_count * sizeof(double))
                            self.clock = now_ns()
                        self.epoch += 1
                        self.batch = 0
                        self.begun = False
                        if by_epoch:
                            with gil:
                                reached = "epoch"
                            break
                    if self.clock - looked > CHUNK_NANOSECONDS or self.interrupted:
                        looked = self.clock
                        self.look()
                        if threads_now() != self.train.planned_threads:
                            self.prepare()
                        if self.clock > deadline and self.epoch < self.epochs:
                            with gil:
                                reached = "time"
                            break
        finally:
            note_run(-1)
            self.train.leave()
            if self.validate is not None:
                self.validate.leave()
        return reached

    cdef int prepare(self) except -1 nogil:
        """Cuts the programs for the threads that may be used now: runs come and go."""
        self.train.prepare(self.batch_size, self.rows, not self.shuffled)
        if self.validate is not None and self.validation_rows:
            self.validate.prepare(self.validation_batch, self.validation_rows, True)
        return 0

    cdef int look(self) except -1 nogil:
        """Lets signals, and threads that set ``interrupted``, end the call."""
        with gil:
            if self.interrupted:
                self.interrupted = False
                raise KeyboardInterrupt
            PyErr_CheckSignals()
        return 0

    cdef int ask_schedule(self, bint across_epochs) except -1 nogil:
        """Has the schedule fill ``rates`` from the next step on."""
        cdef int64_t later = (self.epochs - self.epoch - 1) * self.batches if across_epochs else 0
        with gil:
            self.rates = rates_ahead(
                self.schedule_, self.step, self.batches - self.batch, later)
            self.rates_first, self.rates_end = self.step, self.step + self.rates.size
        return 0

    cdef bint totals_are_finite(self) noexcept nogil:
        cdef int i
        for i in range(self.watched):
            if not isfinite(self.train.totals_at[2 * i]):
                return False
        return True

    cdef void train_chunk(self, int64_t count) noexcept nogil:
        """Some batches in one stretch; the next is longer or shorter, to last CHUNK_NANOSECONDS."""
        cdef Stretch stretch
        cdef int64_t took, begin = self.clock
        memset(&stretch, 0, sizeof(stretch))
        stretch.batch, stretch.total = self.batch_size, self.rows
        stretch.first = self.batch
        stretch.count = smaller(count, self.batches - self.batch)
        stretch.context.order = self.order_at if self.shuffled else NULL
        stretch.context.step = self.step + 1
        stretch.context.seed = self.seed
        stretch.context.learning_rate = self.learning_rate
        if self.schedule_ is not None:
            stretch.rates = <double *> cnp.PyArray_DATA(self.rates) + (self.step - self.rates_first)
            stretch.count = smaller(stretch.count, self.rates_end - self.step)
        self.train.run_stretch(&stretch)
        self.batch += stretch.count
        self.step += stretch.count
        self.clock = now_ns()
        took = self.clock - begin
        if took < CHUNK_NANOSECONDS // 2:
            self.chunk *= 2
        elif took > 2 * CHUNK_NANOSECONDS and self.chunk > 1:
            self.chunk //= 2
        self.chunk = smaller(self.chunk, 1 << 30)

    cdef int validation(self) except -1 nogil:
        cdef Stretch stretch
        cdef int64_t batches = ceil_divide(self.validation_rows, self.validation_batch)
        cdef int64_t chunk = 1, at = 0, took
        memset(self.validate.totals_at, 0, self.validate.totals_count * sizeof(double))
        memset(&stretch, 0, sizeof(stretch))
        stretch.batch, stretch.total = self.validation_batch, self.validation_rows
        while at < batches:
            stretch.first = at
            stretch.count = smaller(chunk, batches - at)
            took = now_ns()
            self.validate.run_stretch(&stretch)
            took = now_ns() - took
            at += stretch.count
            if took < CHUNK_NANOSECONDS // 2:
                chunk *= 2
            else:
                self.look()
        return 0
