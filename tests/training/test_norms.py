"""NormRecorder: the norms of each step, added up within the program."""

import numpy as np
import pytest

import fastdl
from fastdl.callbacks import Callback, ModelCheckpoint, NormRecorder
from fastdl.layers import Dense

ROWS, BATCH, EPOCHS = 75, 10, 3  # eight batches an epoch


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(ROWS, 5)), rng.normal(size=(ROWS, 2))


def make(optimizer=None):
    fastdl.set_seed(0)
    fastdl.set_floatx("float64")
    try:
        model = fastdl.Sequential([Dense(7, activation="tanh", name="a"), Dense(2, name="b")])
        model.build((None, 5))
    finally:
        fastdl.set_floatx("float32")
    model.compile(optimizer or fastdl.optimizers.SGD(0.1), "mse")
    return model


class EachStep(Callback):
    """Gradients as SGD shows them: the difference that each update makes."""

    def on_train_begin(self, logs=None):
        self.before, self.gradients, self.weights = self.model.get_weights(), [], []

    def on_train_batch_end(self, batch, logs=None):
        after = self.model.get_weights()
        steps = zip(self.before, after, strict=True)
        self.gradients.append([np.linalg.norm((b - a) / 0.1) for b, a in steps])
        self.weights.append([np.linalg.norm(a) for a in after])
        self.before = after


def points(each, interval):
    """Root mean squares over the batches of each point."""
    found = []
    for epoch in range(EPOCHS):
        steps = np.array(each)[8 * epoch : 8 * epoch + 8]
        ends = [n for n in range(1, 9) if (8 * epoch + n) % interval == 0 or n == 8]
        for begin, end in zip([0, *ends], ends, strict=False):
            found.append(np.sqrt((steps[begin:end] ** 2).mean(axis=0)))
    return np.array(found).T


@pytest.mark.parametrize("interval", ["epoch", 1, 3, 8, 100])
def test_norms_are_those_of_every_step(interval):
    norms, each = NormRecorder(interval), EachStep()
    arguments = {"batch_size": BATCH, "epochs": EPOCHS, "verbose": 0}
    model = make()
    history = model.fit(*data(), **arguments, callbacks=[norms, each])
    every = 8 if interval == "epoch" else interval
    names = ["a/kernel", "a/bias", "b/kernel", "b/bias"]
    assert list(norms.gradients) == list(norms.weights) == names
    for got, want in ((norms.gradients, each.gradients), (norms.weights, each.weights)):
        np.testing.assert_allclose(list(got.values()), points(want, every), rtol=1e-9)
    assert norms.steps[-1] == 24 and len(norms.steps) == len(norms.weights["a/bias"])
    layers = norms.layers()
    both = np.hypot(norms.gradients["b/kernel"], norms.gradients["b/bias"])
    np.testing.assert_allclose(layers["b"], both)
    # The training itself is the same, and the logs do not show it.
    other = make()
    plain = other.fit(*data(), **arguments)
    assert plain.history == history.history
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_batches_are_not_left_for_python_where_epochs_are_recorded():
    assert not fastdl.callbacks.CallbackList([NormRecorder()]).needs_batches


def test_gradients_are_those_before_clipping():
    norms = [NormRecorder(), NormRecorder()]
    for recorder, optimizer in zip(
        norms, [fastdl.optimizers.SGD(0.0), fastdl.optimizers.SGD(0.0, clipnorm=1e-3)], strict=True
    ):
        make(optimizer).fit(*data(), verbose=0, callbacks=[recorder])
    assert norms[0].gradients == norms[1].gradients


def test_frozen_layers_have_no_norms():
    model = make()
    model.layers[0].trainable = False
    norms = NormRecorder()
    model.fit(*data(), verbose=0, callbacks=[norms])
    assert list(norms.gradients) == ["b/kernel", "b/bias"]


def test_a_resumed_fit_records_on(tmp_path):
    norms = [NormRecorder(3), NormRecorder(3)]
    for recorder, path in zip(norms, (None, tmp_path / "1-4.fastdl"), strict=True):
        checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{batch}.fastdl", save_freq=4)
        make().fit(
            *data(),
            batch_size=BATCH,
            epochs=EPOCHS,
            verbose=0,
            callbacks=[recorder, checkpoint],
            resume_from=path,
        )
    assert norms[0].get_state() == norms[1].get_state()
