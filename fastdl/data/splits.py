"""Rows divided: into some to train on and some to test with, once or by folds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastdl import runtime

__all__ = ["KFold", "StratifiedKFold", "train_test_split"]


def _rows(name: str, array: Any) -> int:
    shape = np.shape(array)
    if not shape:
        raise ValueError(f"{name}: wants arrays with rows, got {type(array).__name__}")
    return int(shape[0])


def _generator(seed: Any) -> np.random.Generator:
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(runtime.draw_seed() if seed is None else seed)


def _count(size: Any, rows: int, what: str) -> int:
    """So many rows, from a number or a share of them."""
    whole = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
    share = isinstance(size, (float, np.floating)) and 0.0 < size < 1.0
    count = int(size) if whole else round(rows * size) if share else 0
    if not 0 < count < rows:
        raise ValueError(
            f"train_test_split: {what} must be a share between 0 and 1 or a number of rows below "
            f"{rows}, and leave some on both sides, got {size!r}"
        )
    return count


def train_test_split(
    *arrays: Any,
    test_size: float | int = 0.25,
    shuffle: bool = True,
    stratify: Any = None,
    seed: Any = None,
) -> list[Any]:
    """Divides arrays into rows to train on and rows to test with.

    Parameters
    ----------
    *arrays : array, all with the same number of rows
    test_size : float or int, default 0.25
        A share of the rows, or how many.
    shuffle : bool, default True
        Draw the rows; otherwise the last ones are for testing.
    stratify : array, shape (rows,), optional
        Labels: each has its share on both sides, as nearly as whole rows allow.
    seed : int or numpy.random.Generator, optional
        The same one draws the same rows; by default `fastdl.set_seed` decides.

    Returns
    -------
    list of array
        ``[a_train, a_test, b_train, b_test, ...]``

    Raises
    ------
    ValueError
        If the numbers of rows differ, or nothing is left on one side.

    Examples
    --------
    >>> x, y = np.arange(8), np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> x_train, x_test, y_train, y_test = train_test_split(x, y, stratify=y, seed=1)
    >>> len(x_train), sorted(y_test.tolist())
    (6, [0, 1])
    """
    if not arrays:
        raise ValueError("train_test_split: wants at least one array")
    counts = {_rows("train_test_split", array) for array in arrays}
    if len(counts) > 1:
        shapes = ", ".join(str(np.shape(array)) for array in arrays)
        raise ValueError(f"train_test_split: different numbers of rows: {shapes}")
    rows = counts.pop()
    held = _count(test_size, rows, "test_size")
    generator = _generator(seed)
    if stratify is not None:
        labels = np.asarray(stratify).reshape(-1)
        if len(labels) != rows:
            raise ValueError(f"train_test_split: stratify has {len(labels)} labels, not {rows}")
        order = generator.permutation(rows) if shuffle else np.arange(rows)
        test = _of_each_label(labels[order], held)
        first, last = order[~test], order[test]
    else:
        order = generator.permutation(rows) if shuffle else np.arange(rows)
        first, last = order[: rows - held], order[rows - held :]
    return [array[which] for array in map(_indexable, arrays) for which in (first, last)]


def _indexable(array: Any) -> Any:
    return array if isinstance(array, np.ndarray) else np.asarray(array)


def _of_each_label(labels: np.ndarray, held: int) -> np.ndarray:
    """Which rows are held out: the last ones of each label, in proportion; ``held`` in all."""
    found, where, counts = np.unique(labels, return_inverse=True, return_counts=True)
    exact = counts * (held / len(labels))
    take = np.floor(exact).astype(int)
    take[np.argsort(take - exact, kind="stable")[: held - take.sum()]] += 1
    test = np.zeros(len(labels), bool)
    for k in range(len(found)):
        own = np.flatnonzero(where == k)
        test[own[len(own) - take[k] :]] = True
    return test


class KFold:
    """Rows in k parts, each of which is for testing once.

    Parameters
    ----------
    n_splits : int, default 5
    shuffle : bool, default False
    seed : int or numpy.random.Generator, optional

    Examples
    --------
    >>> [(train.tolist(), test.tolist()) for train, test in KFold(2).split(np.zeros(4))]
    [([2, 3], [0, 1]), ([0, 1], [2, 3])]
    """

    def __init__(self, n_splits: int = 5, shuffle: bool = False, seed: Any = None) -> None:
        if isinstance(n_splits, bool) or not isinstance(n_splits, (int, np.integer)):
            raise TypeError(f"{type(self).__name__}: n_splits must be a number, got {n_splits!r}")
        if n_splits < 2:
            raise ValueError(f"{type(self).__name__}: n_splits must be at least 2, got {n_splits}")
        self.n_splits, self.shuffle, self.seed = int(n_splits), bool(shuffle), seed

    def split(self, x: Any, y: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The rows to train on and to test with, for each fold.

        Parameters
        ----------
        x : array, shape (rows, ...)
        y : array, shape (rows,), optional
            Labels, where they are stratified.

        Raises
        ------
        ValueError
            If there are fewer rows than folds.
        """
        rows = _rows(type(self).__name__, x)
        if rows < self.n_splits:
            raise ValueError(
                f"{type(self).__name__}: {self.n_splits} folds of {rows} rows: some would be empty"
            )
        fold = self._folds(rows, y)
        for k in range(self.n_splits):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)

    def _folds(self, rows: int, y: Any) -> np.ndarray:
        """The fold of each row."""
        fold = np.empty(rows, np.intp)
        order = _generator(self.seed).permutation(rows) if self.shuffle else np.arange(rows)
        sizes = _sizes(rows, self.n_splits)
        fold[order] = np.repeat(np.arange(self.n_splits), sizes)
        return fold


class StratifiedKFold(KFold):
    """Rows in k parts with the same share of each label, as nearly as whole rows allow.

    Parameters
    ----------
    n_splits : int, default 5
    shuffle : bool, default False
    seed : int or numpy.random.Generator, optional

    Examples
    --------
    >>> y = np.array([0, 0, 1, 1])
    >>> [test.tolist() for _, test in StratifiedKFold(2).split(y, y)]
    [[0, 2], [1, 3]]
    """

    def _folds(self, rows: int, y: Any) -> np.ndarray:
        if y is None:
            raise ValueError("StratifiedKFold: split wants the labels: split(x, y)")
        labels = np.asarray(y).reshape(-1)
        if len(labels) != rows:
            raise ValueError(f"StratifiedKFold: x has {rows} rows, y {len(labels)} labels")
        most = int(np.unique(labels, return_counts=True)[1].max(initial=0))
        if most < self.n_splits:
            raise ValueError(
                f"StratifiedKFold: {self.n_splits} folds, but no label has more than {most} rows"
            )
        generator = _generator(self.seed)
        fold = np.empty(rows, np.intp)
        begin = 0  # the fold at which the next label's spare rows begin, so that they even out
        for label in np.unique(labels):
            own = np.flatnonzero(labels == label)
            if self.shuffle:
                own = generator.permutation(own)
            sizes = np.roll(_sizes(len(own), self.n_splits), begin)
            fold[own] = np.repeat(np.arange(self.n_splits), sizes)
            begin = (begin + len(own)) % self.n_splits
        return fold


def _sizes(rows: int, folds: int) -> np.ndarray:
    """How many rows each fold has: the first ones have the spare rows."""
    return np.array([rows // folds + (k < rows % folds) for k in range(folds)])


def folds_of(cv: Any, x: Any, y: Any) -> Sequence[tuple[np.ndarray, np.ndarray]]:
    """The folds that a number, a splitter or a list of them means."""
    if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
        cv = KFold(int(cv))
    if hasattr(cv, "split"):
        cv = cv.split(x, y)
    folds = [(np.asarray(train), np.asarray(test)) for train, test in cv]
    if not folds or not all(len(train) and len(test) for train, test in folds):
        raise ValueError("cross_validate: a fold has no rows to train on or none to test with")
    return folds
