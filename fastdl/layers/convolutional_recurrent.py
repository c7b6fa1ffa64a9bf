"""LSTM whose products are convolutions."""

from __future__ import annotations

from typing import Any, ClassVar

from fastdl import ops
from fastdl._nested import flatten
from fastdl.layers.cells import LSTMCell
from fastdl.layers.geometry import (
    KernelGeometry,
    channels_first,
    channels_last,
    convolution_options,
    same_padding,
)
from fastdl.layers.recurrent import CellLayer, sequence_shape
from fastdl.tensor import Shape, Tensor, apply

__all__ = ["ConvLSTM2D"]


class _ConvLSTM2DCell(KernelGeometry, LSTMCell):
    """One step of a `ConvLSTM2D`, on images with their channels last."""

    _units: ClassVar = "filters"

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, *args, **kwargs)
        self._set_geometry(kernel_size, strides, padding, data_format, dilation_rate)
        self.image: tuple[int, ...] = ()

    @property
    def state_size(self) -> Any:
        """The shapes of the states, known once it is built."""
        return [self.image] * 2

    def build(self, input_shape: Shape) -> None:
        """Makes ``kernel``, ``recurrent_kernel`` and ``bias``."""
        height, width, channels = (n or 0 for n in input_shape[1:])
        self.paddings = self._paddings_of((height, width))
        axes = zip(
            (height, width), self.kernel_size, self.strides, self.dilation_rate, self.paddings,
            strict=True,
        )  # fmt: skip
        positions = [
            (n + sum(padding) - (kernel - 1) * dilation - 1) // stride + 1
            for n, kernel, stride, dilation, padding in axes
        ]
        if min(positions) < 1:
            raise ValueError(
                f"{self.name}: a kernel of {self.kernel_size}, dilation_rate "
                f"{self.dilation_rate}, does not fit into images of {(height, width)}"
            )
        self.image = (*positions, self.units)
        gates = 4 * self.units
        self.kernel = self.add_weight(
            "kernel",
            (*self.kernel_size, channels, gates),
            self.kernel_initializer,
            self.kernel_regularizer,
        )
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel",
            (*self.kernel_size, self.units, gates),
            self.recurrent_initializer,
            self.recurrent_regularizer,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                "bias", (gates,), self.bias_initializer, self.bias_regularizer
            )
            if self.unit_forget_bias:
                self.bias.value[self.units : 2 * self.units] = 1

    def call(  # type: ignore[override]
        self, x: Tensor, states: list[Tensor], training: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """See `Cell`."""
        same = [
            same_padding(n, k, 1, 1) for n, k in zip(self.image, self.kernel_size, strict=False)
        ]
        state = self._kept(states[0], training)
        product = apply(
            "conv2d_forward", x=state, weight=self.recurrent_kernel, **convolution_options(same)
        )
        options = self._options(self.paddings)
        fed = apply("conv2d_forward", x=x, weight=self.kernel, bias=self.bias, **options)
        total = ops.add(product, fed)
        step = apply("lstm_step_forward", x=total, carry=states[1], **self._activations())
        return step[0], list(step[:2])

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        config = super().get_config()
        config["filters"] = config.pop("units")
        return config


class ConvLSTM2D(CellLayer):
    """An LSTM over images, whose products are convolutions (Shi et al. 2015).

    Parameters
    ----------
    filters : int
    kernel_size : int or (int, int)
    strides : int or (int, int), default 1
        Of the input's convolution; the state's keeps its size.
    padding : {"valid", "same"}
        Of the input's convolution.
    data_format : {"channels_last", "channels_first"}, optional
        Which axis of an image the channels are, in inputs, outputs and states. They are last by
        default, and first costs a copy of the whole sequence.
    dilation_rate : int or (int, int), default 1
        How far apart the rows and columns of the kernel are in the input's convolution.
    activation, recurrent_activation : str, default "tanh", "sigmoid"
        Two of `fastdl.kernels.table.recurrence.GATE_ACTIVATIONS`.
    use_bias : bool, default True
    kernel_initializer, recurrent_initializer, bias_initializer :
        default "glorot_uniform", "orthogonal", "zeros"
    unit_forget_bias : bool, default True
    kernel_regularizer, recurrent_regularizer, bias_regularizer : optional
    dropout, recurrent_dropout : float, default 0
    return_sequences, return_state, go_backwards, stateful, batch_size :
        See `RNN`.

    Notes
    -----
    Input shape (batch, time, height, width, channels). ``kernel`` has shape (*kernel_size,
    channels, 4*filters), ``recurrent_kernel`` (*kernel_size, filters, 4*filters), ``bias``
    (4*filters,): the gates are i, f, c, o side by side.

    Raises
    ------
    ValueError
        If an argument is none of these, or the kernel is larger than the padded image.

    Examples
    --------
    >>> from fastdl import Input
    >>> from fastdl.layers import ConvLSTM2D
    >>> ConvLSTM2D(8, 3, padding="same", data_format="channels_first")(Input((5, 1, 9, 9))).shape
    (None, 8, 9, 9)
    """

    _cell: ClassVar = _ConvLSTM2DCell

    def __init__(self, filters: int, kernel_size: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, *args, **kwargs)

    @property
    def _is_first(self) -> bool:
        assert isinstance(self.cell, _ConvLSTM2DCell)
        return self.cell.data_format == "channels_first"

    def build(self, input_shape: Any) -> None:
        """Builds the cell for one time step."""
        shape = sequence_shape(input_shape)
        self._check_sequence(shape)
        super().build((*shape[:2], *shape[3:], shape[2]) if self._is_first else shape)

    def _check_sequence(self, shape: Shape) -> None:
        names = "channels, height, width" if self._is_first else "height, width, channels"
        if len(shape) != 5 or None in shape[2:]:
            raise ValueError(
                f"{self.name}: wants inputs of shape (batch, time, {names}), got {shape}"
            )

    def _parts(self, x: Any) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """All with their channels last."""
        sequence, initial, mask = super()._parts(x)
        if self._is_first:
            self._check_sequence(sequence.shape)
            sequence = ops.transpose(sequence, (0, 1, 3, 4, 2))
            initial = [channels_last(state, 2, "channels_first") for state in initial]
        return sequence, initial, mask

    def call(self, x: Any, training: bool = False) -> Any:
        """See the class."""
        result = super().call(x, training)
        if not self._is_first:
            return result
        out, *states = flatten(result)
        axes = (0, 1, 4, 2, 3) if self.return_sequences else (0, 3, 1, 2)
        moved = ops.transpose(out, axes)
        moved.mask = out.mask
        states = [channels_first(state, 2, "channels_first") for state in states]
        return [moved, *states] if self.return_state else moved
