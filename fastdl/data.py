"""The user's arrays at the door of a model: converted once where the meaning is plain, refused with
both shapes named where it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastdl.programs import Target

__all__ = ["Rows", "as_inputs", "as_rows", "as_targets", "as_weights", "hold_out", "take"]

_NATIVE = {np.dtype(t) for t in "?bBhHiIlLqQfd"}


class Rows:
    """Everything that a fit or an evaluation goes through, row by row.

    Attributes
    ----------
    inputs, targets : list of array
    weight : array or None
    count : int
    """

    def __init__(
        self, inputs: list[np.ndarray], targets: list[np.ndarray], weight: np.ndarray | None
    ) -> None:
        arrays = [*inputs, *targets, *([] if weight is None else [weight])]
        counts = [len(a) for a in arrays]
        if len(set(counts)) > 1:
            names = [f"x {a.shape}" for a in inputs] + [f"y {a.shape}" for a in targets]
            names += [] if weight is None else [f"sample_weight {weight.shape}"]
            raise ValueError(f"different numbers of rows: {', '.join(names)}")
        self.inputs, self.targets, self.weight = inputs, targets, weight
        self.count = counts[0] if counts else 0

    @property
    def sources(self) -> list[np.ndarray]:
        """All arrays in the order in which programs are fed."""
        return [*self.inputs, *self.targets, *([] if self.weight is None else [self.weight])]


def as_rows(name: str, value: Any, shape: Sequence[int | None]) -> np.ndarray:
    """An array whose rows the gather op can read: native numbers, each row contiguous.

    Memory maps and integer images stay as they are; they are cast batch by batch.

    Parameters
    ----------
    name : str
        For errors.
    shape : tuple
        What one row has to look like; None takes any length.

    Raises
    ------
    TypeError, ValueError
        If the values are no real numbers or the shape differs.
    """
    try:
        array = np.asarray(value)
    except Exception as error:
        raise TypeError(f"{name} is not an array: {error}") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got {array.dtype}")
    row = array.shape[1:]
    if array.ndim == 1 and tuple(shape) == (1,):
        array = array.reshape(-1, 1)
        row = (1,)
    if (
        array.ndim == 0
        or len(row) != len(shape)
        or any(s is not None and s != r for s, r in zip(shape, row, strict=True))
    ):
        wanted = ", ".join(["rows", *("any" if s is None else str(s) for s in shape)])
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
    if not array.dtype.isnative or array.dtype not in _NATIVE:
        kind = array.dtype
        if kind.kind == "f":
            kind = np.dtype(np.float64 if kind.itemsize > 4 else np.float32)
        array = array.astype(kind.newbyteorder("="))
    if len(array) and not (array[:1].flags.c_contiguous and array.flags.aligned):
        array = np.ascontiguousarray(array)
    return array


def as_inputs(x: Any, names: Sequence[str], shapes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """The inputs of a model from an array, or a list or dictionary of arrays."""
    if isinstance(x, Mapping):
        missing = [n for n in names if n not in x]
        unknown = [n for n in x if n not in names]
        if missing or unknown:
            raise ValueError(f"x must have the inputs {list(names)}, got {list(x)}")
        parts = [x[n] for n in names]
    elif len(shapes) > 1:
        if not isinstance(x, (list, tuple)) or len(x) != len(shapes):
            raise ValueError(f"x must be a list of {len(shapes)} arrays, one for each input")
        parts = list(x)
    else:
        parts = [x[0]] if _holds_one_array(x, shapes[0]) else [x]
    titles = ["x"] if len(parts) == 1 else [f"x[{n!r}]" for n in names]
    return [as_rows(t, p, s) for t, p, s in zip(titles, parts, shapes, strict=True)]


def _holds_one_array(x: Any, shape: Sequence[int]) -> bool:
    return isinstance(x, (list, tuple)) and len(x) == 1 and np.ndim(x[0]) == len(shape) + 1


def as_targets(y: Any, targets: Sequence[Target]) -> list[np.ndarray]:
    """The targets of a model, labels checked.

    Raises
    ------
    ValueError
        If a shape differs from the output's, or a label is not a whole number from 0 to
        classes - 1; the first bad row is named.
    """
    if isinstance(y, Mapping):
        names = [t.name for t in targets]
        if sorted(y) != sorted(names):
            raise ValueError(f"y must have the outputs {names}, got {list(y)}")
        parts = [y[n] for n in names]
    elif len(targets) > 1:
        if not isinstance(y, (list, tuple)) or len(y) != len(targets):
            raise ValueError(f"y must be a list of {len(targets)} arrays, one for each output")
        parts = list(y)
    else:
        parts = [y]
    arrays = []
    for part, target in zip(parts, targets, strict=True):
        title = "y" if len(targets) == 1 else f"y[{target.name!r}]"
        if target.classes:
            arrays.append(_labels(title, part, target))
        else:
            arrays.append(as_rows(title, part, target.shape))
    return arrays


def _labels(name: str, value: Any, target: Target) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim == len(target.shape) + 2 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == len(target.shape) + 2 and array.shape[-1] == target.classes:
        raise ValueError(
            f"{name} must hold labels of shape (rows,), got {array.shape}: for one-hot targets "
            f"use the loss 'categorical_crossentropy'"
        )
    array = as_rows(name, array, target.shape)
    flat = array.reshape(-1)
    with np.errstate(invalid="ignore"):
        bad = (flat < 0) | (flat >= target.classes)
        if array.dtype.kind == "f":
            bad |= flat != np.floor(flat)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{name} must hold whole numbers from 0 to {target.classes - 1}, but row {row} is "
            f"{flat[row]}"
        )
    return array


def as_weights(
    sample_weight: Any, class_weight: Any, targets: list[np.ndarray], models: Sequence[Target]
) -> np.ndarray | None:
    """One weight a row, from weights of samples and of classes; None where there are none."""
    weight = None if sample_weight is None else as_rows("sample_weight", sample_weight, ())
    if class_weight is None:
        return weight
    if len(targets) != 1:
        raise ValueError("class_weight is for models with one output")
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"class_weight must be a dict, got {type(class_weight).__name__}")
    target, model = targets[0], models[0]
    if model.classes:
        labels = target.astype(np.int64).reshape(len(target))
    elif target.shape[1:] == (1,):
        labels = target[:, 0].astype(np.int64)
    else:
        labels = target.reshape(len(target), -1).argmax(axis=1)
    factors = np.ones(len(labels))
    for label, factor in class_weight.items():
        factors[labels == label] = factor
    return factors if weight is None else factors * weight


def hold_out(
    count: int, share: float, labels: np.ndarray | None
) -> tuple[np.ndarray | slice, np.ndarray | slice]:
    """Which rows are trained on, and which are held out for validation.

    Parameters
    ----------
    count : int
    share : float, 0 ... 1
        Of the rows, the last ones, as in Keras.
    labels : array, shape (count,), optional
        Given: the last ones of each label instead, so that sorted data do no harm.

    Raises
    ------
    ValueError
        If the share is not from 0 to 1, or would leave nothing to train on or to validate.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"validation_split must be >= 0 and < 1, got {share!r}")
    if labels is None:
        first = int(count * (1.0 - share))
        if not 0 < first < count:
            raise ValueError(
                f"validation_split={share} of {count} rows leaves nothing to train on or validate"
            )
        return slice(0, first), slice(first, count)
    held = np.zeros(count, bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        held[rows[int(len(rows) * (1.0 - share)) :]] = True
    if not held.any() or held.all():
        raise ValueError(
            f"validation_split={share} of {count} rows leaves nothing to train on or validate"
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


def take(rows: Rows, which: np.ndarray | slice) -> Rows:
    """Some of the rows."""
    weight = None if rows.weight is None else rows.weight[which]
    return Rows([a[which] for a in rows.inputs], [a[which] for a in rows.targets], weight)
