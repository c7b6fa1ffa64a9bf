"""Small networks and data that several tests of models use."""

import numpy as np

from fastdl import Input, Model, Sequential, layers
from fastdl.layers import Dense

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 20)
Y = RNG.normal(size=(20, 1)).astype(np.float32)


def classifier():
    model = Sequential([Dense(5, "relu", input_shape=(4,)), Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    return model


def regression(outputs=1):
    model = Sequential([Dense(5, "relu", input_shape=(4,)), Dense(outputs)])
    model.compile("adam", "mse", ["mae"])
    return model


def bits(model):
    return b"".join(w.tobytes() for w in model.get_weights())


def two_by_two():
    a, b = Input((4,), name="a"), Input((2,), name="b")
    hidden = Dense(6, "tanh")(layers.Concatenate()([a, b]))
    outputs = [Dense(1, name="size")(hidden), Dense(3, "softmax", name="kind")(hidden)]
    return Model([a, b], outputs)


LOSSES = {"size": "mse", "kind": "sparse_categorical_crossentropy"}


class TwoInputs(Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = Dense(2), Dense(1)

    def call(self, x):
        a, b = (x["a"], x["b"]) if isinstance(x, dict) else x
        return self.second(layers.Concatenate()([self.first(a), b]))
