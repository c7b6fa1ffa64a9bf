"""Batch and layer normalisation (see norms.cu and columns.cuh)."""

from __future__ import annotations

from typing import Any

from fastdl.gpu.core import Call, Family

norms = Family("norms")

_BLOCK = _STRIP, _DOWN = 32, 8

#: As many blocks as keep a large GPU busy, and the fewest rows that a thread should have.
_BLOCKS, _LEAST_ROWS = 1056, 8

#: Doubles in the structs that the blocks of a column leave behind, and reals in a column's Slopes.
_MOMENTS, _SUMS, _SLOPES = 3, 2, 3


def _strips(call: Call) -> tuple[int, int]:
    """The blocks of a kernel of Strip for the rows of the call."""
    return _strips_of(call.rows, call.lengths["C"])


def _strips_of(rows: int, C: int) -> tuple[int, int]:
    """Of columns, and into how many parts the rows are cut, which the sizes alone decide."""
    strips = -(-C // _STRIP)
    together = _DOWN * max(1, _STRIP // max(C, 1))
    most = -(-_BLOCKS // max(strips, 1))
    return strips, max(1, min(most, rows // (together * _LEAST_ROWS)))


def _parts(call: Call, grid: tuple[int, int], doubles: int, C: int) -> Any:
    """Where the blocks leave what the merge takes; None where there is nothing to merge."""
    if grid[1] == 1:
        return None
    return call.workspace("parts", doubles * grid[1] * C, "float64")


def _merge(call: Call, kernel: str, *arguments: Any) -> None:
    """A warp for each column; their number is the last argument."""
    call.launch(kernel, -(-arguments[-1] // _DOWN), _BLOCK, *arguments)


def statistics(call: Call, x: Any, rows: int, C: int) -> None:
    """Mean and variance of the columns of a matrix."""
    grid, results = _strips_of(rows, C), (call["mean"], call["variance"])
    parts = _parts(call, grid, _MOMENTS, C)
    call.launch("norms.batchnorm_statistics", grid, _BLOCK, *results, parts, x, rows, C)
    if parts is not None:
        _merge(call, "norms.batchnorm_statistics_merge", *results, parts, grid[1], C)


@norms.host("batchnorm_statistics")
def _statistics(call: Call) -> None:
    statistics(call, call["x"], call.rows, call.lengths["C"])


@norms.host("batchnorm_forward", "batchnorm_inference")
def _forward(call: Call) -> None:
    call.launch("batchnorm_forward", _strips(call), _BLOCK, *call.arguments())


@norms.host("batchnorm_backward", "batchnorm_inference_backward")
def _backward(call: Call) -> None:
    grid, rows, C = _strips(call), call.rows, call.lengths["C"]
    constants = int(call.op.name == "batchnorm_inference_backward")
    grad_x, *results = (call[name] for name in ("grad_x", "grad_gamma", "grad_beta"))
    data = call["grad_out"], call["x"], call["mean"]
    given = call["variance"], call["gamma"], call["epsilon"], constants
    parts = _parts(call, grid, _SUMS, C)
    call.launch("batchnorm_sums", grid, _BLOCK, grad_x, *results, parts, *data, *given, rows, C)
    if parts is not None:
        slopes = call.workspace("slopes", _SLOPES * C)
        _merge(call, "batchnorm_sums_merge", *results, slopes, parts, *given, grid[1], rows, C)
        call.launch("batchnorm_gradient", grid, _BLOCK, grad_x, *data, slopes, constants, rows, C)


def picked_slopes(call: Call) -> Any:
    """The gradients of gamma and beta from picked elements, and what grad_x is made with."""
    lengths, C = call.lengths, call.lengths["C"]
    rows, places = (call.rows * lengths[a] * lengths[b] for a, b in ("PQ", "HW"))
    grid, results = _strips_of(rows, C), (call["grad_gamma"], call["grad_beta"])
    parts, slopes = _parts(call, grid, _SUMS, C), call.workspace("slopes", _SLOPES * C)
    given = call["variance"], call["gamma"], call["epsilon"]
    data = call["grad_out"], call["picked"], call["mean"], *given
    kernel = "norms.batchnorm_picked_sums"
    call.launch(kernel, grid, _BLOCK, *results, slopes, parts, *data, rows, places, C)
    if parts is not None:
        kernel, counts = "norms.batchnorm_sums_merge", (0, grid[1], places, C)
        _merge(call, kernel, *results, slopes, parts, *given, *counts)
    return slopes


norms.elementwise("batchnorm_update")
norms.rowwise("layernorm_forward")


@norms.host("layernorm_backward")
def _layernorm(call: Call) -> None:
    grid, rows, C = _strips(call), call.rows, call.lengths["C"]
    results = call["grad_gamma"], call["grad_beta"]
    data = call["grad_out"], call["x"], call["mean"], call["rstd"]
    parts = _parts(call, grid, _SUMS, C)
    call.launch("layernorm_sums", grid, _BLOCK, *results, parts, *data, rows, C)
    if parts is not None:
        _merge(call, "layernorm_sums_merge", *results, parts, grid[1], C)
    call.by_rows("layernorm_gradient", rows, C, call["grad_x"], *data, call["gamma"], rows, C)
