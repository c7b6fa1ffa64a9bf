"""Models on the GPU: the results of the CPU, whatever is trained and however it is asked for."""

import warnings

import numpy as np
import pytest
from emulator import Emulator
from sameness import assert_same, on_both

import fastdl
from fastdl import Sequential, callbacks
from fastdl.gpu import device, program
from fastdl.gpu.cut import Cut
from fastdl.layers import BatchNormalization, Dense, Dropout
from fastdl.programs import compiled

RNG = np.random.default_rng(3)
X = RNG.standard_normal((50, 5)).astype(np.float32)
LABELS = RNG.integers(0, 3, 50)
Y = RNG.standard_normal((50, 2))


def classifier(optimizer="adam", **options):
    fastdl.set_seed(0)
    hidden = [Dense(16, "relu"), BatchNormalization(), Dropout(0.3), Dense(9, "gelu")]
    model = Sequential([*hidden, Dense(3, "softmax")])
    loss = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy"], **options)
    model.build((None, 5))
    return model


def everything(model, **arguments):
    """The history of a fit, and what the model is afterwards."""
    given = {"batch_size": 16, "epochs": 3, "validation_data": (X[:21], LABELS[:21]), **arguments}
    history = model.fit(X, LABELS, verbose=0, **given)
    return history.history, model.evaluate(X, LABELS), model.predict(X), model.get_weights()


def test_a_fit_is_the_cpu_s(gpu):
    """Shuffling, dropout, short last batches and all."""
    assert_same(on_both(everything, classifier))


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_the_order_of_threads_does_not_matter(emulated, order):
    device.use(Emulator(order))
    assert_same(on_both(everything, classifier))


def test_two_fits_have_the_same_bits(gpu):
    first, second = (everything(classifier().to("gpu"))[-1] for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


OPTIMIZERS = {
    "SGD": lambda: fastdl.optimizers.SGD(0.1, momentum=0.9, nesterov=True, global_clipnorm=0.5),
    "RMSprop": lambda: fastdl.optimizers.RMSprop(1e-3, momentum=0.5, centered=True, clipnorm=1.0),
    "Adagrad": lambda: fastdl.optimizers.Adagrad(1e-2),
    "AdamW": lambda: fastdl.optimizers.AdamW(1e-2, clipvalue=0.1),
    "Adam": lambda: fastdl.optimizers.Adam(fastdl.schedules.ExponentialDecay(0.05, 3, 0.5)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(gpu, name):
    assert_same(on_both(everything, lambda: classifier(OPTIMIZERS[name]())), 2e-4)


def test_weights_of_samples_and_classes_and_regularizers(gpu):
    def make():
        fastdl.set_seed(0)
        model = Sequential([Dense(7, "tanh", kernel_regularizer="l2"), Dense(3, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
        return model

    weights = RNG.random(50)
    assert_same(on_both(
        lambda m: everything(m, sample_weight=weights, class_weight={0: 2.0}, validation_data=None),
        make,
    ))  # fmt: skip


def test_callbacks_see_and_change_weights_and_rates(gpu):
    class Halve(callbacks.Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append(self.model.layers[0].kernel.value.copy())
            self.model.layers[0].kernel.value[...] *= 0.5

        def on_epoch_end(self, epoch, logs=None):
            self.seen.append(np.array(self.model.evaluate(X, LABELS)))
            self.model.layers[0].kernel.value[0] = 0.1 * epoch
            self.model.optimizer.learning_rate = 0.01 / (1 + epoch)

    def work(model):
        halve = Halve()
        return [*everything(model, callbacks=[halve]), halve.seen]

    assert_same(on_both(work, classifier))


class Batches:
    """Of 10 rows each; those after the second have more."""

    def __init__(self, count=4):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        rows = slice(10 * i, 10 * i + 10 + 2 * (i > 2))
        return X[rows], LABELS[rows]


def test_single_batches_and_generators(gpu):
    def work(model):
        single = [model.train_on_batch(X[:n], LABELS[:n]) for n in (9, 4, 17)]
        batches = Batches()
        history = model.fit(batches, epochs=2, verbose=0, validation_data=Batches(2)).history
        more = model.test_on_batch(X[:9], LABELS[:9]), model.evaluate(batches)
        return single, history, more, model.predict(batches)

    assert_same(on_both(work, classifier))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64", "bool", "int64", "float16"])
def test_data_of_every_type(gpu, dtype):
    data = (X * 3).astype(dtype)
    targets = Y.astype(np.float64)

    def make():
        fastdl.set_seed(1)
        model = Sequential([Dense(4, "sigmoid"), Dense(2)])
        model.compile("sgd", "mse", metrics=["mae", "r2_score"])
        return model

    def work(model):
        history = model.fit(data, targets, batch_size=7, epochs=2, verbose=0)
        return history.history, model.predict(data)

    assert_same(on_both(work, make))


def test_float64(gpu):
    fastdl.set_floatx("float64")
    try:
        assert_same(on_both(everything, classifier), 1e-12)
    finally:
        fastdl.set_floatx("float32")


def test_a_fit_goes_on_elsewhere(gpu, tmp_path):
    """Weights, state and file serve both backends."""
    one, other = classifier().to("gpu"), classifier()
    for model in (one, other):
        model.fit(X, LABELS, verbose=0)
    one.save(tmp_path / "model.fastdl")
    loaded = fastdl.load_model(tmp_path / "model.fastdl")
    assert loaded.backend == "cpu"
    for model in (one.to("cpu"), loaded, other):
        model.fit(X, LABELS, verbose=0, epochs=2)
    assert_same([one.get_weights(), other.get_weights()])
    assert_same([loaded.get_weights(), other.get_weights()])


def test_a_broken_fit_is_resumed(gpu, tmp_path):
    path = tmp_path / "fit.fastdl"

    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 6:
                self.model._save_after_hooks(path)
            if self.model.optimizer.iterations == 7:
                raise KeyboardInterrupt

    whole, broken = classifier().to("gpu"), classifier().to("gpu")

    class Nothing(Stop):
        def on_train_batch_end(self, batch, logs=None):
            pass

    Nothing.__name__ = "Stop"
    whole.fit(X, LABELS, epochs=3, batch_size=16, verbose=0, callbacks=[Nothing()])
    with pytest.raises(KeyboardInterrupt):
        broken.fit(X, LABELS, epochs=3, batch_size=16, verbose=0, callbacks=[Stop()])
    again = classifier().to("gpu")
    again.fit(
        *(X, LABELS), epochs=3, batch_size=16, verbose=0, callbacks=[Nothing()], resume_from=path
    )
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_metrics_of_all_rows(gpu):
    def make():
        fastdl.set_seed(0)
        model = Sequential([Dense(4, "relu"), Dense(1, "sigmoid")])
        model.compile("adam", "binary_crossentropy", metrics=[Spread()])
        return model

    class Spread(fastdl.metrics.Metric):
        def __call__(self, y_true, y_pred):
            return float(np.ptp(y_pred[y_true == 1]))

    def work(model):
        history = model.fit(X, LABELS > 1, epochs=2, batch_size=16, verbose=0, validation_split=0.2)
        return history.history, model.evaluate(X, LABELS > 1)

    assert_same(on_both(work, make))


def test_the_switch(emulated):
    model = classifier()
    assert model.backend == "cpu"
    with fastdl.backend("gpu"):
        assert model.backend == "gpu"
        model.predict(X)
        assert emulated.launched
        emulated.launched.clear()
    model.predict(X)
    assert model.to("cpu") is model
    fastdl.set_backend("gpu")
    assert model.backend == "cpu"
    model.predict(X[:2])
    assert not emulated.launched
    model.compile("adam", "sparse_categorical_crossentropy", backend="gpu")
    model.predict(X[:2])
    assert emulated.launched
    for _ in range(3):  # what the CPU does quickly after the first time is the GPU's again
        model.to("cpu").predict(X[:2])
        emulated.launched.clear()
        model.predict(X[:2])
        assert not emulated.launched
        model.to("gpu").predict(X[:2])
        assert emulated.launched


def test_products_take_bias_and_activation_along(emulated):
    model = classifier().to("gpu")
    ops = compiled(model, "train", 16).lowered.ops
    assert ops[0] == ["dense_forward", "relu_forward"]
    assert not any(op.endswith("_update") for names in ops for op in names[1:])
    model.fit(X[:16], LABELS[:16], batch_size=16, verbose=0)
    assert "relu_forward" not in emulated.launched and "gelu_forward" in emulated.launched
    assert emulated.launched.count("adam_update") == 1  # one for all parameters


class Recorded(Emulator):
    """Replays what was launched, with the arguments of then, as a CUDA graph does."""

    def __init__(self):
        super().__init__()
        self.recording = None
        self.replays = 0

    def launch(self, kernel, grid, block, arguments):
        if self.recording is not None:
            self.recording.append((kernel, grid, block, arguments))
        else:
            super().launch(kernel, grid, block, arguments)

    def record(self, launches, stream):
        self.recording = recorded = []
        launches()
        self.recording = None

        def replay():
            self.replays += 1
            for launch in recorded:
                super(Recorded, self).launch(*launch)

        return replay


def test_what_is_recorded_is_replayed_for_other_data(emulated):
    device.use(driver := Recorded())

    def work(model):
        first = everything(model, epochs=12)
        return first, model.predict(X[::-1]), model.evaluate(X[:30], LABELS[:30]), everything(model)

    assert_same(on_both(work, classifier), 2e-4)
    assert 20 < driver.replays < 90


def test_interrupted_fits_are_at_a_whole_batch(gpu):
    model = classifier().to("gpu")
    plain = Cut.run

    def run(self, batches, stream):
        plain(self, batches, stream)
        if model._run is not None and model._run.course.step >= 8:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cut, "run", run)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, LABELS, batch_size=16, epochs=9, verbose=0)
    other = classifier()
    other.seed, steps = model.seed, model.optimizer.iterations
    assert steps > 8

    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = self.model.optimizer.iterations == steps

    other.fit(X, LABELS, batch_size=16, epochs=9, verbose=0, callbacks=[Stop()])
    assert other.optimizer.iterations == steps
    assert_same([other.get_weights(), model.get_weights()])


def test_a_small_model_is_told_of_once(emulated, monkeypatch):
    monkeypatch.setattr(program, "_noted", False)
    with pytest.warns(UserWarning, match="is small: with batches of 16 rows the CPU is probably"):
        classifier().to("gpu").fit(X, LABELS, batch_size=16, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier().to("gpu").fit(X, LABELS, batch_size=16, verbose=0)
    wide = Sequential([Dense(2048, "relu"), Dense(2048, "relu"), Dense(3)])
    wide.compile("adam", "mse")
    wide.build((None, 512))
    assert compiled(wide.to("gpu"), "train", 128).lowered.program._cut(128).gains()


def test_out_of_memory_says_what_to_do(emulated, monkeypatch):
    def full(self, array):
        raise MemoryError("Out of memory allocating 1,000 bytes")

    model = classifier().to("gpu")
    monkeypatch.setattr(type(emulated), "upload", full)
    with pytest.raises(MemoryError, match=r"the GPU has not enough memory: .*from a generator"):
        model.fit(X, LABELS, verbose=0)
    monkeypatch.undo()
    device.use(emulated)
    model.fit(X, LABELS, verbose=0)
