"""What learning rate and batch size do: all pairs, each trained for the same number of epochs."""

import argparse

import _digits
import numpy as np

import fastdl
from fastdl.layers import Dense
from fastdl.optimizers import SGD


def make(rate):
    """The same network for every pair."""
    fastdl.set_seed(0)
    model = fastdl.Sequential([Dense(64, activation="relu"), Dense(10, activation="softmax")])
    model.compile(SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(epochs=10, rates=(0.001, 0.01, 0.1, 1.0), sizes=(8, 32, 128, 512), verbose=True):
    """Returns the accuracies on other digits, shape (rates, sizes)."""
    (x, y), test = _digits.load()
    accuracy = np.empty((len(rates), len(sizes)))
    for column, size in enumerate(sizes):
        histories = fastdl.fit_many(
            make, x, y, parameters=[{"rate": rate} for rate in rates], batch_size=size,
            epochs=epochs, validation_data=test, verbose=0,
        )  # fmt: skip
        accuracy[:, column] = [h.history["val_accuracy"][-1] for h in histories]
    if verbose:
        print(f"accuracy after {epochs} epochs")
        print("rate \\ batch" + "".join(f"{size:8}" for size in sizes))
        for rate, row in zip(rates, accuracy, strict=True):
            print(f"{rate:<12g}" + "".join(f"{value:8.3f}" for value in row))
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    main(parser.parse_args().epochs)
