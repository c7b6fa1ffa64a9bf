"""Batches that come from generators, iterators, and sequences: made ahead, on a thread."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

__all__ = ["Batches", "is_stream"]

#: Batches that may lie ready.
AHEAD = 2

_END = object()


def is_stream(x: Any) -> bool:
    """Whether these are batches rather than an array, or several arrays."""
    if isinstance(x, (np.ndarray, list, tuple, Mapping, str, bytes)) or x is None:
        return False
    if any(hasattr(x, p) for p in ("__array__", "__array_interface__", "__dlpack__")):
        return False
    return isinstance(x, Iterable) or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


class _Ahead:
    """What an iterator gives, asked for and converted on a thread of its own.

    Parameters
    ----------
    items : iterator
    convert : callable
        Of an item; it runs on the thread as well.
    """

    def __init__(self, items: Iterator[Any], convert: Callable[[Any], Any]) -> None:
        import queue
        import threading

        self.items, self.convert = items, convert
        self.ready: Any = queue.Queue(AHEAD)
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._work, name="fastdl batches", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        last: Any = _END
        try:
            for item in self.items:
                if not self._give(self.convert(item)):
                    return
        except BaseException as error:
            last = error
        self._give(last)

    def _give(self, item: Any) -> bool:
        """Hands an item over; False where nobody wants it any more."""
        import queue

        while not self.closed.is_set():
            try:
                self.ready.put(item, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False

    def next(self) -> Any:
        """The next item, `_END`, or the exception that ended the iterator."""
        import queue

        while True:
            try:
                return self.ready.get(timeout=0.1)  # so that Ctrl-C is heard
            except queue.Empty:
                continue

    def close(self) -> None:
        """Ends the thread, when the item that it is making is made."""
        self.closed.set()
        self.thread.join()


class Batches:
    """The batches of epoch after epoch.

    Parameters
    ----------
    source : iterator, iterable, or sequence of batches
        Of an iterator each epoch takes the next ``steps``; the others begin anew.
    steps : int, optional
    convert : callable
        From a batch to what is handed out; it runs on the thread.
    order : callable, optional
        The order of a sequence's batches, from their number and the epoch.
    """

    def __init__(
        self,
        source: Any,
        steps: int | None,
        convert: Callable[[Any], Any],
        order: Callable[[int, int], np.ndarray] | None = None,
    ) -> None:
        self.source, self.steps, self.convert, self.order = source, steps, convert, order
        self.sequence = hasattr(source, "__getitem__") and hasattr(source, "__len__")
        self.ahead: _Ahead | None = None
        self.single = isinstance(source, Iterator)
        if self.sequence and steps is None:
            self.steps = len(source)

    def of_epoch(self, epoch: int | None, done: int = 0) -> Iterator[Any]:
        """The batches of an epoch.

        Parameters
        ----------
        epoch : int or None
            None where batches are gone through but once.
        done : int
            So many of them are passed over.

        Raises
        ------
        RuntimeError
            If the source fails, or ends before ``steps`` batches.
        """
        if self.ahead is None:
            items = self._items(epoch or 0)
            if not self.single:
                items = itertools.islice(items, done, self.steps)
            self.ahead = _Ahead(items, self.convert)
        where = "" if epoch is None else f" of epoch {epoch + 1}"
        while self.steps is None or done < self.steps:
            item = self.ahead.next()
            if item is _END:
                if self.steps is not None or not done:
                    wanted = "" if self.steps is None else f" of {self.steps}"
                    raise RuntimeError(f"the data ended early: {done}{wanted} batches{where} came")
                break
            if isinstance(item, BaseException):
                if not isinstance(item, Exception):
                    raise item
                raise RuntimeError(
                    f"the data failed at batch {done + 1}{where}: {type(item).__name__}: {item}"
                ) from item
            done += 1
            yield item
        if not self.single:
            self.close()

    def once(self) -> Iterator[Any]:
        """All batches, gone through but once."""
        try:
            yield from self.of_epoch(None)
        finally:
            self.close()

    def _items(self, epoch: int) -> Iterator[Any]:
        if not self.sequence:
            return iter(self.source)
        count = len(self.source)
        order = np.arange(count) if self.order is None else self.order(count, epoch)
        return (self.source[int(k)] for k in order)

    def end_epoch(self) -> None:
        """Tells a sequence that an epoch has ended."""
        hook = getattr(self.source, "on_epoch_end", None)
        if hook is not None:
            hook()

    def close(self) -> None:
        """Ends the thread."""
        if self.ahead is not None:
            self.ahead.close()
            self.ahead = None
