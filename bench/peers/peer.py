"""What a peer is: the small interface that each library's file fills in."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from .rows import Row

__all__ = ["Peer", "Unsupported"]


class Unsupported(Exception):
    """The peer cannot express this row: a stated skip, never unequal work."""


class Peer(ABC):
    """A network, its optimizer and one epoch of data, built from given arrays in ``__init__``.

    A subclass keeps the data in whatever form serves it best and is expected to be the fastest
    plain use of its library. The loss of each epoch becomes a Python number, as in a fit.
    """

    #: whose formula of Adam it computes: "keras" or "torch" (see reference.py)
    adam = "keras"
    #: whether a call that trains a single step is worth timing
    single_calls = True
    #: the distributions whose versions are written down
    distributions: tuple[str, ...] = ()

    def __init__(
        self, row: Row, weights: list[np.ndarray], x: np.ndarray, y: np.ndarray, threads: int
    ) -> None:
        self.row, self.threads = row, threads
        self.epoch_seconds = 0.0  # kept by the worker, to size its samples
        self._loss = float("nan")
        self.build(weights, x, y)

    @staticmethod  # noqa: B027
    def limit_threads(threads: int) -> None:
        """Before anything ran: at most this many threads. The process has as many cores."""

    @abstractmethod
    def build(self, weights: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> None:
        """Makes network, optimizer and data ready. Raises Unsupported."""

    @abstractmethod
    def epochs(self, count: int, batches: int) -> float:
        """Trains ``count`` times over the first ``batches`` batches; returns the mean loss."""

    @abstractmethod
    def weights(self) -> list[np.ndarray]:
        """The trainable arrays, in the order of ``rows.initial_weights``."""

    def step(self, n: int) -> None:
        """Runs n steps, beginning with the first batch and starting over after the last."""
        full, rest = divmod(n, self.row.batches)
        total = 0.0
        if full:
            total += self.epochs(full, self.row.batches) * full * self.row.batches
        if rest:
            total += self.epochs(1, rest) * rest
        self._loss = total / n

    def loss(self) -> float:
        """The mean loss over the steps of the last ``step``."""
        return self._loss
