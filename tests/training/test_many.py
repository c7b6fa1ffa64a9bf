"""What fit_many promises: the bits of training alone, errors with their model, a quick end."""

import _thread
import io
import re
import threading
import time
import warnings

import numpy as np
import pytest

import fastdl
from fastdl import FitManyError, fit_many
from fastdl.callbacks import Callback
from fastdl.kernels import runner
from fastdl.layers import BatchNormalization, Dense, Dropout


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 6)).astype(np.float32), rng.normal(size=(300, 1))


def make(width=8, rate=0.0, optimizer="adam"):
    layers = [Dense(width, activation="relu"), BatchNormalization(), Dropout(rate), Dense(1)]
    model = fastdl.Sequential(layers)
    model.compile(optimizer, "mean_squared_error", ["mean_absolute_error"])
    return model


PARAMETERS = [{"width": width, "rate": rate} for width in (3, 40, 17, 8) for rate in (0.0, 0.3)]


def state(model):
    """All that training changes."""
    slots = [t.value for slot in model.optimizer.slots.values() for t in slot.values()]
    return [a.tobytes() for a in (*model.get_weights(), *slots)], model.optimizer.iterations


def same(histories, alone):
    for history, (model, wanted) in zip(histories, alone, strict=True):
        assert history.history == wanted.history
        assert history.epoch == wanted.epoch
        assert state(history.model) == state(model)


def trained_alone(x, y, **arguments):
    fastdl.set_seed(3)
    result = []
    for given in PARAMETERS:
        model = make(**given)
        result.append((model, model.fit(x, y, verbose=0, **arguments)))
    return result


@pytest.mark.parametrize("workers", [1, 2, 5, 20, None])
def test_a_factory_gives_the_bits_of_a_loop(data, workers):
    alone = trained_alone(*data, epochs=3)
    fastdl.set_seed(3)
    histories = fit_many(make, *data, parameters=PARAMETERS, epochs=3, verbose=0, workers=workers)
    same(histories, alone)


@pytest.mark.parametrize(
    "arguments",
    [
        {"validation_split": 0.25, "batch_size": 7},
        {"validation_data": (np.ones((600, 6)), np.zeros(600)), "shuffle": False},
        {"sample_weight": np.linspace(0, 1, 300), "epochs": 4, "initial_epoch": 2},
        {"epochs": 0},
    ],
)
def test_every_argument_of_fit_has_the_same_meaning(data, arguments):
    alone = trained_alone(*data, **arguments)
    fastdl.set_seed(3)
    same(fit_many(make, *data, parameters=PARAMETERS, verbose=0, **arguments), alone)


def test_a_list_of_models_that_train_on(data):
    results = []
    for many in (False, True):
        fastdl.set_seed(4)
        models = [make(**given) for given in PARAMETERS]
        for _ in range(2):
            if many:
                histories = fit_many(models, *data, verbose=0)
                assert [h.model for h in histories] == models
            else:
                histories = [model.fit(*data, verbose=0) for model in models]
        results.append([(h.history, state(m)) for h, m in zip(histories, models, strict=True)])
    assert results[0] == results[1]


def test_classes_stratified_and_weighted():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(90, 5)), rng.integers(0, 3, 90)
    arguments = {"validation_split": 0.2, "stratify": True, "class_weight": {0: 2.0}}

    def classifier(width):
        model = fastdl.Sequential([Dense(width, activation="tanh"), Dense(3, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"])
        return model

    fastdl.set_seed(2)
    alone = [classifier(w).fit(x, y, verbose=0, **arguments).history for w in (4, 5)]
    fastdl.set_seed(2)
    widths = [{"width": 4}, {"width": 5}]
    histories = fit_many(classifier, x, y, parameters=widths, verbose=0, **arguments)
    assert [h.history for h in histories] == alone


def test_data_is_converted_once(data, monkeypatch):
    converted = []
    original = fastdl.many.fit_data
    monkeypatch.setattr(
        fastdl.many, "fit_data", lambda *a, **k: converted.append(1) or original(*a, **k)
    )
    fit_many([make(4), make(5), make(6)], data[0].tolist(), data[1].tolist(), verbose=0)
    assert len(converted) == 1


def test_no_models(data):
    assert fit_many([], *data, verbose=0) == []
    assert fit_many(make, *data, parameters=[], verbose=0) == []


# --- threads ------------------------------------------------------------------------------------


def test_one_thread_a_fit_and_nothing_is_left_changed(data):
    seen = []

    class Look(Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((threading.current_thread(), fastdl.get_num_threads()))

    for count in (None, 3):
        fastdl.set_num_threads(count)
        try:
            before, alive = fastdl.get_num_threads(), threading.active_count()
            fit_many([make(4), make(5)], *data, verbose=0, callbacks=lambda i: [Look()])
            assert fastdl.get_num_threads() == before
            assert threading.active_count() == alive
        finally:
            fastdl.set_num_threads(None)
    assert len(seen) == 4
    assert all(count == 1 and t is not threading.current_thread() for t, count in seen)


def test_no_more_fits_at_once_than_workers(data):
    under_way, most = set(), []
    meeting = threading.Barrier(3)  # broken, if there are fewer at once

    class Count(Callback):
        def on_train_begin(self, logs=None):
            under_way.add(self)
            most.append(len(under_way))
            meeting.wait(timeout=60)
            time.sleep(0.01)  # for a fourth to come, if there may be one

        def on_train_end(self, logs=None):
            under_way.discard(self)

    fit_many([make() for _ in range(9)], *data, workers=3, verbose=0, callbacks=lambda i: Count())
    assert max(most) == 3 and len(most) == 9


def test_large_models_first(data):
    order = []

    class Note(Callback):
        def on_train_begin(self, logs=None):
            order.append(self.model.layers[0].units)

    models = [make(width) for width in (5, 50, 10, 100)]
    fit_many(models, *data, workers=1, verbose=0, callbacks=lambda i: [Note()])
    assert order == [100, 50, 10, 5]


@pytest.mark.parametrize("threads", [None, 2])
def test_plain_threads_that_fit_give_the_bits_of_a_loop(data, threads):
    alone = trained_alone(*data, epochs=20, validation_split=0.1)
    fastdl.set_seed(3)
    models = []
    for given in PARAMETERS:
        models.append(make(**given))
        models[-1].build_for(data[0])
    histories = [None] * len(models)

    def train(index):
        histories[index] = models[index].fit(*data, epochs=20, validation_split=0.1, verbose=0)

    fastdl.set_num_threads(threads)
    runner.force_threads(threads is not None)
    try:
        pool = [threading.Thread(target=train, args=(i,)) for i in range(len(models))]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
    finally:
        runner.force_threads(False)
        fastdl.set_num_threads(None)
    same(histories, alone)


# --- errors -------------------------------------------------------------------------------------


class Fails(Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise OSError("disk full")


def test_an_error_names_its_model_and_the_others_are_trained(data):
    models = [make(width) for width in (4, 5, 6, 7)]
    models[1] = fastdl.Sequential([Dense(4), Dense(2)])
    models[1].compile("adam", "mean_squared_error")
    with pytest.raises(
        FitManyError,
        match=r"^2 of 4 models failed \(1, 3\); model 1: ValueError: y"
        r" must have shape",
    ) as caught:
        fit_many(
            models, *data, epochs=3, verbose=0, callbacks=lambda i: [Fails()] if i == 3 else []
        )
    error = caught.value
    assert list(error.errors) == [1, 3]
    assert isinstance(error.errors[3], OSError) and error.__cause__ is error.errors[1]
    assert [h is None for h in error.histories] == [False, True, False, True]
    assert [len(error.histories[i].history["loss"]) for i in (0, 2)] == [3, 3]
    assert models[0].optimizer.iterations == 30
    fit_many([models[0], models[3]], *data, verbose=0)  # what failed can go on


def test_a_factory_that_fails(data):
    def factory(width):
        return make(width) if width else None

    widths = [{"width": 4}, {"width": 0}, {"height": 3}]
    with pytest.raises(FitManyError, match=r"2 of 3 .*model 1: TypeError: wants models, got None"):
        fit_many(factory, *data, parameters=widths, verbose=0)


def test_a_model_that_is_not_compiled_or_is_busy(data):
    class Again(Callback):
        def on_epoch_end(self, epoch, logs=None):
            fit_many([self.model, fastdl.Sequential([Dense(1)])], *data, verbose=0)

    with pytest.raises(FitManyError, match=r"2 of 2 .* already being trained") as caught:
        make().fit(*data, verbose=0, callbacks=[Again()])
    assert "call compile" in str(caught.value.errors[1])


def shared_weights():
    layer = Dense(3)
    models = [fastdl.Sequential([layer, Dense(1)]) for _ in range(2)]
    for model in models:
        model.compile("sgd", "mean_squared_error")
    return models


@pytest.mark.parametrize(
    ("models", "what"),
    [
        (lambda: [make()] * 2, "models 0 and 1 share"),
        (shared_weights, "models 0 and 1 share the weight"),
        (lambda: [make(optimizer=adam) for adam in [fastdl.optimizers.Adam()] * 2], "an optimizer"),
    ],
)
def test_models_that_are_not_independent_are_refused(data, models, what):
    models = models()
    with pytest.raises(ValueError, match=what):
        fit_many(models, *data, verbose=0)
    assert all(model.optimizer.iterations == 0 for model in models)


def test_shared_callbacks_are_refused(data):
    callback = Callback()
    with pytest.raises(ValueError, match="share the callback"):
        fit_many([make(), make()], *data, verbose=0, callbacks=lambda i: [callback])
    with pytest.raises(TypeError, match="must be a function of a model's index"):
        fit_many([make(), make()], *data, verbose=0, callbacks=[callback])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"models": 3}, TypeError),
        ({"models": [3]}, FitManyError),
        ({"models": make()}, TypeError),
        ({"models": make}, TypeError),
        ({"parameters": [{"width": 3}]}, TypeError),
        ({"models": make, "parameters": [3]}, TypeError),
        ({"workers": 0}, ValueError),
        ({"workers": 1.5}, ValueError),
        ({"workers": True}, ValueError),
        ({"batch_size": 0}, ValueError),
        ({"epochs": -1}, ValueError),
        ({"epochs": "3"}, ValueError),
        ({"initial_epoch": None}, ValueError),
        ({"verbose": 7}, ValueError),
        ({"y": None}, FitManyError),
        ({"validation_split": 2.0}, FitManyError),
        ({"surprise": 1}, TypeError),
    ],
)
def test_bad_arguments(data, arguments, error):
    given = {"models": [make()], "x": data[0], "y": data[1], "verbose": 0, **arguments}
    with pytest.raises(error):
        fit_many(**given)


def test_losses_that_are_not_finite_are_reported_once(data):
    models = [make() for _ in range(3)]
    y = np.where(np.arange(300) == 7, np.nan, 1.0)
    with pytest.warns(RuntimeWarning, match=r"loss of 3 of 3 models .* \(0, 1, 2\)") as caught:
        fit_many(models, data[0], y, verbose=0)
    assert len(caught) == 1 and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_many([make()], *data, verbose=0)


# --- interrupts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("callbacks", [None, lambda i: [Callback()]])
def test_an_interrupt_ends_all_fits_and_leaves_models_that_train_on(callbacks):
    x, y = np.random.default_rng(0).normal(size=(500, 16)), np.zeros(500)
    models = [make(32) for _ in range(6)]
    pressed = []

    def press():
        pressed.append(time.perf_counter())
        _thread.interrupt_main()

    timer = threading.Timer(0.2, press)
    alive = threading.active_count()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        fit_many(models, x, y, epochs=1_000_000, verbose=0, workers=2, callbacks=callbacks)
    late = time.perf_counter() - pressed[0]
    assert late < 2.0  # 200 ms on a machine of one's own
    timer.join()
    assert threading.active_count() == alive
    assert sum(model.optimizer.iterations > 0 for model in models) == 2
    for history in fit_many(models, x, y, verbose=0):
        assert np.isfinite(history.history["loss"]).all()


def test_an_interrupt_in_a_hook_ends_all_fits(data):
    class Stop(Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_many(
            [make() for _ in range(4)],
            *data,
            epochs=1_000_000,
            workers=2,
            verbose=0,
            callbacks=lambda i: [Stop()] if i == 1 else [],
        )


# --- what is shown ------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Pause(Callback):
    def on_train_begin(self, logs=None):
        time.sleep(0.15)


def test_a_line_at_the_end(data, capsys):
    fit_many([make() for _ in range(3)], *data, validation_split=0.1)
    out = capsys.readouterr().out
    assert out.startswith("fit_many - 3 models - ") and "/model - lowest val_loss: " in out
    assert out.count("\n") == 1
    fit_many([make()], *data, verbose=0)
    assert capsys.readouterr().out == ""


def test_lines_between_where_there_is_time(data, monkeypatch, capsys):
    monkeypatch.setattr(fastdl.many, "LINE_SECONDS", 0.05)
    fit_many([make() for _ in range(6)], *data, workers=2, callbacks=lambda i: Pause())
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"fit_many [12]/6 - \d+ms - lowest loss: \d", lines[0])
    assert lines[-1].startswith("fit_many - 6 models")


def test_a_bar_on_a_terminal(data, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("fastdl.progress.optional", lambda name: None)
    fit_many([make() for _ in range(6)], *data, workers=2, callbacks=lambda i: Pause())
    shown = stream.getvalue()
    assert re.search(r"fit_many [12]/6 \[=+>.* left - lowest loss: \d", shown)
    assert shown.rstrip().split("\r\x1b[K")[-1].startswith("fit_many - 6 models - ")
