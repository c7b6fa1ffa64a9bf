"""The adding problem (Hochreiter & Schmidhuber 1997): the sum of the two marked numbers of a long
sequence. To predict the mean gives an error of 0.167; a network must remember to do better."""

import argparse
import statistics
import time

import numpy as np
from _peers import report

import fastdl


def sequences(rows, times, rng):
    """x (rows, times, 2): numbers from 0 to 1 and marks, one in each half; y (rows, 1): the sum."""
    x = np.zeros((rows, times, 2), np.float32)
    x[:, :, 0] = rng.random((rows, times))
    first = rng.integers(0, times // 2, rows)
    second = rng.integers(times // 2, times, rows)
    every = np.arange(rows)
    x[every, first, 1] = x[every, second, 1] = 1
    return x, (x[every, first, 0] + x[every, second, 0])[:, None]


def network(library, units=64):
    """The model, of fastdl or of Keras."""
    layers = library.layers
    return library.Sequential([layers.LSTM(units), layers.Dense(1)])


def torch_network(nn, units=64):
    """The same in PyTorch."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(2, units, batch_first=True)
            self.dense = nn.Linear(units, 1)

        def forward(self, x):
            return self.dense(self.lstm(x)[0][:, -1])

    return Network()


def main(times=100, rows=10_000, epochs=40, units=64, goal=0.01, verbose=True):
    """Returns the mean squared error on sequences that were not trained on."""
    fastdl.set_seed(0)
    rng = np.random.default_rng(0)
    (x, y), (x_test, y_test) = sequences(rows, times, rng), sequences(1000, times, rng)
    model = network(fastdl, units)
    model.compile(fastdl.optimizers.Adam(2e-3, clipnorm=1.0), "mse")
    steps = []
    for epoch in range(epochs):
        began = time.perf_counter()
        model.fit(x, y, batch_size=50, epochs=epoch + 1, initial_epoch=epoch, verbose=0)
        steps.append(1e6 * (time.perf_counter() - began) / (rows / 50))
        error = model.evaluate(x_test, y_test)
        if verbose:
            print(f"epoch {epoch + 1}: error {error:.5f}")
        if error < goal:
            break
    if verbose:
        report(
            statistics.median(steps), x, y, lambda nn: torch_network(nn, units),
            lambda library: network(library, units), batch=50,
        )  # fmt: skip
    return error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=40)
    arguments = parser.parse_args()
    main(arguments.times, epochs=arguments.epochs)
