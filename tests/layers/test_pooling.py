"""Pooling layers: shapes as in Keras, results beside PyTorch, ties and NaN, errors."""

import numpy as np
import pytest

import fastdl
from fastdl import Input, kernels, layers, ops
from fastdl.layers import (
    AveragePooling1D,
    AveragePooling2D,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPooling1D,
    MaxPooling2D,
)


@pytest.fixture
def float64():
    fastdl.set_floatx("float64")
    fastdl.set_seed(0)
    yield
    fastdl.set_floatx("float32")


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape)


def result(layer, x):
    model = fastdl.Sequential([layer])
    model.build((None, *x.shape[1:]))
    return model.predict(x)


SHAPES = [
    (lambda: MaxPooling2D(), (26, 27, 3), (13, 13, 3)),
    (lambda: MaxPooling2D(3, strides=2), (26, 27, 3), (12, 13, 3)),
    (lambda: MaxPooling2D((2, 3), padding="same"), (5, 7, 3), (3, 3, 3)),
    (lambda: AveragePooling2D((2, 1), strides=(1, 4)), (5, 7, 3), (4, 2, 3)),
    (lambda: AveragePooling2D(3, 2, "same"), (5, 7, 3), (3, 4, 3)),
    (lambda: MaxPooling1D(), (9, 4), (4, 4)),
    (lambda: MaxPooling1D(3, 1, "same"), (9, 4), (9, 4)),
    (lambda: AveragePooling1D(4), (9, 4), (2, 4)),
    (lambda: GlobalMaxPooling1D(), (9, 4), (4,)),
    (lambda: GlobalMaxPooling2D(keepdims=True), (9, 8, 4), (1, 1, 4)),
    (lambda: GlobalAveragePooling1D(keepdims=True), (9, 4), (1, 4)),
    (lambda: GlobalAveragePooling2D(), (9, 8, 4), (4,)),
]


@pytest.mark.parametrize("make, shape, wanted", SHAPES)
def test_shapes_and_configuration(make, shape, wanted):
    layer = make()
    assert layer(Input(shape)).shape == (None, *wanted)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again(Input(shape)).shape == (None, *wanted)


@pytest.mark.skipif("transpose" not in ops.__all__, reason="no op exchanges axes yet")
@pytest.mark.parametrize("make, shape, wanted", SHAPES)
def test_channels_first_is_channels_last_with_the_axes_moved(make, shape, wanted):
    config = make().get_config()
    del config["name"]
    last, kind = make(), type(make())
    first = kind.from_config({**config, "data_format": "channels_first"})
    x = numbers(3, *shape).astype(np.float32)
    got = result(first, np.moveaxis(x, -1, 1).copy())
    np.testing.assert_array_equal(got, np.moveaxis(result(last, x), -1, 1))


@pytest.mark.parametrize(
    "layer, wanted",
    [(GlobalMaxPooling1D(), np.max), (GlobalMaxPooling2D(), np.max),
     (GlobalAveragePooling1D(), np.mean), (GlobalAveragePooling2D(), np.mean)],
)  # fmt: skip
def test_global_pooling(layer, wanted, float64):
    x = numbers(3, 7, 4) if "1D" in type(layer).__name__ else numbers(3, 7, 5, 4)
    axes = tuple(range(1, x.ndim - 1))
    np.testing.assert_allclose(result(layer, x), wanted(x, axes), atol=1e-14)


def test_the_mean_of_many_pixels_is_near_that_of_float64():
    x = 100 + np.random.default_rng(0).random((2, 160, 160, 5), dtype=np.float32)
    wanted = x.mean((1, 2), dtype=np.float64)
    np.testing.assert_allclose(result(GlobalAveragePooling2D(), x), wanted, rtol=2e-6)


@pytest.mark.parametrize("size, strides", [(2, 2), (3, 2), (3, 1), ((2, 3), (3, 4))])
@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("channels", [1, 3, 8, 19])
def test_results_and_gradients_are_those_of_torch(kind, size, strides, channels):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    function = {"max": torch.nn.functional.max_pool2d, "average": torch.nn.functional.avg_pool2d}
    x = numbers(3, 11, 10, channels)
    theirs = torch.from_numpy(np.moveaxis(x, -1, 1).copy()).requires_grad_()
    out = function[kind](theirs, size, strides)
    wanted = np.moveaxis(out.detach().numpy(), 1, -1)
    grad = numbers(*wanted.shape)
    out.backward(torch.from_numpy(np.moveaxis(grad, -1, 1).copy()))

    (height, width), (down, across) = np.broadcast_to(size, 2), np.broadcast_to(strides, 2)
    options = {
        "pool_height": int(height), "pool_width": int(width),
        "stride_height": int(down), "stride_width": int(across),
    }  # fmt: skip
    forward = getattr(kernels, f"{kind}_pool_forward")(x, **options)
    got, saved = (forward[0], forward[1:]) if kind == "max" else (forward, ())
    np.testing.assert_allclose(got, wanted, rtol=1e-14, atol=1e-15)
    backward = getattr(kernels, f"{kind}_pool_backward")
    grad_x = backward(grad, *saved, **options, grad_x=np.empty_like(x))
    np.testing.assert_allclose(grad_x, np.moveaxis(theirs.grad.numpy(), 1, -1), atol=1e-14)


@pytest.mark.parametrize("channels", [1, 3, 16])
def test_ties_go_to_the_first_and_nan_stays(channels):
    options = {"pool_height": 2, "pool_width": 2, "stride_height": 2, "stride_width": 2}
    x = np.zeros((1, 2, 8, channels), np.float32)
    x[0, :, 0:2] = [[[7], [7]], [[7], [7]]]
    x[0, :, 2:4] = [[[1], [np.nan]], [[np.inf], [np.nan]]]
    x[0, :, 4:6] = -np.inf
    x[0, :, 6:8] = [[[-3], [-2]], [[-2], [-4]]]
    out, index = kernels.max_pool_forward(x, **options)
    for channel in range(channels):
        np.testing.assert_array_equal(out[0, 0, :, channel], [7, np.nan, -np.inf, -2])
        np.testing.assert_array_equal(index[0, 0, :, channel], [0, 1, 0, 1])


def test_training_has_the_same_bits_for_any_number_of_threads_and_without_fusion():
    from fastdl.kernels import runner

    x, y = numbers(40, 9, 8, 2).astype(np.float32), numbers(40, 3)

    def weights(fuse=True):
        fastdl.set_seed(3)
        model = fastdl.Sequential(
            [
                Conv2D(20, 3, activation="relu"),
                MaxPooling2D(3, 2, "same"),
                Conv2D(9, 2),
                AveragePooling2D(2, 1),
                layers.ReLU(),
                GlobalAveragePooling2D(),
                Dense(3),
            ]
        )
        model.build((None, 9, 8, 2))
        model.fuse = fuse
        model.compile("adam", "mse")
        model.fit(x, y, batch_size=16, epochs=2, verbose=0)
        return b"".join(w.tobytes() for w in model.get_weights())

    wanted = weights()
    assert weights(fuse=False) == wanted
    runner.force_threads(True)
    try:
        for threads in (1, 2, 3, 7):
            fastdl.set_num_threads(threads)
            assert weights() == wanted
    finally:
        runner.force_threads(False)
        fastdl.set_num_threads(None)


@pytest.mark.parametrize(
    "inner",
    [MaxPooling2D(), MaxPooling2D(3, 2, "same"), AveragePooling2D(2, 1), GlobalMaxPooling2D()],
    ids=repr,
)
def test_gradients_of_networks(inner, float64):
    model = fastdl.Sequential([Conv2D(3, 2, activation="tanh"), inner, Flatten(), Dense(2)])
    model.build((None, 6, 7, 2))
    model.compile("sgd", "mse")
    assert fastdl.gradient_check(model, numbers(3, 6, 7, 2), numbers(3, 2)) <= 1


def test_a_prediction_does_not_write_the_index():
    from fastdl.programs import compiled

    model = fastdl.Sequential([MaxPooling2D(input_shape=(4, 4, 2))])
    x = numbers(3, 4, 4, 2).astype(np.float32)
    wanted = x.reshape(3, 2, 2, 2, 2, 2).max((2, 4))
    np.testing.assert_array_equal(model.predict(x), wanted)
    lowered = compiled(model, "predict", 3).lowered
    tensors = lowered.program.capacity * (4 * 4 * 2 + 2 * 2 * 2) * 4
    assert lowered.buffer_bytes <= tensors + 4 * 64


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("pool", [MaxPooling2D((2, 3)), AveragePooling2D((3, 4), (4, 3))], ids=repr)
@pytest.mark.parametrize("strides, padding", [(1, "valid"), (2, "same")])
def test_convolutions_leave_out_what_no_window_reads(pool, strides, padding, fuse, float64):
    from fastdl.programs import compiled

    convolution = Conv2D(5, 3, strides, padding, activation="relu")
    model = fastdl.Sequential([Input((23, 27, 2)), convolution, pool, Flatten(), Dense(2)])
    model.fuse = fuse
    model.compile("sgd", "mse")
    x = numbers(3, 23, 27, 2)
    whole = pool(convolution(x)).numpy()
    model.fit(x, numbers(3, 2), verbose=0)  # makes the program that is looked at
    nodes = [n for group in compiled(model, "train", 3).lowered.nodes for n in group]
    made = next(n.outputs["out"].shape for n in nodes if n.name == "conv2d_forward")
    wanted = [
        (count - 1) * step + size
        for count, step, size in zip(whole.shape[1:3], pool.strides, pool.pool_size, strict=True)
    ]
    assert list(made[1:3]) == wanted
    summed = {n.inputs["grad_out"].shape for n in nodes if n.name == "dense_backward_bias"}
    assert (whole.shape[1:] in {shape[1:] for shape in summed}) == isinstance(pool, MaxPooling2D)
    assert fastdl.gradient_check(model, x, numbers(3, 2)) <= 1
    first = fastdl.Sequential([Input((23, 27, 2)), convolution, pool])
    np.testing.assert_allclose(first.predict(x), pool(convolution(x)).numpy(), rtol=1e-12)


def test_a_convolution_that_others_read_too_stays_whole():
    image = Input((7, 7, 2))
    features = Conv2D(3, 3)(image)
    model = fastdl.Model(image, [MaxPooling2D()(features), features])
    assert model.predict(numbers(2, 7, 7, 2).astype(np.float32))[1].shape == (2, 5, 5, 3)


BAD = [
    (lambda: MaxPooling2D(2, strides=(1, -1)), "strides"),
    (lambda: AveragePooling2D((2, 2, 2)), "pool_size"),
    (lambda: MaxPooling2D(padding="full"), "padding"),
    (lambda: GlobalMaxPooling2D(data_format="NHWC"), "data_format"),
    (lambda: MaxPooling1D(5)(Input((4, 2))), "max_pooling1d.*pool_size"),
]


@pytest.mark.parametrize("make, message", BAD)
def test_errors_name_layer_and_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "options, message",
    [({"stride_width": 0}, "stride_width"), ({"pool_height": 0}, "pool_height"),
     ({"pool_width": 9}, "window of 9 is longer than its axis of 6"),
     ({"padding": "same", "pool_width": 2**13, "pool_height": 2**13}, "places")],
)  # fmt: skip
def test_errors_of_the_op(options, message):
    usual = {"pool_height": 2, "pool_width": 2, "stride_height": 2, "stride_width": 2}
    with pytest.raises(ValueError, match=f"max_pool_forward.*{message}"):
        kernels.max_pool_forward(np.ones((2, 6, 6, 1), np.float32), **usual | options)
