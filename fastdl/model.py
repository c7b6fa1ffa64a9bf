"""Models: a network that can be compiled, trained, evaluated, asked and saved."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastdl import losses, metrics, optimizers, runtime, saving, serialization, training
from fastdl.callbacks import History
from fastdl.data import as_rows
from fastdl.layers.base import Layer, flatten
from fastdl.layers.input import InputLayer
from fastdl.programs import Target
from fastdl.tensor import Tensor, Trace, Variable

__all__ = ["Model"]

_MASK = 2**62 - 1


class Model(Layer):
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

    def __init__(self, inputs: Any = None, outputs: Any = None, *, name: str | None = None) -> None:
        super().__init__(name=name)
        #: Whether elementwise ops run on a product's tiles; the results are the same bits.
        self.fuse = True
        self.seed = runtime.draw_seed()
        self.stop_training = False
        self.history: History | None = None
        self._fits = 0
        self._lock = threading.Lock()
        self._programs: dict[Any, Any] = {}
        self._compiled: dict[str, Any] | None = None
        self._targets: list[Target] | None = None
        self._row_shapes: list[tuple[int, ...]] | None = None
        self._output_shapes: list[tuple[int | None, ...]] = []
        self._output_names: list[str] = []
        self._functional: tuple[Any, Any] | None = None
        if (inputs is None) != (outputs is None):
            raise TypeError("Model: give both inputs and outputs, or neither in a subclass")
        if inputs is not None:
            self._make_functional(inputs, outputs)

    # --- structure ------------------------------------------------------------------------------

    def _make_functional(self, inputs: Any, outputs: Any) -> None:
        for tensor in (*flatten(inputs), *flatten(outputs)):
            if not isinstance(tensor, Tensor):
                raise TypeError(f"Model: wants tensors, got {type(tensor).__name__}")
        for tensor in flatten(inputs):
            call = tensor.layer_call
            if call is None or not isinstance(call.layer, InputLayer):
                raise ValueError("Model: inputs must be what Input() gave")
        self._functional = inputs, outputs
        self._layers = []
        known = {id(t) for t in flatten(inputs)}
        _collect_layers(flatten(outputs), known, self._layers)
        self._layers[:0] = [t.layer_call.layer for t in flatten(inputs)]
        self._set_rows([t.shape[1:] for t in flatten(inputs)])

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs: those that `Input` was given."""
        if self._functional is not None:
            return [t.layer_call.layer.name for t in flatten(self._functional[0])]
        return [f"input_{i}" for i in range(len(self.row_shapes))]

    @property
    def row_shapes(self) -> list[tuple[int, ...]]:
        """The shape of one row of each input."""
        if self._row_shapes is None:
            raise RuntimeError(
                f"{self.name} has not been built: give its first layer an input_shape, call "
                f"build(input_shape), or fit it"
            )
        return self._row_shapes

    @property
    def input_shape(self) -> Any:
        """The shape of the input, None for the batch; a list where there are several."""
        shapes = [(None, *s) for s in self.row_shapes]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        """The shape of the output, None for the batch; a list where there are several."""
        self.row_shapes  # noqa: B018 - raises where the model is not built
        return self._output_shapes[0] if len(self._output_shapes) == 1 else self._output_shapes

    def build(self, input_shape: Any) -> None:
        """Makes all weights.

        Parameters
        ----------
        input_shape : tuple, or list of tuples
            With the batch axis in front, of any length or None.
        """
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
        self._set_rows([tuple(s)[1:] for s in shapes])

    def build_for(self, x: Any) -> None:
        """Builds the model for these arrays, if that has not been done."""
        if self._row_shapes is not None:
            return
        parts = list(x.values()) if isinstance(x, Mapping) else [x]
        shapes = []
        for part in parts:
            array = as_rows("x", part, (None,) * max(np.ndim(part) - 1, 0))
            shapes.append(array.shape[1:] if array.ndim > 1 else (1,))
        self._set_rows(shapes)

    def _set_rows(self, shapes: list[Any]) -> None:
        """Traces the network once: builds every layer, finds the outputs' shapes."""
        inputs = [Tensor((None, *shape)) for shape in shapes]
        with Trace(training=False):
            outputs = flatten(self.call_flat(inputs, training=False))
        self._row_shapes = [tuple(s) for s in shapes]
        self._output_shapes = [t.shape for t in outputs]
        calls = [t.layer_call for t in outputs]
        names = [c.layer.name if c else f"output_{i}" for i, c in enumerate(calls)]
        unique = len(set(names)) == len(names)
        self._output_names = names if unique else [f"output_{i}" for i in range(len(names))]
        self.built = True
        self._targets = None
        self._programs.clear()

    def call_flat(self, inputs: list[Tensor], training: bool) -> Any:
        """`call` on a list of inputs."""
        x: Any = inputs[0] if len(inputs) == 1 else inputs
        if self._functional is not None:
            x = inputs
        return self.call(x, training=training) if self._takes_training() else self.call(x)

    def call(self, x: Any, training: bool = False) -> Any:
        """Repeats the calls that led from the inputs to the outputs; subclasses write their own."""
        if self._functional is None:
            raise TypeError(f"{type(self).__name__} has no call(self, x)")
        inputs, outputs = self._functional
        known = dict(zip(map(id, flatten(inputs)), flatten(x), strict=True))
        results = [_replay(t, known, training) for t in flatten(outputs)]
        return results if isinstance(outputs, (list, tuple)) else results[0]

    # --- compile --------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        backend: str | None = None,
    ) -> None:
        """Says how the model is trained.

        Parameters
        ----------
        optimizer : str or Optimizer, default "rmsprop"
        loss : str or Loss; a list or a dictionary by output where there are several
        metrics : list of str or Metric; a list of lists or a dictionary where there are several
        loss_weights : list or dictionary of float, optional
            How much each output's loss counts.
        backend : {"cpu", "gpu"}, optional
            What this model runs on; the backend that is set by default.

        Raises
        ------
        ValueError
            For a name that is unknown; the message gives the nearest one.
        """
        if loss is None:
            raise ValueError("compile: loss must be given")
        runtime.check_backend(backend or runtime.get_backend())
        for name in flatten(loss):
            losses.get(name)
        self.optimizer = optimizers.get(optimizer)
        self._compiled = {"loss": loss, "metrics": metrics or [], "loss_weights": loss_weights}
        self._targets = None
        self._programs.clear()

    @property
    def targets(self) -> list[Target]:
        """Each output's loss, metrics and target shape."""
        if self._compiled is None:
            raise RuntimeError(f"{self.name}: call compile() first")
        if self._targets is None:
            names, shapes = self._output_names, self._output_shapes
            loss = _by_output("loss", self._compiled["loss"], names)
            weights = _by_output("loss_weights", self._compiled["loss_weights"], names, 1.0)
            wanted = self._compiled["metrics"]
            listed = _by_output("metrics", [wanted] if len(names) == 1 else wanted, names, [])
            self._targets = [
                _target(name, shape, losses.get(one), float(weight), metric_list)
                for name, shape, one, weight, metric_list in zip(
                    names, shapes, loss, weights, listed, strict=True
                )
            ]
        return self._targets

    # --- training -------------------------------------------------------------------------------

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
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        stratify: bool = False,
    ) -> History:
        """Trains the model.

        Parameters
        ----------
        x : array, shape (rows, ...); a list or a dictionary by input where there are several
            Anything array-like; integer images and memory maps are cast batch by batch.
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
        shuffle : bool, default True
            Whether each epoch takes the rows in a new order.
        class_weight : dict, optional
            How much each label counts.
        sample_weight : array, shape (rows,), optional
        initial_epoch : int, default 0
        stratify : bool, default False
            Hold out the last rows of each label instead.

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
            If the model is not compiled, or is in another fit.
        """
        with _Busy(self):
            return training.fit(
                self,
                x,
                y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=verbose,
                callbacks=callbacks,
                validation_split=validation_split,
                validation_data=validation_data,
                shuffle=shuffle,
                class_weight=class_weight,
                sample_weight=sample_weight,
                initial_epoch=initial_epoch,
                stratify=stratify,
            )

    def train_on_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One update on one batch.

        Returns
        -------
        float, list of float, or dict
            The loss before the update; with metrics a list, loss first, or a dict if asked for.
        """
        with _Busy(self):
            logs = training.train_on_batch(self, x, y, sample_weight, class_weight)
        return _scalars(logs, return_dict)

    def test_on_batch(
        self, x: Any, y: Any, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Loss and metrics of one batch; see `train_on_batch`."""
        return _scalars(training.test_on_batch(self, x, y, sample_weight), return_dict)

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = 0,
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics over all rows.

        Returns
        -------
        float, list of float, or dict
            The loss; with metrics a list, loss first, or a dict if asked for.
        """
        logs = training.evaluate(self, x, y, batch_size, sample_weight)
        if training.Progress(None, verbose).level:
            print(" - ".join(f"{name}: {value:.4f}" for name, value in logs.items()))
        return _scalars(logs, return_dict)

    def predict(self, x: Any, batch_size: int | None = None, verbose: str | int = 0) -> Any:
        """The outputs for these rows.

        Parameters
        ----------
        x : array, shape (rows, ...); a list or a dictionary where there are several inputs
        batch_size : int, optional
            How many rows go through the network at once.

        Returns
        -------
        array, shape (rows, ...), or a list of them
        """
        results = training.predict(self, x, batch_size)
        return results[0] if len(results) == 1 else results

    def next_seed(self) -> int:
        """The seed of the next fit: a function of the model's seed and the fits before."""
        self._fits += 1
        return (self.seed + 0x9E3779B97F4A7C15 * self._fits) & _MASK

    # --- description ----------------------------------------------------------------------------

    def summary(self, print_fn: Any = print) -> None:
        """Prints the layers, their outputs' shapes and their numbers of weights."""
        rows = [("Layer (type)", "Output shape", "Weights")]
        for layer, shape in self._layer_shapes():
            rows.append(
                (f"{layer.name} ({type(layer).__name__})", str(shape), f"{layer.count_params():,}")
            )
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        line = "-" * (sum(widths) + 6)
        print_fn(f'Model: "{self.name}"')
        for i, row in enumerate(rows):
            print_fn(f"{row[0]:<{widths[0]}}   {row[1]:<{widths[1]}}   {row[2]:>{widths[2]}}")
            if i == 0:
                print_fn(line)
        print_fn(line)
        trainable = sum(w.value.size for w in self.trainable_weights)
        total = self.count_params()
        bytes_ = sum(w.value.nbytes for w in self.weights)
        print_fn(f"Weights: {total:,} ({_bytes(bytes_)}), {trainable:,} of them trainable")

    def _layer_shapes(self) -> list[tuple[Layer, Any]]:
        self.row_shapes  # noqa: B018 - raises where the model is not built
        shapes: dict[int, Any] = {}
        inputs = [Tensor((None, *shape)) for shape in self.row_shapes]
        with Trace(training=False):
            outputs = self.call_flat(inputs, training=False)
        for call in _calls(flatten(outputs)):
            shapes[id(call.layer)] = call.outputs[0].shape
        return [
            (
                layer,
                shapes.get(
                    id(layer), (None, *layer.given_input_shape) if layer.given_input_shape else "?"
                ),
            )
            for layer in self.layers
        ]

    # --- saving ---------------------------------------------------------------------------------

    def named_weights(self) -> dict[str, Variable]:
        """The weights by name, made unique where two layers have the same."""
        named: dict[str, Variable] = {}
        for weight in self.weights:
            name, k = weight.name, 1
            while name in named:
                name, k = f"{weight.name}#{k}", k + 1
            named[name] = weight
        return named

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

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights alone, as a plain ``.safetensors`` file."""
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
        return serialization.functional_config(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Model:
        """Makes an untrained model from what `get_config` gave."""
        if cls is not Model:
            return cls(**config)
        return serialization.functional_from_config(config)


class _Busy:
    """Refuses to train a model that is being trained by another thread."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __enter__(self) -> None:
        if not self.model._lock.acquire(blocking=False):
            raise RuntimeError(f"{self.model.name} is already being trained by another call")

    def __exit__(self, *exc: object) -> None:
        self.model._lock.release()


# --- helpers --------------------------------------------------------------------------------------


def _calls(outputs: list[Tensor]) -> list[Any]:
    """All layer calls that lead to these tensors, inputs first."""
    calls: dict[int, Any] = {}
    seen: set[int] = set()

    def visit(tensor: Tensor) -> None:
        if id(tensor) in seen:
            return
        seen.add(id(tensor))
        call = tensor.layer_call
        if call is not None:
            for t in flatten(call.inputs):
                visit(t)
            calls.setdefault(id(call), call)
        elif tensor.node is not None:
            for t in tensor.node.inputs.values():
                visit(t)

    for tensor in outputs:
        visit(tensor)
    return list(calls.values())


def _collect_layers(outputs: list[Tensor], known: set[int], layers: list[Layer]) -> None:
    for call in _calls(outputs):
        if isinstance(call.layer, InputLayer):
            if id(call.outputs[0]) not in known:
                raise ValueError(f"Model: outputs depend on {call.layer.name}, which is no input")
        elif call.layer not in layers:
            layers.append(call.layer)


def _replay(tensor: Tensor, known: dict[int, Tensor], training: bool) -> Tensor:
    """The tensor computed anew from new inputs."""
    found = known.get(id(tensor))
    if found is not None:
        return found
    call = tensor.layer_call
    if call is not None:
        inputs = _replay_structure(call.inputs, known, training)
        results = flatten(call.layer(inputs, training=training))
        known.update(zip(map(id, call.outputs), results, strict=True))
    elif tensor.node is not None:
        from fastdl.tensor import apply_node, reshape

        node = tensor.node
        inputs = {k: _replay(t, known, training) for k, t in node.inputs.items()}
        if node.op is None:
            known[id(tensor)] = reshape(inputs["x"], tensor.shape)
        else:
            new = apply_node(node.op.name, **inputs, **node.options)
            known.update((id(t), new.outputs[k]) for k, t in node.outputs.items())
    else:
        return tensor  # a variable
    return known[id(tensor)]


def _replay_structure(structure: Any, known: dict[int, Tensor], training: bool) -> Any:
    if isinstance(structure, (list, tuple)):
        return [_replay_structure(part, known, training) for part in structure]
    if isinstance(structure, dict):
        return {k: _replay_structure(part, known, training) for k, part in structure.items()}
    return _replay(structure, known, training)


def _by_output(what: str, value: Any, names: list[str], default: Any = None) -> list[Any]:
    """One entry an output, from a single one, a list or a dictionary."""
    if value is None or (isinstance(value, (list, tuple)) and not value):
        return [default] * len(names)
    if isinstance(value, Mapping) and "class_name" not in value:
        unknown = [k for k in value if k not in names]
        if unknown:
            raise ValueError(f"compile: {what} names {unknown}, but the outputs are {names}")
        return [value.get(n, default) for n in names]
    if isinstance(value, (list, tuple)):
        if len(value) != len(names):
            raise ValueError(f"compile: {what} has {len(value)} entries for {len(names)} outputs")
        return list(value)
    return [value] * len(names)


def _target(
    name: str, shape: tuple[int | None, ...], loss: Any, weight: float, wanted: Sequence[Any]
) -> Target:
    if len(shape) < 2:
        raise ValueError(f"output {name} has shape {shape}; losses want (batch, ..., outputs)")
    chosen = [metrics.get(m, loss, shape) for m in wanted]
    for metric in chosen:
        if metric.labels != loss.labels:
            raise ValueError(
                f"metric {metric.name} and loss {loss!r} want different targets: labels for one, "
                f"an array like the output for the other"
            )
    target = tuple(s for s in loss.target_shape(shape)[1:] if s is not None)
    return Target(name, loss, weight, chosen, target, (shape[-1] or 0) if loss.labels else 0)


def _scalars(logs: dict[str, float], return_dict: bool) -> Any:
    if return_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def _bytes(count: int) -> str:
    size, units = float(count), ["B", "KB", "MB", "GB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.1f} {units[0]}" if units[0] != "B" else f"{count} B"
