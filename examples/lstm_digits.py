"""An LSTM that reads handwritten digits row by row: 128 units over the image's rows."""

import argparse
import time

import numpy as np
from _digits import load

import fastdl
from fastdl.layers import LSTM, Dense


def main(data=None, epochs=10, verbose="auto"):
    """Returns the history and the accuracy on the test digits."""
    fastdl.set_seed(0)
    (x_train, y_train), (x_test, y_test) = load(data)
    side = int(np.sqrt(x_train.shape[1]))
    x_train, x_test = (x.reshape(-1, side, side) for x in (x_train, x_test))
    model = fastdl.Sequential([LSTM(128), Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    began = time.perf_counter()
    history = model.fit(x_train, y_train, epochs=epochs, verbose=verbose)
    step = (time.perf_counter() - began) / (epochs * -(-len(x_train) // 32))
    _, accuracy = model.evaluate(x_test, y_test)
    if verbose:
        print(f"accuracy on {len(x_test)} test digits: {accuracy:.4f}; {1e6 * step:.0f} us a step")
    return history, accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", help="folder of MNIST-format files; scikit-learn's digits if absent"
    )
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    main(arguments.data, arguments.epochs)
