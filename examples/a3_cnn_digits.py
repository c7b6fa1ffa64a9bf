"""A convolutional network on 28x28 digits: three convolutions, two poolings, Adam, through fit."""

import argparse
import time

import numpy as np
from _digits import load
from _peers import report

import fastdl


def images(rows):
    """Rows of pixels as 28x28 images of one channel; 8x8 digits are enlarged, with a margin."""
    side = round(rows.shape[1] ** 0.5)
    pixels = rows.reshape(len(rows), side, side)
    if side < 28:
        pixels = pixels.repeat(24 // side, axis=1).repeat(24 // side, axis=2)
        pixels = np.pad(pixels, [(0, 0), (2, 2), (2, 2)])
    return pixels[..., np.newaxis]


def network(library):
    """The network, of fastdl or of Keras, not yet compiled."""
    layers = library.layers
    return library.Sequential(
        [
            layers.Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def torch_network(nn):
    """The same in PyTorch, from images with their channel last to the classes' logits."""
    return nn.Sequential(
        *(nn.Flatten(), nn.Unflatten(1, (1, 28, 28))),
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def main(data=None, epochs=5, verbose="auto"):
    """Returns the history and the accuracy on the test digits."""
    fastdl.set_seed(0)
    (x_train, y_train), (x_test, y_test) = load(data)
    x_train, x_test = images(x_train), images(x_test)
    model = network(fastdl)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    began = time.perf_counter()
    history = model.fit(x_train, y_train, epochs=epochs, verbose=verbose)
    seconds = time.perf_counter() - began
    _, accuracy = model.evaluate(x_test, y_test)
    if verbose:
        print(f"accuracy on {len(x_test)} test digits: {accuracy:.4f}")
        step = 1e6 * seconds / (epochs * -(-len(x_train) // 32))
        report(step, x_train, y_train, torch_network, network)
    return history, accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", help="folder of MNIST-format files; scikit-learn's digits if absent"
    )
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    main(arguments.data, arguments.epochs)
