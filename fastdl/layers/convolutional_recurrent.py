"""LSTM whose products are convolutions."""

from __future__ import annotations

from typing import Any, ClassVar

from fastdl import ops
from fastdl.layers.cells import LSTMCell
from fastdl.layers.geometry import Padding, one_of, same_padding, whole_numbers
from fastdl.layers.recurrent import CellLayer
from fastdl.tensor import Shape, Tensor, apply

__all__ = ["ConvLSTM2D"]


class _ConvLSTM2DCell(LSTMCell):
    """One step of a `ConvLSTM2D`, on images."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, **kwargs)
        self.kernel_size = whole_numbers(self, "kernel_size", kernel_size, 2)
        self.strides = whole_numbers(self, "strides", strides, 2)
        self.padding = one_of(self, "padding", padding, ("valid", "same"))
        self.image: tuple[int, ...] = ()

    @property
    def state_size(self) -> Any:
        """The shapes of the states, known once it is built."""
        return [self.image] * 2

    def build(self, input_shape: Shape) -> None:
        """Makes ``kernel``, ``recurrent_kernel`` and ``bias``."""
        if len(input_shape) != 4 or None in input_shape[1:]:
            raise ValueError(
                f"{self.name}: wants inputs of shape (batch, time, height, width, channels), got "
                f"steps of shape {input_shape[1:]}"
            )
        height, width, channels = (n or 0 for n in input_shape[1:])
        self.paddings = [
            same_padding(n, k, s, 1) if self.padding == "same" else Padding(0, 0)
            for n, k, s in zip((height, width), self.kernel_size, self.strides, strict=True)
        ]
        positions = [
            (n + p.before + p.after - k) // s + 1
            for n, k, s, p in zip(
                (height, width), self.kernel_size, self.strides, self.paddings, strict=True
            )
        ]
        if min(positions) < 1:
            raise ValueError(
                f"{self.name}: a kernel of {self.kernel_size} does not fit into images of "
                f"{(height, width)}"
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
        product = _convolved(state, self.recurrent_kernel, None, (1, 1), same)
        fed = _convolved(x, self.kernel, self.bias, self.strides, self.paddings)
        total = ops.add(product, fed)
        step = apply("lstm_step_forward", x=total, carry=states[1], **self._activations())
        return step[0], list(step[:2])

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        config = super().get_config()
        return {
            **config,
            "filters": config.pop("units"),
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
        }


def _convolved(
    x: Tensor, kernel: Tensor, bias: Tensor | None, strides: Any, paddings: list[Padding]
) -> Tensor:
    (top, bottom), (left, right) = paddings
    return apply(
        "conv2d_forward",
        x=x,
        weight=kernel,
        bias=bias,
        stride_height=strides[0],
        stride_width=strides[1],
        top=top,
        bottom=bottom,
        left=left,
        right=right,
    )


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
    """

    _cell: ClassVar = _ConvLSTM2DCell
