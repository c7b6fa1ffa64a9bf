"""Layers that the other networks do not have: as on the CPU."""

import numpy as np
import pytest
from sameness import assert_same, fitted, made, on_both

from fastdl.layers import (
    LSTM,
    AveragePooling2D,
    Bidirectional,
    Conv1D,
    Conv2DTranspose,
    ConvLSTM2D,
    DepthwiseConv2D,
    Flatten,
    GlobalMaxPooling2D,
    LayerNormalization,
    LeakyReLU,
    Masking,
    MaxPooling1D,
    MaxPooling2D,
    Reshape,
)  # fmt: skip

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((10, 8, 7, 3)).astype(np.float32)
SEQUENCES = RNG.standard_normal((10, 6, 5)).astype(np.float32)
SEQUENCES[3, 2] = 0
TARGETS = RNG.standard_normal((10, 2))


MODELS = {
    "transposed": (IMAGES, lambda: [
        Conv2DTranspose(4, 3, strides=2, activation="relu"), AveragePooling2D(3),
        DepthwiseConv2D(3), Flatten(),
    ]),
    "sequences": (SEQUENCES, lambda: [
        Conv1D(4, 3, padding="same", activation="gelu"), LayerNormalization(), MaxPooling1D(2),
        Flatten(),
    ]),
    "masks": (SEQUENCES, lambda: [
        Masking(0.0), LSTM(4, return_sequences=True), Bidirectional(LSTM(3)),
    ]),
    "ConvLSTM2D": (IMAGES, lambda: [
        Reshape((2, 4, 7, 3)), ConvLSTM2D(3, 2, padding="same"), GlobalMaxPooling2D(),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_is_the_cpu_s(gpu, name):
    data, layers = MODELS[name]
    assert_same(on_both(lambda m: fitted(m, data, TARGETS, 4), lambda: made(layers)))


@pytest.mark.parametrize("pool", [MaxPooling2D, AveragePooling2D])
def test_pooling_takes_an_activation_along(emulated, pool):
    def work(model):
        emulated.launched.clear()
        return model.predict(IMAGES, verbose=0)

    assert_same(on_both(work, lambda: made(lambda: [pool(2), LeakyReLU(0.3), Flatten()])))
    assert not any("relu" in kernel for kernel in emulated.launched)
