"""Losses as functions of tensors, and losses of one's own."""

import numpy as np
import pytest

import fastdl
from fastdl import layers, losses, ops

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 5)).astype(np.float32)
LABELS = RNG.integers(0, 4, 12)
ONE_HOT = np.eye(4, dtype=np.float32)[LABELS]
REAL = RNG.normal(size=(12, 4)).astype(np.float32)


def network(activation=None):
    fastdl.set_seed(0)
    model = fastdl.Sequential([layers.Dense(8, activation="tanh"), layers.Dense(4, activation)])
    model.build((None, 5))
    return model


PAIRS = [
    (losses.MeanSquaredError(), None, REAL),
    (losses.MeanAbsoluteError(), None, REAL),
    (losses.Huber(0.4), None, REAL),
    (losses.BinaryCrossentropy(label_smoothing=0.1), "sigmoid", ONE_HOT),
    (losses.BinaryCrossentropy(from_logits=True), None, ONE_HOT),
    (losses.CategoricalCrossentropy(), "softmax", ONE_HOT),
    (losses.CategoricalCrossentropy(), "sigmoid", ONE_HOT),
    (losses.SparseCategoricalCrossentropy(from_logits=True), None, LABELS),
    (losses.SparseCategoricalCrossentropy(label_smoothing=0.2), "softmax", LABELS),
]


@pytest.mark.parametrize(("loss", "activation", "y"), PAIRS, ids=lambda p: repr(p)[:40])
def test_a_tape_step_is_train_on_batch_to_the_bit(loss, activation, y):
    loop, trained = network(activation), network(activation)
    trained.compile(fastdl.optimizers.Adam(0.01), loss)
    optimizer = fastdl.optimizers.Adam(0.01)
    for _ in range(3):
        with fastdl.GradientTape() as tape:
            value = loss(y, loop(X, training=True))
        gradients = tape.gradient(value, loop.trainable_variables)
        optimizer.apply_gradients(zip(gradients, loop.trainable_variables, strict=True))
        assert value.shape == ()
        assert float(value) == pytest.approx(trained.train_on_batch(X, y), rel=1e-6)
    for one, other in zip(loop.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_sample_weights_are_those_of_training():
    weights = RNG.random(12).astype(np.float32)
    loop, trained = network(), network()
    trained.compile("sgd", "mse")
    with fastdl.GradientTape() as tape:
        value = losses.MeanSquaredError()(REAL, loop(X), sample_weight=weights)
    gradients = tape.gradient(value, loop.trainable_variables)
    loop.optimizer = "sgd"
    loop.optimizer.apply_gradients(zip(gradients, loop.trainable_variables, strict=True))
    got = trained.train_on_batch(X, REAL, sample_weight=weights)
    assert float(value) == pytest.approx(got, rel=1e-6)
    for one, other in zip(loop.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_factor_on_the_loss_scales_its_gradient():
    model = network("softmax")
    with fastdl.GradientTape(persistent=True) as tape:
        value = losses.SparseCategoricalCrossentropy()(LABELS, model(X))
        doubled = value * 2.0
    plain, twice = (tape.gradient(t, model.trainable_variables) for t in (value, doubled))
    for one, other in zip(plain, twice, strict=True):
        np.testing.assert_allclose(2 * one.value, other, 1e-6)


def test_targets_with_an_axis_too_many_or_too_few_fit_and_others_do_not():
    loss = losses.MeanSquaredError()
    wanted = float(loss(REAL[:, :1], X[:, :1]))
    assert float(loss(REAL[:, 0], X[:, :1])) == wanted
    sparse = losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(sparse(LABELS[:, None], REAL)) == float(sparse(LABELS, REAL))
    with pytest.raises(ValueError, match=r"mean_squared_error.*target"):
        loss(REAL, X)
    with pytest.raises(ValueError, match=r"labels.* must lie in 0 \.\.\. 3, but row 0 is 1\d"):
        sparse(LABELS + 10, REAL)


def test_the_gradient_of_watched_probabilities_is_by_them():
    p = ops.softmax(fastdl.constant(REAL))
    with fastdl.GradientTape() as tape:
        tape.watch(p)
        value = losses.CategoricalCrossentropy()(ONE_HOT, p)
    gradient = tape.gradient(value, p)
    normed = p.value / p.value.sum(1, keepdims=True)
    np.testing.assert_allclose(gradient, (1 - ONE_HOT / normed) / 12, 1e-4, 1e-6)


def test_penalties_are_added_on_the_tape():
    def make():
        fastdl.set_seed(0)
        model = fastdl.Sequential(
            [
                layers.Dense(8, "tanh", kernel_regularizer=fastdl.regularizers.L1L2(0.02, 0.03)),
                layers.Dense(4, kernel_regularizer="l2"),
            ]
        )
        model.build((None, 5))
        model.compile(fastdl.optimizers.SGD(0.1), "mse")
        return model

    loop, trained = make(), make()
    for _ in range(3):
        with fastdl.GradientTape() as tape:
            value = losses.MeanSquaredError()(REAL, loop(X, training=True))
            for penalty in loop.losses:
                value = value + penalty
        gradients = tape.gradient(value, loop.trainable_variables)
        loop.optimizer.apply_gradients(zip(gradients, loop.trainable_variables, strict=True))
        assert float(value) == pytest.approx(trained.train_on_batch(X, REAL), rel=1e-5)
    for one, other in zip(loop.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, 1e-5, 1e-6)


def pinball(y_true, y_pred):
    error = y_true - y_pred
    return ops.relu(error) * 0.9 + ops.relu(error * -1.0) * 0.1


def test_a_loss_of_ones_own_trains_alike_in_fit_and_on_a_tape(tmp_path):
    loop, trained = (fastdl.Sequential([layers.Dense(1)]) for _ in range(2))
    for model in (loop, trained):
        fastdl.set_seed(0)
        model.build((None, 5))
        model.compile(fastdl.optimizers.Adam(0.05), pinball)
    y = REAL[:, :1]
    weights = RNG.random(12).astype(np.float32)
    for _ in range(4):
        with fastdl.GradientTape() as tape:
            value = losses.get(pinball)(y, loop(X, training=True), sample_weight=weights)
        gradients = tape.gradient(value, loop.trainable_variables)
        loop.optimizer.apply_gradients(zip(gradients, loop.trainable_variables, strict=True))
        got = trained.train_on_batch(X, y, sample_weight=weights)
        assert float(value) == pytest.approx(got, rel=1e-6)
    for one, other in zip(loop.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    trained.save(tmp_path / "model")
    again = fastdl.load_model(tmp_path / "model", custom_objects={"pinball": pinball})
    assert again.train_on_batch(X, y) == trained.train_on_batch(X, y)
    with pytest.raises(ValueError, match="pinball"):
        fastdl.load_model(tmp_path / "model")


def test_losses_that_give_no_tensor_are_refused():
    model = network()
    model.compile("sgd", lambda y_true, y_pred: 3.0)
    with pytest.raises(TypeError, match="must return a tensor, got float"):
        model.fit(X, REAL, verbose=0)


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "binary_crossentropy"])
def test_one_output_without_its_axis(name):
    loss = losses.get(name)
    y, p = np.array([0.0, 1.0, 1.0]), np.array([0.25, 0.5, 0.75])
    values = {float(loss(a, b)) for a in (y, y[:, None]) for b in (p, p[:, None])}
    assert len(values) == 1
    pred = fastdl.constant(p)
    with fastdl.GradientTape() as tape:
        tape.watch(pred)
        value = loss(y, pred)
    assert tape.gradient(value, pred).shape == (3,)


def test_both_shapes_are_named():
    words = r"squared_error: targets of shape \(4, 2\) do not fit predictions of shape \(4, 1\)"
    with pytest.raises(ValueError, match=words):
        losses.get("mse")(np.ones((4, 2)), np.ones((4, 1)))
