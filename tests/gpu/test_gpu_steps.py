"""Compiled steps on a GPU: the CPU's results, and weights that stay there until they are wanted."""

import pickle
import threading
import warnings

import numpy as np
import pytest
from sameness import assert_same

import fastdl
from fastdl import losses, optimizers, runtime
from fastdl.layers import LSTM, BatchNormalization, Dense, Dropout, Reshape

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((10, 6)).astype(np.float32), RNG.standard_normal((10, 3))


def network(layers=None):
    fastdl.set_seed(0)
    made = [Dense(8, "relu"), BatchNormalization(), Dropout(0.3), Dense(3)]
    model = fastdl.Sequential(layers or made)
    model.build((None, 6))
    return model


def step_of(model, optimizer, compiled=True):
    mse = losses.MeanSquaredError()

    def step(x, y):
        with fastdl.GradientTape() as tape:
            loss = mse(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return fastdl.compiled_step(step) if compiled else step


def trained(backend, work):
    with fastdl.backend(backend):
        model = network()
        return work(model), model.get_weights()


def both(work):
    assert_same([trained(backend, work) for backend in ("cpu", "gpu")])


def count_copies(driver, monkeypatch):
    """A dictionary of how many bytes go to the device and come back, from now on."""
    copied = {"there": 0, "back": 0}
    write, read = driver.write, driver.read

    def counted_write(there, here):
        copied["there"] += here.nbytes
        write(there, here)

    def counted_read(here, there):
        copied["back"] += here.nbytes
        read(here, there)

    monkeypatch.setattr(driver, "write", counted_write)
    monkeypatch.setattr(driver, "read", counted_read)
    return copied


def test_steps_are_the_cpu_s(gpu):
    schedule = fastdl.schedules.CosineDecay(0.01, 10)

    def work(model):
        step = step_of(model, optimizers.Adam(schedule))
        batches = [(X, Y), (X, Y), (X[:3], Y[:3]), (X.astype(float), Y)]
        return [float(step(x, y)) for x, y in batches * 2]

    both(work)


def test_what_a_step_returns_is_the_cpu_s(gpu):
    def work(model):
        optimizer = optimizers.SGD(0.1, momentum=0.9)
        inner = step_of(model, optimizer, compiled=False)
        fixed = fastdl.constant([1.0, 2.0])

        @fastdl.compiled_step
        def step(x, y):
            loss = inner(x, y)
            return {"loss": loss, "rows": model(x), "x": x, "fixed": fixed, "text": "text"}

        found = [step(X[:n], Y[:n]) for n in (10, 7)]
        assert found[1].pop("text") == found[0].pop("text") == "text"
        return [{name: value.numpy() for name, value in one.items()} for one in found]

    both(work)


def test_several_models_have_numbers_of_their_own(gpu):
    """Dropout of two models, two optimizers of different rates, and a loop over time."""

    def work(model):
        other = network([Dropout(0.5), Dense(6, "tanh")])
        last = network([Reshape((2, 3)), LSTM(4), Dropout(0.5), Dense(3)])
        first, second = optimizers.Adam(0.01), optimizers.SGD(0.1)
        mse = losses.MeanSquaredError()

        @fastdl.compiled_step
        def step(x, y):
            with fastdl.GradientTape(persistent=True) as tape:
                hidden = other(x, training=True)
                loss = mse(y, model(hidden, training=True)) + mse(x, hidden)
                loss = loss + mse(y, last(x, training=True))
            weights = model.trainable_variables + last.trainable_variables
            trained = (weights, other.trainable_variables)
            gradients = [tape.gradient(loss, some) for some in trained]
            for optimizer, some, own in zip((first, second), trained, gradients, strict=True):
                optimizer.apply_gradients(zip(own, some, strict=True))
            return loss

        found = [float(step(X, Y)) for _ in range(5)]
        return found, other.get_weights(), last.get_weights()

    both(work)


def test_steps_without_arrays_or_updates(gpu):
    def work(model):
        x = fastdl.constant(X)

        @fastdl.compiled_step
        def step():
            return model(x), model.layers[0].kernel * 2.0

        return [t.numpy() for _ in range(2) for t in step()]

    both(work)


def test_weights_stay_there_until_they_are_wanted(emulated, monkeypatch):
    model, twin = network().to("gpu"), network()
    step = step_of(model, optimizers.Adam(0.01))
    on_cpu = step_of(twin, optimizers.Adam(0.01))

    def steps(count):
        return sum(step(X, Y) for _ in range(count)), sum(on_cpu(X, Y) for _ in range(count))

    steps(2)
    weights = sum(w.value.nbytes for w in model.weights)
    copied = count_copies(emulated, monkeypatch)
    total = step(X, Y)
    assert copied["there"] > 3 * weights  # they had been brought home, with Adam's moments
    copied.update(there=0, back=0)
    for _ in range(3):
        total = total + step(X, Y)
    assert copied["there"] + copied["back"] < 4 * weights  # numbers and addresses
    float(sum(on_cpu(X, Y) for _ in range(4)) - total)
    for look in (
        lambda m: m.layers[0].kernel.value,
        lambda m: m(X),  # on the CPU
        lambda m: m.predict(X, verbose=0),
        lambda m: m.to("cpu").predict(X, verbose=0),
        lambda m: pickle.loads(pickle.dumps(m)).get_weights()[0],
        lambda m: np.asarray(m.layers[0].kernel * 1.0),
        lambda m: float(m.layers[0].bias.value[0]),
    ):
        assert_same(list(steps(1)))
        on_cpu(X, Y)
        step(X, Y)
        assert_same([look(twin), look(model)])
        model.to("gpu")


def test_weights_may_be_changed_between_steps(emulated):
    def work(model):
        step = step_of(model, optimizers.SGD(0.1))
        kernel = model.layers[0].kernel
        step(X, Y)
        before = kernel.numpy()
        step(X, Y)
        kernel.assign(before)
        step(X, Y)
        model.compile("sgd", "mse")
        model.fit(X, Y, epochs=2, verbose=0, shuffle=False)  # from where the steps have come
        return float(step(X, Y))

    both(work)


def test_arrays_of_the_device_are_read_where_they_are(emulated, monkeypatch):
    driver = emulated
    model = network().to("gpu")
    step = step_of(model, optimizers.SGD(0.1))
    there = [driver.empty(a.shape, a.dtype) for a in (X, Y)]
    for array, values in zip(there, (X, Y), strict=True):
        array[...] = values
    step(*there)
    uploaded = []
    upload = driver.upload
    monkeypatch.setattr(driver, "upload", lambda a: uploaded.append(type(a)) or upload(a))
    loss = step(*there)
    assert np.ndarray not in uploaded
    twin = network().to("cpu")
    on_cpu = step_of(twin, optimizers.SGD(0.1))
    on_cpu(*there)
    assert_same([float(on_cpu(X, Y)), float(loss)])


def test_where_a_step_runs(emulated):
    model, other = network().to("gpu"), network()
    optimizer = optimizers.SGD(0.1)
    step = step_of(model, optimizer)
    for backend in ("gpu", "cpu", "gpu"):
        model.to(backend)
        emulated.launched.clear()
        for _ in range(3):
            step(X, Y)
        assert bool(emulated.launched) == (backend == "gpu")
    plain = step_of(other, optimizer)
    for backend in ("cpu", "gpu", "cpu"):
        emulated.launched.clear()
        with fastdl.backend(backend):
            for _ in range(2):
                plain(X, Y)
        assert bool(emulated.launched) == (backend == "gpu")
    mixed = fastdl.compiled_step(lambda x: (model(x), other(x)))
    with pytest.raises(RuntimeError, match=r"sequential\S* on 'gpu' and sequential\S* on 'cpu'"):
        mixed(X)


def test_calls_that_compute_on_the_cpu_are_told_once(emulated, monkeypatch):
    monkeypatch.setattr(runtime, "_noted_eager_call", False)
    model = network().to("gpu")
    with pytest.warns(
        UserWarning, match=r"calls and tapes compute on the CPU; fastdl.compiled_ste"
    ):
        model(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(X)
        step_of(network().to("cpu"), optimizers.SGD(0.1), compiled=False)(X, Y)


def test_wrong_arrays_change_nothing(emulated):
    model = network().to("gpu")
    step = step_of(model, optimizers.SGD(0.1))
    step(X, Y)
    before = model.get_weights()
    with pytest.raises(ValueError, match="same number of rows"):
        step(X, Y[:3])
    with pytest.raises(ValueError, match="at least one row"):
        step(X[:0], Y[:0])
    assert all(map(np.array_equal, before, model.get_weights()))


def test_looking_from_another_thread(emulated):
    """Whoever looks while others train sees whole steps, and takes none away."""
    model, twin = network().to("gpu"), network()
    step, on_cpu = (step_of(m, optimizers.SGD(0.1)) for m in (model, twin))
    done = threading.Event()
    seen = []

    def look():
        while not done.is_set():
            seen.append(float(model.layers[3].kernel.value.sum()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(10):
            step(X, Y)
    finally:
        done.set()
        thread.join()
    for _ in range(10):
        on_cpu(X, Y)
    assert seen
    assert_same([twin.get_weights(), model.get_weights()])
