"""Datasets: MNIST-format files in every combination, damaged ones, synthetic sets, digits."""

import gzip
import itertools
import os
import struct
import sys
import tracemalloc

import numpy as np
import pytest

from fastdl import datasets

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"


def idx(array, code=0x08, dtype=">u1"):
    head = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return head + array.astype(dtype).tobytes()


def write_set(folder, name, rows, zipped=(False, False), dotted=False, side=4):
    rng = np.random.default_rng(rows)
    images = rng.integers(0, 256, (rows, side, 3)).astype("u1")
    labels = rng.integers(0, 10, rows).astype("u1")
    for array, stem, zip_it in zip((images, labels), (IMAGES, LABELS), zipped, strict=True):
        stem = stem.replace("-idx", ".idx") if dotted else stem
        data = idx(array)
        path = folder / f"{name}-{stem}{'.gz' if zip_it else ''}"
        path.write_bytes(gzip.compress(data) if zip_it else data)
    return images, labels


@pytest.mark.parametrize("zipped", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("dotted", [False, True])
def test_both_sets(tmp_path, zipped, dotted):
    want = [write_set(tmp_path, n, r, zipped, dotted) for n, r in (("train", 13), ("t10k", 7))]
    got = datasets.load_idx(tmp_path)
    for (x, y), (images, labels) in zip(got, want, strict=True):
        np.testing.assert_array_equal(x, images)
        np.testing.assert_array_equal(y, labels)
        assert x.dtype == np.uint8 and y.dtype == np.int64 and x.flags.writeable


@pytest.mark.parametrize("name", ["train", "t10k"])
def test_one_set_gives_its_last_fifth_as_test(tmp_path, name):
    images, labels = write_set(tmp_path, name, 10, (True, True))
    (x_train, y_train), (x_test, y_test) = datasets.load_idx(str(tmp_path))
    assert len(x_train) == len(y_train) == 8 and len(x_test) == len(y_test) == 2
    np.testing.assert_array_equal(np.concatenate([x_train, x_test]), images)
    np.testing.assert_array_equal(np.concatenate([y_train, y_test]), labels)


@pytest.mark.parametrize(
    ("code", "dtype"), [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")]
)
def test_all_element_types(tmp_path, code, dtype):
    array = np.arange(-3, 9).reshape(3, 4).astype(dtype)
    path = tmp_path / "file"
    path.write_bytes(idx(array, code, f">{dtype}"))
    got = datasets.read_idx(path)
    assert got.dtype == array.dtype and got.dtype.isnative
    np.testing.assert_array_equal(got, array)


def test_empty_data(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx(np.zeros((0, 28, 28))))
    assert datasets.read_idx(path).shape == (0, 28, 28)


def test_every_truncation_and_extension(tmp_path):
    whole = idx(np.arange(6).reshape(2, 3))
    path = tmp_path / "file"
    for zipped in (False, True):
        data = gzip.compress(whole) if zipped else whole
        for part in [*(data[:n] for n in range(len(data))), whole + b"x"]:
            path.write_bytes(part)
            with pytest.raises(ValueError, match="file: "):
                datasets.read_idx(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x01\0\x08\x01\0\0\0\0", "01 00 08 01"),
        (b"\0\0\x0a\x01\0\0\0\0", "0x0a"),
        (b"\0\0\x08\0", "0 axes"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255, "255 axes"),
        (b"\0\0\x08\x04" + b"\xff" * 16, "beyond 64 bits"),
        (b"\0\0\x0e\x03" + b"\xff" * 8 + b"\0\0\0\0", "beyond 64 bits"),
        (b"\x1f\x8bnot gzip", "gzip"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\1x")[:-3] + b"abc", "gzip"),
    ],
)
def test_malformed_headers(tmp_path, data, says):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=says) as caught:
        datasets.read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_header_cannot_make_us_allocate(tmp_path, zipped):
    data = b"\0\0\x08\x02" + b"\xff" * 4 + b"\0\0\0\1" + b"few"
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(data) if zipped else data)
    tracemalloc.start()
    with pytest.raises(ValueError, match="but there are 3"):
        datasets.read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_missing_and_mismatched_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        datasets.load_idx(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no MNIST-format files"):
        datasets.load_idx(tmp_path)
    write_set(tmp_path, "train", 5)
    write_set(tmp_path, "t10k", 5, side=9)
    with pytest.raises(ValueError, match="the t10k images"):
        datasets.load_idx(tmp_path)
    os.remove(tmp_path / f"t10k-{LABELS}")
    with pytest.raises(FileNotFoundError, match="labels of the t10k set"):
        datasets.load_idx(tmp_path)
    os.remove(tmp_path / f"t10k-{IMAGES}")
    (tmp_path / f"train-{LABELS}").write_bytes(idx(np.zeros(4)))
    with pytest.raises(ValueError, match="4 labels for 5 images"):
        datasets.load_idx(tmp_path)
    (tmp_path / f"train-{LABELS}").write_bytes(idx(np.zeros((5, 1))))
    with pytest.raises(ValueError, match="1 axis"):
        datasets.load_idx(tmp_path)
    (tmp_path / f"train-{IMAGES}").write_bytes(idx(np.zeros((5, 1))))
    with pytest.raises(ValueError, match="3 axes, not 2"):
        datasets.load_idx(tmp_path)


def test_digits():
    pytest.importorskip("sklearn")
    (x, y), (x_test, y_test) = datasets.load_digits()
    assert x.shape == (1438, 64) and x_test.shape == (359, 64)
    assert x.dtype == np.float32 and x.min() == 0.0 and x.max() == 1.0
    assert y.dtype == np.int64 and set(y) == set(y_test) == set(range(10))
    again = datasets.load_digits(seed=0)
    np.testing.assert_array_equal(again[1][0], x_test)
    assert not np.array_equal(datasets.load_digits(seed=1)[1][0], x_test)
    assert len(datasets.load_digits(test_size=0.5)[1][1]) == 898


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'fastdl\[demo\]'"):
        datasets.load_digits()


@pytest.mark.parametrize("size", [0.0, 1.0, -0.5, 2, float("nan")])
def test_digits_test_size(size):
    with pytest.raises(ValueError, match="test_size"):
        datasets.load_digits(test_size=size)


def test_regression_is_linear():
    x, y = datasets.make_regression(200, 5, 2, seed=3)
    with_one = np.c_[x, np.ones(200)]
    solution = np.linalg.lstsq(with_one, y, rcond=None)[0]
    assert np.abs(with_one @ solution - y).max() < 1e-5
    noisy = datasets.make_regression(200, 5, 2, noise=0.5, seed=3)[1]
    assert (noisy - y).std() == pytest.approx(0.5, rel=0.2)


def test_classification_and_its_flips():
    y = datasets.make_classification(2000, 5, 4, seed=3)[1]
    flipped = datasets.make_classification(2000, 5, 4, flip=0.2, seed=3)[1]
    assert set(y) == set(range(4))
    assert (y != flipped).mean() == pytest.approx(0.2 * 3 / 4, rel=0.25)


def test_blobs():
    x, y = datasets.make_blobs(100, 4, 3, cluster_std=0.1, seed=3)
    assert sorted(np.bincount(y)) == [33, 33, 34]
    for k in range(3):
        assert x[y == k].std(axis=0).max() < 0.15
    with pytest.raises(ValueError, match="cluster_std"):
        datasets.make_blobs(cluster_std=-1.0)


@pytest.mark.parametrize(
    "make", [datasets.make_regression, datasets.make_classification, datasets.make_blobs]
)
def test_synthetic_sets_are_seeded_and_checked(make):
    (x, y), (x2, y2), (x3, _) = make(seed=1), make(seed=1), make(seed=2)
    assert x.dtype == np.float32 and y.dtype in (np.float32, np.int64)
    np.testing.assert_array_equal(x, x2)
    np.testing.assert_array_equal(y, y2)
    assert not np.array_equal(x, x3)
    with pytest.raises(ValueError, match="n_samples"):
        make(0)
