"""A regression network as a subclass of Model, trained by a loop with a gradient tape and by fit.

100 rows of 10 random inputs; Dense(10, relu) -> Dense(1); SGD(0.01); mean squared error; 100
epochs, each on the whole batch, printing the loss. Both ways start from the same weights and end at
the same.
"""

import argparse

import numpy as np

import fastdl
from fastdl.layers import Dense


class Regression(fastdl.Model):
    """Dense(10, relu), then Dense(1)."""

    def __init__(self):
        super().__init__()
        self.hidden = Dense(10, activation="relu")
        self.out = Dense(1)

    def call(self, x):
        return self.out(self.hidden(x))


def main(epochs=100, verbose=True):
    """Returns the losses of the loop, those of fit, the first weights, and the data."""
    fastdl.set_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 10)).astype(np.float32)
    y = rng.normal(size=(100, 1)).astype(np.float32)

    model = Regression()
    model.build((None, 10))
    weights = model.get_weights()
    optimizer = fastdl.optimizers.SGD(0.01)
    loss_function = fastdl.losses.MeanSquaredError()
    losses = []
    for epoch in range(epochs):
        with fastdl.GradientTape() as tape:
            predictions = model(x, training=True)
            loss = loss_function(y, predictions)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        losses.append(float(loss))
        if verbose:
            print(f"epoch {epoch + 1}: loss {loss:.4f}")

    same = Regression()
    same.build((None, 10))
    same.set_weights(weights)
    same.compile(fastdl.optimizers.SGD(0.01), "mean_squared_error")
    history = same.fit(x, y, batch_size=100, epochs=epochs, shuffle=False, verbose=0)
    if verbose:
        print(f"fit, from the same weights: loss {history.history['loss'][-1]:.4f}")
    return losses, history.history["loss"], weights, (x, y)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    main(parser.parse_args().epochs)
