"""A convolutional network on 28x28 digits: three convolutions, two poolings, Adam, through fit."""

import numpy as np
from _digits import arguments, load, train

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
    train_set, test_set = (x_train, y_train), (x_test, y_test)
    return train(model, train_set, test_set, epochs, verbose, torch_network, network)


if __name__ == "__main__":
    main(*arguments(__doc__, 5))
