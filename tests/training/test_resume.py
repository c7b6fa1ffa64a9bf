"""A fit that is broken off and resumed has the bits of one that was not."""

import os

import numpy as np
import pytest

import fastdl
from fastdl import optimizers, schedules
from fastdl.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from fastdl.layers import BatchNormalization, Dense, Dropout

ROWS, BATCH, EPOCHS = 75, 8, 5  # ten batches an epoch, the last one short: fifty steps


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 6))
    return x, (x @ rng.normal(size=(6, 3))).argmax(1)


def make(optimizer="adam", seed=3):
    fastdl.set_seed(seed)
    model = fastdl.Sequential(
        [
            Dense(9, activation="relu"),
            BatchNormalization(),
            Dropout(0.3),
            Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    return model


def fit(model, data, callbacks=(), **arguments):
    return model.fit(
        *data,
        batch_size=BATCH,
        **{"epochs": EPOCHS, "verbose": 0, "validation_data": (data[0][:20], data[1][:20])}
        | arguments,
        callbacks=list(callbacks),
    )


def everything(model, history):
    """All that has to be the same."""
    slots = model.optimizer.state(model.named_weights())
    return {
        **{f"weights {i}": w.tobytes() for i, w in enumerate(model.get_weights())},
        **{f"slot {i}": value.tobytes() for i, value in enumerate(slots.values())},
        "history": history.history,
        "epochs": history.epoch,
        "rate": model.optimizer.learning_rate,
        "iterations": model.optimizer.iterations,
        "seed": (model.seed, model._fits),
    }


class Average(Callback):
    """A user's, with something to remember at every batch."""

    def on_train_begin(self, logs=None):
        self.sums = np.zeros(3)

    def on_train_batch_end(self, batch, logs=None):
        self.sums = self.sums * 0.9 + self.model.get_weights()[-1]

    def get_state(self):
        return {"sums": self.sums}

    def set_state(self, state):
        self.sums = state["sums"]


def listeners(folder, save_freq):
    """Callbacks that remember; the one that writes the files is called before the others."""
    return [
        ModelCheckpoint(folder / "{epoch}-{batch}.fastdl", save_freq=save_freq),
        EarlyStopping(patience=2, min_delta=1e-3, restore_best_weights=True),
        ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.1, cooldown=1),
        Average(),
        CSVLogger(folder / "log.csv"),
    ]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The fit that is not broken off, and a file for each of its steps."""
    folder = tmp_path_factory.mktemp("whole")
    model, hooks = make(), listeners(folder, 1)
    history = fit(model, data, hooks)
    return folder, everything(model, history), hooks


STEPS = [(epoch, batch) for epoch in range(1, EPOCHS + 1) for batch in range(1, 11)]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"epoch{step[0]}-batch{step[1]}")
def test_resumed_at_every_step_it_ends_with_the_same_bits(whole, data, tmp_path, step):
    folder, want, hooks = whole
    path = folder / f"{step[0]}-{step[1]}.fastdl"
    model, again = make(seed=4), listeners(tmp_path, 1000)
    (tmp_path / "log.csv").write_bytes((folder / "log.csv").read_bytes())  # as it was at the end
    history = fit(model, data, again, resume_from=path)
    assert everything(model, history) == want
    np.testing.assert_array_equal(again[3].sums, hooks[3].sums)
    for name in ("best", "best_epoch", "wait", "stopped_epoch"):
        assert getattr(again[1], name) == getattr(hooks[1], name)
    assert (tmp_path / "log.csv").read_text() == (folder / "log.csv").read_text()


def test_the_fit_of_these_tests_does_what_it_is_to_show(whole):
    folder, want, _ = whole
    assert want["rate"] < 1e-3  # the plateau was reached
    assert len(want["history"]["val_loss"]) == EPOCHS and len(list(folder.glob("*.fastdl"))) == 50


SCHEDULED = [
    schedules.CosineDecayRestarts(0.01, 17),
    schedules.WarmUp(schedules.StepDecay(0.01, 9, 0.5), 12),
]


@pytest.mark.parametrize("schedule", SCHEDULED, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("natively", [False, True])
def test_schedules_go_on(data, tmp_path, schedule, natively):
    """Also where nobody listens after the resumption but the file's callbacks."""
    model = make(optimizers.SGD(schedule, momentum=0.9))
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{batch}.fastdl", save_freq=13)
    want = everything(model, fit(model, data, [checkpoint]))
    again = make(optimizers.SGD(schedule, momentum=0.9))
    hooks = [ModelCheckpoint(tmp_path / "again.fastdl", save_freq=1000 if natively else 13)]
    history = fit(again, data, hooks, resume_from=tmp_path / "2-3.fastdl")
    assert everything(again, history) == want


def test_a_learning_rate_scheduler_is_not_asked_twice_for_an_epoch(data, tmp_path):
    """It multiplies what is there: once more would show."""
    model, again = make(), make()
    halving = LearningRateScheduler(lambda epoch, rate: rate * 0.5)
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{batch}.fastdl", save_freq=1)
    want = everything(model, fit(model, data, [halving, checkpoint]))
    assert want["rate"] == 1e-3 / 32
    for at in ("2-10", "3-1", "3-4"):
        checkpoint = ModelCheckpoint(tmp_path / "again.fastdl", save_freq=100)
        history = fit(again, data, [halving, checkpoint], resume_from=tmp_path / f"{at}.fastdl")
        assert everything(again, history) == want


def test_files_of_epochs_resume_and_load_and_train_on(data, tmp_path):
    model = make()
    hooks = [ModelCheckpoint(tmp_path / "{epoch}.fastdl")]
    want = everything(model, fit(model, data, hooks))
    again = make()
    history = fit(again, data, hooks, resume_from=tmp_path / "2.fastdl")
    assert everything(again, history) == want
    loaded = fastdl.load_model(tmp_path / "2.fastdl")
    assert loaded.optimizer.iterations == 20
    history = fit(loaded, data, hooks, resume_from=tmp_path / "2.fastdl")
    assert everything(loaded, history) == want
    # The whole fit is over: nothing is left to do, or some epochs more.
    done = make()
    assert everything(done, fit(done, data, hooks, resume_from=tmp_path / "5.fastdl")) == want
    more = make()
    fit(more, data, hooks, resume_from=tmp_path / "5.fastdl", epochs=7)
    straight = make()
    fit(straight, data, hooks, epochs=7)
    np.testing.assert_array_equal(more.get_weights()[0], straight.get_weights()[0])


def test_a_stopped_fit_stays_stopped(data, tmp_path):
    stop = LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", epoch == 1)
    )
    checkpoint = ModelCheckpoint(tmp_path / "m.fastdl")
    model = make()
    want = everything(model, fit(model, data, [checkpoint, stop]))
    assert want["epochs"] == [0, 1]
    model = again = make()
    history = fit(again, data, [checkpoint, stop], resume_from=tmp_path / "m.fastdl")
    assert everything(again, history) == want


@pytest.mark.parametrize("freq", ["epoch", 7])
def test_backup_and_restore_goes_on_by_itself(data, tmp_path, freq):
    path = tmp_path / "backup.fastdl"

    def hooks(failing=None):
        def fail(batch, logs):
            if model.optimizer.iterations == failing:
                raise KeyboardInterrupt

        return [BackupAndRestore(path, freq), LambdaCallback(on_train_batch_begin=fail)]

    model = make()
    want = everything(model, fit(model, data, hooks()))
    assert not path.exists()
    ends = []
    note = LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(epoch))
    for failing in (24, 33, None):
        model = make()
        try:
            history = fit(model, data, [*hooks(failing), note])
        except KeyboardInterrupt:
            assert path.exists()
    assert everything(model, history) == want
    assert not path.exists()
    # After 33 updates the last file was that of the 30th or the 28th, before epoch 2 had ended.
    assert ends == ([0, 1, 2, 3, 4] if freq == "epoch" else [0, 1, 2, 2, 3, 4])


def wrong(**change):
    def other(data, tmp_path):
        arguments = {"rows": ROWS, "callbacks": [ModelCheckpoint(tmp_path / "x")]} | change
        rows = arguments.pop("rows")
        optimizer = arguments.pop("optimizer", "adam")
        model = arguments.pop("model", lambda: make(optimizer))()
        before = [w.copy() for w in model.get_weights()] if model.built else None
        with pytest.raises(ValueError) as raised:
            fit(
                model,
                (data[0][:rows], data[1][:rows]),
                resume_from=tmp_path / "m.fastdl",
                **arguments,
            )
        if before:
            for a, b in zip(before, model.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)
        return str(raised.value)

    return other


def wider():
    fastdl.set_seed(3)
    model = fastdl.Sequential(
        [Dense(10), BatchNormalization(), Dropout(0.3), Dense(3, activation="softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    model.build((None, 6))
    return model


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (wrong(rows=70), "its rows are 75, but here 70"),
        (wrong(shuffle=False), "its shuffle is True, but here False"),
        (wrong(validation_data=None), "its validation is True, but here False"),
        (wrong(callbacks=[]), r"its callbacks are ['ModelCheckpoint'], but here []"),
        (wrong(optimizer="sgd"), "its optimizer is 'Adam', but here 'SGD'"),
        (
            wrong(optimizer=optimizers.Adam(beta_1=0.8)),
            "its beta_1 of the optimizer is 0.9, but here 0.8",
        ),
        (
            wrong(optimizer=optimizers.Adam(schedules.StepDecay(0.1, 5))),
            "its learning_rate of the optimizer is 0.001, but here {",
        ),
        (wrong(model=wider), "weight dense"),
    ],
)
def test_another_fit_is_refused_and_nothing_changes(data, tmp_path, other, message):
    fit(make(), data, [ModelCheckpoint(tmp_path / "m.fastdl")], epochs=1)
    assert message in other(data, tmp_path)


def test_a_file_without_a_fit_is_refused(data, tmp_path):
    model = make()
    fit(model, data, epochs=1)
    model.save(tmp_path / "m.fastdl")
    with pytest.raises(ValueError, match="there is no fit in it"):
        fit(make(), data, resume_from=tmp_path / "m.fastdl")
    with pytest.raises(FileNotFoundError):
        fit(make(), data, resume_from=tmp_path / "nowhere.fastdl")


def test_files_are_replaced_in_one_step(data, tmp_path, monkeypatch):
    """A write that fails leaves the old file, and the fit says so."""
    path = tmp_path / "m.fastdl"
    fit(make(), data, [ModelCheckpoint(path)], epochs=1)
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            fit(make(), data, [ModelCheckpoint(path)], epochs=3, resume_from=path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.fastdl"]


def test_outside_of_a_fit_a_checkpoint_saves_at_once(data, tmp_path):
    model = make()
    fit(model, data, epochs=1)
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{loss:.1f}.fastdl", verbose=0)
    checkpoint.set_model(model)
    checkpoint.on_epoch_end(4, {"loss": 0.25})
    assert fastdl.load_model(tmp_path / "5-0.2.fastdl").optimizer.iterations == 10


def test_many_fits_go_on_each_from_its_own_backup(data, tmp_path):
    failing = [True]

    def hooks(index):
        def fail(epoch, logs):
            if index == 1 and epoch == 3 and failing:
                raise OSError("the disk is gone")

        return [BackupAndRestore(tmp_path / f"{index}"), LambdaCallback(on_epoch_begin=fail)]

    arguments = {"batch_size": BATCH, "epochs": EPOCHS, "verbose": 0, "callbacks": hooks}
    with pytest.raises(fastdl.FitManyError, match="the disk is gone"):
        fastdl.fit_many([make(), make(seed=4)], *data, **arguments)
    assert [p.name for p in tmp_path.iterdir()] == ["1"]
    failing.clear()
    model, straight = make(seed=4), make(seed=4)
    ran = []
    arguments["callbacks"] = lambda i: [
        *hooks(1)[:1],
        LambdaCallback(on_epoch_begin=lambda epoch, logs: ran.append(epoch)),
    ]
    fastdl.fit_many([model], *data, **arguments)
    straight.fit(*data, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    assert ran == [3, 4]
    for a, b in zip(model.get_weights(), straight.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# --- batches -------------------------------------------------------------------------------------


class Pieces:
    """A sequence of batches."""

    def __init__(self, data):
        self.parts = [(data[0][i : i + 8], data[1][i : i + 8]) for i in range(0, len(data[0]), 8)]

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, k):
        return self.parts[k]


class Anew:
    """An iterable of batches that begins anew each time."""

    def __init__(self, data):
        self.parts = Pieces(data).parts

    def __iter__(self):
        return iter(self.parts)


@pytest.mark.parametrize("kind", [Pieces, Anew])
def test_a_fit_on_batches_goes_on_from_any_step(data, kind, tmp_path):
    def run(model, callbacks, **arguments):
        return model.fit(
            kind(data), epochs=3, verbose=0, validation_data=(data[0][:20], data[1][:20]),
            callbacks=callbacks, **arguments,
        )  # fmt: skip

    def network(seed=3):
        model = make(seed=seed)
        model.compile("adam", "sparse_categorical_crossentropy", ["accuracy", "auc"])
        return model

    whole = network()
    average = Average()
    pattern = str(tmp_path / "{epoch}-{batch}.fastdl")
    saver = ModelCheckpoint(pattern, save_freq=3)
    wanted = everything(whole, run(whole, [average, saver]))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 10
    for file in files:
        model, again = network(seed=9), Average()
        history = run(model, [again, ModelCheckpoint(pattern, save_freq=3)], resume_from=file)
        assert everything(model, history) == wanted
        assert again.sums.tobytes() == average.sums.tobytes()


def test_a_backup_of_a_fit_on_batches(data, tmp_path):
    path = tmp_path / "backup.fastdl"

    def run(stop):
        def fail(epoch, logs):
            if epoch == stop:
                raise KeyboardInterrupt

        model = make()
        hooks = [BackupAndRestore(path), LambdaCallback(on_epoch_begin=fail)]
        return everything(model, model.fit(Pieces(data), epochs=4, verbose=0, callbacks=hooks))

    wanted = run(None)
    with pytest.raises(KeyboardInterrupt):
        run(2)
    assert path.exists()
    assert run(None) == wanted
    assert not path.exists()


def test_batches_that_cannot_go_on(data, tmp_path):
    path = tmp_path / "m.fastdl"
    make().fit(Pieces(data), epochs=1, verbose=0, callbacks=[ModelCheckpoint(path)])
    model = make(seed=8)
    model.build((None, 6))
    before = [w.tobytes() for w in model.get_weights()]
    for source, arguments, words in (
        (iter(Pieces(data).parts), {"steps_per_epoch": 9}, "an iterator cannot begin anew"),
        (Pieces((data[0][:40], data[1][:40])), {}, "its steps_per_epoch is 10, but here 5"),
        (Pieces(data), {"shuffle": False}, "its shuffle is True, but here False"),
        (data[0], {"y": data[1]}, "its rows are 'batches', but here 75"),
    ):
        with pytest.raises(ValueError, match=words):
            model.fit(
                source, epochs=2, verbose=0, resume_from=path, callbacks=[ModelCheckpoint(path)],
                **arguments,
            )  # fmt: skip
    assert [w.tobytes() for w in model.get_weights()] == before
