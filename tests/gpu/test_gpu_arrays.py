"""Arrays that lie on the device already, and what goes to and fro."""

import numpy as np
import pytest
from emulator import DeviceArray
from sameness import assert_same
from test_gpu_models import LABELS, Batches, X, classifier

import fastdl
from fastdl.gpu import device


def there(array):
    """A user's array on the device."""
    driver = device.driver()
    if driver.xp is not np:
        return driver.xp.asarray(array)
    return np.array(array).view(DeviceArray)


def here(array):
    return device.driver().download(array)


def test_device_arrays_are_taken_and_given_in_kind(gpu):
    models = [classifier().to("gpu") for _ in range(2)]
    histories = [
        models[0].fit(X, LABELS, epochs=2, verbose=0, validation_split=0.2),
        models[1].fit(there(X), there(LABELS), epochs=2, verbose=0, validation_split=0.2),
    ]
    assert histories[0].history == histories[1].history
    wanted, got = models[0].predict(X), models[1].predict(there(X))
    assert type(wanted) is np.ndarray and type(got) is type(there(X))
    np.testing.assert_array_equal(here(got), wanted)
    assert models[0].evaluate(X, LABELS) == models[1].evaluate(there(X), there(LABELS))
    assert models[1].train_on_batch(there(X[:5]), there(LABELS[:5]), there(np.ones(5)))


def test_the_data_are_not_copied(emulated, monkeypatch):
    model, x, y = classifier().to("gpu"), there(X), there(LABELS)
    seen, upload = [], type(emulated).upload

    def noted(self, array):
        seen.append((array, upload(self, array)))
        return seen[-1][1]

    monkeypatch.setattr(type(emulated), "upload", noted)
    model.fit(x, y, verbose=0, shuffle=False)
    assert seen and all(np.shares_memory(given, used) for given, used in seen)


def test_on_the_cpu_they_are_copied(gpu):
    one, other = classifier(), classifier()
    one.fit(X, LABELS, verbose=0)
    other.fit(there(X), there(LABELS), verbose=0)
    assert_same([one.get_weights(), other.get_weights()], 0)
    assert type(other.predict(there(X))) is np.ndarray


def test_labels_out_of_range_raise_as_on_the_cpu(gpu):
    model, wrong = classifier().to("gpu"), LABELS.copy()
    wrong[7] = 3
    for labels in (wrong, there(wrong)):
        with pytest.raises(ValueError, match=r"whole numbers from 0 to 2, but row 7 has 3"):
            model.fit(X, labels, verbose=0)


def test_wrong_device_arrays_are_refused_as_on_the_cpu(gpu):
    model = classifier().to("gpu")
    with pytest.raises(ValueError, match=r"x must have shape \(rows, 5\), got \(50, 4\)"):
        model.predict(there(X[:, :4]))
    with pytest.raises(TypeError, match="x must be an array of real numbers"):
        model.predict(there(X.astype(complex)))


def test_rows_that_do_not_lie_side_by_side(gpu):
    model = classifier().to("gpu")
    np.testing.assert_array_equal(here(model.predict(there(X)[::2])), model.predict(X[::2]))
    wide = np.repeat(X, 2, axis=1)
    np.testing.assert_array_equal(here(model.predict(there(wide)[:, ::2])), model.predict(X))


def test_weights_stay_on_the_device_between_batches(emulated, monkeypatch):
    model = classifier().to("gpu")
    reads, read = [], type(emulated).read
    arena = model.weights[0].arena.flat.nbytes

    def counted(self, here, there):
        reads.append(there.nbytes)
        read(self, here, there)

    monkeypatch.setattr(type(emulated), "read", counted)
    model.fit(Batches(), epochs=3, verbose=0)
    assert sum(nbytes >= arena for nbytes in reads) == 3 * 3  # weights and two states, an epoch
    reads.clear()
    model.fit(X, LABELS, epochs=5, verbose=0)
    assert sum(nbytes >= arena for nbytes in reads) == 3


def test_models_side_by_side(gpu):
    def fitted(backend):
        models = [classifier().to(backend) for _ in range(3)]
        fastdl.fit_many(models, X, LABELS, epochs=2, batch_size=16, verbose=0, workers=2)
        return [model.get_weights() for model in models]

    assert_same([fitted("cpu"), fitted("gpu")])


@pytest.mark.parametrize("batches", [False, True])
def test_where_a_loss_is_not_finite_is_found(gpu, batches):
    bad = X.copy()
    bad[33, 2] = np.nan
    parts = [(bad[i : i + 10], LABELS[i : i + 10]) for i in (0, 10, 20, 30)]

    def work(model):
        watch = fastdl.callbacks.TerminateOnNaN()
        given = {"verbose": 0, "callbacks": [watch]}
        with pytest.warns(RuntimeWarning, match="not finite"):
            if batches:
                model.fit(iter(parts), **given)
            else:
                model.fit(bad, LABELS, batch_size=16, shuffle=False, **given)
        return str(watch.finding), model.optimizer.iterations

    findings = [work(classifier().to(backend)) for backend in ("cpu", "gpu")]
    assert findings[0] == findings[1]
    assert f"row {3 if batches else 33} of x" in findings[0][0]


def test_a_generator_that_is_evaluated_within_a_fit(gpu):
    """Another program of the same weights runs while the fit has them on the device."""

    def work(model):
        class Source(Batches):
            def on_epoch_end(self):
                seen.append(model.evaluate(X, LABELS))

        seen = []
        model.fit(Source(), epochs=3, verbose=0)
        return seen

    assert_same([work(classifier().to(backend)) for backend in ("cpu", "gpu")])
