"""Recurrent layers: a cell, run for each time step by the graph's `repeat`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fastdl import ops
from fastdl._names import snake_case
from fastdl._nested import flatten
from fastdl.layers.base import Layer, at_least_one, unique_name
from fastdl.layers.cells import Cell, GRUCell, LSTMCell, SimpleRNNCell
from fastdl.layers.dropout import stream
from fastdl.repeat import filled, from_time_major, is_eager, repeat, to_time_major
from fastdl.tensor import Shape, Tensor, Variable, apply, constant
from fastdl.trace import Trace, reshape, rows_of, wrong_batch

__all__ = ["GRU", "LSTM", "RNN", "CellLayer", "SimpleRNN", "sequence_shape"]


class RNN(Layer):
    """Runs a cell for each time step.

    Parameters
    ----------
    cell : Layer
        With ``call(x, states)``, which gives the output of a step and the list of new states, both
        from tensors without the time axis, and ``state_size``: the length, or shape, of each state.
        ``call`` may take ``training``. `LSTMCell` and the like, or your own.
    return_sequences : bool, default False
        Whether to give the output of each time step, not the last one's.
    return_state : bool, default False
        Whether to give the states after the last step too: a list, the output first.
    go_backwards : bool, default False
        Whether to begin with the last time step; outputs then come in that order.
    stateful : bool, default False
        Whether each batch begins with the states after the one before, in training and afterwards,
        until `reset_state`. No gradient goes back into the batch before.
    batch_size : int, optional
        The rows of every batch; needed where stateful, as each row has a state that is kept.

    Notes
    -----
    Input shape (batch, time, ...); or a list of the input and the initial states. Without them the
    states begin with zeros.

    Examples
    --------
    >>> from fastdl import Input, Layer, ops
    >>> from fastdl.layers import RNN
    >>> class Leaky(Layer):
    ...     state_size = 4
    ...     def call(self, x, states):
    ...         out = states[0] * 0.9 + x * 0.1
    ...         return out, [out]
    >>> RNN(Leaky(), return_sequences=True)(Input((10, 4))).shape
    (None, 10, 4)
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(cell, Layer) or not hasattr(cell, "state_size"):
            raise TypeError(
                f"{self.name}: cell must be a Layer with state_size and call(x, states), got "
                f"{type(cell).__name__}"
            )
        self.cell = cell
        self.return_sequences = bool(return_sequences)
        self.return_state = bool(return_state)
        self.go_backwards = bool(go_backwards)
        self.stateful = bool(stateful)
        self.batch_size = batch_size
        if batch_size is not None:
            self.batch_size = at_least_one(self, "batch_size", batch_size)
        if self.stateful and batch_size is None:
            raise ValueError(f"{self.name}: stateful=True needs batch_size, the rows of each batch")

    def __call__(
        self,
        x: Any,
        initial_state: Any = None,
        mask: Tensor | None = None,
        *,
        training: bool | None = None,
    ) -> Any:
        """Applies the layer.

        Parameters
        ----------
        x : Tensor, shape (None, time, ...); or a list of it and the initial states
        initial_state : list of Tensor, optional
            The states before the first time step, instead of zeros.
        mask : Tensor, shape (None, time), optional
            0 for the time steps to pass over: states stay, and the output is the one before.
        training : bool, optional
        """
        if initial_state is not None:
            x = [x, *flatten(initial_state)]
        if mask is not None:
            x = {"x": x, "mask": mask}
        return super().__call__(x, training=training)

    holds_layers: ClassVar[bool] = True

    @property
    def state_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the states, without the batch axis."""
        sizes = self.cell.state_size
        sizes = sizes if isinstance(sizes, list) else [sizes]
        return [tuple(s) if isinstance(s, (tuple, list)) else (s,) for s in sizes]

    def build(self, input_shape: Any) -> None:
        """Builds the cell for one time step."""
        shape = sequence_shape(input_shape)
        self._check_sequence(shape)
        if not self.cell.built:
            self.cell.build((shape[0], *shape[2:]))
            self.cell.built = True
        self._step_shape = shape[2:]
        with Trace(training=False):
            states = [Tensor((None, *s)) for s in self.state_shapes]
            out, after = self._step(Tensor((None, *shape[2:])), states, False)
        self._step_output = out.shape[1:]
        self._output_is_state = out is after[0]
        self.states: list[Variable] = []
        if self.stateful:
            self.states = [
                self.add_weight(f"state_{i}", (self.batch_size or 0, *s), "zeros", trainable=False)
                for i, s in enumerate(self.state_shapes)
            ]

    def reset_state(self) -> None:
        """Has the next batch begin with zeros; for a stateful layer."""
        if not self.stateful:
            raise RuntimeError(f"{self.name}: is not stateful, its states always begin with zeros")
        for state in self.states if self.built else []:
            state.assign(np.zeros(state.shape))

    def _kept_states(self, x: Tensor) -> list[Tensor]:
        """The states of the rows of a batch, as they are kept."""
        if not is_eager(x):
            return [rows_of(state) for state in self.states]
        if x.shape[0] != self.batch_size:
            raise wrong_batch(x.shape[0] or 0, self.batch_size)
        return [constant(state.value, state.value.dtype.name) for state in self.states]

    def _keep_states(self, kept: list[Tensor], after: list[Tensor]) -> None:
        for variable, before, state in zip(self.states, kept, after, strict=True):
            if is_eager(state):
                variable.assign(state.value)
            else:
                apply("assign", target=before, x=state)

    def _check_sequence(self, shape: Shape) -> None:
        if len(shape) < 3:
            raise ValueError(
                f"{self.name}: wants inputs of shape (batch, time, features), got {shape}"
            )

    def _step(self, x: Tensor, states: list[Tensor], training: bool) -> tuple[Tensor, list[Tensor]]:
        """What the cell makes of one time step."""
        extra = {"training": training} if self.cell._takes_training() else {}
        result = self.cell.call(x, states, **extra)  # type: ignore[call-arg]
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(f"{self.name}: the cell's call must return (output, states)")
        out, after = result[0], flatten(result[1])
        shapes, wanted = [t.shape for t in after], [t.shape for t in states]
        if shapes != wanted:
            raise ValueError(
                f"{self.name}: the cell must return states of shapes {wanted}, got {shapes}"
            )
        return out, after

    def call(self, x: Any, training: bool = False) -> Any:
        """See the class."""
        sequence, initial, mask = self._parts(x)
        self._check(sequence, initial, mask)
        kept = self._kept_states(sequence) if self.stateful else []
        outputs, last, states = self._run(sequence, initial or kept, mask, training)
        if self.stateful:
            self._keep_states(kept, states)
        result = from_time_major(outputs) if self.return_sequences else last
        if self.return_sequences:
            result.mask = mask
        return [result, *states] if self.return_state else result

    def _parts(self, x: Any) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """The sequence, the initial states if given, and the mask if there is one."""
        mask = None
        if isinstance(x, dict):
            x, mask = x["x"], x["mask"]
        sequence, *initial = flatten(x)
        return sequence, initial, sequence.mask if mask is None else mask

    def _check(self, x: Tensor, initial: list[Tensor], mask: Tensor | None) -> None:
        self._check_sequence(x.shape)
        if x.shape[2:] != self._step_shape:
            raise ValueError(
                f"{self.name}: was built for steps of shape {self._step_shape}, got inputs of "
                f"shape {x.shape}"
            )
        wanted: list[Shape] = [(x.shape[0], *shape) for shape in self.state_shapes]
        if initial and [s.shape for s in initial] != wanted:
            raise ValueError(
                f"{self.name}: wants initial states of shapes {wanted}, got "
                f"{[s.shape for s in initial]}"
            )
        if mask is not None and mask.shape != x.shape[:2]:
            raise ValueError(
                f"{self.name}: wants a mask of shape {x.shape[:2]} for inputs of shape {x.shape}, "
                f"got {mask.shape}"
            )

    def _run(
        self, x: Tensor, initial: list[Tensor], mask: Tensor | None, training: bool
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Outputs in the order of time, the last of them, and the last states."""
        states = initial or [filled((None, *shape), like=x) for shape in self.state_shapes]
        own_output = not self._output_is_state or (mask is not None and bool(initial))
        carried = [*states, filled((None, *self._step_output), like=x)] if own_output else states
        sequences = [to_time_major(self._dropped(x, training), self.go_backwards)]
        if mask is not None:
            sequences.append(to_time_major(reshape(mask, (*mask.shape, 1)), self.go_backwards))

        def body(slices: list[Tensor], before: list[Tensor]) -> Any:
            out, after = self._step(slices[0], before[: len(states)], training)
            if own_output:
                after = [*after, out]
            if mask is not None:
                keep = reshape(slices[1], (None,))
                after = [_chosen(keep, a, b) for a, b in zip(after, before, strict=True)]
            return [after[-1] if own_output else after[0]], after

        outputs, last = repeat(body, sequences, carried)
        return outputs[0], last[-1] if own_output else last[0], last[: len(states)]

    def _dropped(self, x: Tensor, training: bool) -> Tensor:
        """The input with one mask of the cell's dropout for all time steps."""
        share = self.cell.dropout if isinstance(self.cell, Cell) else 0.0
        if not training or share == 0.0:
            return x
        ones = filled((None, *x.shape[2:]), 1.0, x)
        mask = apply("dropout_forward", x=ones, rate=share, stream=stream())
        return ops.multiply(x, ops.expand_dims(mask, 1))

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        from fastdl.serialization import serialize_layer

        return {
            **super().get_config(),
            "cell": serialize_layer(self.cell),
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "batch_size": self.batch_size,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom: Mapping[str, Any] | None = None) -> Layer:
        """See `Layer.from_config`."""
        from fastdl.serialization import deserialize_layer

        if "cell" not in config:
            return cls(**config)
        return cls(**{**config, "cell": deserialize_layer(config["cell"], custom)})


def sequence_shape(shape: Any) -> Shape:
    """The shape of the sequence, where there are shapes of states or of a mask too."""
    if isinstance(shape, dict):
        shape = shape["x"]
    return shape[0] if isinstance(shape, list) else shape


def _chosen(keep: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """The new state where the mask is not 0, else the old one."""
    flat = [reshape(t, (None, -1)) if len(t.shape) != 2 else t for t in (new, old)]
    out = apply("choose_rows_forward", x=flat[0], other=flat[1], mask=keep)
    return out if out.shape == new.shape else reshape(out, new.shape)


class CellLayer(RNN):
    """A layer of a built-in cell: takes the cell's arguments and its own."""

    _cell: ClassVar[type[Cell]]
    _own: ClassVar = (
        *("return_sequences", "return_state", "go_backwards", "stateful", "batch_size"),
    )
    _base: ClassVar = ("name", "trainable", "input_shape")

    def __init__(self, units: int, *args: Any, **kwargs: Any) -> None:
        own = {k: kwargs.pop(k) for k in (*self._own, *self._base) if k in kwargs}
        own.setdefault("name", unique_name(snake_case(type(self).__name__)))
        super().__init__(self._cell(units, *args, name=own["name"], **kwargs), **own)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        config = super().get_config()
        del config["cell"]
        return {**self.cell.get_config(), **config}


class SimpleRNN(CellLayer):
    """``activation(x @ kernel + state @ recurrent_kernel + bias)`` in each time step.

    Parameters
    ----------
    units : int
    activation : str, default "tanh"
    use_bias : bool, default True
    kernel_initializer, recurrent_initializer, bias_initializer :
        default "glorot_uniform", "orthogonal", "zeros"
    kernel_regularizer, recurrent_regularizer, bias_regularizer : optional
    dropout, recurrent_dropout : float, default 0
        Shares of the input's and of the state's elements that are dropped in training, the same
        ones in all time steps.
    return_sequences, return_state, go_backwards, stateful, batch_size :
        See `RNN`.

    Notes
    -----
    Input shape (batch, time, features), output shape (batch, units) or (batch, time, units).
    ``kernel`` has shape (features, units), ``recurrent_kernel`` (units, units), ``bias`` (units,).
    """

    _cell = SimpleRNNCell


class LSTM(CellLayer):
    """Long short-term memory (Hochreiter & Schmidhuber 1997).

    Parameters
    ----------
    units : int
    activation, recurrent_activation : str, default "tanh", "sigmoid"
        Two of `fastdl.kernels.table.recurrence.GATE_ACTIVATIONS`.
    use_bias : bool, default True
    kernel_initializer, recurrent_initializer, bias_initializer :
        default "glorot_uniform", "orthogonal", "zeros"
    unit_forget_bias : bool, default True
        Whether the forget gate's bias begins with 1.
    kernel_regularizer, recurrent_regularizer, bias_regularizer : optional
    dropout, recurrent_dropout : float, default 0
        Shares of the input's and of the state's elements that are dropped in training, the same
        ones in all time steps.
    return_sequences, return_state, go_backwards, stateful, batch_size :
        See `RNN`. The states are the output and the carry.

    Notes
    -----
    Input shape (batch, time, features), output shape (batch, units) or (batch, time, units).
    ``kernel`` has shape (features, 4*units), ``recurrent_kernel`` (units, 4*units), ``bias``
    (4*units,): the gates are i, f, c, o side by side.
    """

    _cell = LSTMCell


class GRU(CellLayer):
    """Gated recurrent units (Cho et al. 2014).

    Parameters
    ----------
    units : int
    activation, recurrent_activation : str, default "tanh", "sigmoid"
        Two of `fastdl.kernels.table.recurrence.GATE_ACTIVATIONS`.
    use_bias : bool, default True
    kernel_initializer, recurrent_initializer, bias_initializer :
        default "glorot_uniform", "orthogonal", "zeros"
    reset_after : bool, default True
        Whether the reset gate comes after the state's product, as on GPUs, or before it, as in the
        paper.
    kernel_regularizer, recurrent_regularizer, bias_regularizer : optional
    dropout, recurrent_dropout : float, default 0
        Shares of the input's and of the state's elements that are dropped in training, the same
        ones in all time steps.
    return_sequences, return_state, go_backwards, stateful, batch_size :
        See `RNN`.

    Notes
    -----
    Input shape (batch, time, features), output shape (batch, units) or (batch, time, units).
    ``kernel`` has shape (features, 3*units), ``recurrent_kernel`` (units, 3*units), ``bias``
    (2, 3*units), or (3*units,) with ``reset_after=False``: the gates are z, r, h side by side.
    """

    _cell = GRUCell
