"""Gradients averaged between models, as between the processes of several GPUs."""

import functools
import threading

import numpy as np
import pytest
from sameness import assert_same

import fastdl
from fastdl import Sequential
from fastdl.gpu import several
from fastdl.layers import Dense

RNG = np.random.default_rng(5)
X = RNG.standard_normal((32, 6)).astype(np.float32)
Y = RNG.standard_normal((32, 2)).astype(np.float32)


class Threads:
    """Two threads in place of two processes."""

    size = 2

    def __init__(self):
        self.barrier, self.arrays = threading.Barrier(2), {}

    def add_up(self, array):
        self.arrays[threading.get_ident()] = array
        self.barrier.wait(20)
        total = sum(other.copy() for other in self.arrays.values())
        self.barrier.wait(20)
        array[...] = total
        self.barrier.wait(20)
        self.arrays.clear()
        self.barrier.wait(20)


def network(optimizer):
    fastdl.set_seed(0)
    model = Sequential([Dense(8, "tanh"), Dense(5, "relu"), Dense(2)])
    model.compile(optimizer(), "mse")
    model.build((None, 6))
    return model.to("gpu")


@pytest.mark.parametrize("optimizer", [
    lambda: fastdl.optimizers.SGD(0.1, momentum=0.9),
    lambda: fastdl.optimizers.Adam(0.01, global_clipnorm=0.1),
])  # fmt: skip
def test_two_halves_are_the_whole(emulated, optimizer):
    """Each trains on one half of every batch, and has the weights of one that has them whole."""
    whole = network(optimizer)
    whole.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    communicator = Threads()
    models = [network(optimizer) for _ in range(2)]

    def train(k):
        rows = np.arange(32).reshape(4, 2, 4)[:, k].reshape(-1)
        several.average_gradients(models[k], communicator)
        models[k].fit(X[rows], Y[rows], batch_size=4, epochs=2, shuffle=False, verbose=0)

    threads = [threading.Thread(target=train, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert_same([models[0].get_weights(), models[1].get_weights()], 0)
    assert_same([whole.get_weights(), models[0].get_weights()])
    alone = network(optimizer)
    alone.fit(X[:16], Y[:16], batch_size=4, epochs=2, shuffle=False, verbose=0)
    with pytest.raises(AssertionError):
        assert_same([alone.get_weights(), models[0].get_weights()])


def test_to_be_alone_again(emulated):
    class Doubled:
        size = 1

        def add_up(self, array):
            array *= 2

    models = [network(functools.partial(fastdl.optimizers.SGD, rate)) for rate in (0.1, 0.2)]
    several.average_gradients(models[0], Doubled())
    for model in models:
        model.fit(X, Y, verbose=0)
    assert_same([model.get_weights() for model in models])
    several.average_gradients(models[0], None)
    models[0].optimizer.learning_rate = 0.2
    for model in models:
        model.fit(X, Y, verbose=0, shuffle=False)
    assert_same([model.get_weights() for model in models])


def test_on_the_cpu_it_is_refused(emulated):
    with pytest.raises(ValueError, match="averaged on the backend 'gpu' alone"):
        several.average_gradients(network(fastdl.optimizers.SGD).to("cpu"), Threads())
