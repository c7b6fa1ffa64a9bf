"""Where the kernels of convolutions and the windows of pooling stand: arguments and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdl import ops
from fastdl.layers.base import Layer, at_least_one
from fastdl.tensor import Tensor

__all__ = [
    "KernelGeometry", "Padding", "channels_first", "channels_last", "convolution_options",
    "format_of", "one_of", "pairs", "same_padding", "shape_of", "transposed_length",
    "whole_numbers",
]  # fmt: skip


def whole_numbers(layer: Layer, name: str, value: Any, count: int) -> tuple[int, ...]:
    """A positive whole number, or ``count`` of them, as a tuple of ``count``.

    Raises
    ------
    ValueError
        If it is something else; the message names the layer and the argument.
    """
    if isinstance(value, (tuple, list)) and len(value) == count:
        return tuple([at_least_one(layer, name, n) for n in value])
    if not isinstance(value, (int, np.integer)):
        raise ValueError(
            f"{layer.name}: {name} must be a positive whole number or a tuple of {count}, got "
            f"{value!r}"
        )
    return (at_least_one(layer, name, value),) * count


def one_of(layer: Layer, name: str, value: Any, choices: Sequence[str]) -> str:
    """``value``, which has to be one of the choices."""
    if value not in choices:
        raise ValueError(f"{layer.name}: {name} must be one of {', '.join(choices)}, got {value!r}")
    return str(value)


#: How many positions are added before an axis and behind it.
Padding = tuple[int, int]


def same_padding(length: int, kernel: int, stride: int, dilation: int) -> Padding:
    """What makes ``ceil(length / stride)`` positions of the output; the extra one at the end."""
    wanted = -(-length // stride)
    missing = max(0, (wanted - 1) * stride + (kernel - 1) * dilation + 1 - length)
    return missing // 2, missing - missing // 2


def causal_padding(kernel: int, dilation: int) -> Padding:
    """What lets each output see its own position and those before it."""
    return (kernel - 1) * dilation, 0


class KernelGeometry(Layer):
    """Where the kernel of a layer stands on its images, or sequences."""

    _axes = 2
    _paddings: tuple[str, ...] = ("valid", "same")

    def _set_geometry(
        self, kernel_size: Any, strides: Any, padding: str, data_format: str | None,
        dilation_rate: Any,
    ) -> None:  # fmt: skip
        """Takes the arguments that say it."""
        self.kernel_size = whole_numbers(self, "kernel_size", kernel_size, self._axes)
        self.strides = whole_numbers(self, "strides", strides, self._axes)
        self.padding = one_of(self, "padding", padding, self._paddings)
        self.data_format = format_of(self, data_format)
        self.dilation_rate = whole_numbers(self, "dilation_rate", dilation_rate, self._axes)

    def _paddings_of(self, lengths: Sequence[int]) -> list[Padding]:
        axes = zip(lengths, self.kernel_size, self.strides, self.dilation_rate, strict=True)
        if self.padding == "same":
            return [same_padding(*axis) for axis in axes]
        if self.padding == "causal":
            return [causal_padding(kernel, dilation) for _, kernel, _, dilation in axes]
        return [(0, 0) for _ in axes]

    def _options(self, paddings: Sequence[Padding]) -> dict[str, int]:
        """The options of a convolution of images; one axis of positions is their width."""
        rest = [1] * (2 - self._axes)
        return convolution_options(
            [(0, 0) for _ in rest] + list(paddings),
            rest + list(self.strides),
            rest + list(self.dilation_rate),
        )

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": list(self.dilation_rate),
        }


def convolution_options(
    paddings: Sequence[Padding], strides: Sequence[int] = (1, 1), dilations: Sequence[int] = (1, 1)
) -> dict[str, int]:
    """Options of ``conv2d_forward`` and its kin, from pairs of (height, width)."""
    (top, bottom), (left, right) = paddings
    return {
        "stride_height": strides[0],
        "stride_width": strides[1],
        "dilation_height": dilations[0],
        "dilation_width": dilations[1],
        "top": top,
        "bottom": bottom,
        "left": left,
        "right": right,
    }


def transposed_length(
    length: int, kernel: int, stride: int, dilation: int, padding: str, output_padding: int | None
) -> tuple[int, Padding]:
    """The length of a transposed convolution's output, and the padding of the convolution whose
    gradient it is; as in Keras."""
    reach = (kernel - 1) * dilation + 1
    full = (length - 1) * stride + reach
    if output_padding is not None:
        out = full + output_padding - (2 * (reach // 2) if padding == "same" else 0)
    elif padding == "same":
        out = length * stride
    else:
        out = max(full, length * stride)
    before = max(0, full - out) // 2 if padding == "same" else 0
    return out, (before, full - before - out)


def shape_of(layer: Layer, shape: Any, axes: int, data_format: str) -> tuple[int, ...]:
    """The positions and channels of one input, channels last.

    Raises
    ------
    ValueError
        If the shape has another number of axes, or an unknown length.
    """
    names = ("steps",) if axes == 1 else ("height", "width")
    if not isinstance(shape, tuple) or len(shape) != axes + 2 or None in shape[1:]:
        last = data_format == "channels_last"
        wanted = (*names, "channels") if last else ("channels", *names)
        raise ValueError(
            f"{layer.name}: wants inputs of shape (batch, {', '.join(wanted)}), got {shape}"
        )
    return shape[1:] if data_format == "channels_last" else (*shape[2:], shape[1])


def format_of(layer: Layer, data_format: str | None) -> str:
    """The data format: channels last unless something else is said."""
    formats = ("channels_last", "channels_first")
    return one_of(layer, "data_format", data_format or formats[0], formats)


def pairs(layer: Layer, name: str, value: Any, axes: int) -> tuple[tuple[int, int], ...]:
    """For each axis of positions, how many before and after it: numbers of at least 0.

    ``value`` is one number for all, or for each axis a number or a pair; with one axis, a pair.

    Raises
    ------
    ValueError
        If it is something else; the message names the layer and the argument.
    """
    parts = value if isinstance(value, (tuple, list)) else [value] * axes
    if axes == 1 and len(parts) == 2:
        parts = [parts]
    both = [p if isinstance(p, (tuple, list)) else (p, p) for p in parts]
    if len(both) != axes or any(len(p) != 2 or not all(_is_count(n) for n in p) for p in both):
        wanted = "a number or a pair" if axes == 1 else "a number, or for each axis one or a pair"
        raise ValueError(f"{layer.name}: {name} must be {wanted}, of at least 0, got {value!r}")
    return tuple((int(before), int(after)) for before, after in both)


def _is_count(value: Any) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and bool(value >= 0)


def channels_last(x: Tensor, axes: int, data_format: str) -> Tensor:
    """The input of a layer with its channels behind its axes of positions."""
    return x if data_format == "channels_last" else ops.transpose(x, (0, *range(2, 2 + axes), 1))


def channels_first(x: Tensor, axes: int, data_format: str) -> Tensor:
    """What a layer returns, of a result with its channels last."""
    if data_format == "channels_last":
        return x
    return ops.transpose(x, (0, 1 + axes, *range(1, 1 + axes)))
