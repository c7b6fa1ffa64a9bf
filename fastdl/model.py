"""Models: a network that can be compiled, trained, evaluated, asked and saved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from fastdl import evaluation, optimizers, runtime, serialization, training
from fastdl._locks import Lock
from fastdl._names import hinted
from fastdl.arena import consolidate
from fastdl.arguments import whole
from fastdl.callbacks import History
from fastdl.layers.base import versions_of
from fastdl.network import Network
from fastdl.programs import compiled
from fastdl.progress import Progress
from fastdl.streaming import StreamRun
from fastdl.summary import describe
from fastdl.targets import Setup, Target
from fastdl.tensor import changes
from fastdl.training import Busy

__all__ = ["Model"]

_MASK = 2**62 - 1


class Model(Network):
    """A network of layers.

    Three ways to make one: ``Model(inputs, outputs)`` from tensors (the functional way);
    a subclass with a ``call(self, x)`` over layers made in ``__init__``; and `Sequential`.

    Parameters
    ----------
    inputs, outputs : Tensor, or list of Tensor
        What `Input` gave, and what layers made of it.
    name : str, optional

    Examples
    --------
    >>> import numpy as np
    >>> from fastdl import Input, Model
    >>> from fastdl.layers import Dense
    >>> x = Input((2,))
    >>> model = Model(x, Dense(1)(x))
    >>> model.compile(optimizer="sgd", loss="mean_squared_error")
    >>> history = model.fit(np.ones((8, 2)), np.ones(8), verbose=0)
    >>> model.predict(np.ones((3, 2))).shape
    (3, 1)
    """

    _unwatched: ClassVar[frozenset[str]] = frozenset(
        {"history", "optimizer", "seed", "stop_training"}
    )

    def __init__(self, inputs: Any = None, outputs: Any = None, *, name: str | None = None) -> None:
        super().__init__(name=name)
        #: Whether elementwise ops run on a product's tiles; the results are the same bits.
        self.fuse = True
        self.seed = runtime.draw_seed()
        self.stop_training = False
        self.history: History | None = None
        self._fits = 0
        self._backend: str | None = None
        self._optimizer: optimizers.Optimizer | None = None
        self._setup: Setup | None = None
        self._make_private()
        if (inputs is None) != (outputs is None):
            raise TypeError("Model: give both inputs and outputs, or neither in a subclass")
        if inputs is not None:
            self._connect(inputs, outputs)

    def _make_private(self) -> None:
        """What belongs to this very object: copies and pickles make their own."""
        self._lock = Lock()
        #: those who average their gradients with this model's: see fastdl.gpu.several
        self._communicator: Any = None
        self._programs: dict[Any, Any] = {}
        #: The fit under way.
        self._run: training.Run | StreamRun | None = None
        self._forget_programs()

    def _forget_programs(self) -> None:
        self._programs.clear()
        self._targets: list[Target] | None = None
        #: What `changes` said when `structure` was last computed, and the structure.
        self._known_structure: tuple[int, Any] = (-1, None)
        #: What `changes` said when a program for `predict` was made, and its quick form.
        self._quick: tuple[int, Any] = (-1, None)

    def __getstate__(self) -> dict[str, Any]:
        private = ("_lock", "_programs", "_run", "_targets", "_known_structure", "_quick",
                   "_communicator")  # fmt: skip
        return {k: v for k, v in super().__getstate__().items() if k not in private}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_private()

    def _set_rows(self, shapes: list[Any]) -> None:
        super()._set_rows(shapes)
        self._forget_programs()

    def structure(self) -> tuple[Any, ...]:
        """What the model's programs depend on: as long as it is equal, they are right."""
        latest, known = self._known_structure
        if latest != changes.latest:
            latest = changes.latest
            weights = self.weights
            consolidate(weights)  # of layers that came later
            regularizers = (w.regularizer for w in weights if w.regularizer is not None)
            penalties = (r.factors or id(r) for r in regularizers)
            known = (*versions_of(self), *map(id, self.trainable_weights), *penalties)
            self._known_structure = latest, known
        return known

    def _compute(self, x: Any, training: bool | None) -> Any:
        if self.backend == "gpu":
            runtime.note_eager_call(self.name)
        return super()._compute(x, training)

    # --- compile --------------------------------------------------------------------------------

    @hinted
    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        backend: str | None = None,
        weighted_metrics: Any = None,
    ) -> None:
        """Says how the model is trained.

        Parameters
        ----------
        optimizer : str or Optimizer, default "rmsprop"
        loss : str or Loss; a list or a dictionary by output where there are several
        metrics : list of str, function or Metric; a list of lists or a dictionary where there are \
several
            They count every row once.
        loss_weights : list or dictionary of float, optional
            How much each output's loss counts.
        backend : {"cpu", "gpu"}, optional
            What this model runs on; the backend that is set by default.
        weighted_metrics : like metrics
            These count every row as often as its sample and class weights say.

        Raises
        ------
        ValueError, TypeError
            For a name that is unknown; the message gives the nearest one. Where the model is built,
            also if losses, metrics or weights do not fit its outputs. Nothing has changed then.
        """
        if loss is None:
            raise ValueError("compile: loss must be given")
        runtime.check_backend(backend or self.backend)
        chosen = optimizers.get(optimizer)
        setup = Setup(loss, metrics or [], loss_weights, weighted_metrics or [])
        setup.check_names()
        if self.built:
            setup.targets(self._output_names, self._output_shapes)
        self._setup = setup
        if backend:
            self.to(backend)
        self.optimizer = chosen

    @property
    def backend(self) -> str:
        """What the model runs on: what `to` or `compile` was given, or else `get_backend`."""
        return self._backend or runtime.get_backend()

    def to(self, backend: str) -> Model:
        """Has the model run on this backend from now on, whichever is set elsewhere.

        Weights and the optimizer's state go where they are needed by themselves.

        Parameters
        ----------
        backend : {"cpu", "gpu"}

        Returns
        -------
        Model
            This one.

        Raises
        ------
        ValueError, RuntimeError
            As `fastdl.set_backend`.

        Examples
        --------
        >>> import fastdl
        >>> fastdl.Sequential([fastdl.layers.Dense(1)]).to("cpu").backend
        'cpu'
        """
        self._backend = runtime.check_backend(backend)
        self._quick = (-1, None)
        changes.note()  # compiled steps with this model run elsewhere now
        return self

    @property
    def optimizer(self) -> optimizers.Optimizer:
        """What `compile` was given."""
        if self._optimizer is None:
            raise RuntimeError(f"{self.name}: call compile() first")
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Any) -> None:
        self._optimizer = optimizers.get(optimizer)
        self._forget_programs()

    @property
    def loss(self) -> Any:
        """The loss or losses that `compile` was given; None before."""
        return None if self._setup is None else self._setup.loss

    @property
    def targets(self) -> list[Target]:
        """Each output's loss, metrics and target shape."""
        if self._setup is None:
            raise RuntimeError(f"{self.name}: call compile() first")
        if self._targets is None:
            self._targets = self._setup.targets(self._output_names, self._output_shapes)
        return self._targets

    # --- training -------------------------------------------------------------------------------

    @hinted
    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | str | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        stratify: bool = False,
        resume_from: str | os.PathLike[str] | None = None,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
    ) -> History:
        """Trains the model.

        Parameters
        ----------
        x : array, shape (rows, ...); a list or a dictionary by input where there are several
            Anything array-like; integer images and memory maps are cast batch by batch. Without y:
            a generator, iterable, or sequence (with ``len`` and ``[]``) of batches ``(x, y)`` or
            ``(x, y, sample_weight)``; a thread asks for the next ones while the model trains.
        y : array, shape (rows, outputs), or (rows,) labels; likewise
        batch_size : int, default 32
        epochs : int, default 1
            The epoch at which to stop.
        verbose : {"auto", 0, 1, 2}
            Silent, a progress bar, or a line an epoch; "auto" is a bar on a terminal.
        callbacks : list of Callback, optional
        validation_split : float, 0 <= share < 1
            Held out for validation: the last rows, before shuffling.
        validation_data : (x, y) or (x, y, sample_weight), optional
            In a fit on batches also an iterable or a sequence of batches.
        shuffle : bool, default True
            Whether each epoch takes the rows in a new order.
        class_weight : dict or "balanced", optional
            How much each label counts; "balanced" makes all labels count the same in sum.
        sample_weight : array, shape (rows,), optional
            How much each row counts; (rows, time) where there is a loss for each step in time, of
            which those with weight 0 are masked. A list or a dictionary by output where there are
            several outputs with weights of their own.
        initial_epoch : int, default 0
        stratify : bool, default False
            Hold out the last rows of each label instead.
        resume_from : path, optional
            What `ModelCheckpoint` or `BackupAndRestore` wrote: go on from there, with the same bits
            as if the fit had never been broken off. The model is given the file's weights and
            state; data and other arguments must be those of that fit (``epochs`` may be more).
        steps_per_epoch : int, optional
            How many batches make an epoch; needed where x is an iterator and there are several
            epochs, as it goes on where the epoch before ended.
        validation_steps : int, optional
            How many batches to validate with, where validation_data is a sequence of them.

        Returns
        -------
        History
            ``history.history["loss"]`` and so on, one number an epoch. The training loss is the
            mean over the epoch, while the model changes; validation comes after it.

        Raises
        ------
        ValueError, TypeError
            If arrays do not fit, before anything is trained.
        RuntimeError
            If the model is not compiled, or is in another fit; or if the batches fail or end early.
        """
        with Busy(self):
            return training.fit(
                self, x, y, batch_size=batch_size, epochs=epochs, verbose=verbose,
                callbacks=callbacks, validation_split=validation_split,
                validation_data=validation_data, shuffle=shuffle, class_weight=class_weight,
                sample_weight=sample_weight, initial_epoch=initial_epoch, stratify=stratify,
                resume_from=resume_from, steps_per_epoch=steps_per_epoch,
                validation_steps=validation_steps,
            )  # fmt: skip

    def train_on_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | str | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One update on one batch.

        Parameters
        ----------
        x, y, sample_weight, class_weight : as for `fit`
            All rows are one batch.
        return_dict : bool, default False

        Returns
        -------
        float, list of float, or dict
            The loss before the update; with metrics a list, loss first, or a dict if asked for.
        """
        with Busy(self):
            logs = evaluation.train_on_batch(self, x, y, sample_weight, class_weight)
        return _scalars(logs, return_dict)

    def test_on_batch(
        self, x: Any, y: Any, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Loss and metrics of one batch; see `train_on_batch`."""
        return _scalars(evaluation.test_on_batch(self, x, y, sample_weight), return_dict)

    @hinted
    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = 0,
        sample_weight: Any = None,
        return_dict: bool = False,
        steps: int | None = None,
    ) -> Any:
        """Loss and metrics over all rows.

        Parameters
        ----------
        x, y, sample_weight : as for `fit`
            Without y, x gives batches.
        batch_size : int, optional
            How many rows go through the network at once; 256 by default.
        verbose : {"auto", 0, 1, 2}, default 0
            Whether to print the result.
        steps : int, optional
            How many batches to take, where x gives batches; all of them by default.

        Returns
        -------
        float, list of float, or dict
            The loss; with metrics a list, loss first, or a dict if asked for.

        Raises
        ------
        ValueError, TypeError
            If arrays do not fit.
        RuntimeError
            If the batches fail, or end before ``steps``.
        """
        logs = evaluation.evaluate(self, x, y, batch_size, sample_weight, steps)
        if Progress(None, verbose).level:
            print(" - ".join(f"{name}: {value:.4f}" for name, value in logs.items()))
        return _scalars(logs, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = 0,
        steps: int | None = None,
    ) -> Any:
        """The outputs for these rows.

        Parameters
        ----------
        x : array, shape (rows, ...); a list or a dictionary where there are several inputs
            Or a generator, iterable or sequence of such batches; of tuples ``(x, y)`` or
            ``(x, y, sample_weight)`` the first is taken.
        batch_size : int, optional
            How many rows go through the network at once; 256 by default.
        verbose : {"auto", 0, 1, 2}, default 0
            As in Keras; there is nothing to show.
        steps : int, optional
            How many batches to take, where x gives batches; all of them by default.

        Returns
        -------
        array, shape (rows, ...), or a list of them
        """
        seen, quick = self._quick
        if seen == changes.latest and batch_size is None and steps is None:
            result = quick(x)
            if result is not None:
                return result
        results = evaluation.predict(self, x, batch_size, steps)
        return results[0] if len(results) == 1 else results

    def next_seed(self) -> int:
        """The seed of the next fit: a function of the model's seed and the fits before."""
        self._fits += 1
        return (self.seed + 0x9E3779B97F4A7C15 * self._fits) & _MASK

    # --- description ----------------------------------------------------------------------------

    def summary(self, print_fn: Any = print, batch_size: int | None = None) -> None:
        """Prints the layers, their outputs' shapes and their numbers of weights.

        Behind them stands what takes memory: weights, optimizer state, and, of each program that
        has been made, gradients and buffers, with what planning them by lifetime has saved.

        Parameters
        ----------
        print_fn : callable, default print
            Called with each line.
        batch_size : int, optional
            Makes the programs for training and prediction with batches of so many rows first.
        """
        if batch_size is not None:
            rows = whole("batch_size", batch_size, 1)
            if self._optimizer is not None:
                compiled(self, "train", rows)
            compiled(self, "predict", rows)
        for line in describe(self):
            print_fn(line)

    # --- saving ---------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes architecture, weights, optimizer and random state to one file.

        `fastdl.load_model` reads it, and training goes on exactly. The file is written beside its
        target and then moved there: the old file or the new one always loads.

        Raises
        ------
        OSError
            If it cannot be written; the file that was there before is untouched.
        """
        serialization.save(self, path)

    def _save_after_hooks(self, path: str | os.PathLike[str]) -> None:
        """For callbacks: saves when all have been called, and then with the place in the fit."""
        if self._run is None:
            self.save(path)
        else:
            self._run.to_save.append(path)

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights alone, as a plain ``.safetensors`` file."""
        from fastdl import saving

        saving.save_tensors(path, {k: w.value for k, w in self.named_weights().items()})

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Reads weights that `save_weights` or `save` wrote for a model of this structure.

        Raises
        ------
        ValueError
            If the file is damaged, or names or shapes differ; no weight has been changed then.
        """
        serialization.load_weights(self, path)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes an equal, untrained model of."""
        if self._functional is None:
            raise TypeError(
                f"{type(self).__name__} is a subclass: define get_config() to save it whole, or "
                f"use save_weights()"
            )
        return serialization.functional_config(self, self._functional)

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Model:
        """Makes an untrained model from what `get_config` gave.

        Parameters
        ----------
        config : dict
        custom_objects : dict, optional
            Classes of your own layers, by name.
        """
        if cls is not Model:
            return cls(**config)
        return serialization.functional_from_config(config, custom_objects)


def _scalars(logs: dict[str, float], return_dict: bool) -> Any:
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values
