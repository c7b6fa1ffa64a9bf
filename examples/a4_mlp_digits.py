"""An MLP on handwritten digits: 128 relu, 10 softmax, Adam, one-hot targets, through fit."""

import argparse

import numpy as np
from _digits import load

import fastdl
from fastdl.layers import Dense


def main(data=None, epochs=10, verbose="auto"):
    """Returns the history and the accuracy on the test digits."""
    fastdl.set_seed(0)
    (x_train, y_train), (x_test, y_test) = load(data)
    classes = np.eye(10, dtype=np.float32)
    model = fastdl.Sequential([Dense(128, activation="relu"), Dense(10, activation="softmax")])
    model.compile(
        optimizer=fastdl.optimizers.Adam(1e-3),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    history = model.fit(x_train, classes[y_train], epochs=epochs, verbose=verbose)
    _, accuracy = model.evaluate(x_test, classes[y_test])
    if verbose:
        print(f"accuracy on {len(x_test)} test digits: {accuracy:.4f}")
    return history, accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", help="folder of MNIST-format files; scikit-learn's digits if absent"
    )
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    main(arguments.data, arguments.epochs)
