"""TerminateOnNaN: the batch, the part and the layer where numbers stop being finite."""

import warnings

import numpy as np
import pytest

import fastdl
from fastdl.callbacks import Callback, TerminateOnNaN
from fastdl.kernels.course import epoch_order
from fastdl.layers import Dense, Layer


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(500, 6)), rng.normal(size=(500, 1))


def network(*layers, seed=0, optimizer="sgd"):
    fastdl.set_seed(seed)
    model = fastdl.Sequential([*layers, Dense(1, name="last")])
    model.compile(optimizer, "mse")
    model.build((None, 6))
    return model


class Batches:
    """The rows of arrays in their order, as batches."""

    def __init__(self, *arrays):
        self.arrays = arrays

    def __iter__(self):
        for k in range(0, len(self.arrays[0]), 32):
            yield tuple(array[k : k + 32] for array in self.arrays)


def train(model, x, y, batches=False, **arguments):
    """Fits on arrays, or on the same rows as batches."""
    arguments = {"epochs": 4, "verbose": 0} | arguments
    if batches:
        weight = arguments.pop("sample_weight", None)
        return model.fit(Batches(x, y, *[] if weight is None else [weight]), **arguments)
    return model.fit(x, y, batch_size=32, **arguments)


def watched(model, x, y, callbacks=(), **arguments):
    """Fits under watch; gives the finding."""
    watch = TerminateOnNaN()
    with pytest.warns(RuntimeWarning) as caught:
        train(model, x, y, callbacks=[watch, *callbacks], **arguments)
    assert len(caught) == 1
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert model.optimizer.iterations == watch.finding.step - 1
    assert watch.finding.text in str(caught[0].message)
    return watch.finding


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("where", ["x", "y", "sample_weight"])
def test_data_is_named_with_its_row(where, shuffle):
    x, y = data()
    weight = np.ones(500)
    {"x": x, "y": y, "sample_weight": weight}[where][333] = np.inf if where == "y" else np.nan
    model = network(Dense(8, activation="relu"))
    order = epoch_order(500, (model.seed + 0x9E3779B97F4A7C15) & (2**62 - 1), 0)
    finding = watched(model, x, y, shuffle=shuffle, sample_weight=weight)
    place = 333 if not shuffle else int(np.flatnonzero(order == 333)[0])
    assert (finding.part, finding.what, finding.batch) == ("data", where, place // 32)
    assert f"row 333 of {where}" in finding.text


both = pytest.mark.parametrize("batches", [False, True])


@pytest.mark.parametrize("where", ["x", "y", "sample_weight"])
def test_data_of_a_batch_is_named_with_its_row(where):
    x, y = data()
    weight = np.ones(500)
    {"x": x, "y": y, "sample_weight": weight}[where][333] = np.nan
    finding = watched(network(Dense(8)), x, y, batches=True, sample_weight=weight)
    assert (finding.part, finding.what, finding.batch) == ("data", where, 10)
    assert f"epoch 1, batch 11: the data, row 13 of {where}" in finding.text


@both
def test_the_weights_left_are_those_before_the_batch(batches):
    x, y = data()
    x[333, 2] = np.nan
    model, other = (network(Dense(8), optimizer="adam") for _ in range(2))
    finding = watched(model, x, y, batches=batches, shuffle=False)
    other.fit(x[:320], y[:320], shuffle=False, verbose=0)
    assert finding.batch == 10
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.fit(x[:320], y[:320], verbose=0)  # and the model trains on


class Scale(Layer):
    """Multiplies by a constant: what comes in small goes out large, and gradients explode."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor


@both
def test_a_layer_is_named_in_the_forward_pass(batches):
    x, y = data()
    x *= 1e-20
    x[100] = 1e19
    model = network(Dense(8, name="first"), Scale(1e20, name="boost"), optimizer="adam")
    finding = watched(model, x, y, batches=batches, shuffle=False)
    assert (finding.part, finding.layer, finding.batch) == ("forward", "boost", 3)
    assert "boost (Scale)" in finding.text and "Inf of 256" in finding.text


@both
def test_a_layer_is_named_in_the_backward_pass(batches):
    x, y = data()
    model = network(Dense(1, kernel_initializer="zeros", name="first"), Scale(1e38, name="boost"))
    finding = watched(model, x, y + 1000, batches=batches)
    assert (finding.part, finding.layer, finding.batch) == ("backward", "boost", 0)
    assert "gradient of boost (Scale)" in finding.text


@both
def test_an_update_is_named(batches):
    """The loss of the next batch shows it; the update of this one did it."""
    x, y = data()
    model = network(Dense(8, name="first"), optimizer=fastdl.optimizers.SGD(1e300))
    finding = watched(model, x, y, batches=batches)
    assert (finding.part, finding.what, finding.batch) == ("update", "sgd_update", 0)
    assert finding.layer in ("first", "last")


@both
def test_weights_that_were_bad_before_are_named(batches):
    x, y = data()
    model = network(Dense(8, name="first"))
    kernel = model.layers[0].kernel
    kernel.value[2, 3] = np.nan
    watch = TerminateOnNaN()
    with pytest.warns(RuntimeWarning, match="the weights first/kernel, before that batch already"):
        train(model, x, y, batches, callbacks=[watch])
    assert (watch.finding.part, watch.finding.layer) == ("weights", "first")


@both
def test_a_loss_that_overflows_is_named(batches):
    x, y = data()
    finding = watched(network(), x, np.full_like(y, 1e30), batches=batches)
    assert (finding.part, finding.what) == ("loss", "mean_squared_error")


class EachBatch(Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 20:
            self.model.optimizer.learning_rate = 1e30


@both
@pytest.mark.parametrize("schedule", [False, True])
def test_rates_that_change_between_batches_are_gone_through_again(schedule, batches):
    x, y = data()
    model = network(Dense(8))
    callbacks = [EachBatch()]
    if schedule:
        callbacks = []
        rates = fastdl.schedules.PiecewiseConstantDecay([19], [0.01, 1e30])
        model.optimizer.learning_rate = rates
    finding = watched(model, x, y, callbacks, batches=batches)
    assert finding.epoch == 1 and finding.step in (22, 23)


@both
def test_a_fit_without_trouble_has_the_same_bits_with_and_without(monkeypatch, batches):
    x, y = data()
    monkeypatch.setattr("fastdl.diagnosis._PAUSE", 0.0)  # copies at every opportunity
    results = []
    for callbacks in ([TerminateOnNaN()], []):
        model = network(Dense(8, activation="relu"), fastdl.layers.Dropout(0.2))
        with warnings.catch_warnings(action="error"):
            history = train(model, x, y, batches, callbacks=callbacks)
        results.append((history.history, [w.tobytes() for w in model.get_weights()]))
    assert results[0] == results[1]


@both
def test_dropout_and_statistics_are_gone_through_again_with_the_same_bits(batches):
    """The bad batch is far from the copy, and random numbers and running means lie between."""
    x, y = data()
    x[490] = np.nan
    layers = [Dense(8), fastdl.layers.BatchNormalization(), fastdl.layers.Dropout(0.5)]
    model = network(*layers)
    finding = watched(model, x, y, batches=batches, shuffle=False)
    assert finding.batch == 15
    other = network(Dense(8), fastdl.layers.BatchNormalization(), fastdl.layers.Dropout(0.5))
    other.fit(x[:480], y[:480], shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_few_batches_are_kept(monkeypatch):
    """What is gone back over is bounded: a new copy is made when the batches since hold enough."""
    monkeypatch.setattr("fastdl.diagnosis._KEPT", 10_000)
    kept = []
    before = fastdl.diagnosis.BatchWatch.before

    def note(watch, rows, each):
        before(watch, rows, each)
        kept.append(len(watch.kept))

    monkeypatch.setattr(fastdl.diagnosis.BatchWatch, "before", note)
    x, y = data()
    x[450] = np.nan
    finding = watched(network(Dense(8)), x, y, batches=True)
    assert finding.batch == 14 and 1 < max(kept) < 12


def test_a_validation_loss_that_is_not_finite_is_reported():
    x, y = data()
    bad = x.copy()
    bad[3] = np.nan
    with pytest.warns(RuntimeWarning, match="validation loss became nan in epoch 1"):
        train(network(Dense(8)), x, y, validation_data=(bad, y))
    with pytest.warns(RuntimeWarning, match="the loss became nan in epoch 1"):
        train(network(Dense(8)), bad, y, batches=True)
