"""The tables that `Model.summary` prints: the layers, and what takes memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fastdl._nested import flatten
from fastdl.functional import walk
from fastdl.layers.base import Layer, LayerCall
from fastdl.programs import Compiled
from fastdl.tensor import Tensor
from fastdl.trace import Trace

if TYPE_CHECKING:
    from fastdl.model import Model

__all__ = ["describe"]


def describe(model: Model) -> Iterator[str]:
    """The lines: each layer, its output's shape and its number of weights."""
    rows = [("Layer (type)", "Output shape", "Weights")]
    for layer, shape in _layer_shapes(model):
        title = f"{layer.name} ({type(layer).__name__})"
        rows.append((title, str(shape), f"{layer.count_params():,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    line = "-" * (sum(widths) + 6)
    yield f'Model: "{model.name}"'
    for i, row in enumerate(rows):
        yield f"{row[0]:<{widths[0]}}   {row[1]:<{widths[1]}}   {row[2]:>{widths[2]}}"
        if i == 0:
            yield line
    yield line
    trainable = sum(w.value.size for w in model.trainable_weights)
    size = _bytes(_weight_bytes(model))
    yield f"Weights: {model.count_params():,} ({size}), {trainable:,} of them trainable"
    yield from _memory(model)


def _weight_bytes(model: Model) -> int:
    return sum(w.value.nbytes for w in model.weights)


_KINDS = {
    "train": "training", "validate": "validation", "evaluate": "evaluation",
    "predict": "prediction",
}  # fmt: skip


def _memory(model: Model) -> Iterator[str]:
    """What the model's programs take; nothing where it has none yet."""
    programs: dict[str, Compiled] = {}
    for (kind, *_), made in list(model._programs.items()):
        programs.setdefault(_KINDS[kind], made)
    if not programs:
        return
    state = 0
    if model._optimizer is not None:
        slots = model._optimizer.slots.values()
        state = sum(twin.value.nbytes for twins in slots for twin in twins.values())
    weights = _weight_bytes(model)
    rows = [("weights", _bytes(weights), "")]
    rows += [("optimizer state", _bytes(state), "")] if state else []
    total = weights + state
    for title, made in programs.items():
        lowered = made.lowered
        if lowered.gradient_bytes:
            rows.append((f"{title}: gradients kept whole", _bytes(lowered.gradient_bytes), ""))
        alone = lowered.buffer_bytes
        saved = f"{1 - lowered.arena_bytes / alone:.0%} less than {_bytes(alone)}" if alone else ""
        what = f"{title}: buffers for {made.capacity} rows"
        rows.append((what, _bytes(lowered.arena_bytes), saved))
        if lowered.scratch_bytes:
            rows.append((f"{title}: scratch memory", _bytes(lowered.scratch_bytes), ""))
        total += lowered.gradient_bytes + lowered.arena_bytes + lowered.scratch_bytes
    rows.append(("in all", _bytes(total), ""))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    yield "Memory:"
    for row in rows:
        yield f"{row[0]:<{widths[0]}}   {row[1]:>{widths[1]}}   {row[2]}".rstrip()


def _layer_shapes(model: Model) -> list[tuple[Layer, Any]]:
    inputs = [Tensor((None, *shape)) for shape in model.row_shapes]
    with Trace(training=False):
        outputs = flatten(model.call_flat(inputs, training=False))
    shapes: dict[Layer, Any] = {}
    for call in walk(outputs):
        if isinstance(call, LayerCall):
            shapes[call.layer] = call.outputs[0].shape
    for layer in model.layers:
        if layer.given_input_shape is not None:
            shapes.setdefault(layer, (None, *layer.given_input_shape))
    return [(layer, shapes.get(layer, "?")) for layer in model.layers]


def _bytes(count: int) -> str:
    size, units = float(count), ["B", "KB", "MB", "GB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.1f} {units[0]}" if units[0] != "B" else f"{count} B"
