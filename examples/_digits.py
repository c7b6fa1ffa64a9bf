"""Handwritten digits for the examples: MNIST-format files, or scikit-learn's 8x8 ones."""

import argparse
import time

import numpy as np
from _peers import report

import fastdl


def load(folder=None):
    """((x_train, y_train), (x_test, y_test)); images as rows of numbers from 0 to 1."""
    sets = fastdl.datasets.load_idx(folder) if folder else fastdl.datasets.load_digits()
    (x_train, y_train), (x_test, y_test) = sets
    top = np.float32(np.max(x_train))
    flat = [np.asarray(x, np.float32).reshape(len(x), -1) / top for x in (x_train, x_test)]
    return (flat[0], y_train), (flat[1], y_test)


def train(model, train, test, epochs, verbose, torch_network, network):
    """Fits a compiled model, and prints a step's time beside that of the same networks of peers.

    Returns the history and the accuracy on the test digits.
    """
    began = time.perf_counter()
    history = model.fit(*train, epochs=epochs, verbose=verbose)
    seconds = time.perf_counter() - began
    _, accuracy = model.evaluate(*test)
    if verbose:
        print(f"accuracy on {len(test[0])} test digits: {accuracy:.4f}")
        steps = epochs * -(-len(train[0]) // 32)
        report(1e6 * seconds / steps, *train, torch_network, network)
    return history, accuracy


def arguments(description, epochs):
    """The folder of the digits and the number of epochs, from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data", help="folder of MNIST-format files; scikit-learn's digits if absent"
    )
    parser.add_argument("--epochs", type=int, default=epochs)
    given = parser.parse_args()
    return given.data, given.epochs
