"""The digits network as a class with a loop of one's own: cross-entropy on logits, Adam.

What PyTorch users write: a module, an optimizer, a loop over mini-batches. With
``convention="torch"`` the weights after any number of steps are PyTorch's.
"""

import argparse

import numpy as np
from _digits import load

import fastdl
from fastdl.layers import Dense


class Net(fastdl.Model):
    """inputs -> 128 relu -> 10 logits."""

    def __init__(self):
        super().__init__()
        self.first = Dense(128)
        self.second = Dense(10)

    def call(self, x):
        return self.second(fastdl.ops.relu(self.first(x)))


def train(model, optimizer, batches):
    """One update for each batch; returns the losses."""
    loss_function = fastdl.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = []
    for x, y in batches:
        with fastdl.GradientTape() as tape:
            loss = loss_function(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        losses.append(float(loss))
    return losses


def main(data=None, epochs=5, batch_size=32, verbose=True):
    """Returns the model and the accuracy on the test digits."""
    fastdl.set_seed(0)
    (x_train, y_train), (x_test, y_test) = load(data)
    model = Net()
    optimizer = fastdl.optimizers.Adam(1e-3, convention="torch")
    rng = np.random.default_rng(0)
    for epoch in range(epochs):
        order = rng.permutation(len(x_train))
        rows = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        losses = train(model, optimizer, ((x_train[r], y_train[r]) for r in rows))
        if verbose:
            print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")
    accuracy = float(np.mean(model.predict(x_test).argmax(axis=1) == y_test))
    if verbose:
        print(f"accuracy on {len(x_test)} test digits: {accuracy:.4f}")
    return model, accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", help="folder of MNIST-format files; scikit-learn's digits if absent"
    )
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    main(arguments.data, arguments.epochs)
