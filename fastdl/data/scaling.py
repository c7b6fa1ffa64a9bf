"""Numbers made ready for a network: of mean 0 and variance 1, of length 1, or one-hot."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Standardizer", "normalize", "one_hot"]


def _numbers(name: str, values: Any, axes: int) -> np.ndarray:
    """The values as an array of floats of at least so many axes."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.ndim < axes:
        raise ValueError(
            f"{name} must be an array of real numbers with at least {axes} axes, got "
            f"{array.dtype} {array.shape}"
        )
    return array if array.dtype.kind == "f" else array.astype(np.float64)


class Standardizer:
    """Subtracts the mean of each feature and divides by its standard deviation.

    Both are those of the rows that `fit` saw: fit it on the training rows alone. A feature that is
    the same in all rows is only centred.

    Attributes
    ----------
    mean, scale : array, shape (features, ...)

    Examples
    --------
    >>> s = Standardizer().fit([[1.0, 5.0], [3.0, 5.0]])
    >>> s.transform([[1.0, 5.0], [5.0, 6.0]]).tolist()
    [[-1.0, 0.0], [3.0, 1.0]]
    """

    def __init__(self) -> None:
        self.mean: np.ndarray | None = None
        self.scale: np.ndarray | None = None

    def fit(self, x: Any) -> Standardizer:
        """Learns mean and standard deviation.

        Parameters
        ----------
        x : array, shape (rows, ...)

        Raises
        ------
        ValueError
            If there are no rows, or these are no real numbers.
        """
        array = _numbers("Standardizer: x", x, 1)
        if not len(array):
            raise ValueError(f"Standardizer: x has no rows: {array.shape}")
        self.mean = array.mean(axis=0, dtype=np.float64)
        scale = array.std(axis=0, dtype=np.float64)
        # What rounding leaves of a constant is no spread.
        self.scale = np.where(scale > 1e-12 * np.abs(self.mean), scale, 1.0)
        return self

    def transform(self, x: Any) -> np.ndarray:
        """The scaled rows, of x's float type.

        Raises
        ------
        RuntimeError
            Before `fit`.
        ValueError
            If the features are others than those of `fit`.
        """
        array = _numbers("Standardizer: x", x, 1)
        mean, scale = self._known(array)
        return ((array - mean) / scale).astype(array.dtype)

    def fit_transform(self, x: Any) -> np.ndarray:
        """`fit`, then `transform` of the same rows."""
        return self.fit(x).transform(x)

    def inverse_transform(self, x: Any) -> np.ndarray:
        """What `transform` made x of."""
        array = _numbers("Standardizer: x", x, 1)
        mean, scale = self._known(array)
        return (array * scale + mean).astype(array.dtype)

    def _known(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.mean is None or self.scale is None:
            raise RuntimeError("Standardizer: call fit(x) first")
        if array.shape[1:] != self.mean.shape:
            raise ValueError(
                f"Standardizer: x has rows of shape {array.shape[1:]}, fit saw {self.mean.shape}"
            )
        return self.mean, self.scale


def normalize(x: Any, axis: int = -1, order: int = 2) -> np.ndarray:
    """Divides by the length along an axis, so that each has length 1; zeros stay.

    Parameters
    ----------
    x : array
    axis : int, default -1
    order : int, default 2
        Of the norm.

    Examples
    --------
    >>> normalize([[3.0, 4.0], [0.0, 0.0]]).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    array = _numbers("normalize: x", x, 1)
    length = np.linalg.norm(array, order, axis, keepdims=True)
    return array / np.where(length > 0, length, 1.0)


def one_hot(labels: Any, classes: int | None = None, dtype: Any = np.float32) -> np.ndarray:
    """A row for each label: 1 at its place, 0 elsewhere.

    Parameters
    ----------
    labels : array of whole numbers
    classes : int, optional
        The length of a row; the largest label + 1 by default.
    dtype : default float32

    Raises
    ------
    ValueError
        If a label is not a whole number from 0 to classes - 1; the first bad one is named.

    Examples
    --------
    >>> one_hot([1, 0], 3).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    array = _numbers("one_hot: labels", labels, 0)
    if classes is None:
        classes = int(array.max()) + 1 if array.size else 0
    with np.errstate(invalid="ignore"):
        bad = ~((array >= 0) & (array < classes) & (array == np.floor(array))).reshape(-1)
    if bad.any():
        at = int(np.argmax(bad))
        raise ValueError(
            f"one_hot: labels must be whole numbers from 0 to {classes - 1}, but number {at} is "
            f"{np.asarray(labels).flat[at]}"
        )
    rows = np.zeros((*array.shape, classes), dtype)
    np.put_along_axis(rows, array.astype(np.intp)[..., None], 1, axis=-1)
    return rows
