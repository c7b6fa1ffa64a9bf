"""Handwritten digits for the examples: MNIST-format files, or scikit-learn's 8x8 ones."""

import numpy as np

import fastdl


def load(folder=None):
    """((x_train, y_train), (x_test, y_test)); images as rows of numbers from 0 to 1."""
    sets = fastdl.datasets.load_idx(folder) if folder else fastdl.datasets.load_digits()
    (x_train, y_train), (x_test, y_test) = sets
    top = np.float32(np.max(x_train))
    flat = [np.asarray(x, np.float32).reshape(len(x), -1) / top for x in (x_train, x_test)]
    return (flat[0], y_train), (flat[1], y_test)
