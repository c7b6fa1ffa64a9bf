"""What fit, evaluate and predict are given: counts, and arrays as the rows that a model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl.data import (
    Rows,
    as_inputs,
    as_targets,
    as_weights,
    hold_out,
    is_stream,
    known_to,
    labels_of,
    take,
)

if TYPE_CHECKING:
    from fastdl.model import Model

__all__ = [
    "INFERENCE_BATCH", "FitData", "check_counts", "fit_data", "rows_for", "validation_rows",
    "whole",
]  # fmt: skip

#: Rows of a batch of evaluate and predict, where the user does not say.
INFERENCE_BATCH = 256


def whole(name: str, value: Any, low: int) -> int:
    """The value as an int, or an error that names the argument."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        raise ValueError(f"{name} must be a whole number of at least {low}, got {value!r}")
    return int(value)


def check_counts(batch_size: Any, epochs: Any, initial_epoch: Any) -> None:
    """Refuses what are no counts."""
    whole("batch_size", batch_size, 1)
    whole("epochs", epochs, 0)
    whole("initial_epoch", initial_epoch, 0)


def rows_for(
    model: Model,
    x: Any,
    y: Any,
    sample_weight: Any,
    class_weight: Mapping[int, float] | str | None = None,
) -> Rows:
    """Inputs, targets and weights as the model's programs read them; it is built for them."""
    if y is None:
        hint = "; call it, to have the batches that it gives" if callable(x) else ""
        raise ValueError(f"y must be given: x is {type(x).__name__}{hint}")
    x, y, sample_weight = (known_to(model.backend, value) for value in (x, y, sample_weight))
    model.build_for(x)
    inputs = as_inputs(x, model.input_names, model.row_shapes, model.input_classes)
    targets = as_targets(y, model.targets)
    rows = Rows(inputs, targets, as_weights(sample_weight, class_weight, targets, model.targets))
    if rows.count == 0:
        raise ValueError(f"there are no rows: x has shape {inputs[0].shape}")
    return rows


def validation_rows(model: Model, data: Any) -> Rows:
    """The same of ``(x, y)`` or ``(x, y, sample_weight)``."""
    if not isinstance(data, Sequence) or len(data) not in (2, 3):
        what = "batches, which are for fits on batches" if is_stream(data) else type(data).__name__
        raise ValueError(f"validation_data must be (x, y) or (x, y, sample_weight), got {what}")
    return rows_for(model, data[0], data[1], data[2] if len(data) == 3 else None)


class FitData:
    """The rows that a fit trains on, those that it validates on, and what is said about them."""

    def __init__(self, rows: Rows, validation: Rows | None, note: str = "") -> None:
        self.rows = rows
        self.validation = validation
        self.note = note


def fit_data(
    model: Model,
    x: Any,
    y: Any,
    validation_split: float = 0.0,
    validation_data: Any = None,
    class_weight: Mapping[int, float] | str | None = None,
    sample_weight: Any = None,
    stratify: bool = False,
) -> FitData:
    """The arguments of `Model.fit` that are data, converted and checked for this model."""
    rows = rows_for(model, x, y, sample_weight, class_weight)
    if validation_data is not None:
        return FitData(rows, validation_rows(model, validation_data))
    if not validation_split:
        return FitData(rows, None)
    labels = labels_of(known_to("cpu", rows.targets[0])) if stratify else None
    first, last = hold_out(rows.count, validation_split, labels)
    held = take(rows, last)
    which = (
        f"last rows of each label, {held.count} in all," if stratify else f"last {held.count} rows"
    )
    note = f"held out the {which} for validation"
    return FitData(take(rows, first), held, note)
