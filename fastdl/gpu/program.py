"""Programs on the GPU: the face of `fastdl.kernels.program.Program`, over memory of the device.

The ops are launched one after the other on a stream of the program's own; the driver makes a CUDA
graph of a batch, which is launched as a whole from then on. All that changes from batch to batch
lies on the device, in a `Context` that the last kernel of each batch moves on: so a graph takes
batch after batch without the host, which looks at totals and results when a stretch of batches is
done.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastdl.gpu import device
from fastdl.gpu.core import CONTEXT, elements_grid
from fastdl.gpu.cut import Cut, Steps, places_written
from fastdl.gpu.memory import Memory

__all__ = ["TYPES", "Program"]

#: The types of data that rows are gathered from, in the order of program.cu.
TYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
          "float32", "float64")  # fmt: skip

#: Lengths of batches that a program keeps the launches of.
_MOST_CUTS = 8


_noted = False


class Program:
    """A list of ops over fixed buffers, on the GPU.

    Parameters
    ----------
    capacity, steps, feeds, fetches, totals
        As for the CPU's Program. The arrays stand for places on the device.
    weights : list of array
        Those among the arrays that other programs know as well.
    communicator : Communicator, optional
        With whom gradients are averaged: see several.py.

    Attributes
    ----------
    totals : array of float64
        What the accumulate ops had added up when the last stretch was done.
    done : int
        How many batches of the last stretch have run: fewer than were asked for if it was broken
        off.

    Raises
    ------
    MemoryError
        If the device has not enough memory.
    """

    def __init__(
        self,
        capacity: int,
        steps: list[Any],
        feeds: list[np.ndarray],
        fetches: list[np.ndarray],
        totals: np.ndarray,
        weights: list[np.ndarray],
        communicator: Any = None,
    ) -> None:
        self.driver = driver = device.driver()
        self.capacity, self.totals = capacity, totals
        self.feed_buffers, self.fetch_buffers = tuple(feeds), tuple(fetches)
        self.done = 0
        self._stream = driver.stream()
        weakref.finalize(self, driver.release, self._stream).atexit = False
        self._running = threading.Lock()
        self._holds = False
        #: whoever has this has the weights, of a program that keeps them: see memory.py
        self.in_use = threading.Lock()
        self._bound: tuple[list[Any], list[Any], list[np.ndarray]] | None = None
        #: how many rows are bound
        self.rows = 0
        #: what each source's numbers are, as the gather kernel wants to know it
        self._types: list[int] = []
        self._cuts: dict[int, Cut] = {}
        floats = [a.dtype for a in (*feeds, *fetches) if a.dtype.kind == "f"]
        self._real = floats[0] if floats else np.dtype(np.float32)
        written = [*places_written(steps), *feeds, totals]
        with self._stream, device.memory_errors():
            self._memory = memory = Memory(driver, weights)
            self._context = driver.xp.zeros(CONTEXT.itemsize, np.uint8)
            self._table = driver.xp.zeros(len(feeds) + len(fetches) + 1, np.uint64)
            self._feeds = [memory.device(array) for array in feeds]
            self._fetches = [memory.device(array) for array in fetches]
            self._totals = memory.device(totals)
            self._steps = Steps(driver, memory, steps, self._real, self._context)
            self._steps.communicator = communicator
            self._cut(capacity)
            memory.upload_constants(written)
        self._stream.synchronize()  # others use the memory of its weights, on streams of their own
        self._changes = memory.changed(written)

    def give_numbers(self, owners: list[int]) -> None:
        """Has some ops read step, seed and learning rate from numbers of their own, which `once` is
        given.

        Parameters
        ----------
        owners : list of int
            For each op with its tails, and those of loops: which numbers are its own; -1: none.
        """
        size = CONTEXT.itemsize
        with self._stream, device.memory_errors():
            self._numbers = numbers = self.driver.xp.zeros(
                (max(owners, default=-1) + 1) * size, np.uint8
            )
            self._steps.contexts = [
                self._context if i < 0 else numbers[i * size : (i + 1) * size] for i in owners
            ]
            self._cuts.clear()
            self._cut(self.capacity)

    def note_if_small(self, name: str) -> None:
        """Says once that a model is too small for a GPU to be the faster one."""
        global _noted
        if not _noted and not self._cut(self.capacity).gains():
            _noted = True
            warnings.warn(
                f"{name} is small: with batches of {self.capacity} rows the CPU is probably faster "
                f"than a GPU, which waits for its launches. Larger batches gain more",
                stacklevel=2,
            )

    # --- data -------------------------------------------------------------------------------------

    def bind(self, sources: list[Any], results: list[Any]) -> None:
        """Says where the user's rows are and where the results go; the device is given the rows.

        Parameters
        ----------
        sources : list of array, shape (rows, ...) like the feed's buffer after the first axis
            Arrays of the device are read where they are.
        results : list of array, likewise for the fetches, of the buffer's type
        """
        if len(sources) != len(self._feeds) or len(results) != len(self._fetches):
            raise ValueError(
                f"Program: wants {len(self._feeds)} sources and {len(self._fetches)} results, got "
                f"{len(sources)} and {len(results)}"
            )
        for i, (source, buffer) in enumerate(zip(sources, self.feed_buffers, strict=True)):
            if source.shape[1:] != buffer.shape[1:] or source.dtype.name not in TYPES:
                raise ValueError(
                    f"Program: source {i} is {source.dtype} {source.shape}; wanted are numbers, "
                    f"rows of {buffer.shape[1:]}"
                )
        lengths = {len(array) for array in (*sources, *results)}
        if len(lengths) > 1:
            raise ValueError(f"Program: different numbers of rows: {sorted(lengths)}")
        self.driver.follow(self._stream)  # arrays of the device may be in the making
        with self._stream, device.memory_errors("give the data batch by batch, from a generator"):
            here = [self.driver.upload(source) for source in sources]
            there = [
                self.driver.empty(r.shape, r.dtype) if self.driver.is_host(r) else r
                for r in results
            ]
            table = np.zeros(len(self._table), np.uint64)
            table[: len(here) + len(there)] = [self.driver.address(a) for a in (*here, *there)]
            self.driver.write(self._table, table)
        types = [TYPES.index(source.dtype.name) for source in sources]
        if types != self._types:
            self._types = types
            for cut in self._cuts.values():
                cut.forget()
        self.rows = lengths.pop() if lengths else 0
        self._bound = here, there, list(results)

    def unbind(self) -> None:
        """Forgets the arrays of the last bind, and gives the host the weights."""
        self._bound = None
        self.let_go()

    @property
    def bound_rows(self) -> int:
        """The rows of the arrays that are bound."""
        if self._bound is None:
            raise RuntimeError("Program: nothing is bound")
        return self.rows

    def upload(self, array: np.ndarray) -> Any:
        """The array on the device, for `stretch`."""
        with self._stream, device.memory_errors():
            return self.driver.upload(array)

    def give_back(self) -> None:
        """`let_go`, but not while `once` is at work."""
        with self.in_use:
            self.let_go()

    def hold(self) -> None:
        """From now on the device's weights are the ones that count."""
        if not self._holds:
            self._holds = True
            self._hold()

    def _hold(self) -> None:
        with self._stream:
            for weights in self._memory.weights.values():
                weights.hold()
        self._stream.synchronize()  # another program may be the next to use them

    def let_go(self) -> None:
        """Gives the host the weights, which it may change."""
        if self._holds:
            self._holds = False
            with self._stream:
                for weights in self._memory.weights.values():
                    weights.let_go()

    @contextlib.contextmanager
    def keeping_weights(self) -> Iterator[None]:
        """The weights stay on the device, also from one run to the next."""
        self._hold()
        try:
            yield
        finally:
            with self._stream:
                for weights in self._memory.weights.values():
                    weights.let_go()

    def read_results(self) -> None:
        """Copies what has been handed out to the host's arrays."""
        assert self._bound is not None
        _, there, results = self._bound
        with self._stream:
            for array, result in zip(there, results, strict=True):
                if result is not array:
                    self.driver.read(result, array)

    # --- running ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The program is this thread's.

        Raises
        ------
        RuntimeError
            If it is another one's already.
        """
        if not self._running.acquire(blocking=False):
            raise RuntimeError("Program: is running in another thread")
        try:
            yield
        finally:
            self._running.release()

    def run(self, batch: int, *, keep_totals: bool = False, **context: Any) -> None:
        """Runs all rows that are bound, in batches, in the order in which they lie.

        Totals are set to zero first, unless they are to be kept and added to. The context is that
        of `stretch`.

        Raises
        ------
        RuntimeError
            If nothing is bound, or another thread is running this program.
        """
        with self.running():
            self.run_all(batch, keep_totals, **context)

    def run_all(self, batch: int, keep_totals: bool = False, **context: Any) -> None:
        """`run`, inside of `running`."""
        if not 1 <= batch <= self.capacity:
            raise ValueError(f"Program: batch must be 1 ... {self.capacity}, got {batch}")
        rows = self.bound_rows
        if not keep_totals:
            self.totals.fill(0)
        if rows:
            self.write_totals()
            self.stretch(batch, 0, -(-rows // batch), **context)
            self.read_results()

    def once(self, rows: int, numbers: np.ndarray) -> None:
        """One batch of the rows that are bound, with these numbers; inside of `running`. The device
        has hold of the weights from then on."""
        self.rows = rows
        with self._stream:
            self.driver.write(self._numbers, numbers.view(np.uint8))
        self.stretch(rows, 0, 1)

    def result(self, buffer: np.ndarray) -> np.ndarray:
        """What the last batch has left in one of the arrays, all of it."""
        there = self._memory.known(buffer)
        if there is None:  # no op has to do with it
            return np.array(buffer)
        with self._stream:
            return self.driver.download(there)

    def write_totals(self) -> None:
        """Has the device go on from the host's totals."""
        with self._stream:
            self.driver.write(self._totals, self.totals)

    def stretch(
        self,
        batch: int,
        first: int,
        count: int,
        *,
        order: Any = None,
        step: int = 0,
        seed: int = 0,
        learning_rate: float = 0.0,
        rates: np.ndarray | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        """Runs some batches of the rows that are bound.

        Parameters
        ----------
        batch : int
            Rows of a full batch.
        first, count : int
            Which batches.
        order : device array of int64, optional
            The order of all rows.
        rates : array, optional
            The learning rate of each batch.
        meanwhile : callable, optional
            Called when all has been launched, while the device is at work.
        """
        self.done = 0
        self.hold()
        for weights in self._changes:
            weights.changed = True
        context = np.zeros(1, CONTEXT)
        context["first"], context["step"] = batch * first, step
        context["seed"], context["learning_rate"] = seed, learning_rate
        last = (self.rows - 1) // batch
        short = first + count > last and self.rows % batch != 0
        with self._stream, device.memory_errors():
            if order is not None:
                context["order"] = self.driver.address(order)
            if rates is not None:
                there = self.driver.upload(np.append(rates, 0.0))  # one more: see next_batch
                context["rates"], context["learning_rate"] = self.driver.address(there), rates[0]
            self.driver.write(self._context, context.view(np.uint8))
            try:
                self._cut(min(batch, self.rows)).run(count - short, self._stream)
                if short:
                    self._cut(self.rows % batch).run(1, self._stream)
                if meanwhile is not None:
                    meanwhile()
            finally:
                self._finish(step)

    def _finish(self, step: int) -> None:
        """Waits for the device, and reads how far it has come."""
        context = np.zeros(CONTEXT.itemsize, np.uint8)
        try:
            self._stream.synchronize()
        finally:  # Ctrl-C may come while it waits
            self.driver.read(context, self._context)
            self.done = int(context.view(CONTEXT)["step"][0]) - step
            self.driver.read(self.totals, self._totals)

    # --- what is launched -------------------------------------------------------------------------

    def _cut(self, rows: int) -> Cut:
        cut = self._cuts.pop(rows, None)
        if cut is None:
            cut = Cut(self.driver, self._steps, rows, self._before, self._after)
        self._cuts[rows] = cut  # the last one used is the last one
        if len(self._cuts) > _MOST_CUTS:
            del self._cuts[next(iter(self._cuts))]
        return cut

    def _before(self, rows: int) -> None:
        """Gathers the rows of a batch."""
        for i, (buffer, number) in enumerate(zip(self._feeds, self._types, strict=True)):
            count = buffer.size // self.capacity
            label = buffer.dtype == np.int64
            self._launch(
                *("gather_label" if label else "gather_real", rows * count),
                *(buffer, self._table, self._context, i, number, rows, count),
            )

    def _after(self, rows: int) -> None:
        """Hands out the rows of a batch, and goes on to the next."""
        for i, buffer in enumerate(self._fetches):
            words = buffer.nbytes // self.capacity // 4
            which = len(self._feeds) + i
            self._launch(
                "scatter", rows * words, self._table, buffer, self._context, which, rows, words
            )
        self._launch("next_batch", 1, self._context, rows)

    def _launch(self, kernel: str, count: int, *arguments: Any) -> None:
        if count:
            grid, block = elements_grid(count)
            compiled = self.driver.kernel("program", 8 * self._real.itemsize, kernel)
            self.driver.launch(compiled, (grid, 1, 1), (block, 1, 1), arguments)
