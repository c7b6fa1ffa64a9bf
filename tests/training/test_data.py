"""Data: splits, folds, scaling, cross-validation, and fits on batches."""

import itertools
import threading
import time

import numpy as np
import pytest

import fastdl
from fastdl import data
from fastdl.layers import Dense, Dropout


@pytest.fixture
def rows():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((103, 4)).astype("f4")
    return x, (x[:, 0] > 0.8).astype(int) + (x[:, 1] > 0.3)


def network(seed=3, **arguments):
    fastdl.set_seed(seed)
    model = fastdl.Sequential(
        [Dense(8, activation="relu"), Dropout(0.2), Dense(3, activation="softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", **arguments)
    return model


def equal_weights(a, b):
    return all(np.array_equal(v, w) for v, w in zip(a.get_weights(), b.get_weights(), strict=True))


# --- splits --------------------------------------------------------------------------------------


def test_split_parts_all_rows_and_keeps_pairs_together(rows):
    x, y = rows
    x_train, x_test, y_train, y_test = data.train_test_split(x, y, test_size=0.2, seed=4)
    assert len(x_test) == len(y_test) == 21 and len(x_train) == 82
    place = {row.tobytes(): label for row, label in zip(x, y, strict=True)}
    for part, labels in ((x_train, y_train), (x_test, y_test)):
        assert [place.pop(row.tobytes()) for row in part] == labels.tolist()
    assert not place
    again = data.train_test_split(x, y, test_size=21, seed=4)
    np.testing.assert_array_equal(again[1], x_test)
    assert not np.array_equal(
        data.train_test_split(x, seed=5)[0], data.train_test_split(x, seed=6)[0]
    )


def test_split_without_shuffling_takes_the_last_rows():
    first, last = data.train_test_split(np.arange(10), test_size=0.3, shuffle=False)
    assert first.tolist() == list(range(7)) and last.tolist() == [7, 8, 9]


@pytest.mark.parametrize("shuffle", [False, True])
def test_stratified_split_keeps_shares(rows, shuffle):
    _, y = rows
    train, test = data.train_test_split(y, test_size=0.25, stratify=y, shuffle=shuffle, seed=1)
    assert len(test) == 26
    for label, count in enumerate(np.bincount(y)):
        assert abs((test == label).sum() - count * 26 / 103) < 1
        assert (train == label).sum() + (test == label).sum() == count


@pytest.mark.parametrize(
    ("arrays", "options", "words"),
    [
        ([np.zeros(4), np.zeros(5)], {}, "different numbers of rows"),
        ([np.zeros(4)], {"test_size": 4}, "test_size"),
        ([np.zeros(4)], {"test_size": 1.5}, "test_size"),
        ([np.zeros(4)], {"test_size": 0.0}, "test_size"),
        ([np.zeros(4)], {"stratify": np.zeros(3)}, "stratify has 3"),
        ([], {}, "at least one"),
        ([3.0], {}, "rows"),
    ],
)
def test_splits_that_cannot_be(arrays, options, words):
    with pytest.raises(ValueError, match=words):
        data.train_test_split(*arrays, **options)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("kind", [data.KFold, data.StratifiedKFold])
def test_every_row_is_tested_once(kind, shuffle, rows):
    x, y = rows
    seen = np.zeros(len(x), int)
    for train, test in kind(4, shuffle=shuffle, seed=2).split(x, y):
        seen[test] += 1
        assert len(test) in (25, 26, 27) and not set(train) & set(test)
        assert len(train) + len(test) == len(x)
        if kind is data.StratifiedKFold:
            share = np.bincount(y[test], minlength=3) - np.bincount(y) / 4
            assert np.abs(share).max() < 1
    assert (seen == 1).all()


def test_folds_that_cannot_be():
    with pytest.raises(ValueError, match="at least 2"):
        data.KFold(1)
    with pytest.raises(ValueError, match="5 folds of 3 rows"):
        list(data.KFold().split(np.zeros(3)))
    with pytest.raises(ValueError, match="labels"):
        list(data.StratifiedKFold().split(np.zeros(9)))
    with pytest.raises(ValueError, match="4 folds, but no label has more than 3 rows"):
        list(data.StratifiedKFold(4).split(np.zeros(5), [0, 0, 1, 1, 1]))


# --- scaling -------------------------------------------------------------------------------------


def test_standardizer(rows):
    x = np.column_stack([rows[0], np.full(103, 0.1, "f4")])
    scaler = data.Standardizer()
    with pytest.raises(RuntimeError, match="fit"):
        scaler.transform(x)
    z = scaler.fit_transform(x)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(z.std(0)[:-1], 1, rtol=1e-5)
    np.testing.assert_allclose(scaler.inverse_transform(z), x, atol=1e-6)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        scaler.transform(x[:, :3])


def test_one_hot_and_its_errors():
    np.testing.assert_array_equal(data.one_hot([[2], [0]]), [[[0, 0, 1]], [[1, 0, 0]]])
    for bad in ([0, 3], [0, -1], [0, 0.5], [0, np.nan]):
        with pytest.raises(ValueError, match="number 1"):
            data.one_hot(bad, 3)


# --- cross-validation ----------------------------------------------------------------------------


def test_cross_validation_is_a_fit_for_each_fold(rows):
    x, y = rows
    made = []

    def make(units=8):
        model = network(seed=units, metrics=["accuracy"])
        made.append(model)
        return model

    folds = data.StratifiedKFold(3, shuffle=True, seed=1)
    found = data.cross_validate(
        make, x, y, cv=folds, parameters=[{"units": 5}, {"units": 6}], epochs=3, workers=2
    )
    assert [f.parameters["units"] for f in found] == [5, 6] and len(made) == 6
    train, test = list(data.StratifiedKFold(3, shuffle=True, seed=1).split(x, y))[1]
    alone = network(seed=6, metrics=["accuracy"])
    history = alone.fit(x[train], y[train], epochs=3, validation_data=(x[test], y[test]), verbose=0)
    assert equal_weights(found[1].histories[1].model, alone)
    assert found[1].scores["val_accuracy"][1] == history.history["val_accuracy"][-1]
    assert found[1].mean("val_loss") == pytest.approx(found[1].scores["val_loss"].mean())


def test_cross_validation_of_what_is_no_maker(rows):
    with pytest.raises(TypeError, match="make_model"):
        data.cross_validate(network(), *rows)
    with pytest.raises(ValueError, match="fold"):
        data.cross_validate(network, *rows, cv=[([0, 1], [])])


# --- batches -------------------------------------------------------------------------------------


def batches(x, y, size=20):
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


class Pieces:
    """A sequence of batches, as in Keras."""

    def __init__(self, x, y):
        self.parts, self.ends = batches(x, y), 0

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, k):
        return self.parts[k]

    def on_epoch_end(self):
        self.ends += 1


def test_batches_train_as_arrays_do(rows):
    x, y = rows
    names = ["accuracy", "auc", "f1_score"]

    def forever():
        while True:
            yield from batches(x, y)

    class Anew:
        def __iter__(self):
            return iter(batches(x, y))

    alone = network(metrics=names)
    wanted = alone.fit(
        x, y, batch_size=20, epochs=3, shuffle=False, validation_data=(x[:50], y[:50]), verbose=0
    ).history
    for source, steps in ((forever(), 6), (Pieces(x, y), None), (Anew(), None), (Anew(), 6)):
        model = network(metrics=names)
        history = model.fit(
            source, epochs=3, steps_per_epoch=steps, shuffle=False, verbose=0,
            validation_data=(x[:50], y[:50]),
        )  # fmt: skip
        assert equal_weights(model, alone)
        assert history.history.keys() == wanted.keys()
        for name, values in wanted.items():
            np.testing.assert_allclose(history.history[name], values, rtol=1e-12)
        assert model.optimizer.iterations == 18


def test_a_sequence_is_shuffled_by_batches_and_told_of_epochs(rows):
    pieces = Pieces(*rows)
    results = []
    for seed in (3, 3, 4):
        model = network(seed)
        model.fit(pieces, epochs=2, validation_data=pieces, validation_steps=2, verbose=0)
        results.append(model)
    assert pieces.ends == 6
    assert equal_weights(results[0], results[1]) and not equal_weights(results[0], results[2])


def test_a_generator_is_asked_for_no_more_than_is_needed_and_from_a_thread(rows):
    asked = []

    def source():
        for part in batches(*rows) * 9:
            asked.append(threading.current_thread().name)
            yield part

    network().fit(source(), steps_per_epoch=3, epochs=2, verbose=0)
    assert len(asked) == 6 and set(asked) == {"fastdl batches"}
    assert "fastdl batches" not in {t.name for t in threading.enumerate()}


def test_weights_in_batches(rows):
    x, y = rows
    weight = np.linspace(0, 2, len(x))
    alone = network()
    alone.fit(x, y, sample_weight=weight, batch_size=60, shuffle=False, verbose=0)
    model = network()
    parts = [(x[s], y[s], weight[s]) for s in (slice(0, 60), slice(60, None))]
    model.fit(iter(parts), verbose=0)
    assert equal_weights(model, alone)


def test_batches_that_fail_or_end_early(rows):
    def failing():
        yield from batches(*rows)[:2]
        raise OSError("the disk is gone")

    with pytest.raises(RuntimeError, match="batch 3 of epoch 1: OSError: the disk is gone") as info:
        network().fit(failing(), steps_per_epoch=6, verbose=0)
    assert isinstance(info.value.__cause__, OSError)
    with pytest.raises(RuntimeError, match="2 of 6 batches of epoch 2"):
        network().fit(iter(batches(*rows) + batches(*rows)[:2]), steps_per_epoch=6, epochs=2,
                      verbose=0)  # fmt: skip
    with pytest.raises(ValueError, match="steps_per_epoch"):
        network().fit(iter(batches(*rows)), epochs=2, verbose=0)
    with pytest.raises(RuntimeError, match="early: 0 batches"):
        network().fit(iter([]), verbose=0)
    with pytest.raises(RuntimeError, match="1 things"):
        network().fit(iter([(rows[0],)]), verbose=0)
    with pytest.raises(RuntimeError, match="row 1 has 7"):
        network().fit(iter([(rows[0][:2], [0, 7])]), verbose=0)
    with pytest.raises(ValueError, match="validation_split is for arrays"):
        network().fit(iter(batches(*rows)), validation_split=0.1, verbose=0)
    with pytest.raises(ValueError, match="for batches"):
        network().fit(*rows, steps_per_epoch=2)


def test_the_next_batch_is_made_while_the_model_trains(rows):
    """One thread makes batches while another trains: an epoch takes less than both in turn."""
    overlapped = []

    class Watch(fastdl.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            time.sleep(0.02)  # the training of a large model
            overlapped.append(made[0] - batch)

    made = [0]

    def source():
        for part in batches(*rows):
            made[0] += 1
            yield part

    network().fit(source(), verbose=0, callbacks=[Watch()])
    assert max(overlapped) >= 2  # beyond the batch that trains


def test_callbacks_see_batches_and_can_stop(rows):
    seen = []

    class Stop(fastdl.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((batch, sorted(logs)))
            self.model.stop_training = batch == 2

    history = network(metrics=["accuracy"]).fit(
        Pieces(*rows), epochs=5, verbose=0, callbacks=[Stop()]
    )
    assert seen == [(k, ["accuracy", "loss"]) for k in range(3)]
    assert len(history.history["loss"]) == 1


# --- tables --------------------------------------------------------------------------------------


def test_data_frames_and_memory_maps_are_arrays(rows, tmp_path):
    pandas = pytest.importorskip("pandas")
    x, y = rows
    np.save(tmp_path / "x.npy", x)
    alone = network()
    alone.fit(x, y, verbose=0)
    columns = dict(zip("abcd", x.T, strict=True))
    for given, labels in (
        (pandas.DataFrame(columns), pandas.Series(y)),
        (np.load(tmp_path / "x.npy", mmap_mode="r"), y.tolist()),
    ):
        model = network()
        model.fit(given, labels, verbose=0)
        assert equal_weights(model, alone)


class Columns:
    """A table of another library: it goes through the names of its columns, as data frames do."""

    def __init__(self, array):
        self.array = array

    def __iter__(self):
        return iter("abcd")

    def __len__(self):
        return len(self.array)


class ByArray(Columns):
    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


class ByDLPack(Columns):
    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class ByInterface(Columns):
    @property
    def __array_interface__(self):
        return self.array.__array_interface__


@pytest.mark.parametrize("table", [ByArray, ByDLPack, ByInterface])
def test_tables_by_the_protocols_of_arrays(rows, table):
    x, y = rows
    alone = network()
    alone.fit(x, y, verbose=0)
    model = network()
    model.fit(table(x), table(y), verbose=0)
    assert equal_weights(model, alone)
    np.testing.assert_array_equal(model.predict(table(x)), alone.predict(x))


# --- evaluation and prediction by batches --------------------------------------------------------


def test_evaluation_by_batches_is_that_of_all_rows(rows):
    x, y = rows
    weight = np.linspace(0, 2, len(x))
    model = network(metrics=["accuracy", "auc"])
    model.fit(x, y, verbose=0)
    alone = model.evaluate(x, y, batch_size=20, return_dict=True)
    for source in (Pieces(x, y), iter(batches(x, y)), (part for part in batches(x, y))):
        found = model.evaluate(source, return_dict=True)
        assert found.keys() == alone.keys()
        for name, value in alone.items():
            assert found[name] == pytest.approx(value, rel=1e-12)
    weighted = [(*part, w) for part, (w, _) in zip(batches(x, y), batches(weight, y), strict=True)]
    assert model.evaluate(iter(weighted))[0] == pytest.approx(
        model.evaluate(x, y, sample_weight=weight)[0], rel=1e-6
    )
    assert model.evaluate(Pieces(x, y), steps=2)[0] == pytest.approx(
        model.evaluate(x[:40], y[:40])[0], rel=1e-6
    )


def test_predictions_by_batches_are_those_of_all_rows(rows):
    x, y = rows
    model = network()
    model.fit(x, y, verbose=0)
    alone = model.predict(x)
    parts = [x[i : i + 20] for i in range(0, len(x), 20)]
    for source in (Pieces(x, y), iter(parts), ((part,) for part in parts)):
        np.testing.assert_allclose(model.predict(source), alone, rtol=1e-5)
    endless = itertools.repeat(x[:20])
    np.testing.assert_array_equal(model.predict(endless, steps=2)[20:], model.predict(x[:20]))
    assert "fastdl batches" not in {t.name for t in threading.enumerate()}


def test_evaluation_and_prediction_by_batches_that_cannot_be(rows):
    model = network()
    model.fit(*rows, verbose=0)

    def failing():
        yield from batches(*rows)[:1]
        raise OSError("the disk is gone")

    for call in (model.evaluate, model.predict):
        with pytest.raises(RuntimeError, match="failed at batch 2: OSError: the disk is gone"):
            call(failing())
        with pytest.raises(RuntimeError, match="early: 6 of 7 batches came"):
            call(iter(batches(*rows)), steps=7)
        with pytest.raises(RuntimeError, match="early: 0 batches"):
            call(iter([]))
        with pytest.raises(ValueError, match="steps must be a whole number"):
            call(iter(batches(*rows)), steps=0)
    with pytest.raises(ValueError, match="steps is for batches"):
        model.evaluate(*rows, steps=1)
    with pytest.raises(ValueError, match="steps is for batches"):
        model.predict(rows[0], steps=1)
    with pytest.raises(ValueError, match="sample_weight is for arrays"):
        model.evaluate(iter(batches(*rows)), sample_weight=np.ones(103))
    with pytest.raises(ValueError, match=r"\(rows, 4\), got \(2, 5\)"):
        model.predict(iter([np.zeros((2, 5))]))
    with pytest.raises(RuntimeError, match=r"\(rows, 4\), got \(2, 5\)"):
        model.evaluate(iter([(np.zeros((2, 5)), [0, 1])]))


def test_norms_are_recorded_of_batches_too(rows):
    x, y = rows
    found = []
    for source in ((x, y), (Pieces(x, y),)):
        norms = fastdl.callbacks.NormRecorder()
        network().fit(*source, batch_size=20, shuffle=False, epochs=2, verbose=0, callbacks=[norms])
        found.append(norms)
    for name in ("gradients", "weights"):
        a, b = (list(getattr(norms, name).values()) for norms in found)
        assert np.shape(a) == (4, 2)
        np.testing.assert_allclose(a, b, rtol=1e-12)
