"""What no layer can work with: one error that says so, before anything is computed."""

import pytest

from fastdl import Input, layers
from fastdl.tensor import Tensor

L = layers


def applied(layer, *shapes, **more):
    """The layer on inputs of these shapes, one after the other."""
    for shape in shapes:
        layer(Tensor((None, *shape)), **more)


#: A kernel or window larger than what it stands on: (layer, shape of a row, message).
TOO_LARGE = [
    (lambda: L.Conv1D(4, 5), (4, 3), "width of 5, but the padded input has only 4"),
    (lambda: L.Conv1D(4, 3, dilation_rate=2), (4, 3), "width of 5"),
    (lambda: L.Conv2D(4, 5), (4, 8, 3), "height of 5, but the padded input has only 4"),
    (lambda: L.DepthwiseConv2D(5), (4, 8, 3), "height of 5"),
    (lambda: L.SeparableConv2D(4, 5), (8, 4, 3), "width of 5"),
    (lambda: L.TimeDistributed(L.Conv2D(2, 5)), (3, 4, 4, 1), "height of 5"),
    (lambda: L.ConvLSTM2D(4, 5), (3, 4, 8, 3), "conv_lstm2d.*does not fit into images of"),
    (lambda: L.ConvLSTM2D(4, 2, dilation_rate=4), (3, 4, 8, 3), "does not fit into images"),
    (lambda: L.ConvLSTM2D(4, 5, data_format="channels_first"), (3, 3, 4, 8), "does not fit"),
    (lambda: L.MaxPooling1D(5), (4, 2), "window of 5 is longer than its axis of 4"),
    (lambda: L.MaxPooling2D(5), (4, 9, 2), "window of 5 is longer"),
    (lambda: L.AveragePooling1D(5), (4, 2), "window of 5 is longer"),
    (lambda: L.AveragePooling2D((1, 5)), (9, 4, 2), "window of 5 is longer"),
    (lambda: L.Cropping1D(2), (4, 2), "leaves nothing"),
    (lambda: L.Cropping2D(3), (4, 4, 2), "leaves nothing"),
    (lambda: L.Conv2DTranspose(4, 1, padding="same", output_padding=0), (1, 0, 3), "nothing"),
]

#: More than 2**31 elements, in a row or in a weight.
TOO_MANY = [
    (lambda: L.Conv1D(2**20, 1), (2**12, 1)),
    (lambda: L.Conv2D(2**20, 1), (64, 64, 1)),
    (lambda: L.Conv2DTranspose(4, 1, strides=2**14), (64, 64, 1)),
    (lambda: L.DepthwiseConv2D(1, depth_multiplier=2**20), (64, 64, 1)),
    (lambda: L.UpSampling2D(2**12), (64, 64, 1)),
    (lambda: L.ZeroPadding2D(2**16), (64, 64, 1)),
    (lambda: L.RepeatVector(2**31), (4,)),
    (lambda: L.SimpleRNN(2**16), (3, 4)),
    (lambda: L.LSTM(2**15), (3, 4)),
    (lambda: L.GRU(2**15), (3, 4)),
    (lambda: L.MultiHeadAttention(2**15, 2**16), (4, 8)),
    (lambda: L.Dense(2**20), (2**11,)),
]

#: Another number of axes than the layer works on.
WRONG_AXES = [
    (lambda: L.Conv1D(4, 3), (28, 28, 1), "batch, steps, channels"),
    (lambda: L.Conv2D(4, 3), (28, 28), "batch, height, width, channels"),
    (lambda: L.Conv2DTranspose(4, 3), (28, 28), "batch, height, width, channels"),
    (lambda: L.DepthwiseConv2D(3, data_format="channels_first"), (3, 8), "batch, channels, height"),
    (lambda: L.SeparableConv2D(4, 3), (3,), "batch, height, width, channels"),
    (lambda: L.MaxPooling2D(), (4, 2), "batch, height, width, channels"),
    (lambda: L.GlobalAveragePooling1D(), (4, 2, 2), "batch, steps, channels"),
    (lambda: L.SimpleRNN(2), (3,), "batch, time, features"),
    (lambda: L.LSTM(2), (3,), "batch, time, features"),
    (lambda: L.GRU(2), (3,), "batch, time, features"),
    (lambda: L.ConvLSTM2D(2, 2), (3, 4, 4), "batch, time, height, width, channels"),
    (
        lambda: L.ConvLSTM2D(2, 2, data_format="channels_first"),
        (3, 4, 4),
        "batch, time, channels, height, width",
    ),
    (lambda: L.MultiHeadAttention(2, 3), (4,), "shape"),
    (lambda: L.PositionalEncoding(), (4,), "places, features"),
]

#: Inputs that differ from those the layer was built for.
CHANGED = [
    (lambda: L.Conv1D(4, 3), (8, 3), (8, 4)),
    (lambda: L.Conv2D(4, 3), (8, 8, 3), (8, 8, 4)),
    (lambda: L.Conv2DTranspose(4, 3), (8, 8, 3), (8, 8, 4)),
    (lambda: L.DepthwiseConv2D(3), (8, 8, 3), (8, 8, 4)),
    (lambda: L.SeparableConv2D(4, 3), (8, 8, 3), (8, 8, 4)),
    (lambda: L.SimpleRNN(4), (5, 3), (5, 4)),
    (lambda: L.LSTM(4), (5, 3), (5, 4)),
    (lambda: L.GRU(4), (5, 3), (5, 4)),
    (lambda: L.ConvLSTM2D(2, 2), (3, 4, 4, 1), (3, 4, 4, 2)),
    (lambda: L.ConvLSTM2D(2, 2, data_format="channels_first"), (3, 1, 4, 4), (3, 2, 4, 4)),
]

#: Sizes, strides and rates that are zero, negative or no whole numbers: (call, argument).
BAD_NUMBERS = [
    (lambda n: L.Conv1D(n, 3), "filters"),
    (lambda n: L.Conv1D(2, n), "kernel_size"),
    (lambda n: L.Conv2D(2, 3, strides=n), "strides"),
    (lambda n: L.Conv2D(2, 3, dilation_rate=n), "dilation_rate"),
    (lambda n: L.Conv2D(2, 3, groups=n), "groups"),
    (lambda n: L.Conv2DTranspose(2, (3, n)), "kernel_size"),
    (lambda n: L.DepthwiseConv2D(n), "kernel_size"),
    (lambda n: L.SeparableConv2D(n, 3), "filters"),
    (lambda n: L.MaxPooling1D(n), "pool_size"),
    (lambda n: L.MaxPooling2D(2, strides=n), "strides"),
    (lambda n: L.AveragePooling2D((2, n)), "pool_size"),
    (lambda n: L.UpSampling2D(n), "size"),
    (lambda n: L.RepeatVector(n), "n must"),
    (lambda n: L.SimpleRNN(n), "units"),
    (lambda n: L.LSTM(n), "units"),
    (lambda n: L.GRU(n), "units"),
    (lambda n: L.LSTM(2, stateful=True, batch_size=n), "batch_size"),
    (lambda n: L.ConvLSTM2D(n, 2), "filters"),
    (lambda n: L.ConvLSTM2D(2, n), "kernel_size"),
    (lambda n: L.ConvLSTM2D(2, 2, strides=n), "strides"),
    (lambda n: L.ConvLSTM2D(2, 2, dilation_rate=(1, n)), "dilation_rate"),
    (lambda n: L.MultiHeadAttention(n, 3), "num_heads"),
    (lambda n: L.MultiHeadAttention(2, n), "key_dim"),
    (lambda n: L.Embedding(n, 3), "input_dim"),
]

RECURRENT = {
    "SimpleRNN": lambda: L.SimpleRNN(2),
    "LSTM": lambda: L.LSTM(2),
    "GRU": lambda: L.GRU(2),
    "RNN": lambda: L.RNN(L.GRUCell(2)),
}


@pytest.mark.parametrize("make, shape, message", TOO_LARGE)
def test_kernels_that_do_not_fit(make, shape, message):
    layer = make()
    with pytest.raises(ValueError, match=message) as error:
        applied(layer, shape)
    assert str(error.value).startswith(layer.layers[0].name if layer.layers else layer.name)


@pytest.mark.parametrize("make, shape", TOO_MANY)
def test_too_many_elements(make, shape):
    with pytest.raises(ValueError, match=r"more than 2\*\*31 elements"):
        applied(make(), shape)


@pytest.mark.parametrize("make, shape, message", WRONG_AXES)
def test_another_number_of_axes(make, shape, message):
    with pytest.raises(ValueError, match=message):
        applied(make(), shape)


@pytest.mark.parametrize("make, first, second", CHANGED)
def test_another_number_of_channels_than_before(make, first, second):
    layer = make()
    with pytest.raises(ValueError, match=f"{layer.name}: was built for"):
        applied(layer, first, second)


@pytest.mark.parametrize("number", [0, -2, 1.5])
@pytest.mark.parametrize("make, argument", BAD_NUMBERS)
def test_sizes_that_are_none(make, argument, number):
    with pytest.raises((ValueError, TypeError), match=argument):
        make(number)


@pytest.mark.parametrize("name", RECURRENT)
def test_masks_and_states_of_other_lengths(name):
    x = Input((5, 3))
    with pytest.raises(ValueError, match=r"mask of shape \(None, 5\).*got \(None, 4\)"):
        RECURRENT[name]()(x, mask=Input((4,)))
    with pytest.raises(ValueError, match="initial states of shapes"):
        RECURRENT[name]()(x, initial_state=[Input((4,))])
    with pytest.raises(ValueError, match="initial states of shapes"):
        RECURRENT[name]()(x, initial_state=[Input((2,))] * 3)
