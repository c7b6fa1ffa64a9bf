"""Padding, cropping, upsampling, dropout of channels: beside Keras, in both data formats."""

import importlib

import numpy as np
import pytest

import fastdl
from fastdl import Input, Sequential, layers, ops


@pytest.fixture
def float64():
    fastdl.set_floatx("float64")
    fastdl.set_seed(0)
    yield
    fastdl.set_floatx("float32")


#: (class, arguments, shape of a row)
CASES = [
    ("ZeroPadding1D", {}, (5, 3)),
    ("ZeroPadding1D", {"padding": (2, 0)}, (5, 3)),
    ("ZeroPadding2D", {}, (4, 5, 3)),
    ("ZeroPadding2D", {"padding": (2, 1)}, (4, 5, 1)),
    ("ZeroPadding2D", {"padding": ((1, 0), (2, 3))}, (4, 5, 3)),
    ("Cropping1D", {}, (5, 3)),
    ("Cropping1D", {"cropping": (0, 3)}, (5, 3)),
    ("Cropping2D", {}, (4, 5, 3)),
    ("Cropping2D", {"cropping": 1}, (4, 5, 3)),
    ("Cropping2D", {"cropping": ((1, 0), (0, 3))}, (4, 5, 3)),
    ("UpSampling1D", {"size": 3}, (5, 3)),
    ("UpSampling2D", {}, (4, 5, 3)),
    ("UpSampling2D", {"size": (3, 1)}, (4, 5, 17)),
    ("UpSampling2D", {"interpolation": "bilinear"}, (4, 5, 3)),
    ("UpSampling2D", {"size": (3, 5), "interpolation": "bilinear"}, (1, 2, 17)),
    ("RepeatVector", {"n": 4}, (3,)),
]  # fmt: skip

IDS = [f"{name} {arguments}" for name, arguments, _ in CASES]


def result(layer, x):
    model = Sequential([layer])
    model.build((None, *x.shape[1:]))
    return model.predict(x)


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize("name, arguments, shape", CASES, ids=IDS)
def test_as_in_keras(name, arguments, shape, float64):
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    layer = getattr(layers, name)(**arguments)
    x = numbers(3, *shape)
    theirs = importlib.import_module("keras.layers")
    wanted = np.asarray(getattr(theirs, name)(**arguments, dtype="float64")(x))
    np.testing.assert_allclose(result(layer, x), wanted, atol=1e-6)  # Keras interpolates in float32
    np.testing.assert_allclose(layer(x).numpy(), wanted, atol=1e-6)
    assert layer(Input(shape)).shape[1:] == wanted.shape[1:]
    assert keras.__version__


@pytest.mark.parametrize("name, arguments, shape", CASES, ids=IDS)
def test_configuration_and_channels_first(name, arguments, shape):
    layer = getattr(layers, name)(**arguments)
    config = layer.get_config()
    assert type(layer).from_config(config).get_config() == config
    if "data_format" in config:
        first = type(layer)(**arguments, data_format="channels_first")
        x = numbers(2, *shape).astype(np.float32)
        got = result(first, np.moveaxis(x, -1, 1).copy())
        np.testing.assert_array_equal(np.moveaxis(got, 1, -1), result(layer, x))


@pytest.mark.parametrize("name, arguments, shape", CASES, ids=IDS)
def test_gradients(name, arguments, shape, float64):
    model = Sequential(
        [layers.Dense(shape[-1], "tanh"), getattr(layers, name)(**arguments), layers.Dense(2)]
    )
    model.build((None, *shape))
    model.compile("sgd", "mse")
    y = numbers(3, *model.output_shape[1:])
    assert fastdl.gradient_check(model, numbers(3, *shape), y) <= 1


@pytest.mark.parametrize("size", [2, 3, 4])
def test_interpolation_and_its_gradient_are_pytorchs(size, float64):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = numbers(2, 3, 4, 5)  # channels first
    leaf = torch.tensor(x, requires_grad=True)
    theirs = torch.nn.functional.interpolate(leaf, scale_factor=size, mode="bilinear")
    layer = layers.UpSampling2D(size, "channels_first", "bilinear")
    variable = fastdl.Variable(x, "x")
    with fastdl.GradientTape() as tape:
        out = layer(variable)
        loss = ops.sum(out * out)
    np.testing.assert_allclose(out.numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-14)
    (theirs * theirs).sum().backward()
    gradient = tape.gradient(loss, variable)
    np.testing.assert_allclose(gradient.numpy(), leaf.grad.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind, shape", [
    (layers.SpatialDropout1D, (50, 40)), (layers.SpatialDropout2D, (6, 7, 40)),
])  # fmt: skip
def test_spatial_dropout_drops_whole_channels(kind, shape):
    fastdl.set_seed(0)
    x = np.ones((20, *shape), np.float32)
    layer = kind(0.25)
    np.testing.assert_array_equal(result(layer, x), x)
    out = layer(x, training=True).numpy().reshape(20, -1, shape[-1])
    assert (out == out[:, :1]).all()
    kept = out[:, 0]
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((kept == 0).mean() - 0.25) < 0.05
    assert (kept != kept[0]).any()
    again = layer(x, training=True).numpy()
    assert (again.reshape(out.shape) != out).any()
    if kind is layers.SpatialDropout2D:
        first = kind(0.25, "channels_first")
        turned = first(np.moveaxis(x, -1, 1).copy(), training=True).numpy()
        assert (turned == turned[:, :, :1, :1]).all() and (turned == 0).any()


@pytest.mark.parametrize("kind", [layers.SpatialDropout1D, layers.SpatialDropout2D])
def test_gradients_of_spatial_dropout(kind, float64):
    shape = (5, 3) if kind is layers.SpatialDropout1D else (2, 3, 3)
    model = Sequential([layers.Dense(3, "tanh"), kind(0.4), layers.Dense(2)])
    model.build((None, *shape))
    model.compile("sgd", "mse")
    assert fastdl.gradient_check(model, numbers(4, *shape), numbers(4, *shape[:-1], 2)) <= 1


def test_a_channels_first_network_moves_its_axes_at_the_ends_only():
    from fastdl.programs import compiled

    first = {"data_format": "channels_first"}
    model = Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=(3, 9, 9), **first),
            layers.BatchNormalization(axis=1),
            layers.MaxPooling2D(**first),
            layers.Conv2D(5, 2, **first),
            layers.Flatten(**first),
            layers.Dense(2),
        ]
    )
    model.compile("sgd", "mse")
    model.fit(numbers(4, 3, 9, 9), numbers(4, 2), verbose=0)
    steps = compiled(model, "train", 4).lowered.ops
    assert sum(name.startswith("transpose") for step in steps for name in step) == 1
    last = {"data_format": "channels_last"}
    same = Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=(9, 9, 3), **last),
            layers.BatchNormalization(),
            layers.MaxPooling2D(**last),
            layers.Conv2D(5, 2, **last),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    same.set_weights(model.get_weights())
    x = numbers(2, 3, 9, 9).astype(np.float32)
    np.testing.assert_array_equal(same.predict(np.moveaxis(x, 1, -1).copy()), model.predict(x))


def test_flatten_of_channels_first_has_the_order_of_channels_last():
    x = numbers(2, 3, 4, 5).astype(np.float32)
    got = result(layers.Flatten("channels_first"), np.moveaxis(x, -1, 1).copy())
    np.testing.assert_array_equal(got, x.reshape(2, -1))


def test_functions_of_tensors_as_in_numpy(float64):
    x = numbers(3, 4, 5)
    widths = [(0, 0), (1, 2), (0, 3)]
    np.testing.assert_array_equal(ops.pad(x, widths).numpy(), np.pad(x, widths))
    for axis in (0, 1, -1):
        np.testing.assert_array_equal(ops.repeat(x, 3, axis).numpy(), np.repeat(x, 3, axis))


BAD = [
    (lambda: layers.ZeroPadding1D(-1), "zero_padding1d.*padding"),
    (lambda: layers.ZeroPadding1D((1, 2, 3)), "padding"),
    (lambda: layers.ZeroPadding2D(((1, 2), 3, 4)), "padding"),
    (lambda: layers.ZeroPadding2D(1.5), "padding"),
    (lambda: layers.ZeroPadding2D(data_format="NHWC"), "data_format"),
    (lambda: layers.ZeroPadding2D()(Input((5, 3))), "wants inputs of shape .batch, height"),
    (lambda: layers.ZeroPadding2D(2**30)(Input((5, 5, 3))), "more than 2.*31 elements"),
    (lambda: layers.Cropping1D((3, 2))(Input((5, 3))), "cropping1d.*leaves nothing"),
    (lambda: layers.Cropping2D(-1), "cropping"),
    (lambda: layers.Cropping2D(3)(Input((9, 6, 3))), "leaves nothing"),
    (lambda: layers.UpSampling1D(0), "size"),
    (lambda: layers.UpSampling2D((2, -2)), "size"),
    (lambda: layers.UpSampling2D(interpolation="cubic"), "interpolation"),
    (lambda: layers.UpSampling2D(2**16)(Input((5, 5, 3))), "more than 2.*31 elements"),
    (lambda: layers.RepeatVector(0), "repeat_vector.*n must"),
    (lambda: layers.RepeatVector(3)(Input((4, 3))), "wants inputs of shape .batch, features"),
    (lambda: layers.SpatialDropout1D(1.0), "rate"),
    (lambda: layers.SpatialDropout2D(0.5)(Input((4, 3))), "wants inputs of shape"),
    (lambda: ops.pad(np.ones((2, 3)), [(1, 1)]), "pad: wants"),
]


@pytest.mark.parametrize("make, message", BAD)
def test_errors_name_layer_and_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make()
