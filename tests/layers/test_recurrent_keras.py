"""Recurrent layers beside Keras's, with the same weights: outputs and states."""

import importlib
import os

import numpy as np
import pytest

import fastdl
from fastdl import layers

#: (class, arguments, shape of a row); Keras computes in float64 too.
CASES = [
    ("SimpleRNN", {"units": 4}, (6, 3)),
    ("SimpleRNN", {"units": 4, "activation": "relu", "use_bias": False}, (6, 3)),
    ("LSTM", {"units": 4}, (6, 3)),
    ("LSTM", {"units": 4, "unit_forget_bias": False}, (6, 3)),
    ("GRU", {"units": 4}, (6, 3)),
    ("GRU", {"units": 4, "reset_after": False}, (6, 3)),
    ("ConvLSTM2D", {"filters": 2, "kernel_size": 3}, (4, 6, 5, 2)),
    ("ConvLSTM2D", {"filters": 2, "kernel_size": (2, 3), "padding": "same"}, (4, 6, 5, 2)),
    ("ConvLSTM2D", {"filters": 2, "kernel_size": 3, "strides": (2, 1)}, (4, 6, 5, 2)),
    ("ConvLSTM2D", {"filters": 2, "kernel_size": 2, "dilation_rate": (2, 3)}, (4, 6, 5, 2)),
]
IDS = [f"{name} {arguments}" for name, arguments, _ in CASES]

SEQUENCES = {
    "last": {},
    "all": {"return_sequences": True},
    "states": {"return_sequences": True, "return_state": True},
    "backwards": {"return_sequences": True, "return_state": True, "go_backwards": True},
}


@pytest.fixture
def keras(monkeypatch):
    monkeypatch.setitem(os.environ, "TF_CPP_MIN_LOG_LEVEL", "3")
    pytest.importorskip("keras", reason="Keras is not installed")
    return importlib.import_module("keras.layers")


@pytest.fixture(autouse=True)
def float64():
    fastdl.set_floatx("float64")
    fastdl.set_seed(0)
    yield
    fastdl.set_floatx("float32")


def numbers(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def pair(keras, name, arguments, shape):
    """A layer of each, the weights of ours, which are all random, in both."""
    ours = getattr(layers, name)(**arguments)
    ours(fastdl.Input(shape))
    for weight in ours.weights:
        weight.assign(numbers(*weight.shape) / 2)
    theirs = getattr(keras, name)(**arguments, dtype="float64")
    theirs.build((None, *shape))
    theirs.set_weights([weight.numpy() for weight in ours.weights])
    return ours, theirs


def assert_same(got, wanted):
    got, wanted = ([*x] if isinstance(x, (list, tuple)) else [x] for x in (got, wanted))
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), np.asarray(b), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sequences", SEQUENCES)
@pytest.mark.parametrize("name, arguments, shape", CASES, ids=IDS)
def test_outputs_and_states(keras, name, arguments, shape, sequences):
    ours, theirs = pair(keras, name, arguments | SEQUENCES[sequences], shape)
    x = numbers(3, *shape)
    assert_same(ours(x), theirs(x))


@pytest.mark.parametrize("name, arguments, shape", CASES, ids=IDS)
def test_initial_states(keras, name, arguments, shape):
    ours, theirs = pair(keras, name, arguments | {"return_state": True}, shape)
    x = numbers(3, *shape)
    states = [numbers(3, *state) for state in ours.state_shapes]
    got = ours([fastdl.constant(v) for v in (x, *states)])
    assert_same(got, theirs(x, initial_state=[*states]))


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name, arguments, shape", CASES[:6], ids=IDS[:6])
def test_masks(keras, name, arguments, shape, backwards):
    more = {"return_sequences": True, "return_state": True, "go_backwards": backwards}
    ours, theirs = pair(keras, name, arguments | more, shape)
    x, mask = numbers(3, *shape), np.array([[1] * 6, [1, 0, 1, 1, 0, 0], [0, 0, 1, 0, 1, 1]])
    got = ours(x, mask=fastdl.constant(mask.astype(float)))
    assert_same(got, theirs(x, mask=mask.astype(bool)))


@pytest.mark.parametrize("options", [{}, {"return_sequences": True}])
def test_channels_first_is_channels_last_with_the_axes_moved(options, tmp_path):
    arguments = {"kernel_size": (3, 2), "padding": "same", "strides": (2, 1), "return_state": True}
    last, first = (
        layers.ConvLSTM2D(3, **arguments, **options, data_format=data_format)
        for data_format in ("channels_last", "channels_first")
    )
    x = numbers(2, 4, 6, 5, 2)
    last(fastdl.Input(x.shape[1:]))
    symbolic = first(fastdl.Input(np.moveaxis(x, -1, 2).shape[1:]))
    for ours, theirs in zip(first.weights, last.weights, strict=True):
        ours.assign(theirs.numpy())
    given = [x, *(numbers(2, *shape) for shape in last.state_shapes)]
    wanted = last([fastdl.constant(v) for v in given])
    got = first([fastdl.constant(np.moveaxis(v, -1, -3).copy()) for v in given])
    for a, b, c in zip(got, wanted, symbolic, strict=True):
        np.testing.assert_array_equal(np.moveaxis(a.numpy(), -3, -1), b.numpy())
        assert c.shape[1:] == a.shape[1:]
    config = first.get_config()
    assert config["data_format"] == "channels_first"
    assert layers.ConvLSTM2D.from_config(config).get_config() == config


def test_a_model_with_channels_first_trains_and_is_saved(tmp_path):
    layer = layers.ConvLSTM2D(2, 3, data_format="channels_first", dilation_rate=(1, 2))
    model = fastdl.Sequential([layer, layers.Flatten(), layers.Dense(2)])
    model.build((None, 3, 1, 5, 6))
    model.compile("sgd", "mse")
    x, y = numbers(4, 3, 1, 5, 6), numbers(4, 2)
    assert fastdl.gradient_check(model, x, y) <= 1
    model.save(tmp_path / "model.fastdl")
    again = fastdl.load_model(tmp_path / "model.fastdl")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
