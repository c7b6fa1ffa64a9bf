"""An LSTM that reads handwritten digits row by row: 128 units over the image's rows."""

import numpy as np
from _digits import arguments, load, train

import fastdl


def network(library):
    """The model, of fastdl or of Keras."""
    layers = library.layers
    return library.Sequential([layers.LSTM(128), layers.Dense(10, activation="softmax")])


def torch_network(nn, side):
    """The same in PyTorch, from the images' rows to the classes' logits."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(side, 128, batch_first=True)
            self.dense = nn.Linear(128, 10)

        def forward(self, x):
            return self.dense(self.lstm(x)[0][:, -1])

    return Network()


def main(data=None, epochs=10, verbose="auto"):
    """Returns the history and the accuracy on the test digits."""
    fastdl.set_seed(0)
    (x_train, y_train), (x_test, y_test) = load(data)
    side = int(np.sqrt(x_train.shape[1]))
    x_train, x_test = (x.reshape(-1, side, side) for x in (x_train, x_test))
    model = network(fastdl)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    train_set, test_set = (x_train, y_train), (x_test, y_test)
    return train(
        model, train_set, test_set, epochs, verbose, lambda nn: torch_network(nn, side), network
    )


if __name__ == "__main__":
    main(*arguments(__doc__, 10))
