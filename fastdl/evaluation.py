"""Single batches, evaluation and prediction: a Program runs once over some rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl.arguments import INFERENCE_BATCH, rows_for, whole
from fastdl.data import Rows, as_inputs, is_on_gpu, is_stream, known_to
from fastdl.metrics.base import plain_logs
from fastdl.programs import Compiled, compiled
from fastdl.streaming import evaluate_batches, inputs_of
from fastdl.tensor import changes

if TYPE_CHECKING:
    from fastdl.model import Model

__all__ = ["evaluate", "predict", "test_on_batch", "train_on_batch"]


def train_on_batch(
    model: Model, x: Any, y: Any, sample_weight: Any, class_weight: Mapping[int, float] | str | None
) -> dict[str, float]:
    """See `Model.train_on_batch`."""
    rows = rows_for(model, x, y, sample_weight, class_weight)
    optimizer = model.optimizer
    program = compiled(model, "train", rows.count, rows.weighted)
    logs = _run(
        program,
        rows,
        step=optimizer.iterations + 1,
        seed=model.seed,
        learning_rate=optimizer.learning_rate,
    )
    optimizer.iterations += 1
    return logs


def test_on_batch(model: Model, x: Any, y: Any, sample_weight: Any) -> dict[str, float]:
    """The logs of one batch, without training."""
    rows = rows_for(model, x, y, sample_weight)
    return _run(compiled(model, "evaluate", rows.count, rows.weighted), rows)


def evaluate(
    model: Model, x: Any, y: Any, batch_size: int | None, sample_weight: Any, steps: int | None
) -> dict[str, float]:
    """See `Model.evaluate`."""
    if y is None and is_stream(x):
        if sample_weight is not None:
            raise ValueError("evaluate: sample_weight is for arrays, but x gives batches")
        return evaluate_batches(model, x, rows_for, _steps("evaluate", steps))
    if steps is not None:
        raise ValueError("evaluate: steps is for batches, not arrays")
    rows = rows_for(model, x, y, sample_weight)
    batch = INFERENCE_BATCH if batch_size is None else whole("batch_size", batch_size, 1)
    batch = min(batch, rows.count)
    return _run(compiled(model, "evaluate", batch, rows.weighted), rows, batch)


def _steps(name: str, steps: int | None) -> int | None:
    return None if steps is None else whole(f"{name}: steps", steps, 1)


def _run(
    program: Compiled, rows: Rows, batch: int | None = None, **context: Any
) -> dict[str, float]:
    program.check_batches(rows.count, batch or rows.count)
    with program.lock:
        native, kept = program.lowered.program, program.results(rows.count)
        native.bind(rows.sources, kept)
        try:
            native.run(batch or rows.count, **context)
        finally:
            native.unbind()
        return plain_logs({**program.logs(native.totals), **program.kept_logs(kept)})


def predict(
    model: Model, x: Any, batch_size: int | None, steps: int | None = None
) -> list[np.ndarray]:
    """See `Model.predict`; one array for each output."""
    if is_stream(x):
        parts = [
            predict(model, part, batch_size) for part in inputs_of(x, _steps("predict", steps))
        ]
        return [np.concatenate(each) for each in zip(*parts, strict=True)]
    if steps is not None:
        raise ValueError("predict: steps is for batches, not arrays")
    x = known_to(model.backend, x)
    model.build_for(x)
    rows = Rows(as_inputs(x, model.input_names, model.row_shapes, model.input_classes), [])
    batch = INFERENCE_BATCH if batch_size is None else whole("batch_size", batch_size, 1)
    latest = changes.latest
    program = compiled(model, "predict", batch).check_batches(rows.count, batch)
    native = program.lowered.program
    plain = program.lowered.batch_rows is None and model.input_classes == [None]
    if (
        plain
        and model.backend == "cpu"
        and len(native.feed_buffers) == len(native.fetch_buffers) == 1
    ):
        model._quick = latest, native.answer
    with program.lock:
        empty = native.driver.empty if any(map(is_on_gpu, rows.inputs)) else np.empty
        results = [empty((rows.count, *b.shape[1:]), b.dtype) for b in native.fetch_buffers]
        native.bind(rows.inputs, results)
        try:
            native.run(batch)
        finally:
            native.unbind()
    return results
