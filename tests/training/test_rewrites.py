"""What a forward pass becomes before it is differentiated computes the same."""

import numpy as np
import pytest

import fastdl
from fastdl import kernels, programs
from fastdl.kernels import runner
from fastdl.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    MaxPooling2D,
    ReLU,
)

RNG = np.random.default_rng(4)
X = RNG.normal(size=(12, 9, 8, 2)).astype(np.float32)
Y = RNG.integers(0, 3, 12)

POOLS = {
    "side by side": {"pool_size": 2},
    "overlapping": {"pool_size": 3, "strides": 2},
    "padded": {"pool_size": (3, 2), "padding": "same"},
}


def network(pool, channels=5, activation=True, norm=BatchNormalization):
    fastdl.set_seed(1)
    gamma = fastdl.initializers.RandomNormal()
    model = fastdl.Sequential(
        [
            Input((9, 8, 2)),
            Conv2D(channels, 3, padding="same"),
            norm(gamma_initializer=gamma, beta_initializer=gamma),
            *[ReLU()] * activation,
            MaxPooling2D(**pool),
            Flatten(),
            Dense(3),
        ]
    )
    loss = fastdl.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(fastdl.optimizers.SGD(0.1), loss)
    return model


def step_on_tape(model):
    """The gradients of ops that are run one by one, as they were written."""
    with fastdl.GradientTape() as tape:
        loss = model.loss(Y, model(X, training=True))
    return tape.gradient(loss, model.trainable_weights)


def ops_of(model):
    ops = programs.compiled(model, "train", len(X)).lowered.ops
    return [name for op in ops for name in op]


@pytest.mark.parametrize("activation", [True, False])
@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_a_norm_behind_its_pool_gives_the_same_gradients(pool, activation):
    model = network(pool, activation=activation)
    before = [w.numpy() for w in model.trainable_weights]
    gradients = step_on_tape(model)
    model.set_weights(network(pool, activation=activation).get_weights())
    model.fit(X, Y, batch_size=len(X), verbose=0, shuffle=False)
    names = ops_of(model)
    assert "batchnorm_max_pool_forward" in names
    assert not {"batchnorm_forward", "max_pool_forward"} & set(names)
    for old, gradient, weight in zip(before, gradients, model.trainable_weights, strict=True):
        got = (old - weight.numpy()) / 0.1
        np.testing.assert_allclose(got, gradient, 2e-3, 2e-5, err_msg=weight.name)


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_it_gives_the_same_bits_with_any_threads_fused_or_not(pool):
    results = set()
    for fuse, threads in ((True, 1), (False, 1), (True, 2), (False, 3), (True, 7)):
        model = network(pool)
        model.fuse = fuse
        runner.force_threads(True)
        fastdl.set_num_threads(threads)
        try:
            model.fit(X, Y, batch_size=5, epochs=2, verbose=0)
        finally:
            runner.force_threads(False)
            fastdl.set_num_threads(None)
        results.add(b"".join(w.tobytes() for w in model.get_weights()))
    assert len(results) == 1


def test_a_norm_that_something_else_reads_stays_before_the_pool():
    x = Input((9, 8, 2))
    normal = BatchNormalization()(Conv2D(4, 3)(x))
    both = fastdl.layers.Concatenate()([Flatten()(normal), Flatten()(MaxPooling2D(2)(normal))])
    model = fastdl.Model(x, Dense(3, "softmax")(both))
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(X, Y, batch_size=len(X), verbose=0)
    names = ops_of(model)
    assert "batchnorm_forward" in names and "max_pool_forward" in names


def test_a_convolution_forms_the_statistics_of_its_channels_alone():
    x = Input((9, 8, 2))
    first, second, third = (Conv2D(4, 3)(x) for _ in range(3))
    normal = [
        Flatten()(BatchNormalization()(first)),
        BatchNormalization()(Flatten()(second)),  # of each pixel's channels
        Flatten()(BatchNormalization()(ReLU()(third))),  # of what the relu makes
    ]
    model = fastdl.Model(x, Dense(3, "softmax")(fastdl.layers.Concatenate()(normal)))
    model.compile(fastdl.optimizers.SGD(0.1), fastdl.losses.SparseCategoricalCrossentropy())
    before = [w.numpy() for w in model.weights]
    gradients = step_on_tape(model)
    running = [w.numpy() for w in model.non_trainable_weights]
    model.set_weights(before)
    weights = [w.numpy() for w in model.trainable_weights]
    model.fit(X, Y, batch_size=len(X), verbose=0, shuffle=False)
    names = ops_of(model)
    assert names.count("conv2d_statistics_forward") == 1
    assert names.count("batchnorm_statistics") == 2
    for old, gradient, weight in zip(weights, gradients, model.trainable_weights, strict=True):
        got = (old - weight.numpy()) / 0.1
        np.testing.assert_allclose(got, gradient, 2e-3, 2e-5, err_msg=weight.name)
    for old, weight in zip(running, model.non_trainable_weights, strict=True):
        np.testing.assert_allclose(weight.numpy(), old, 1e-5, 1e-6, err_msg=weight.name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [3, 16, 33, 600])
def test_what_is_normalised_behind_the_pool_has_the_bits_of_before(channels, dtype):
    rng = np.random.default_rng(channels)
    x = rng.normal(3, 2, size=(2, 7, 6, channels)).astype(dtype)
    gamma, beta = rng.normal(size=(2, channels)).astype(dtype)
    gamma[:2] = 0.0, -0.0
    window = {"pool_height": 3, "pool_width": 2, "stride_height": 2, "stride_width": 2}
    mean, variance = kernels.batchnorm_statistics(x)
    for given in ({"gamma": gamma, "beta": beta}, {"gamma": gamma}, {}):
        normal = kernels.batchnorm_forward(x, mean, variance, **given)
        wanted, _ = kernels.max_pool_forward(normal, **window)
        out, picked, index = kernels.batchnorm_max_pool_forward(
            x, mean, variance, **given, **window
        )
        np.testing.assert_array_equal(out, wanted)
        assert (index[..., :2] == 0).all() or not given  # of equal elements the first
        again = kernels.batchnorm_forward(picked, mean, variance, **given)
        np.testing.assert_array_equal(again, out)


@pytest.mark.parametrize("flat", [False, True], ids=["relu, dropout", "relu, flat, dropout"])
def test_a_mask_behind_a_relu_is_not_drawn_again(flat, monkeypatch):
    x = np.where(RNG.random(X.shape) < 0.5, X, 0).astype(np.float32)
    y = RNG.normal(size=(len(X), 3)).astype(np.float32)

    def fitted():
        fastdl.set_seed(3)
        parts = [Input((9, 8, 2)), Conv2D(3, 3), ReLU(), *[Flatten()] * flat, Dropout(0.3)]
        model = fastdl.Sequential([*parts, Flatten(), Dense(8), Dense(3), ReLU(), Dropout(0.5)])
        model.compile("sgd", "mean_squared_error")
        model.fit(x, y, batch_size=len(x), epochs=3, shuffle=False, verbose=0)
        return model, ops_of(model).count("dropout_backward")

    model, drawn = fitted()
    monkeypatch.setattr(programs, "drawn_once", lambda forward, backward: backward)
    plain, drawn_without = fitted()
    assert (drawn, drawn_without) == (int(flat), 2)
    for one, other in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
