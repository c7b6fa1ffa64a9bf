"""Work that is done on the CPU and on the GPU, and whether it came to the same."""

import numpy as np

import fastdl
from fastdl.layers import Dense

__all__ = ["assert_same", "fitted", "made", "on_both"]


def made(layers):
    """A new model of what ``layers()`` gives, with two outputs, the same each time."""
    fastdl.set_seed(0)
    model = fastdl.Sequential([*layers(), Dense(2)])
    model.compile("adam", "mse")
    return model


def fitted(model, x, y, batch_size):
    """What a fit says, and leaves."""
    history = model.fit(x, y, epochs=2, batch_size=batch_size, verbose=0).history
    return history, model.predict(x, verbose=0), model.get_weights()


def on_both(work, make):
    """What is made of a new model on the CPU, and on the GPU."""
    return [work(make().to(backend)) for backend in ("cpu", "gpu")]


def assert_same(results, atol=2e-5):
    here, there = results
    assert type(here) is type(there)
    if isinstance(here, dict):
        assert list(here) == list(there)
        here, there = list(here.values()), list(there.values())
    if isinstance(here, (list, tuple)):
        assert len(here) == len(there)
        for pair in zip(here, there, strict=True):
            assert_same(pair, atol)
    else:
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=atol)
