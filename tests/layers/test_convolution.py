"""Convolutional layers: shapes as in Keras, results beside the oracle and PyTorch, gradients by
central differences, training with the same bits for any number of threads, errors."""

import numpy as np
import oracle
import pytest

import fastdl
from fastdl import Input, layers
from fastdl.layers import (
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Flatten,
    SeparableConv2D,
)


def result(layer, x):
    model = fastdl.Sequential([layer])
    model.build((None, *x.shape[1:]))
    return model.predict(x)


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape)


# --- shapes: what Keras's own layers give ------------------------------------------------------

SHAPES = [
    (lambda: Conv2D(8, 3), (28, 28, 1), (26, 26, 8)),
    (lambda: Conv2D(8, (3, 5), strides=2), (28, 28, 3), (13, 12, 8)),
    (lambda: Conv2D(8, 3, strides=(1, 2), padding="same"), (7, 8, 3), (7, 4, 8)),
    (lambda: Conv2D(8, 3, dilation_rate=2), (9, 8, 3), (5, 4, 8)),
    (lambda: Conv2D(8, 4, padding="same", dilation_rate=(1, 3), groups=2), (9, 8, 6), (9, 8, 8)),
    (lambda: Conv1D(8, 3), (10, 4), (8, 8)),
    (lambda: Conv1D(8, 4, strides=3, padding="same"), (10, 4), (4, 8)),
    (lambda: Conv1D(8, 3, padding="causal", dilation_rate=2), (10, 4), (10, 8)),
    (lambda: DepthwiseConv2D(3, depth_multiplier=2), (9, 8, 3), (7, 6, 6)),
    (lambda: DepthwiseConv2D((2, 3), strides=2, padding="same"), (9, 8, 3), (5, 4, 3)),
    (lambda: SeparableConv2D(8, 3, dilation_rate=2), (9, 8, 3), (5, 4, 8)),
    (lambda: Conv2DTranspose(8, 3), (7, 6, 3), (9, 8, 8)),
    (lambda: Conv2DTranspose(8, 3, strides=2, padding="same"), (7, 6, 3), (14, 12, 8)),
    (lambda: Conv2DTranspose(8, 2, strides=3), (7, 6, 3), (21, 18, 8)),
    (lambda: Conv2DTranspose(8, 2, strides=3, padding="same"), (7, 6, 3), (21, 18, 8)),
    (lambda: Conv2DTranspose(8, 3, strides=2, output_padding=1), (7, 6, 3), (16, 14, 8)),
    (
        lambda: Conv2DTranspose(8, 3, strides=2, padding="same", output_padding=(0, 1)),
        (7, 6, 3),
        (13, 12, 8),
    ),
    (lambda: Conv2DTranspose(8, 3, dilation_rate=2), (7, 6, 3), (11, 10, 8)),
]


@pytest.mark.parametrize("make, shape, wanted", SHAPES)
def test_shapes_and_configuration(make, shape, wanted):
    layer = make()
    assert layer(Input(shape)).shape == (None, *wanted)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again(Input(shape)).shape == (None, *wanted)
    assert [w.shape for w in again.weights] == [w.shape for w in layer.weights]


# --- results -----------------------------------------------------------------------------------


@pytest.mark.parametrize("length, kernel, stride", [(7, 3, 1), (8, 3, 2), (7, 4, 2), (9, 2, 4)])
def test_same_padding_has_the_extra_at_the_end(length, kernel, stride, float64):
    layer = Conv2D(2, kernel, stride, "same")
    x = numbers(2, length, length, 3)
    got = result(layer, x)
    missing = max(0, (-(-length // stride) - 1) * stride + kernel - length)
    ends = (missing // 2, missing - missing // 2)
    padded = np.pad(x, [(0, 0), ends, ends, (0, 0)])
    wanted = oracle.conv2d_forward(
        padded, layer.kernel.value, stride_height=stride, stride_width=stride
    )
    np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_a_causal_convolution_sees_no_later_step(float64):
    layer = Conv1D(3, 3, padding="causal", dilation_rate=2)
    x = numbers(1, 12, 2)
    before = result(layer, x)
    changed = x.copy()
    changed[0, 6] += 1
    after = fastdl.Sequential([layer]).predict(changed)
    moved = np.abs(after - before).max(axis=(0, 2)) > 0
    np.testing.assert_array_equal(np.flatnonzero(moved), [6, 8, 10])


def test_depthwise_and_separable_are_made_of_single_channels(float64):
    x = numbers(2, 6, 7, 3)
    layer = SeparableConv2D(4, 3, padding="same", depth_multiplier=2, bias_initializer="normal")
    got = result(layer, x)
    depthwise = layer.depthwise_kernel.value
    channels = [
        oracle.conv2d_forward(
            x[..., c : c + 1], depthwise[:, :, c : c + 1], top=1, bottom=1, left=1, right=1
        )
        for c in range(3)
    ]
    wanted = np.concatenate(channels, -1) @ layer.pointwise_kernel.value[0, 0] + layer.bias.value
    np.testing.assert_allclose(got, wanted, atol=1e-12)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides, dilation", [(1, 1), (2, 1), (3, 1), (1, 2)])
def test_a_transposed_convolution_is_the_gradient_of_a_convolution(
    padding, strides, dilation, float64
):
    """<conv(y), x> = <y, transposed(x)> for all images x and y."""
    forth = Conv2D(3, 3, strides, padding, dilation_rate=dilation, use_bias=False)
    back = Conv2DTranspose(2, 3, strides, padding, dilation_rate=dilation, use_bias=False)
    x = numbers(2, 5, 4, 3)
    spread = result(back, x)
    y = numbers(*spread.shape)
    forth(Input(y.shape[1:]))
    forth.kernel.assign(back.kernel.value)
    folded = fastdl.Sequential([forth]).predict(y)
    assert folded.shape == x.shape
    assert np.vdot(folded, x) == pytest.approx(np.vdot(y, spread), rel=1e-12)


# --- beside PyTorch ----------------------------------------------------------------------------

TORCH = {
    "Conv2D": (Conv2D(6, 3), lambda n: n.Conv2d(4, 6, 3)),
    "Conv2D with strides, dilation and groups": (
        Conv2D(6, (3, 2), (2, 1), dilation_rate=(1, 2), groups=2),
        lambda n: n.Conv2d(4, 6, (3, 2), (2, 1), dilation=(1, 2), groups=2),
    ),
    "Conv2D padded": (Conv2D(5, 5, padding="same"), lambda n: n.Conv2d(4, 5, 5, padding=2)),
    "DepthwiseConv2D": (
        DepthwiseConv2D(3, padding="same", depth_multiplier=2),
        lambda n: n.Conv2d(4, 8, 3, padding=1, groups=4),
    ),
    "Conv2DTranspose": (
        Conv2DTranspose(5, 3, 2, output_padding=1),
        lambda n: n.ConvTranspose2d(4, 5, 3, 2, output_padding=1),
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_gradients_are_those_of_torch(name, float64):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = TORCH[name]
    layer = type(ours).from_config(ours.get_config())
    module = theirs(torch.nn).double()
    x = numbers(3, 9, 8, 4)
    model = fastdl.Sequential([layer])
    model.build((None, *x.shape[1:]))
    kernel = layer.kernel.value
    if name == "DepthwiseConv2D":
        kernel = kernel.reshape(3, 3, 1, -1)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
        module.bias.copy_(torch.from_numpy(layer.bias.numpy()))
    out = module(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    wanted = out.detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(model.predict(x), wanted, atol=1e-12)
    y = numbers(*wanted.shape)
    torch.nn.functional.mse_loss(out, torch.from_numpy(y.transpose(0, 3, 1, 2).copy())).backward()
    before = layer.get_weights()
    model.compile(fastdl.optimizers.SGD(1.0), "mse")
    model.train_on_batch(x, y)
    change = module.weight.grad.numpy().transpose(2, 3, 1, 0).reshape(before[0].shape)
    np.testing.assert_allclose(before[0] - layer.kernel.value, change, atol=1e-12)
    np.testing.assert_allclose(before[1] - layer.bias.value, module.bias.grad.numpy(), atol=1e-12)


# --- training ----------------------------------------------------------------------------------

NETWORKS = {
    "images": lambda: [
        Conv2D(5, 3, activation="tanh", padding="same"),
        SeparableConv2D(4, 2, activation="sigmoid"),
        Conv2DTranspose(3, 3, 2, "same", activation="tanh"),
        DepthwiseConv2D(3, 2, activation="softplus"),
    ],
    "steps": lambda: [
        layers.Reshape((12, 6)),
        Conv1D(4, 3, padding="causal", activation="tanh"),
        Conv1D(4, 3, strides=2, padding="same", groups=2),
    ],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_networks(name, float64):
    model = fastdl.Sequential([*NETWORKS[name](), Flatten(), Dense(2)])
    model.build((None, 6, 6, 2))
    model.compile("sgd", "mse")
    assert fastdl.gradient_check(model, numbers(3, 6, 6, 2), numbers(3, 2)) <= 1


def weights_after_training(fuse=True):
    fastdl.set_seed(3)
    model = fastdl.Sequential(
        [Conv2D(20, 3, activation="relu"), Conv2D(9, 3, 2, "same"), Flatten(), Dense(3)]
    )
    model.build((None, 9, 8, 2))
    model.fuse = fuse
    model.compile("adam", "mse")
    x = numbers(70, 9, 8, 2).astype(np.float32)
    model.fit(x, numbers(70, 3), batch_size=32, epochs=2, verbose=0)
    return b"".join(w.tobytes() for w in model.get_weights())


def test_training_has_the_same_bits_for_any_number_of_threads_and_without_fusion():
    from fastdl.kernels import runner

    wanted = weights_after_training()
    assert weights_after_training(fuse=False) == wanted
    runner.force_threads(True)
    try:
        for threads in (1, 2, 3, 7):
            fastdl.set_num_threads(threads)
            assert weights_after_training() == wanted
    finally:
        runner.force_threads(False)
        fastdl.set_num_threads(None)


# --- errors (those of all layers: test_refused_layers.py) ---------------------------------------

BAD_ARGUMENTS = [
    (lambda: Conv2D(4, (3, 3, 3)), "kernel_size"),
    (lambda: Conv2D(4, 3, strides=(1, -1)), "strides"),
    (lambda: Conv2D(4, 3, padding="causal"), "padding"),
    (lambda: Conv2D(4, 3, data_format="NHWC"), "data_format"),
    (lambda: Conv2D(4, 3, groups=3), "4 filters cannot be divided into 3 groups"),
    (lambda: Conv2D(4, 3, activation="rely"), "relu"),
    (lambda: DepthwiseConv2D(3, depth_multiplier=0), "depth_multiplier"),
    (lambda: Conv2DTranspose(4, 3, 2, output_padding=2), "output_padding"),
    (lambda: Conv2DTranspose(4, 3, 2, output_padding=(1, 1, 1)), "output_padding"),
]


@pytest.mark.parametrize("make, message", BAD_ARGUMENTS)
def test_bad_arguments(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


BAD_SHAPES = [
    (lambda: Conv2D(4, 3, dilation_rate=(1, 4)), (4, 8, 3), "width of 9"),
    (lambda: Conv2D(4, 3, groups=2), (8, 8, 3), "3 channels cannot be divided into 2 groups"),
]


@pytest.mark.parametrize("make, shape, message", BAD_SHAPES)
def test_bad_shapes(make, shape, message):
    with pytest.raises(ValueError, match=message):
        make()(fastdl.tensor.Tensor((None, *shape)))
