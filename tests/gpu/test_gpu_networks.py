"""Networks of all kinds on the GPU: the CPU's results."""

import numpy as np
import pytest
from sameness import assert_same, on_both

import fastdl
from fastdl import Sequential, layers
from fastdl.layers import BatchNormalization, Dense, Dropout

RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, 3, 50)
Y = RNG.standard_normal((50, 2))


def recurrent(cell):
    def make():
        fastdl.set_seed(0)
        model = Sequential([*cell(), Dense(3, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.build((None, 4, 2))
        return model

    return make


def stateful():
    fastdl.set_seed(0)
    model = Sequential([layers.LSTM(4, stateful=True, batch_size=10), Dense(2)])
    model.compile("sgd", "mse")
    model.build((10, 4, 2))
    return model


NETWORKS = {
    "rnn": recurrent(lambda: [layers.SimpleRNN(5, return_sequences=True), layers.SimpleRNN(4)]),
    "lstm": recurrent(lambda: [layers.LSTM(5, dropout=0.2, recurrent_dropout=0.1)]),
    "gru": recurrent(lambda: [layers.Bidirectional(layers.GRU(4))]),
    "lstm of sequences": recurrent(
        lambda: [layers.LSTM(4, return_sequences=True), layers.GlobalAveragePooling1D()]
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_recurrence(gpu, name):
    x = RNG.standard_normal((26, 4, 2)).astype(np.float32)

    def work(model):
        history = model.fit(x, LABELS[:26], batch_size=8, epochs=2, verbose=0)
        return history.history, model.predict(x), model.get_weights()

    assert_same(on_both(work, NETWORKS[name]))


def test_states_between_batches(gpu):
    x = RNG.standard_normal((30, 4, 2)).astype(np.float32)

    def work(model):
        history = model.fit(x, Y[:30], batch_size=10, epochs=2, verbose=0, shuffle=False)
        return history.history, model.predict(x, batch_size=10), model.get_weights()

    assert_same(on_both(work, stateful))


def test_convolution(gpu):
    x = RNG.integers(0, 5, (20, 9, 9, 2)).astype(np.uint8)

    def make():
        fastdl.set_seed(0)
        model = Sequential([
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(), BatchNormalization(), layers.Conv2D(3, 2, padding="same"),
            layers.Flatten(), Dropout(0.5), Dense(3, "softmax"),
        ])  # fmt: skip
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.build((None, 9, 9, 2))
        return model

    def work(model):
        history = model.fit(x, LABELS[:20], batch_size=8, epochs=2, verbose=0)
        return history.history, model.predict(x), model.get_weights()

    assert_same(on_both(work, make))


def test_attention_and_labels_as_inputs(gpu):
    tokens = RNG.integers(0, 7, (20, 4))

    def make():
        fastdl.set_seed(0)
        inputs = fastdl.Input((4,))
        x = layers.Embedding(7, 6)(inputs)
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 3)(x))
        x = layers.GlobalAveragePooling1D()(x)
        model = fastdl.Model(inputs, Dense(3)(x))
        model.compile("adam", fastdl.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    def work(model):
        history = model.fit(tokens, LABELS[:20], batch_size=8, epochs=2, verbose=0)
        return history.history, model.predict(tokens), model.get_weights()

    assert_same(on_both(work, make))


def test_images_that_are_moved_and_lengthened(gpu):
    x = RNG.standard_normal((20, 5, 6, 2)).astype(np.float32)

    def make():
        fastdl.set_seed(0)
        model = Sequential([
            layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomZoom(0.1),
            layers.RandomTranslation(0.2, 0.2), layers.GaussianNoise(0.1), layers.ZeroPadding2D(1),
            layers.UpSampling2D(2, interpolation="bilinear"), layers.Cropping2D(1),
            layers.UpSampling2D(2), layers.Permute((3, 1, 2)), layers.Flatten(), Dense(3),
        ])  # fmt: skip
        model.compile("adam", fastdl.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.build((None, 5, 6, 2))
        return model

    def work(model):
        history = model.fit(x, LABELS[:20], batch_size=8, epochs=2, verbose=0)
        return history.history, model.predict(x), model.get_weights()

    assert_same(on_both(work, make))


METRICS = {
    "sparse_categorical_crossentropy": ("ConfusionMatrix", "F1Score", "SparseCategoricalAccuracy"),
    "binary_crossentropy": ("Precision", "Recall", "F1Score", "BinaryAccuracy", "AUC"),
    "huber": ("R2Score", "CosineSimilarity", "RootMeanSquaredError"),
}  # fmt: skip


@pytest.mark.parametrize("loss", METRICS)
def test_metrics_that_add_up(gpu, loss):
    x = RNG.standard_normal((50, 4)).astype(np.float32)
    y = LABELS if loss.startswith("sparse") else np.eye(3)[LABELS]

    def make():
        fastdl.set_seed(0)
        model = Sequential([Dense(5, "gelu"), Dense(3, "softmax")])
        optimizer = fastdl.optimizers.SGD(0.1, momentum=0.9, clipnorm=0.3)
        metrics = [getattr(fastdl.metrics, name)() for name in METRICS[loss]]
        model.compile(optimizer, loss, weighted_metrics=metrics)
        model.build((None, 4))
        return model

    def work(model):
        weights = 0.5 + np.arange(50) % 3
        given = {"sample_weight": weights, "batch_size": 16, "verbose": 0}
        history = model.fit(x, y, epochs=2, validation_split=0.3, **given)
        return history.history, model.get_weights()

    assert_same(on_both(work, make))
