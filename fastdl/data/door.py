"""The user's arrays at the door of a model: converted once where the meaning is plain, refused with
both shapes named where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastdl._names import nearest
from fastdl.targets import Target

__all__ = [
    "Rows", "as_inputs", "as_labels", "as_rows", "as_targets", "as_weights",
    "as_weights_of", "by_dlpack", "hold_out", "is_on_gpu", "known_to", "labels_of", "take",
]  # fmt: skip

#: The number of a GPU's memory in DLPack.
_CUDA = 2

_NATIVE = {np.dtype(t) for t in "?bBhHiIlLqQfd"}


class Rows:
    """Everything that a fit or an evaluation goes through, row by row.

    Attributes
    ----------
    inputs, targets : list of array
    weights : list of array
        One for each target, or none.
    count : int
    """

    def __init__(
        self,
        inputs: list[np.ndarray],
        targets: list[np.ndarray],
        weights: Sequence[np.ndarray] = (),
    ) -> None:
        self.inputs, self.targets, self.weights = inputs, targets, list(weights)
        counts = [len(a) for a in self.sources]
        if len(set(counts)) > 1:
            names = [f"x {a.shape}" for a in inputs] + [f"y {a.shape}" for a in targets]
            names += [f"sample_weight {a.shape}" for a in self.weights]
            raise ValueError(f"different numbers of rows: {', '.join(names)}")
        self.count = counts[0] if counts else 0

    @property
    def weighted(self) -> bool:
        """Whether there are sample weights."""
        return bool(self.weights)

    @property
    def sources(self) -> list[np.ndarray]:
        """All arrays in the order in which programs are fed."""
        return [*self.inputs, *self.targets, *self.weights]


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
    plain = type(value) is np.ndarray and value.dtype != object
    array = value if plain else as_array(name, value)
    if array.dtype.kind not in "biuf":
        kind = type(value).__name__ if array.ndim == 0 else f"{array.dtype}"
        if array.dtype == object and array.size:
            kind = f"objects, among them {next(v for v in array.flat if not _is_number(v))!r}"
        raise TypeError(f"{name} must be an array of real numbers, got {kind}")
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
        native = array.dtype.newbyteorder("=")
        if native not in _NATIVE:  # half and extended precision
            native = np.dtype(np.float32 if array.itemsize < 4 else np.float64)
        array = array.astype(native)
    if is_on_gpu(array):
        return array  # a program takes care of how it lies
    if len(array) and not (array[:1].flags.c_contiguous and array.flags.aligned):
        array = np.ascontiguousarray(array)
    return array


def is_on_gpu(value: Any) -> bool:
    """Whether this is an array of a GPU's memory: CuPy's, or one that shows itself as such."""
    if type(value) is np.ndarray:
        return False
    if hasattr(value, "__cuda_array_interface__"):
        return True
    return hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] == _CUDA


def known_to(backend: str, value: Any) -> Any:
    """What a model on this backend takes: of an array in a GPU's memory CuPy's array of that
    memory, or, on the CPU, a copy; anything else as it is."""
    if isinstance(value, Mapping):
        return {name: known_to(backend, part) for name, part in value.items()}
    if isinstance(value, (list, tuple)) and any(map(is_on_gpu, value)):
        return [known_to(backend, part) for part in value]
    if not is_on_gpu(value):
        return value
    from fastdl.gpu import device

    driver = device.driver()
    array = driver.library.as_array(value)
    return array if backend == "gpu" else driver.download(array)


def by_dlpack(value: Any) -> Any:
    """The array of what shows itself by DLPack alone; anything else as it is."""
    if not hasattr(value, "__dlpack__") or hasattr(value, "__array__"):
        return value
    return np.from_dlpack(value)


def as_array(name: str, value: Any) -> np.ndarray:
    """The array that this is like; a TypeError that gives the name where it is like none."""
    if is_on_gpu(value):
        return value
    if value is None or isinstance(value, (Iterator, str, bytes)):
        raise TypeError(f"{name} must be an array or array-like, got {type(value).__name__}")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; fill it first, as masks are not looked at")
    try:
        array = np.asarray(by_dlpack(value))
    except Exception as error:
        raise TypeError(f"{name} is not an array: {error}") from error
    # A table whose columns are of different types comes as objects.
    if array.dtype == object and array.size and all(map(_is_number, array.flat)):
        array = array.astype(np.float64)
    return array


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float, np.number, np.bool_))


def as_inputs(
    x: Any,
    names: Sequence[str],
    shapes: Sequence[Sequence[int]],
    classes: Sequence[int | None],
) -> list[np.ndarray]:
    """The inputs of a model from an array, or a list or dictionary of arrays.

    Parameters
    ----------
    classes : sequence of int or None
        Of each input that holds labels, how many there are.

    Raises
    ------
    TypeError, ValueError
        If the values are no real numbers, a shape differs, or a label is out of its range.
    """
    titles, parts = _parts("x", "input", x, names, shapes)
    arrays = [as_rows(t, p, s) for t, p, s in zip(titles, parts, shapes, strict=True)]
    for title, array, count in zip(titles, arrays, classes, strict=True):
        if count is not None:
            _check_labels(title, array, count)
    return arrays


def _parts(
    what: str, each: str, value: Any, names: Sequence[str], shapes: Sequence[Sequence[int]]
) -> tuple[list[str], list[Any]]:
    """The titles and arrays of several inputs or outputs, in order."""
    if len(shapes) == 1 and isinstance(value, np.ndarray):
        return [what], [value]
    if isinstance(value, Mapping):
        for key in value:
            if key not in names:
                raise ValueError(
                    f"{what} has {key!r}{nearest(str(key), names)}, but the {each}s are "
                    f"{', '.join(names)}"
                )
        missing = [n for n in names if n not in value]
        if missing:
            raise ValueError(f"{what} lacks the {each} {missing[0]!r}")
        parts = [value[n] for n in names]
    elif len(shapes) > 1:
        if not isinstance(value, (list, tuple)) or len(value) != len(shapes):
            raise ValueError(
                f"{what} must be a list of {len(shapes)} arrays or a dictionary, one for each "
                f"{each}: {', '.join(names)}"
            )
        parts = list(value)
    else:
        parts = [value[0]] if _holds_one_array(value, shapes[0]) else [value]
    return [what] if len(parts) == 1 else [f"{what}[{n!r}]" for n in names], parts


def _holds_one_array(x: Any, shape: Sequence[int]) -> bool:
    if not isinstance(x, (list, tuple)) or len(x) != 1 or not isinstance(x[0], np.ndarray):
        return False
    return x[0].ndim == len(shape) + 1


def as_targets(y: Any, targets: Sequence[Target]) -> list[np.ndarray]:
    """The targets of a model, labels checked.

    Raises
    ------
    ValueError
        If a shape differs from the output's, or a label is not a whole number from 0 to
        classes - 1; the first bad row is named.
    """
    names, shapes = [t.name for t in targets], [t.shape for t in targets]
    titles, parts = _parts("y", "output", y, names, shapes)
    return [_as_target(*each) for each in zip(titles, parts, targets, strict=True)]


def _as_target(title: str, value: Any, target: Target) -> np.ndarray:
    if target.classes:
        return as_labels(title, value, target.shape, target.classes)
    try:
        return as_rows(title, value, target.shape)
    except ValueError as error:
        if np.ndim(value) == len(target.shape) and target.loss.fused_activation == "softmax":
            hint = ": for labels use the loss 'sparse_categorical_crossentropy'"
            raise ValueError(f"{error}{hint}") from None
        raise


def as_labels(name: str, value: Any, shape: Sequence[int], classes: int) -> np.ndarray:
    """Whole numbers from 0 to classes - 1, of this shape for each row."""
    array = as_array(name, value)
    if array.ndim == len(shape) + 2 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == len(shape) + 2 and array.shape[-1] == classes:
        raise ValueError(
            f"{name} must hold labels of shape (rows,), got {array.shape}: for one-hot targets "
            f"use the loss 'categorical_crossentropy'"
        )
    array = as_rows(name, array, shape)
    _check_labels(name, array, classes)
    return array


def _check_labels(name: str, array: np.ndarray, classes: int) -> None:
    flat = array.reshape(-1)
    with np.errstate(invalid="ignore"):
        bad = (flat < 0) | (flat >= classes)
        if array.dtype.kind == "f":
            bad |= flat != np.floor(flat)
    if bad.any():
        at = int(np.argmax(bad))
        raise ValueError(
            f"{name} must hold whole numbers from 0 to {classes - 1}, but row "
            f"{at // max(1, flat.size // len(array))} has {flat[at]}"
        )


def as_weights(
    sample_weight: Any, class_weight: Any, targets: list[np.ndarray], models: Sequence[Target]
) -> list[np.ndarray]:
    """Weights for each target, from those of samples and of classes; none where there are none.

    Parameters
    ----------
    sample_weight : array, shape (rows,) or (rows, time, ...), optional
        One for all targets, or a list or a dictionary by output.
    class_weight : dict of label to weight, or "balanced", optional
    targets : list of array
    models : list of Target
    """
    weights: list[np.ndarray] = []
    if sample_weight is not None:
        names = [model.name for model in models]
        parts = [sample_weight] * len(models)
        if isinstance(sample_weight, Mapping) or (
            len(models) > 1 and isinstance(sample_weight, (list, tuple))
        ):
            shapes = [model.rows for model in models]
            _, parts = _parts("sample_weight", "output", sample_weight, names, shapes)
        weights = [as_weights_of(p, m.rows) for p, m in zip(parts, models, strict=True)]
    if class_weight is None:
        return weights
    if len(targets) != 1:
        raise ValueError("class_weight is for models with one output")
    labels, classes = _classes(known_to("cpu", targets[0]), models[0])
    factors = _class_factors(class_weight, labels, classes)
    if weights and len(weights[0]) != len(factors):
        raise ValueError(
            f"different numbers of rows: sample_weight {weights[0].shape}, y {targets[0].shape}"
        )
    return [factors * weights[0] if weights else factors]


def as_weights_of(sample_weight: Any, rows: Sequence[int]) -> np.ndarray:
    """Weights of the shape (rows, ...) that the losses of an output have.

    Parameters
    ----------
    sample_weight : array, shape (rows,) or (rows, ...)
        One for each row is repeated for all that belongs to it, say its steps in time.
    rows : tuple of int
        The shape of the losses of one row.
    """
    if rows and np.ndim(sample_weight) <= 1:
        weights = as_rows("sample_weight", sample_weight, ())
        each = weights.reshape(-1, *(1,) * len(rows))
        return np.ascontiguousarray(np.broadcast_to(each, (len(weights), *rows)))
    return as_rows("sample_weight", sample_weight, rows)


def _class_factors(class_weight: Any, labels: np.ndarray, classes: int) -> np.ndarray:
    """The weight of each label."""
    factors = np.ones(labels.shape)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight must be a dict or 'balanced', got {class_weight!r}")
        found, where, counts = np.unique(labels, return_inverse=True, return_counts=True)
        return (labels.size / (len(found) * counts))[where].reshape(labels.shape)
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            f"class_weight must be a dict or 'balanced', got {type(class_weight).__name__}"
        )
    for label, factor in class_weight.items():
        if classes and label not in range(classes):
            raise ValueError(f"class_weight has the label {label!r}, not one of 0 to {classes - 1}")
        if not isinstance(factor, (int, float, np.number)):
            raise TypeError(f"class_weight[{label!r}] must be a number, got {factor!r}")
        factors[labels == label] = factor
    return factors


def _classes(target: np.ndarray, model: Target) -> tuple[np.ndarray, int]:
    """The label of each loss, and how many labels there are; 0 if any number may be one."""
    if model.classes:
        return target, model.classes
    if target.shape[-1] == 1:
        return target[..., 0], 0
    return target.argmax(axis=-1), target.shape[-1]


def labels_of(targets: np.ndarray) -> np.ndarray:
    """The label of each row, for ``stratify``: whole numbers, or where a one-hot row has its one.

    Raises
    ------
    ValueError
        If the targets are no labels.
    """
    rows = targets.reshape(len(targets), -1)
    if rows.shape[1] == 1:
        wrong = rows[:, 0] != np.floor(rows[:, 0])
        labels = rows[:, 0]
    else:
        wrong = ((rows != 0) & (rows != 1)).any(1) | (rows.sum(1) != 1)
        labels = rows.argmax(1)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"stratify=True wants labels, whole numbers or one-hot rows, but row {row} of the "
            f"targets is {targets[row]}"
        )
    return labels


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
    if not isinstance(share, (int, float, np.number)) or not 0.0 < share < 1.0:
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
    inputs, targets, weights = (
        [a[which] for a in part] for part in (rows.inputs, rows.targets, rows.weights)
    )
    return Rows(inputs, targets, weights)
