"""Callbacks: who is called, when, what training need not call; and what each of them does."""

import csv
import io
import json
import sys
import types

import numpy as np
import pytest

import fastdl
from fastdl.callbacks import (
    BackupAndRestore,
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    Progress,
    ReduceLROnPlateau,
    TensorBoard,
)

HOOKS = [name for name in vars(Callback) if name.startswith("on_")]


def test_every_hook_reaches_those_who_override_it_in_order():
    calls = []

    def recorder(name):
        def hook(self, *arguments):
            calls.append((name, self.tag, *arguments))

        return hook

    cls = type("Recorder", (Callback,), {name: recorder(name) for name in HOOKS})
    one, two = cls(), cls()
    one.tag, two.tag = 1, 2
    both = CallbackList([one, Callback(), two])
    for name in HOOKS:
        arguments = (3, {"loss": 1.0}) if "epoch" in name or "batch" in name else ({},)
        getattr(both, name)(*arguments)
        assert calls == [(name, 1, *arguments), (name, 2, *arguments)]
        calls.clear()
    assert len(HOOKS) == 14


@pytest.mark.parametrize("what", ["train", "test", "predict"])
@pytest.mark.parametrize("when", ["begin", "end"])
def test_batches_are_needed_only_where_somebody_listens(what, when):
    cls = type("Listener", (Callback,), {f"on_{what}_batch_{when}": lambda self, b, logs=None: 0})
    some = CallbackList([History(), cls()])
    needs = (some.needs_batches, some.needs_test_batches, some.needs_predict_batches)
    assert needs == (what == "train", what == "test", what == "predict")


def test_history_and_base_need_no_batches():
    class EndOnly(Callback):
        def on_epoch_end(self, epoch, logs=None):
            pass

    assert not CallbackList([History(), Callback(), EndOnly()]).needs_batches
    assert not CallbackList(None).needs_batches


def test_a_hook_set_on_the_object_counts():
    seen = []
    callback = Callback()
    callback.on_train_batch_end = lambda batch, logs=None: seen.append(batch)
    callbacks = CallbackList(callback)
    assert callbacks.needs_batches
    callbacks.on_train_batch_end(4, {})
    assert seen == [4]


def test_model_and_params_are_given_to_all():
    callbacks = CallbackList([Callback(), Callback()], model="m", params={"epochs": 3})
    assert [(c.model, c.params) for c in callbacks.callbacks] == [("m", {"epochs": 3})] * 2
    again = CallbackList(callbacks)
    again.append(History())
    assert len(callbacks.callbacks) == 2 and len(again.callbacks) == 3


def test_history_keeps_epochs_and_forgets_the_fit_before():
    history = History()
    callbacks = CallbackList([history])
    for start in (0, 5):
        callbacks.on_train_begin({})
        callbacks.on_epoch_end(start, {"loss": 1.0})
        callbacks.on_epoch_end(start + 1, {"loss": 0.5, "val_loss": 0.75})
        assert history.history == {"loss": [1.0, 0.5], "val_loss": [0.75]}
        assert history.epoch == [start, start + 1]


@pytest.mark.parametrize("wrong", [[object()], [History], ["History"]])
def test_only_callbacks_are_taken(wrong):
    with pytest.raises(TypeError, match="Callback"):
        CallbackList(wrong)


# --- the callbacks themselves ---------------------------------------------------------------------


class Model:
    """What a callback needs of a model."""

    def __init__(self, rate=0.1):
        self.stop_training = False
        self.optimizer = fastdl.optimizers.SGD(rate)
        self.weights = 0.0

    def get_weights(self):
        return [np.array([self.weights])]

    def set_weights(self, weights):
        self.weights = float(weights[0][0])


def play(callback, values, name="val_loss", model=None):
    """Has a callback see one value an epoch, as fit would; gives the model and the epochs seen."""
    model = model or Model()
    callback.set_model(model)
    callback.on_train_begin({})
    epoch = -1
    for epoch, value in enumerate(values):
        model.weights = float(epoch)
        callback.on_epoch_begin(epoch, {})
        callback.on_epoch_end(epoch, {name: value})
        if model.stop_training:
            break
    callback.on_train_end({})
    return model, epoch + 1


@pytest.mark.parametrize(
    ("arguments", "values", "epochs", "best"),
    [
        ({}, [3, 2, 2, 1], 3, 1),  # equal is not better
        ({"patience": 2}, [3, 2, 2, 1, 1, 1, 0], 6, 3),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.4, 2.2, 2.1, 0], 4, 1),
        ({"patience": 1, "mode": "max"}, [3, 2, 4], 2, 0),
        ({"patience": 1, "start_from_epoch": 3}, [1, 5, 4, 3, 2, 2, 0], 6, 4),
        ({"patience": 2, "baseline": 1.0}, [3, 2, 0.5, 1, 0.4], 2, 1),
        ({"patience": 3}, [3, 2, 1, 0.5], 4, 3),  # ends by itself: restored all the same
        ({"patience": 9}, [3, float("nan"), 4, 5], 4, 0),
        ({}, [float("nan")] * 5, 2, 0),
    ],
)
def test_early_stopping_stops_and_restores_the_best(arguments, values, epochs, best):
    callback = EarlyStopping(restore_best_weights=True, **arguments)
    model, seen = play(callback, values)
    assert seen == epochs
    assert model.weights == best
    assert bool(callback.stopped_epoch) == model.stop_training
    # Without restoring it is the same but for the weights.
    model, seen = play(EarlyStopping(**arguments), values)
    assert (seen, model.weights) == (epochs, epochs - 1)
    # Used again it has forgotten everything.
    model, seen = play(callback, values)
    assert (seen, model.weights) == (epochs, best)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("loss", "min"), ("val_accuracy", "max"), ("acc", "max"), ("f1_score", "max"),
        ("val_auc", "max"), ("mean_absolute_error", "min"), ("top_k_categorical_acc", "max"),
    ],
)  # fmt: skip
def test_the_name_tells_what_is_better(name, mode):
    assert EarlyStopping(name).mode == mode
    assert EarlyStopping(name, mode="min").mode == "min"


def test_early_stopping_in_a_fit_keeps_the_weights_of_its_best_epoch(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)), rng.normal(size=40)
    model = fastdl.Sequential([fastdl.layers.Dense(30, activation="tanh"), fastdl.layers.Dense(1)])
    model.compile(fastdl.optimizers.Adam(0.05), "mse")
    stop = EarlyStopping(patience=4, restore_best_weights=True)
    history = model.fit(x, y, epochs=200, verbose=0, validation_split=0.5, callbacks=[stop])
    losses = history.history["val_loss"]
    assert len(losses) == stop.best_epoch + 5 < 200 and stop.best == min(losses)
    assert model.evaluate(x[20:], y[20:]) == stop.best


PLATEAU = [5, 4, 4, 4, 4, 4, 3.99995, 3, 3, 3]


@pytest.mark.parametrize(
    ("arguments", "rates"),
    [
        # The rate after each epoch, by Keras's rules.
        ({"patience": 2}, [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125]),
        ({"patience": 2, "cooldown": 1}, [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125]),
        ({"patience": 2, "cooldown": 2}, [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]),
        ({"patience": 1, "min_lr": 0.3}, [1, 1, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]),
        ({"patience": 2, "min_delta": 0}, [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125]),
    ],
)
def test_reduce_on_plateau_follows_keras(arguments, rates):
    callback, model, seen = ReduceLROnPlateau(factor=0.5, **arguments), Model(1.0), []
    callback.set_model(model)
    callback.on_train_begin({})
    for epoch, value in enumerate(PLATEAU):
        callback.on_epoch_end(epoch, {"val_loss": value})
        seen.append(model.optimizer.learning_rate)
    assert seen == pytest.approx(rates)


def test_reduce_on_plateau_refuses_a_schedule():
    schedule = fastdl.schedules.StepDecay(0.1, 10)
    with pytest.raises(ValueError, match="follows a schedule"):
        play(ReduceLROnPlateau(), [1], model=Model(schedule))


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 4))
    return x, x.sum(1, keepdims=True)


def network():
    fastdl.set_seed(0)
    model = fastdl.Sequential([fastdl.layers.Dense(1)])
    model.compile("sgd", "mse", ["mae"])
    return model


def test_learning_rate_scheduler_sets_and_notes_the_rate(capsys):
    rates = LearningRateScheduler(lambda epoch: 0.1 / (1 + epoch), verbose=1)
    history = network().fit(*data(), epochs=3, verbose=0, callbacks=[rates])
    assert history.history["learning_rate"] == [0.1, 0.05, 0.1 / 3]
    assert "Epoch 2: the learning rate is 0.05" in capsys.readouterr().out
    with pytest.raises(TypeError, match=r"schedule\(0\) gave None"):
        network().fit(*data(), verbose=0, callbacks=[LearningRateScheduler(lambda e, r: None)])


def test_csv_logger_writes_what_the_history_has(tmp_path):
    path = tmp_path / "log.csv"
    history = network().fit(*data(), epochs=3, verbose=0, callbacks=[CSVLogger(path)])
    lines = path.read_text().splitlines()
    assert lines[0] == "epoch,loss,mae"
    rows = [[float(v) for v in line.split(",")] for line in lines[1:]]
    assert [row[1] for row in rows] == history.history["loss"]
    # Again: a new file, or the old one with more lines.
    network().fit(*data(), epochs=1, verbose=0, callbacks=[CSVLogger(path, separator=";")])
    assert path.read_text().splitlines()[0].startswith("epoch;loss;")
    appending = CSVLogger(path, separator=";", append=True)
    network().fit(*data(), epochs=2, verbose=0, callbacks=[appending])
    assert [line[0] for line in path.read_text().splitlines()] == ["e", "0", "0", "1"]


def test_csv_logger_writes_na_for_what_is_not_there(tmp_path):
    callback = CSVLogger(tmp_path / "log.csv")
    callback.on_train_begin({})
    callback.on_epoch_end(0, {"loss": 0.5, "extra": 1.0})
    callback.on_epoch_end(1, {"loss": 0.25})
    callback.on_train_end({})
    assert (tmp_path / "log.csv").read_text() == "epoch,loss,extra\n0,0.5,1.0\n1,0.25,NA\n"


def test_what_a_callback_adds_to_the_logs_is_in_the_history():
    add = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(mine=epoch * 10))
    history = network().fit(*data(), epochs=3, verbose=0, callbacks=[add])
    assert history.history["mine"] == [0, 10, 20]


def test_lambda_callbacks_listen_to_what_they_are_given_alone():
    seen = []
    callback = LambdaCallback(
        on_train_begin=lambda logs: seen.append("begin"),
        on_epoch_end=lambda epoch, logs: seen.append(epoch),
        on_test_begin=lambda logs: seen.append("test"),
        on_test_end=lambda logs: seen.append(sorted(logs)),
    )
    assert not CallbackList([callback]).needs_batches
    network().fit(*data(), epochs=2, verbose=0, validation_split=0.5, callbacks=[callback])
    test = ["test", ["loss", "mae"]]
    assert seen == ["begin", *test, 0, *test, 1]
    with pytest.raises(TypeError, match="no hook 'on_epoch_and' \\(did you mean 'on_epoch_end'"):
        LambdaCallback(on_epoch_and=print)
    with pytest.raises(TypeError, match="on_epoch_end must be callable"):
        LambdaCallback(on_epoch_end=3)


def test_progress_goes_to_a_stream_of_its_own(capsys):
    log = io.StringIO()
    network().fit(*data(), epochs=2, callbacks=[Progress(log)], verbose=0)
    assert [line[:9] for line in log.getvalue().splitlines()] == ["Epoch 1/2", "Epoch 2/2"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("interval", [1, 3, 5, 8, 100])
def test_batch_intervals_count_over_epochs(interval):
    seen = []

    class Every(Callback):
        batch_interval = interval

        def on_train_batch_end(self, batch, logs=None):
            seen.append((self.model.optimizer.iterations, batch))

    class Other(Callback):
        batch_interval = 4

        def on_train_batch_end(self, batch, logs=None):
            others.append(self.model.optimizer.iterations)

    others = []
    network().fit(*data(), batch_size=4, epochs=5, verbose=0, callbacks=[Every(), Other()])
    assert seen == [(n, (n - 1) % 8) for n in range(interval, 41, interval)]
    assert others == list(range(4, 41, 4))


def test_stopped_within_an_epoch_no_more_batches_are_trained():
    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 2

    model = network()
    history = model.fit(
        *data(), batch_size=4, epochs=5, verbose=0, callbacks=[Stop()], validation_split=0.25
    )
    assert model.optimizer.iterations == 3
    assert len(history.history["loss"]) == len(history.history["val_loss"]) == 1


@pytest.mark.parametrize("name", ["val_loss", "val_los", "accuracy"])
def test_a_number_that_is_not_in_the_logs_is_named(name, tmp_path):
    watching = [
        EarlyStopping(name),
        ReduceLROnPlateau(name),
        ModelCheckpoint(tmp_path / "m.fastdl", name, save_best_only=True),
    ]
    for callback in watching:
        with pytest.raises(
            ValueError, match=f"{type(callback).__name__}: the logs have no '{name}'"
        ):
            network().fit(*data(), verbose=0, callbacks=[callback])
    with pytest.raises(ValueError, match="fit was given no validation data"):
        network().fit(*data(), verbose=0, callbacks=[EarlyStopping()])


@pytest.mark.parametrize(
    "make",
    [
        lambda: EarlyStopping(mode="lowest"),
        lambda: EarlyStopping(patience=-1),
        lambda: EarlyStopping(patience=1.5),
        lambda: ReduceLROnPlateau(factor=1.0),
        lambda: ReduceLROnPlateau(cooldown=-1),
        lambda: ModelCheckpoint("m", save_freq=0),
        lambda: ModelCheckpoint("m", save_freq="batch"),
        lambda: BackupAndRestore("m", save_freq=-3),
        lambda: Progress(verbose=7),
    ],
)
def test_wrong_arguments_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()


def test_checkpoint_keeps_the_best_alone_under_formatted_names(tmp_path, capsys):
    values = iter([3.0, 4.0, 2.0, 2.0, 1.0])
    worse = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(score=next(values)))
    best = ModelCheckpoint(
        tmp_path / "{epoch:02d}-{score:.1f}.fastdl", "score", 1, True, mode="min"
    )
    model = network()
    model.fit(*data(), epochs=5, verbose=0, callbacks=[worse, best])
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "01-3.0.fastdl", "03-2.0.fastdl", "05-1.0.fastdl",
    ]  # fmt: skip
    assert capsys.readouterr().out.count("saving to") == 3
    again = fastdl.load_model(tmp_path / "05-1.0.fastdl")
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
    with pytest.raises(ValueError, match=r"names 'acc', but the logs have epoch, loss, mae"):
        network().fit(*data(), verbose=0, callbacks=[ModelCheckpoint(tmp_path / "{acc}")])
    with pytest.raises(ValueError, match="cannot be filled in"):
        network().fit(*data(), verbose=0, callbacks=[ModelCheckpoint(tmp_path / "{loss:d}")])


def test_checkpoint_of_weights_alone(tmp_path):
    path = tmp_path / "w.safetensors"
    model = network()
    model.fit(*data(), verbose=0, callbacks=[ModelCheckpoint(path, save_weights_only=True)])
    again = network()
    again.build((None, 4))
    again.load_weights(path)
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])


def test_tensorboard_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(
        ImportError, match=r"TensorBoard needs tensorboardX: pip install 'fastdl\[te"
    ):
        TensorBoard()


class Writer:
    """tensorboardX's SummaryWriter, as far as it is used: what it was told, by folder."""

    told = None

    def __init__(self, folder):
        self.name = folder.rpartition("/")[2]

    def add_scalar(self, tag, value, step):
        self.told.append((self.name, tag, step))

    def add_histogram(self, tag, values, step):
        self.told.append((self.name, tag, step, values.shape))

    def flush(self):
        pass

    def close(self):
        self.told.append((self.name, "closed"))


def test_tensorboard_writes_kerass_tags(monkeypatch, tmp_path):
    monkeypatch.setattr(Writer, "told", [])
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    board = TensorBoard(tmp_path / "logs", histogram_freq=2, update_freq=3)
    model = network()
    model.fit(*data(), batch_size=4, epochs=2, verbose=0, validation_split=0.25, callbacks=[board])
    told = Writer.told
    for epoch in (0, 1):
        for name in ("train", "validation"):
            assert (name, "epoch_loss", epoch) in told and (name, "epoch_mae", epoch) in told
        assert ("train", "epoch_learning_rate", epoch) in told
    assert [t[2] for t in told if t[1] == "batch_loss"] == [3, 6, 9, 12]
    histograms = [t for t in told if len(t) == 4]
    assert {t[2:] for t in histograms} == {(0, (4, 1)), (0, (1,))}
    assert told[-2:] == [("train", "closed"), ("validation", "closed")]


def test_tensorboard_files_can_be_read(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    network().fit(*data(), verbose=0, validation_split=0.5, callbacks=[TensorBoard(tmp_path)])
    for name in ("train", "validation"):
        (file,) = (tmp_path / name).iterdir()
        assert b"epoch_loss" in file.read_bytes()


def test_metrics_that_are_arrays(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Writer, "told", [])
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    model = fastdl.Sequential([fastdl.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", [fastdl.metrics.ConfusionMatrix()])
    x, y = np.eye(3), [0, 1, 2]
    log = CSVLogger(tmp_path / "log.csv")
    history = model.fit(x, y, epochs=2, verbose=2, callbacks=[log, TensorBoard(tmp_path)])
    matrix = history.history["confusion_matrix"][-1]
    with open(tmp_path / "log.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert json.loads(last["confusion_matrix"]) == matrix.tolist()
    tags = {told[1] for told in Writer.told if told[0] == "train"}
    assert {f"epoch_confusion_matrix/{i}/{j}" for i in range(3) for j in range(3)} < tags
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "confusion" not in lines[0]  # not on the line of an epoch
    with pytest.raises(ValueError, match=r"EarlyStopping: 'confusion_matrix' is an array of shape"):
        model.fit(x, y, verbose=0, callbacks=[EarlyStopping("confusion_matrix")])
