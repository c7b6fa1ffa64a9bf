"""What layers do in training and afterwards; shared layers, models as layers, regularizers."""

import numpy as np
import pytest

import fastdl
from fastdl import Input, Model, Sequential, layers


@pytest.fixture
def float64():
    fastdl.set_floatx("float64")
    yield
    fastdl.set_floatx("float32")


def still(model, loss="mse"):
    """Compiled so that training changes statistics only."""
    model.compile(fastdl.optimizers.SGD(0.0), loss)
    return model


class Seen(layers.Layer):
    """Hands x on, times a kernel of ones, whose gradient then tells what x was."""

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", (input_shape[-1], 1), "ones")

    def call(self, x):
        return fastdl.ops.dense(x, self.kernel)


def seen(model, x):
    """What the layer in front of `Seen` gave in one training step: the mean of its rows."""
    kernel = model.layers[-1].kernel
    kernel.assign(np.ones(kernel.shape))
    zero = np.zeros((len(x), 1))
    # The gradient of mean absolute error by the kernel is mean(sign(out) * x).
    if model.loss is None:
        model.compile(fastdl.optimizers.SGD(1.0), "mae")
    model.train_on_batch(x, zero - 1e6)
    return 1 - kernel.value[:, 0]


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(rate, float64):
    model = Sequential([layers.Dropout(rate, input_shape=(2000,)), Seen()])
    one = seen(model, np.ones((1, 2000)))
    assert set(np.round(one, 9)) == {0.0, round(1 / (1 - rate), 9)}
    assert np.mean(one == 0) == pytest.approx(rate, abs=0.05)
    many = seen(model, np.ones((500, 2000)))
    assert many.mean() == pytest.approx(1.0, abs=0.01)
    np.testing.assert_array_equal(
        model.predict(np.ones((2, 2000))), model.predict(np.ones((2, 2000)))
    )


def test_masks_change_from_step_to_step_and_from_layer_to_layer(float64):
    model = Sequential([layers.Dropout(0.5, input_shape=(200,)), Seen()])
    assert not np.array_equal(seen(model, np.ones((1, 200))), seen(model, np.ones((1, 200))))
    x = Input((200,))
    both = layers.Add()([layers.Dropout(0.5)(x), layers.Dropout(0.5)(x)])
    assert set(np.round(seen(Model(x, Seen()(both)), np.ones((1, 200))), 9)) == {0.0, 2.0, 4.0}


def test_dropout_of_a_functional_model_is_there(float64):
    x = Input((50,))
    model = Model(x, Seen()(layers.Dropout(0.5)(x)))
    assert "Dropout" in [type(layer).__name__ for layer in model.layers]
    assert 0 in seen(model, np.ones((1, 50)))


def test_a_changed_rate_takes_effect(float64):
    model = Sequential([layers.Dropout(0.5, input_shape=(100,)), Seen()])
    assert 0 in seen(model, np.ones((1, 100)))
    model.layers[0].rate = 0.0
    np.testing.assert_allclose(seen(model, np.ones((1, 100))), 1)


def test_gaussian_noise(float64):
    model = Sequential([layers.GaussianNoise(0.3, input_shape=(5000,)), Seen()])
    noise = seen(model, np.zeros((1, 5000)))
    assert noise.mean() == pytest.approx(0, abs=0.02) and noise.std() == pytest.approx(
        0.3, abs=0.02
    )
    model = Sequential([layers.GaussianNoise(0.3, input_shape=(3,))])
    np.testing.assert_array_equal(model.predict(np.ones((2, 3))), np.ones((2, 3)))


@pytest.mark.parametrize("shape", [(9, 3), (4, 5, 3)])
@pytest.mark.parametrize("convention", ["keras", "torch"])
def test_running_statistics(convention, shape, float64):
    x = np.random.default_rng(0).normal(2.0, 3.0, shape)
    norm = layers.BatchNormalization(convention=convention)
    model = still(Sequential([norm]))
    model.build((None, *shape[1:]))
    mean, variance = np.zeros(3), np.ones(3)
    rows = x.reshape(-1, 3)
    momentum = {"keras": 0.99, "torch": 0.9}[convention]
    for _ in range(3):
        model.train_on_batch(x, x)
        mean = momentum * mean + (1 - momentum) * rows.mean(0)
        batch = rows.var(0, ddof=convention == "torch")
        variance = momentum * variance + (1 - momentum) * batch
        np.testing.assert_allclose(norm.moving_mean.value, mean, rtol=1e-12)
        np.testing.assert_allclose(norm.moving_variance.value, variance, rtol=1e-12)
    epsilon = {"keras": 1e-3, "torch": 1e-5}[convention]
    np.testing.assert_allclose(
        model.predict(x), (x - mean) / np.sqrt(variance + epsilon), rtol=1e-9
    )
    before = norm.get_weights()
    model.evaluate(x, x)
    for a, b in zip(before, norm.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_normalises_by_the_batch(float64):
    x = np.random.default_rng(1).normal(5.0, 2.0, (64, 2))
    model = Sequential([layers.BatchNormalization(), layers.Dense(1, "tanh")])
    model.build((None, 2))
    model.compile(fastdl.optimizers.SGD(0.0), "mse")
    kernel, bias = (w.value for w in model.layers[1].weights)
    normal = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3)
    want = np.mean(np.tanh(normal @ kernel + bias) ** 2)
    assert model.train_on_batch(x, np.zeros(64)) == pytest.approx(want, rel=1e-12)


def test_frozen_batchnorm_runs_in_inference_mode(float64):
    x = np.random.default_rng(1).normal(5.0, 2.0, (64, 2))
    norm = layers.BatchNormalization(trainable=False)
    model = still(Sequential([norm]))
    model.build((None, 2))
    loss = model.train_on_batch(x, np.zeros((64, 2)))
    assert loss == pytest.approx(np.mean(x**2 / 1.001), rel=1e-12)
    np.testing.assert_array_equal(norm.moving_mean.value, 0)
    norm.trainable = True
    model.train_on_batch(x, np.zeros((64, 2)))
    assert (norm.moving_mean.value != 0).all()


def test_freezing_a_model_freezes_the_layers_inside(float64):
    x = np.random.default_rng(1).normal(5.0, 2.0, (64, 2))
    inner = Sequential([layers.Dense(3), layers.BatchNormalization()])
    model = Sequential([inner, layers.Dense(1)])
    model.build((None, 2))
    model.compile("sgd", "mse")
    inner.trainable = False
    assert len(model.trainable_weights) == 2 and len(model.weights) == 8
    before = inner.get_weights()
    model.fit(x, x[:, 0], verbose=0)
    for a, b in zip(before, inner.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    again = Sequential.from_config(model.get_config())
    assert len(again.trainable_weights) == 2
    inner.trainable = True
    assert inner.layers[1].trainable


def test_the_order_of_weights_does_not_depend_on_trainable():
    model = Sequential([layers.Dense(3), layers.BatchNormalization(), layers.Dense(1)])
    model.build((None, 2))
    names = [w.name for w in model.weights]
    model.layers[0].trainable = False
    assert [w.name for w in model.weights] == names
    assert [n.split("/")[1] for n in names] == [
        *("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance", "kernel", "bias")
    ]


def test_dense_over_time_equals_dense_on_each_step(float64):
    x = np.random.default_rng(2).normal(size=(8, 5, 3))
    y = np.random.default_rng(3).normal(size=(8, 5, 2))
    timed = Sequential([layers.Dense(4, "tanh", input_shape=(5, 3)), layers.Dense(2)])
    flat = Sequential([layers.Dense(4, "tanh", input_shape=(3,)), layers.Dense(2)])
    flat.set_weights(timed.get_weights())
    for model, data in ((timed, (x, y)), (flat, (x.reshape(-1, 3), y.reshape(-1, 2)))):
        model.compile("adam", "mse", ["mae"])
        model.fit(*data, batch_size=len(data[0]), epochs=3, verbose=0, shuffle=False)
    for a, b in zip(timed.get_weights(), flat.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(
        timed.evaluate(x, y), flat.evaluate(x.reshape(-1, 3), y.reshape(-1, 2))
    )
    np.testing.assert_allclose(timed.predict(x).reshape(-1, 2), flat.predict(x.reshape(-1, 3)))


def test_labels_over_time(float64):
    x = np.random.default_rng(2).normal(size=(8, 5, 3))
    y = np.random.default_rng(3).integers(0, 4, (8, 5))
    model = Sequential([layers.Dense(4, "softmax", input_shape=(5, 3))])
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    p = model.predict(x)
    loss, accuracy = model.evaluate(x, y)
    assert loss == pytest.approx(-np.log(np.take_along_axis(p, y[..., None], 2)).mean())
    assert accuracy == pytest.approx(np.mean(p.argmax(-1) == y))
    y[3, 2] = 4
    with pytest.raises(ValueError, match="row 3 has 4"):
        model.fit(x, y, verbose=0)


def test_regularizers_are_in_the_loss_and_in_the_gradient(float64):
    x = np.random.default_rng(4).normal(size=(6, 3))
    layer = layers.Dense(
        2,
        kernel_regularizer=fastdl.regularizers.L1L2(0.1, 0.2),
        bias_regularizer="l2",
        bias_initializer="ones",
    )
    model = Sequential([layer])
    model.build((None, 3))
    model.compile(fastdl.optimizers.SGD(0.5), "mse")
    w, b = layer.kernel.numpy(), layer.bias.numpy()
    y = x @ w + b  # no error: what is left is the penalty
    penalty = 0.1 * np.abs(w).sum() + 0.2 * (w**2).sum() + 0.01 * (b**2).sum()
    assert model.evaluate(x, y) == pytest.approx(penalty, rel=1e-12)
    assert model.train_on_batch(x, y) == pytest.approx(penalty, rel=1e-12)
    np.testing.assert_allclose(layer.kernel.value, w - 0.5 * (0.1 * np.sign(w) + 0.4 * w))
    np.testing.assert_allclose(layer.bias.value, b - 0.5 * 0.02 * b)
    layer.trainable = False
    layer.kernel.assign(w)
    assert model.evaluate(x, x @ w + layer.bias.value) == pytest.approx(0, abs=1e-20)


def test_a_shared_layer_has_one_set_of_weights(float64):
    a, b = Input((3,)), Input((3,))
    shared = layers.Dense(2, "tanh")
    model = Model([a, b], layers.Dense(1)(layers.Concatenate()([shared(a), shared(b)])))
    assert len(model.weights) == 4
    x = list(np.random.default_rng(5).normal(size=(2, 6, 3)))
    model.compile("adam", "mse")
    assert fastdl.gradient_check(model, x, np.ones(6)) <= 1
    again = Model.from_config(model.get_config())
    assert len(again.weights) == 4
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_models_are_layers(float64):
    inner = Sequential([layers.Dense(4, "relu"), layers.Dropout(0.5), layers.Dense(3)])
    x = Input((5,))
    y = inner(x)
    outer = Model(x, layers.Dense(1)(layers.Add()([y, inner(layers.Dense(5)(x))])))
    assert len(outer.weights) == 4 + 2 + 2
    data = np.random.default_rng(6).normal(size=(7, 5))
    np.testing.assert_allclose(Model(x, y).predict(data), inner.predict(data))
    outer.compile("adam", "mse")
    assert fastdl.gradient_check(outer, data, np.ones(7)) <= 1
    outer.fit(data, np.ones(7), verbose=0, epochs=2)  # and the inner model has changed with it
    np.testing.assert_allclose(Model(x, y).predict(data), inner.predict(data))
    again = Model.from_config(outer.get_config())
    again.set_weights(outer.get_weights())
    np.testing.assert_array_equal(again.predict(data), outer.predict(data))


def test_a_functional_model_may_be_a_thousand_layers_deep():
    x = y = Input((2,))
    for _ in range(1000):
        y = layers.Activation("relu")(y)
    model = Model(x, y * 2.0)
    np.testing.assert_array_equal(model.predict([[1, -1]]), [[2, 0]])
    again = Model.from_config(model.get_config())
    np.testing.assert_array_equal(again.predict([[1, -1]]), [[2, 0]])


def test_ops_outside_of_layers_are_part_of_a_model_and_of_its_configuration(float64):
    x, z = Input((4,)), Input((4,))
    dense = layers.Dense(4)
    y = fastdl.ops.reshape(dense(x) * z - x, (None, 2, 2))
    tied = fastdl.ops.dense(fastdl.ops.relu(z), dense.kernel)
    model = Model([x, z], [y, tied])
    data = list(np.random.default_rng(7).normal(size=(2, 3, 4)))
    w, b = dense.kernel.value, dense.bias.value
    want = ((data[0] @ w + b) * data[1] - data[0]).reshape(3, 2, 2)
    np.testing.assert_allclose(model.predict(data)[0], want)
    np.testing.assert_allclose(model.predict(data)[1], np.maximum(data[1], 0) @ w)
    again = Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict(data)[0], model.predict(data)[0])
    np.testing.assert_array_equal(again.predict(data)[1], model.predict(data)[1])
