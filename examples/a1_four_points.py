"""Linear regression on four points with two features: the smallest fit there is.

A thousand epochs of one batch each: what is measured is what a library costs by itself.
"""

import argparse
import time

import numpy as np

import fastdl
from fastdl.layers import Dense


def main(epochs=1000, verbose=True):
    """Returns the seconds of the fit, its losses, and the predictions."""
    fastdl.set_seed(0)
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([0, 1, 1, 2], np.float32)
    model = fastdl.Sequential([Dense(1)])
    model.compile("adam", "mean_squared_error")
    model.fit(x, y, epochs=1, verbose=0)  # builds the network
    began = time.perf_counter()
    history = model.fit(x, y, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - began
    predictions = model.predict(x)
    if verbose:
        print(
            f"{epochs} epochs in {seconds * 1e3:.2f} ms, {seconds / epochs * 1e6:.2f} us an epoch"
        )
        print(f"loss {history.history['loss'][0]:.4f} -> {history.history['loss'][-1]:.6f}")
        for row, wanted in zip(predictions[:, 0], y, strict=True):
            print(f"predicted {row:.3f} for {wanted:.0f}")
    return seconds, history.history["loss"], predictions


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=1000)
    main(parser.parse_args().epochs)
