"""fit against a loop written by hand in float64 NumPy, and what fit promises about its data."""

import numpy as np
import pytest

import fastdl
from fastdl.data import hold_out, labels_of
from fastdl.kernels.course import epoch_order
from fastdl.layers import Dense


def numpy_fit(weights, x, y, orders, batch, learning_rate=1e-3):
    """Dense(relu), Dense(softmax), sparse cross-entropy, Adam: the textbook, batch by batch."""
    w1, b1, w2, b2 = (w.astype(np.float64) for w in weights)
    params = [w1, b1, w2, b2]
    m = [np.zeros_like(p) for p in params]
    v = [np.zeros_like(p) for p in params]
    losses, step = [], 0
    for order in orders:
        total = 0.0
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            xb, yb, n = x[rows].astype(np.float64), y[rows], len(rows)
            h = np.maximum(xb @ params[0] + params[1], 0)
            z = h @ params[2] + params[3]
            p = np.exp(z - z.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            total -= np.log(p[np.arange(n), yb]).sum()
            dz = p.copy()
            dz[np.arange(n), yb] -= 1
            dz /= n
            dh = (dz @ params[2].T) * (h > 0)
            grads = [xb.T @ dh, dh.sum(0), h.T @ dz, dz.sum(0)]
            step += 1
            alpha = learning_rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            for i, g in enumerate(grads):
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g * g
                params[i] = params[i] - alpha * m[i] / (np.sqrt(v[i]) + 1e-7)
        losses.append(total / len(x))
    return params, losses


@pytest.fixture
def blobs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(70, 9))
    return x, (x @ rng.normal(size=(9, 4))).argmax(1)


def network(**kwargs):
    return fastdl.Sequential(
        [Dense(13, activation="relu"), Dense(4, activation="softmax")], **kwargs
    )


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("floatx", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
def test_fit_equals_a_loop_in_numpy(blobs, floatx, tolerance, shuffle):
    x, y = blobs
    fastdl.set_floatx(floatx)
    try:
        model = network()
        model.build((None, 9))
    finally:
        fastdl.set_floatx("float32")
    model.compile("adam", "sparse_categorical_crossentropy")
    before = [
        model.layers[0].kernel,
        model.layers[0].bias,
        model.layers[1].kernel,
        model.layers[1].bias,
    ]
    before = [w.numpy() for w in before]
    seed = (model.seed + 0x9E3779B97F4A7C15) & (2**62 - 1)
    history = model.fit(x, y, epochs=3, batch_size=16, verbose=0, shuffle=shuffle)
    orders = [epoch_order(70, seed, e) if shuffle else np.arange(70) for e in range(3)]
    params, losses = numpy_fit(before, x, y, orders, 16)
    after = [
        model.layers[0].kernel,
        model.layers[0].bias,
        model.layers[1].kernel,
        model.layers[1].bias,
    ]
    for want, got in zip(params, after, strict=True):
        np.testing.assert_allclose(got.numpy(), want, atol=tolerance, rtol=tolerance)
    np.testing.assert_allclose(history.history["loss"], losses, rtol=10 * tolerance)


def test_each_epoch_takes_every_row_once_in_a_new_order():
    orders = [epoch_order(1000, 7, e) for e in range(3)]
    for order in orders:
        assert sorted(order) == list(range(1000))
    assert not np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[2], epoch_order(1000, 7, 2))
    # Every row is equally likely in every place: first places over many epochs.
    first = [epoch_order(10, 3, e)[0] for e in range(2000)]
    assert np.bincount(first, minlength=10).min() > 140


def test_integer_images_memory_maps_and_lists_give_the_same_bits_as_floats(tmp_path, blobs):
    _, y = blobs
    pixels = np.random.default_rng(1).integers(0, 256, (70, 9), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    forms = [
        pixels.astype(np.float32), pixels, mapped, pixels.tolist(), pixels.astype(np.float64),
        np.asfortranarray(pixels), pixels.astype(">i4"), np.repeat(pixels, 2, axis=0)[::2],
        pixels[::-1][::-1],
    ]  # fmt: skip
    results = set()
    for form in forms:
        fastdl.set_seed(4)
        model = network()
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(form, y, epochs=2, verbose=0)
        results.add(b"".join(w.tobytes() for w in model.get_weights()))
    assert len(results) == 1


def test_last_short_batch_counts_by_its_rows(blobs):
    x, y = blobs
    model = network()
    model.compile(fastdl.optimizers.SGD(0.0), "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(x, y, epochs=1, batch_size=32, verbose=0)  # 32 + 32 + 6 rows
    loss, accuracy = model.evaluate(x, y)
    assert history.history["loss"][0] == pytest.approx(loss, rel=1e-6)
    assert history.history["accuracy"][0] == pytest.approx(accuracy)


def test_validation_is_what_evaluate_says(blobs):
    x, y = blobs
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(x[:50], y[:50], epochs=2, verbose=0, validation_data=(x[50:], y[50:]))
    loss, accuracy = model.evaluate(x[50:], y[50:])
    assert history.history["val_loss"][-1] == loss
    assert history.history["val_accuracy"][-1] == accuracy


def test_validation_split_holds_out_the_last_rows_and_says_so(blobs, capsys):
    x, y = blobs
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(x, y, epochs=1, verbose=2, validation_split=0.2)
    assert history.history["val_loss"][-1] == model.evaluate(x[56:], y[56:])
    assert "held out the last 14 rows" in capsys.readouterr().out


def test_stratified_split_holds_out_every_label():
    x, y = np.zeros((100, 9)), np.repeat([0, 1, 2, 3], 25)
    first, last = hold_out(100, 0.2, y)
    assert np.bincount(y[last]).tolist() == [5, 5, 5, 5]
    assert sorted([*first, *last]) == list(range(100))
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, verbose=0, validation_split=0.2, stratify=True)


def test_labels_of_one_hot_rows_are_the_places_of_the_ones():
    labels = np.array([2, 0, 1, 2])
    np.testing.assert_array_equal(labels_of(np.eye(3)[labels]), labels)
    np.testing.assert_array_equal(labels_of(labels[:, None]), labels)


def test_a_stratified_split_wants_labels():
    x = np.zeros((20, 9))
    for y in (np.linspace(0.1, 1, 20), np.random.default_rng(0).random((20, 4))):
        model = fastdl.Sequential([fastdl.layers.Dense(y.reshape(20, -1).shape[1])])
        model.compile("adam", "mse")
        with pytest.raises(ValueError, match=r"stratify=True wants labels.*but row 0 "):
            model.fit(x, y, verbose=0, validation_split=0.2, stratify=True)


def test_sample_and_class_weights(blobs):
    x, y = blobs
    weights = np.where(y == 1, 3.0, 1.0)
    runs = []
    for arguments in ({"sample_weight": weights}, {"class_weight": {1: 3.0}}):
        fastdl.set_seed(1)
        model = network()
        model.compile("sgd", "sparse_categorical_crossentropy")
        runs.append((model.fit(x, y, epochs=2, verbose=0, **arguments), model.get_weights()))
    assert runs[0][0].history == runs[1][0].history
    for a, b in zip(runs[0][1], runs[1][1], strict=True):
        np.testing.assert_array_equal(a, b)
    # The weighted sum is divided by the number of rows.
    model.compile(fastdl.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    each = [model.evaluate(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
    want = np.sum(weights * each) / len(x)
    assert model.evaluate(x, y, sample_weight=weights) == pytest.approx(want, rel=1e-5)


def test_set_seed_makes_everything_repeatable(blobs):
    x, y = blobs
    results = []
    for _ in range(2):
        fastdl.set_seed(12)
        model = fastdl.Sequential(
            [Dense(8, activation="relu"), fastdl.layers.Dropout(0.5), Dense(4, "softmax")]
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        results.append((model.fit(x, y, epochs=3, verbose=0).history, model.predict(x)))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_loss_that_is_not_finite_is_reported(blobs):
    x, y = blobs
    x = x.copy()
    x[3, 2] = np.nan
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.warns(RuntimeWarning, match="loss became nan in epoch 1"):
        history = model.fit(x, y, epochs=2, verbose=0)
    assert np.isnan(history.history["loss"]).all()


def test_callbacks_are_called_in_order_and_may_stop(blobs):
    x, y = blobs
    seen = []

    class Listener(fastdl.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append("begin")

        def on_epoch_begin(self, epoch, logs=None):
            seen.append(f"epoch {epoch}")

        def on_train_batch_end(self, batch, logs=None):
            seen.append(f"batch {batch}")
            assert np.isfinite(logs["loss"])

        def on_epoch_end(self, epoch, logs=None):
            seen.append(f"end {epoch}")
            assert "val_loss" in logs
            self.model.stop_training = epoch == 1

        def on_train_end(self, logs=None):
            seen.append("done")

    model = network()
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(
        x, y, epochs=5, batch_size=40, verbose=0, callbacks=[Listener()], validation_split=0.2
    )
    once = ["batch 0", "batch 1"]
    assert seen == ["begin", "epoch 0", *once, "end 0", "epoch 1", *once, "end 1", "done"]
    assert history.epoch == [0, 1]
    assert model.optimizer.iterations == 4


def test_batch_callbacks_do_not_change_the_result(blobs):
    x, y = blobs

    class Listener(fastdl.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            pass

    results = []
    for callbacks in ([], [Listener()]):
        fastdl.set_seed(2)
        model = network()
        model.compile("adam", "sparse_categorical_crossentropy")
        history = model.fit(x, y, epochs=3, verbose=0, callbacks=callbacks)
        results.append((history.history, b"".join(w.tobytes() for w in model.get_weights())))
    assert results[0] == results[1]


def test_learning_rate_changed_by_a_callback_takes_effect(blobs):
    x, y = blobs

    class Freeze(fastdl.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.0 if epoch else 0.1

    model = network()
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=1, verbose=0, callbacks=Freeze())
    before = model.get_weights()
    model.fit(x, y, epochs=3, initial_epoch=1, verbose=0, callbacks=Freeze())
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_train_on_batch_makes_the_steps_of_fit(blobs):
    x, y = blobs
    models = []
    for _ in range(2):
        fastdl.set_seed(9)
        model = network()
        model.build((None, 9))
        model.compile("adam", "sparse_categorical_crossentropy")
        models.append(model)
    models[0].fit(x[:64], y[:64], batch_size=32, epochs=2, shuffle=False, verbose=0)
    for _ in range(2):
        for start in (0, 32):
            loss = models[1].train_on_batch(x[start : start + 32], y[start : start + 32])
    assert np.isfinite(loss)
    for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_batch_of_one_row_trains_through_batchnorm(blobs):
    x, y = blobs
    model = fastdl.Sequential(
        [Dense(8), fastdl.layers.BatchNormalization(), Dense(4, activation="softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(x[:33], y[:33], batch_size=32, epochs=3, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_frozen_layers_do_not_change_and_trainable_is_read_at_every_fit(blobs):
    x, y = blobs
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, verbose=0)
    first, second = model.layers
    first.trainable = False
    before = first.get_weights(), second.get_weights()
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(before[0][0], first.get_weights()[0])
    assert not np.array_equal(before[1][0], second.get_weights()[0])
    first.trainable = True
    model.fit(x, y, verbose=0)
    assert not np.array_equal(before[0][0], first.get_weights()[0])


def test_concurrent_fits_of_one_model_are_refused(blobs):
    x, y = blobs

    class Again(fastdl.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.fit(x, y, verbose=0)

    model = network()
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(RuntimeError, match="already being trained"):
        model.fit(x, y, verbose=0, callbacks=Again())
    model.fit(x, y, verbose=0)  # and it is free again


def test_interrupt_stops_within_200_ms_and_leaves_a_model_that_trains_on():
    import _thread
    import threading
    import time

    x, y = np.random.default_rng(0).normal(size=(2000, 64)), np.zeros(2000)
    model = fastdl.Sequential([Dense(256, activation="relu"), Dense(1)])
    model.compile("adam", "mean_squared_error")
    model.fit(x, y, verbose=0)
    pressed = []

    def press():
        pressed.append(time.perf_counter())
        _thread.interrupt_main()

    timer = threading.Timer(0.3, press)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=1_000_000, verbose=0)
    late = time.perf_counter() - pressed[0]
    assert late < 2.0  # 200 ms on a machine of one's own
    assert model.optimizer.iterations > 0
    model.fit(x, y, epochs=1, verbose=0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda m: m.fit([[1.0]], [1.0], epoch=3),
            r"Sequential\.fit: no argument 'epoch' \(.*'epochs'",
        ),
        (
            lambda m: m.compile("sgd", "mse", metric=[]),
            r"compile: no argument 'metric' \(.*'metrics'",
        ),
        (lambda m: fastdl.callbacks.EarlyStopping(patiance=1), r"EarlyStopping: .*'patience'"),
        (lambda m: fastdl.schedules.CosineDecay(1e-3, 9, alfa=1), r"CosineDecay: .*'alpha'"),
        (lambda m: fastdl.metrics.F1Score(avrage=None), r"F1Score: .*'average'"),
        (lambda m: fastdl.losses.Huber(delt=1), r"Huber: .*'delta'"),
        (lambda m: fastdl.initializers.RandomNormal(std=1), r"RandomNormal: no argument 'std'"),
        (lambda m: fastdl.regularizers.L2(l3=1), r"L2: no argument 'l3'"),
        (lambda m: m.fit(lambda: 1, verbose=0), "y must be given: x is function; call it"),
        (lambda m: m.fit([[1, 2], [3]], [0, 1], verbose=0), "x is not an array"),
        (lambda m: m.fit([[1, None]], [1.0], verbose=0), "real numbers, got objects, .* None"),
        (lambda m: m.fit([[1.0]], [1.0], validation_data=iter([])), "got batches"),
    ],
)
def test_wrong_arguments_say_what_was_meant(call, words):
    model = fastdl.Sequential([fastdl.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises((TypeError, ValueError), match=words):
        call(model)


def test_labels_for_a_loss_of_one_hot_targets_are_told_of_the_other():
    model = fastdl.Sequential([fastdl.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy")
    words = r"\(rows, 3\), got \(2,\): for labels use the loss 'sparse_categorical_crossentropy'"
    with pytest.raises(ValueError, match=words):
        model.fit(np.ones((2, 4)), [0, 1], verbose=0)
