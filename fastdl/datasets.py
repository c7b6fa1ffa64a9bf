"""Data to try things on: handwritten digits, MNIST-format files, and synthetic sets for tests."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fastdl._optional import require

if TYPE_CHECKING:
    import gzip

    from numpy.typing import NDArray

__all__ = [
    "load_digits",
    "load_idx",
    "make_blobs",
    "make_classification",
    "make_regression",
    "read_idx",
]

Part = tuple["NDArray[Any]", "NDArray[Any]"]
Split = tuple[Part, Part]

# The third byte of an IDX file: the type of its elements, stored big-endian.
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load_digits(test_size: float = 0.2, seed: int = 0) -> Split:
    """Return scikit-learn's 1,797 handwritten digits, 8x8 grey, shuffled and split.

    Needs scikit-learn: ``pip install 'fastdl[demo]'``.

    Parameters
    ----------
    test_size : float, default 0.2
        The share of the rows to hold out, between 0 and 1 (exclusive).
    seed : int, default 0
        Decides which rows; the same seed gives the same split everywhere.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x: (rows, 64) float32 between 0 and 1; y: (rows,) int64, 0 to 9.

    Raises
    ------
    ImportError
        If scikit-learn is not installed; the message says what to type.
    ValueError
        If ``test_size`` is not between 0 and 1.
    """
    if not 0.0 < test_size < 1.0:
        raise ValueError(f"test_size must be between 0 and 1, not {test_size!r}")
    data = require("sklearn.datasets", "demo", "load_digits").load_digits()
    x, y = data.data.astype(np.float32) / 16, data.target.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(x))
    test = min(len(x) - 1, max(1, round(len(x) * test_size)))
    train_rows, test_rows = order[test:], order[:test]
    return (x[train_rows], y[train_rows]), (x[test_rows], y[test_rows])


def load_idx(folder: str | os.PathLike[str]) -> Split:
    """Return the images and labels of a folder in the MNIST format.

    The files are ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, with or without ``.gz`` (a dot
    instead of the last hyphen but one is taken too). Where only one of the two sets is there, its
    last fifth becomes the test set.

    Parameters
    ----------
    folder : path
        Where the files are.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x: (rows, height, width), most often uint8 between 0 and 255; y: (rows,) int64.

    Raises
    ------
    FileNotFoundError
        If the folder or both sets are missing, or a set's images or labels; it says which.
    ValueError
        If a file is damaged or of another format, or images and labels are not equally many; it
        names the file.
    """
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder")
    train, test = (_load_set(folder, name) for name in ("train", "t10k"))
    if train is not None and test is not None:
        if train[0].shape[1:] != test[0].shape[1:]:
            raise ValueError(
                f"{folder}: the train images are {train[0].shape[1:]} but the t10k images "
                f"{test[0].shape[1:]}"
            )
        return train, test
    only = train if train is not None else test
    if only is None:
        raise FileNotFoundError(
            f"{folder}: no MNIST-format files (such as train-images-idx3-ubyte.gz) in it"
        )
    x, y = only
    cut = len(x) - len(x) // 5
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def _load_set(folder: str, name: str) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return images and labels of the set ``name``, or None where neither is there."""
    paths = [_find(folder, name, what) for what in ("images-idx3", "labels-idx1")]
    if paths == [None, None]:
        return None
    for path, what in zip(paths, ("images", "labels"), strict=True):
        if path is None:
            raise FileNotFoundError(f"{folder}: the {what} of the {name} set are missing")
    images, labels = (read_idx(path) for path in paths if path is not None)
    if images.ndim != 3:
        raise ValueError(f"{paths[0]}: images have 3 axes, not {images.ndim}")
    if labels.ndim != 1 or labels.dtype.kind not in "ui":
        raise ValueError(f"{paths[1]}: labels are whole numbers with 1 axis")
    if len(images) != len(labels):
        raise ValueError(f"{paths[1]}: {len(labels)} labels for {len(images)} images")
    return images, labels.astype(np.int64)


def _find(folder: str, name: str, what: str) -> str | None:
    for stem in (f"{name}-{what}-ubyte", f"{name}-{what.replace('-', '.')}-ubyte"):
        for ending in ("", ".gz"):
            path = os.path.join(folder, stem + ending)
            if os.path.isfile(path):
                return path
    return None


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the array of an IDX file, plain or gzip (told by its content).

    The format (LeCun, Cortes and Burges, the MNIST database): two zero bytes, the element type, the
    number of axes, each length as 4 bytes, then the elements; all big-endian.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    ndarray
        A new array in native byte order: uint8, int8, int16, int32, float32 or float64.

    Raises
    ------
    ValueError
        If the file is not a whole IDX file; it names the path and the fault. Nothing is allocated
        for data that is not there.
    OSError
        If it cannot be read.
    """
    import gzip
    import zlib

    path = os.fspath(path)
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                return _read_idx(raw)
            with gzip.open(raw) as file:
                return _read_idx(file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: damaged gzip data: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a valid IDX file: {error}") from None


def _read_idx(file: BinaryIO | gzip.GzipFile) -> NDArray[Any]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"it starts with {magic.hex(' ') or 'nothing'}, not with 00 00")
    if magic[2] not in _IDX_TYPES:
        raise ValueError(f"the element type {magic[2]:#04x} is unknown")
    dtype, axes = np.dtype(_IDX_TYPES[magic[2]]), magic[3]
    if not 1 <= axes <= 32:
        raise ValueError(f"it claims {axes} axes; 1 to 32 are possible")
    lengths = file.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise ValueError("it ends within its header")
    shape = tuple(int(n) for n in np.frombuffer(lengths, ">u4"))
    if dtype.itemsize * math.prod(max(n, 1) for n in shape) >= 2**63:
        raise ValueError(f"its shape {shape} is beyond 64 bits")
    size = dtype.itemsize * math.prod(shape)
    data = bytearray()  # grows with what is there, whatever the header claims
    while len(data) <= size:
        part = file.read(min(1 << 20, size + 1 - len(data)))
        if not part:
            break
        data += part
    if len(data) != size:
        there = "more" if len(data) > size else f"{len(data)}"
        raise ValueError(f"its header says {shape}, {size} bytes of data, but there are {there}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, not {size!r}")


def make_regression(
    n_samples: int = 100,
    n_features: int = 10,
    n_targets: int = 1,
    noise: float = 0.0,
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return rows whose targets are a linear function of them plus noise.

    Parameters
    ----------
    n_samples, n_features, n_targets : int >= 1
        How many rows (default 100), inputs (10) and outputs (1).
    noise : float >= 0, default 0.0
        The standard deviation of the normal noise on the targets.
    seed : int, default 0
        The same seed gives the same data.

    Returns
    -------
    x : (n_samples, n_features) float32, normal
    y : (n_samples, n_targets) float32

    Raises
    ------
    ValueError
        If a size is below 1 or ``noise`` below 0.

    Examples
    --------
    >>> x, y = make_regression(50, 3)
    >>> x.shape, y.shape
    ((50, 3), (50, 1))
    """
    _check_sizes(n_samples=n_samples, n_features=n_features, n_targets=n_targets)
    if not noise >= 0.0:
        raise ValueError(f"noise must be at least 0, not {noise!r}")
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_samples, n_features))
    y = x @ rng.standard_normal((n_features, n_targets)) + rng.standard_normal(n_targets)
    y += noise * rng.standard_normal(y.shape)
    return x.astype(np.float32), y.astype(np.float32)


def make_classification(
    n_samples: int = 100,
    n_features: int = 10,
    n_classes: int = 2,
    flip: float = 0.0,
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return rows whose class is the largest of ``n_classes`` random linear functions of them.

    Parameters
    ----------
    n_samples, n_features, n_classes : int >= 1
        How many rows (default 100), inputs (10) and classes (2).
    flip : float from 0 to 1, default 0.0
        The share of the rows whose class is drawn anew at random.
    seed : int, default 0
        The same seed gives the same data.

    Returns
    -------
    x : (n_samples, n_features) float32, normal
    y : (n_samples,) int64, 0 to n_classes - 1

    Raises
    ------
    ValueError
        If a size is below 1 or ``flip`` not from 0 to 1.

    Examples
    --------
    >>> x, y = make_classification(50, 3, n_classes=4)
    >>> x.shape, y.shape, int(y.max()) < 4
    ((50, 3), (50,), True)
    """
    _check_sizes(n_samples=n_samples, n_features=n_features, n_classes=n_classes)
    if not 0.0 <= flip <= 1.0:
        raise ValueError(f"flip must be from 0 to 1, not {flip!r}")
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_samples, n_features))
    y = (x @ rng.standard_normal((n_features, n_classes))).argmax(axis=1)
    flipped = rng.permutation(n_samples)[: round(flip * n_samples)]
    y[flipped] = rng.integers(0, n_classes, len(flipped))
    return x.astype(np.float32), y.astype(np.int64)


def make_blobs(
    n_samples: int = 100,
    n_features: int = 2,
    centers: int = 3,
    cluster_std: float = 1.0,
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return rows in normal clouds around random centers, and which cloud each is of.

    Parameters
    ----------
    n_samples, n_features, centers : int >= 1
        How many rows (default 100), inputs (2) and clouds (3); clouds are equally large, give or
        take one row.
    cluster_std : float >= 0, default 1.0
        The standard deviation of each cloud; centers are uniform between -10 and 10.
    seed : int, default 0
        The same seed gives the same data.

    Returns
    -------
    x : (n_samples, n_features) float32
    y : (n_samples,) int64, 0 to centers - 1

    Raises
    ------
    ValueError
        If a size is below 1 or ``cluster_std`` below 0.

    Examples
    --------
    >>> x, y = make_blobs(9)
    >>> x.shape, np.bincount(y).tolist()
    ((9, 2), [3, 3, 3])
    """
    _check_sizes(n_samples=n_samples, n_features=n_features, centers=centers)
    if not cluster_std >= 0.0:
        raise ValueError(f"cluster_std must be at least 0, not {cluster_std!r}")
    rng = np.random.default_rng(seed)
    middle = rng.uniform(-10.0, 10.0, (centers, n_features))
    y = rng.permutation(np.arange(n_samples) % centers)
    x = middle[y] + cluster_std * rng.standard_normal((n_samples, n_features))
    return x.astype(np.float32), y.astype(np.int64)
