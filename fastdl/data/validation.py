"""Cross-validation: a model for each fold, all trained side by side by the pool of `fit_many`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastdl.arguments import FitData, check_counts, whole
from fastdl.callbacks import History
from fastdl.data.door import take
from fastdl.data.splits import folds_of
from fastdl.kernels import runner
from fastdl.many import SharedData, fit_all
from fastdl.model import Model

__all__ = ["Folds", "cross_validate"]


class Folds(NamedTuple):
    """What cross-validation found for one way to make a model.

    Attributes
    ----------
    histories : list of History
        One for each fold; ``history.model`` is its model.
    parameters : dict
        What the model was made with.
    """

    histories: list[History]
    parameters: dict[str, Any]

    @property
    def scores(self) -> dict[str, np.ndarray]:
        """The last epoch's losses and metrics, an array over the folds for each."""
        names = self.histories[0].history
        return {name: np.array([h.history[name][-1] for h in self.histories]) for name in names}

    def mean(self, name: str = "val_loss") -> float:
        """The mean of a score over the folds."""
        return float(self.scores[name].mean())


def cross_validate(
    make_model: Callable[..., Model],
    x: Any,
    y: Any,
    *,
    cv: Any = 5,
    parameters: Iterable[Mapping[str, Any]] | None = None,
    batch_size: int = 32,
    epochs: int = 1,
    verbose: str | int = 0,
    callbacks: Callable[[int], Any] | None = None,
    shuffle: bool = True,
    class_weight: Any = None,
    sample_weight: Any = None,
    workers: int | None = None,
) -> Any:
    """Trains a new model for each fold, on all rows but the fold's, and validates it on these.

    All models, those of all folds and all parameters, are trained side by side as by `fit_many`.

    Parameters
    ----------
    make_model : callable
        Returns a new compiled model.
    x, y : array
        As in `Model.fit`.
    cv : int, KFold, StratifiedKFold, or list of (train rows, test rows), default 5
    parameters : iterable of dict, optional
        The keyword arguments of ``make_model``, each of which is tried on all folds.
    batch_size, epochs, shuffle, class_weight, sample_weight
        As in `Model.fit`.
    verbose, callbacks, workers
        As in `fit_many`; the models are counted fold by fold.

    Returns
    -------
    Folds
        Or a list of them, one for each of ``parameters``.

    Raises
    ------
    ValueError, TypeError
        If an argument is wrong; nothing has been trained then.
    FitManyError
        If some models could not be made or trained.

    Examples
    --------
    >>> import fastdl
    >>> def make(units=4):
    ...     model = fastdl.Sequential([fastdl.layers.Dense(units), fastdl.layers.Dense(1)])
    ...     model.compile("adam", "mean_squared_error", metrics=["r2_score"])
    ...     return model
    >>> rng = np.random.default_rng(1)
    >>> x = rng.normal(size=(60, 3))
    >>> found = cross_validate(make, x, x.sum(1), cv=3, epochs=2)
    >>> sorted(found.scores), found.scores["val_loss"].shape
    (['loss', 'r2_score', 'val_loss', 'val_r2_score'], (3,))
    """
    check_counts(batch_size, epochs, 0)
    workers = runner.get_num_threads() if workers is None else whole("workers", workers, 1)
    if not callable(make_model) or isinstance(make_model, Model):
        raise TypeError("cross_validate: make_model must be a function that makes a new model")
    tried = [{}] if parameters is None else [dict(one) for one in parameters]
    shared = SharedData(x, y, class_weight=class_weight, sample_weight=sample_weight)
    folds = folds_of(cv, _first(x), y)
    known: dict[Any, FitData] = {}

    def data_of(index: int, model: Model) -> FitData:
        """The rows of a fold, made once for all models that take them in the same form."""
        whole_data, fold = shared.of(model), index % len(folds)
        key = id(whole_data), fold
        if key not in known:
            train, test = (take(whole_data.rows, rows) for rows in folds[fold])
            known[key] = FitData(train, test)
        return known[key]

    histories = fit_all(
        [functools.partial(make_model, **one) for one in tried for _ in folds],
        data_of,
        workers,
        verbose,
        callbacks,
        batch_size=batch_size,
        epochs=epochs,
        shuffle=shuffle,
        initial_epoch=0,
    )
    found = [
        Folds(histories[k * len(folds) : (k + 1) * len(folds)], one) for k, one in enumerate(tried)
    ]
    return found[0] if parameters is None else found


def _first(x: Any) -> Any:
    """An array with the rows of x, which may be several inputs."""
    return next(iter(x.values())) if isinstance(x, Mapping) else x
