"""Convolutions of images as products that lay out no patches (see convolution.cu), or by cuDNN."""

from __future__ import annotations

import math
from typing import Any

from fastdl.gpu import tiles
from fastdl.gpu.core import Call, Family
from fastdl.gpu.norms import statistics
from fastdl.gpu.products import merge

convolution = Family("convolution")

_THREADS = (16, 16)
_STRIP = (32, 8)

#: Groups of fewer channels leave tiles empty.
_FEW = 16

#: Padded sides of images, pixels of an image, and terms of a depth are below this: a kernel counts
#: them in 32 bits.
_MOST = 2**30

_LETTERS = "HWCPQORS"
_OPTIONS = ("stride_height", "stride_width", "dilation_height", "dilation_width", "top", "left")


def _tiles(itemsize: int, columns: int, widest: int = 128) -> list[tuple[int, int]]:
    """The tiles for so many columns, the most efficient first."""
    width = 32 if columns <= 32 else 64 if columns <= 64 or itemsize == 8 else widest
    return [(64 if itemsize == 8 else 128, width), (32, 32)]


def _shape(call: Call) -> list[int]:
    """The kernels' SHAPE_PARAMETERS, strides and dilations no larger than what they can reach."""
    lengths, options = call.lengths, call.options
    for side, before, after in (("H", "top", "bottom"), ("W", "left", "right")):
        if lengths[side] + options[before] + max(options[after], 0) >= _MOST:
            raise ValueError(f"{call.op.name}: a padded side has 2**30 pixels or more")
    for letters in ("HW", "PQ", "RSI", "RSO"):
        if math.prod(lengths[x] for x in letters) >= _MOST:
            raise ValueError(f"{call.op.name}: {' x '.join(letters)} is 2**30 or more")
    given = [min(options[name], _MOST) for name in _OPTIONS]
    return [call.rows, *(lengths[x] for x in _LETTERS), options["groups"], *given]


def _classes(call: Call) -> list[tuple[int, int]]:
    """(classes of the larger image's pixels, pixels of the first and largest) along each axis."""
    counts = [
        min(call.options[f"stride_{axis}"], call.lengths[x])
        for axis, x in (("height", "H"), ("width", "W"))
    ]
    return [(n, -(-call.lengths[x] // max(n, 1))) for n, x in zip(counts, "HW", strict=True)]


def _convolve(call: Call, kernel: str, target: Any, source: Any) -> None:
    shape, lengths, groups = _shape(call), call.lengths, call.options["groups"]
    O = lengths["O"] // groups  # noqa: E741  (the letter of the table)
    bias, weight = call.arrays.get("bias"), call["weight"]
    taps = lengths["R"] * lengths["S"]
    if kernel == "correlate":
        M, N, K = call.rows * lengths["P"] * lengths["Q"], O, taps * lengths["I"]
        pixels, classes, channels = M, 1, lengths["O"]
    else:
        down, across = _classes(call)
        M, N = call.rows * down[1] * across[1], lengths["I"]
        classes = down[0] * across[0]
        K = taps * O // max(classes, 1)
        pixels, channels = call.rows * lengths["H"] * lengths["W"], lengths["C"]
    size = pixels * channels
    if groups > 1 and N < _FEW:
        arguments = target, source, weight, bias, *call.epilogue, *shape
        call.elements(f"{kernel}_few", size, *arguments)
        return
    images = (source, target) if kernel == "correlate" else (target, source)
    if _by_library(call, "fprop" if kernel == "correlate" else "dgrad", *images):
        if bias is not None or call.epilogue[0]:
            merge(call, target, target, bias, pixels, channels, 1)
        return
    sizes = _tiles(call.real.itemsize, N, 128 if kernel == "correlate" else 64)
    tile, blocks, parts = tiles.cut(sizes, M, N, K, groups * classes)
    layers, counters = tiles.room_for_parts(call, tile, blocks, parts, size)
    call.launch(
        f"{kernel}_{tile[0]}_{tile[1]}", (blocks, 1, parts), _THREADS,
        target, layers, counters, source, weight, bias, *call.epilogue, *shape, parts,
    )  # fmt: skip
    if layers is not None and counters is None:
        merge(call, target, layers, bias, pixels, channels, parts)


def _by_library(call: Call, kind: str, larger: Any, smaller: Any) -> bool:
    """Whether cuDNN is there and has done it."""
    weight = call["grad_weight" if kind == "wgrad" else "weight"]
    cudnn = call.driver.cudnn
    return cudnn is not None and bool(cudnn.convolve(call, kind, larger, smaller, weight))


@convolution.host("conv2d_forward")
def _forward(call: Call) -> None:
    _convolve(call, "correlate", call["out"], call["x"])


@convolution.host("conv2d_statistics_forward")
def _forward_with_statistics(call: Call) -> None:
    _forward(call)
    lengths = call.lengths
    statistics(call, call["out"], call.rows * lengths["P"] * lengths["Q"], lengths["O"])


@convolution.host("conv2d_backward_input")
def _backward(call: Call) -> None:
    _convolve(call, "spread", call["grad_x"], call["grad_out"])


@convolution.host("conv2d_transpose_forward")
def _transpose(call: Call) -> None:
    _convolve(call, "spread", call["out"], call["x"])


@convolution.host("conv2d_transpose_backward_input")
def _transpose_backward(call: Call) -> None:
    _convolve(call, "correlate", call["grad_x"], call["grad_out"])


@convolution.host("conv2d_backward_weight")
def _weight(call: Call) -> None:
    _weights(call, call["x"], call["grad_out"])


@convolution.host("conv2d_transpose_backward_weight")
def _transpose_weight(call: Call) -> None:
    _weights(call, call["grad_out"], call["x"])


def _weights(call: Call, larger: Any, smaller: Any) -> None:
    shape, lengths, groups = _shape(call), call.lengths, call.options["groups"]
    target, O = call["grad_weight"], lengths["O"]  # noqa: E741
    taps, each = lengths["R"] * lengths["S"] * lengths["I"], O // groups
    pixels = call.rows * lengths["P"] * lengths["Q"]
    if groups > 1 and each < _FEW and taps < 2**16:
        strips = -(-O // _STRIP[0])
        together = _STRIP[1] * max(1, _STRIP[0] // max(O, 1))
        parts = max(1, min(tiles.BLOCKS // max(strips * taps, 1), pixels // (8 * together)))
        layers = target if parts == 1 else call.workspace("parts", parts * taps * O)
        grid = strips, parts, taps
        call.launch("weights_few", grid, _STRIP, layers, larger, smaller, *shape)
        counters = None
    elif _by_library(call, "wgrad", larger, smaller):
        return
    else:
        tile, blocks, parts = tiles.cut(
            _tiles(call.real.itemsize, each), taps, each, pixels, groups
        )
        parts = max(parts, -(-pixels // _MOST))
        layers, counters = tiles.room_for_parts(call, tile, blocks, parts, taps * O)
        call.launch(
            f"weights_{tile[0]}_{tile[1]}", (blocks, 1, parts), _THREADS,
            target, layers, counters, larger, smaller, *shape, parts,
        )  # fmt: skip
    if parts > 1 and counters is None:
        merge(call, target, layers, None, taps, O, parts)
