"""What Programs promise: one a fit, no Python per batch, the same bits if fused, little memory."""

import contextlib
import sys

import numpy as np
import pytest

import fastdl
from fastdl import programs
from fastdl.kernels import runner
from fastdl.layers import Activation, BatchNormalization, Dense, Dropout


def model_of(layers, optimizer="adam", loss="sparse_categorical_crossentropy", metrics=None):
    model = fastdl.Sequential(layers)
    model.compile(optimizer, loss, metrics)
    return model


def data(rows, features=12, classes=4):
    rng = np.random.default_rng(rows)
    return rng.normal(size=(rows, features)).astype(np.float32), rng.integers(0, classes, rows)


def count_python_calls(function):
    calls = 0

    def profile(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


def test_python_calls_do_not_grow_with_the_number_of_batches():
    model = model_of([Dense(8, activation="relu"), Dense(4, activation="softmax")])
    few, many = data(10), data(10_000)
    for x, y in (few, many):
        model.fit(x, y, batch_size=1, verbose=0)
    counts = [
        count_python_calls(lambda d=d: model.fit(*d, batch_size=1, verbose=0)) for d in (few, many)
    ]
    assert counts[0] == counts[1]


def test_python_calls_do_not_grow_with_the_number_of_epochs():
    model = model_of([Dense(8, activation="relu"), Dense(4, activation="softmax")])
    x, y = data(64)
    model.fit(x, y, verbose=0)
    counts = [
        count_python_calls(lambda e=e: model.fit(x, y, epochs=e, verbose=0)) for e in (2, 200)
    ]
    assert counts[0] == counts[1]


def test_one_program_serves_a_fit_with_its_short_last_batch(monkeypatch):
    made = []
    original = programs.lower
    monkeypatch.setattr(programs, "lower", lambda *a, **k: made.append(1) or original(*a, **k))
    model = model_of([Dense(8, activation="relu"), Dense(4, activation="softmax")])
    x, y = data(100)
    model.fit(x, y, batch_size=32, epochs=3, verbose=0)
    assert len(made) == 1
    model.fit(x, y, batch_size=32, epochs=3, verbose=0)
    assert len(made) == 1
    model.fit(x, y, batch_size=32, verbose=0, validation_data=(x, y))
    assert len(made) == 2
    model.layers[0].trainable = False
    model.fit(x, y, batch_size=32, verbose=0)
    assert len(made) == 3


NETWORKS = {
    "mlp": lambda: [Dense(33, activation="relu"), Dense(17, "tanh"), Dense(4, "softmax")],
    "separate activations": lambda: [
        *(Dense(33), Activation("gelu")),
        *(Dense(4), Activation("softmax")),
    ],
    "batchnorm and dropout": lambda: [
        Dense(64), BatchNormalization(), Activation("relu"), Dropout(0.3), Dense(4, "softmax")
    ],
    "dropout behind dense": lambda: [Dense(64, "relu"), Dropout(0.5), Dense(4, "softmax")],
    "regularised": lambda: [
        Dense(30, "silu", kernel_regularizer="l2"), Dense(4, "softmax", bias_regularizer="l1")
    ],
    "weights beyond the cache": lambda: [
        *(Dense(units, "relu") for units in (300, 610, 70, 2100)), Dense(4, "softmax")
    ],
}  # fmt: skip

OPTIMIZERS = {
    "adam": lambda: fastdl.optimizers.Adam(0.01),
    "sgd momentum": lambda: fastdl.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda: fastdl.optimizers.RMSprop(0.01, centered=True, momentum=0.5),
    "adagrad": lambda: fastdl.optimizers.Adagrad(0.1),
    "adamw clipnorm": lambda: fastdl.optimizers.AdamW(0.01, clipnorm=0.5),
    "global clipnorm": lambda: fastdl.optimizers.Adam(0.01, global_clipnorm=0.1),
}


def trained(network, optimizer, fuse, threads, x, y):
    fastdl.set_seed(5)
    runner.force_threads(threads > 1)
    fastdl.set_num_threads(threads)
    try:
        model = model_of(NETWORKS[network](), OPTIMIZERS[optimizer](), metrics=["accuracy"])
        model.fuse = fuse
        history = model.fit(x, y, epochs=2, batch_size=48, verbose=0)
        return repr(history.history), b"".join(w.tobytes() for w in model.get_weights())
    finally:
        runner.force_threads(False)
        fastdl.set_num_threads(None)


@pytest.mark.parametrize("network", NETWORKS)
def test_fused_and_unfused_and_any_number_of_threads_give_the_same_bits(network):
    x, y = data(100, features=48)
    want = trained(network, "adam", True, 1, x, y)
    for fuse, threads in ((False, 1), (True, 2), (True, 3), (False, 3), (True, 7)):
        assert trained(network, "adam", fuse, threads, x, y) == want, (fuse, threads)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_update_gives_the_same_bits_fused_or_in_ranges(optimizer):
    x, y = data(100, features=48)
    want = trained("mlp", optimizer, True, 1, x, y)
    for fuse, threads in ((False, 1), (False, 2), (True, 3)):
        assert trained("mlp", optimizer, fuse, threads, x, y) == want, (fuse, threads)


def ops_of(model, x, y, batch_size=32):
    model.fit(x, y, batch_size=batch_size, verbose=0)
    return programs.compiled(model, "train", batch_size).lowered


def test_what_is_fused():
    x, y = data(64, features=80)
    lowered = ops_of(model_of([Dense(16, "relu"), Dense(4, "softmax")]), x, y)
    ops = lowered.ops
    assert ["dense_forward", "relu_forward"] in ops
    assert ["dense_backward_input", "relu_backward"] in ops
    assert ops.count(["dense_backward_weight", "adam_update"]) == 1
    # The small weights are updated together: the last kernel and both biases.
    assert [n.name for n in lowered.nodes[-1]] == 3 * ["adam_update"]
    # The softmax is part of the loss, and the first layer computes no gradient of its input.
    flat = [name for op in ops for name in op]
    assert "softmax_forward" not in flat and flat.count("dense_backward_input") == 1
    model = model_of([Dense(16, "relu"), Dense(4, "softmax")])
    model.fuse = False
    assert all(len(op) == 1 for op in ops_of(model, x, y).ops)


def test_an_update_is_not_fused_where_the_whole_gradient_is_needed_first():
    x, y = data(64, features=80)
    for clip in ({"clipnorm": 1.0}, {"global_clipnorm": 1.0}):
        model = model_of([Dense(16, "relu"), Dense(4, "softmax")], fastdl.optimizers.Adam(**clip))
        ops = ops_of(model, x, y).ops
        assert ["dense_backward_weight"] in ops
        assert ["dense_backward_weight", "adam_update"] not in ops


def test_shared_weights_are_updated_once_with_the_whole_gradient():
    x, y = data(64, features=16)

    class Tied(fastdl.Model):
        def __init__(self):
            super().__init__()
            self.shared, self.last = Dense(16, "tanh"), Dense(4, "softmax")

        def call(self, x):
            return self.last(self.shared(self.shared(x)))

    model = Tied()
    model.compile("adam", "sparse_categorical_crossentropy")
    ops = ops_of(model, x, y).ops
    flat = [name for op in ops for name in op]
    assert flat.count("adam_update") <= 4 and "add" in flat


def test_memory_is_shared_by_tensors_that_do_not_live_at_the_same_time():
    x, y = data(64, features=64)
    deep = model_of([Dense(64, "relu") for _ in range(8)] + [Dense(4, "softmax")])
    training = ops_of(deep, x, y)
    assert training.arena_bytes < 0.75 * training.buffer_bytes
    deep.predict(x)
    inference = programs.compiled(deep, "predict", 256).lowered
    assert inference.arena_bytes < 0.35 * inference.buffer_bytes


@pytest.mark.skipif(not runner.has_openmp(), reason="built without OpenMP")
def test_forced_threads_all_work():
    x, y = data(512, features=256)
    model = model_of([Dense(256, "relu"), Dense(4, "softmax")])
    for threads in (1, 2, 4):
        runner.force_threads(True)
        fastdl.set_num_threads(threads)
        try:
            model.fit(x, y, batch_size=512, verbose=0)
            assert runner.last_threads() == threads
        finally:
            runner.force_threads(False)
            fastdl.set_num_threads(None)


def test_a_program_refuses_arrays_that_do_not_fit():
    Program = fastdl.kernels.program.Program
    a, b = np.zeros((4, 3), np.float32), np.zeros((4, 2), np.float32)
    totals = np.zeros(0)
    with pytest.raises(ValueError):
        Program(4, [("add", [a, a.copy(), b], {}, 3, False)], [], [], totals)
    with pytest.raises(ValueError):
        Program(5, [("add", [a, a.copy(), a.copy()], {}, 3, False)], [], [], totals)
    with pytest.raises(ValueError):
        Program(0, [], [], [], totals)
    memory = np.zeros(63, np.float32)  # which does not end where a cache line does
    for out, fits in ((memory[:8], True), (memory[-8:], False)):
        step = "relu_forward", [out.reshape(4, 2), b], {}, 2, False
        with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="cache line"):
            Program(4, [step], [], [], totals, roomy=True)
    program = Program(4, [("relu_forward", [b, b], {}, 2, False)], [a], [b], totals)
    with pytest.raises(ValueError):
        program.bind([np.zeros((9, 4), np.float32)], [np.zeros((9, 2), np.float32)])
    with pytest.raises(ValueError):
        program.bind([np.zeros((9, 3), np.float32)], [np.zeros((8, 2), np.float32)])
    with pytest.raises(RuntimeError):
        program.run(4)
    program.bind([np.zeros((9, 3), np.float32)], [np.zeros((9, 2), np.float32)])
    with pytest.raises(ValueError):
        program.run(5)
    program.run(4)


def test_a_long_run_does_not_grow_in_memory():
    resource = pytest.importorskip("resource")
    x, y = data(64)
    model = model_of([Dense(8, "relu"), Dense(4, "softmax")])
    for _ in range(50):
        model.fit(x, y, epochs=20, verbose=0)
        model.predict(x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(300):
        model.fit(x, y, epochs=20, verbose=0)
        model.predict(x)
        model.train_on_batch(x, y)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2000  # kilobytes


@pytest.mark.parametrize("units", [1, 3, 10])
def test_scratch_memory_is_enough_for_every_length_of_the_last_batch(units):
    # Few rows and outputs over a long depth are cut along the depth, many rows are not.
    x = np.random.default_rng(0).normal(size=(129, 20_000)).astype(np.float32)
    y = np.zeros((129, units), np.float32)
    model = model_of([Dense(units)], "sgd", "mean_squared_error")
    runner.force_threads(True)
    try:
        whole = model.predict(x, batch_size=129)
        for rows in (129, 128, 65, 64, 33, 17, 5, 2, 1):
            np.testing.assert_allclose(
                model.predict(x[:rows], batch_size=128), whole[:rows], atol=1e-3
            )
            history = model.fit(x[:rows], y[:rows], batch_size=128, epochs=1, verbose=0)
            assert np.isfinite(history.history["loss"]).all()
            model.set_weights([np.full_like(w, 0.01) for w in model.get_weights()])
            whole = model.predict(x, batch_size=129)
    finally:
        runner.force_threads(False)


def test_scratch_memory_is_enough_for_predictions_of_a_few_rows_after_one_of_one():
    x = np.random.default_rng(0).integers(-3, 4, (16, 3000)).astype(np.float32)
    model = fastdl.Sequential([Dense(64, kernel_initializer="ones")])
    for rows in (1, 2, 8, 16, 3, 1):
        wanted = np.repeat(x[:rows].sum(axis=1, keepdims=True), 64, axis=1)
        np.testing.assert_array_equal(model.predict(x[:rows]), wanted)


def test_a_running_program_is_nobody_elses():
    Program = fastdl.kernels.program.Program
    Course = fastdl.kernels.course.Course
    a = np.zeros((4, 3), np.float32)
    program = Program(4, [("relu_forward", [a, a], {}, 3, False)], [a], [], np.zeros(0))
    program.bind([np.zeros((9, 3), np.float32)], [])
    settings = {
        "batch_size": 4, "validation_batch": 1, "first_epoch": 0, "epochs": 2, "shuffle": True,
        "step": 0, "seed": 1,
    }  # fmt: skip
    with pytest.raises(RuntimeError, match="another thread"):
        Course(program, program, **settings).advance("end", 1.0)
    course = Course(program, None, **settings)
    assert course.advance("epoch", 1e9) == "epoch"
    program.bind([np.zeros((3, 3), np.float32)], [])
    with pytest.raises(RuntimeError, match="other rows"):
        course.advance("end", 1.0)
    program.unbind()
    with pytest.raises(RuntimeError, match="nothing is bound"):
        course.advance("end", 1.0)


def test_a_fit_that_tries_one_thread_and_two_has_the_bits_of_one():
    """Its stretches of batches are divided where the other way is looked at: rates, order and
    counters go on from there."""
    x, y = data(6400, 256)
    weights = []
    for threads in (1, 2):
        fastdl.set_num_threads(threads)
        try:
            fastdl.set_seed(3)
            rate = fastdl.schedules.ExponentialDecay(1e-2, 20, 0.9)
            model = model_of(
                [Dense(128, "relu"), Dropout(0.2), Dense(4, "softmax")],
                fastdl.optimizers.Adam(rate),
            )
            losses = model.fit(x, y, epochs=3, batch_size=32, verbose=0).history["loss"]
        finally:
            fastdl.set_num_threads(None)
        weights.append([np.array(losses), *(np.array(w.value) for w in model.weights)])
    for one, two in zip(*weights, strict=True):
        assert np.array_equal(one, two)


def test_a_deep_network_s_program_is_made_in_calls_in_proportion_to_its_layers():
    def calls(depth):
        model = model_of([Dense(4, "relu", input_shape=(12,)) for _ in range(depth)])
        return count_python_calls(lambda: programs.compiled(model, "train", 16))

    calls(1)
    assert calls(60) < 9 * calls(10)
