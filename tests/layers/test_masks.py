"""Masks: what is padded changes nothing, in whichever layer, loss or metric."""

import numpy as np
import pytest

import fastdl
from fastdl import Input, Model, layers
from fastdl.layers import GRU, Dense, Masking

RNG = np.random.default_rng(0)
X, TARGETS = RNG.normal(size=(8, 4, 3)), RNG.normal(size=(8, 4, 2))


def padded(x, value=0.0):
    """Two more time steps, the first and the last."""
    return np.pad(x, [(0, 0), (1, 1)] + [(0, 0)] * (x.ndim - 2), constant_values=value)


def alone(x):
    """Two time steps' rows, which only what knows masks leaves out."""
    return layers.LayerNormalization(beta_initializer="ones")(x)


#: What gives one row for each of the sequence.
ROWS = {
    "Bidirectional": lambda x: GRU(2)(layers.Bidirectional(GRU(3, return_sequences=True))(x)),
    "TimeDistributed": lambda x: GRU(2)(layers.TimeDistributed(Dense(3))(x)),
    "Add": lambda x: GRU(2)(layers.Add()([x, Dense(3, "tanh")(x)])),
    "Concatenate": lambda x: GRU(2)(layers.Concatenate()([x, alone(x)])),
    "in time": lambda x: GRU(2)(layers.Concatenate(1)([x, alone(x)])),
    "pooling": lambda x: layers.GlobalAveragePooling1D()(alone(x)),
    "batch norm": lambda x: GRU(2)(layers.BatchNormalization()(alone(x))),
    "attention": lambda x: GRU(2)(layers.Attention()([x, x])),
    "heads": lambda x: GRU(2)(layers.MultiHeadAttention(2, 3)([alone(x), x])),
}


def network(function, steps):
    fastdl.set_seed(1)
    x = Input((steps, 3))
    model = Model(x, function(Masking()(x)))
    model.compile(fastdl.optimizers.SGD(0.1), "mse", ["mae"], weighted_metrics=["mse"])
    return model


def trained(model, x, y, weights=None):
    history = model.fit(x, y, batch_size=5, verbose=0, shuffle=False, sample_weight=weights).history
    return [*model.get_weights(), *history.values(), model.evaluate(x, y)]


@pytest.mark.parametrize("name", ROWS)
def test_padding_changes_nothing(name, float64):
    short, long = network(ROWS[name], 4), network(ROWS[name], 6)
    np.testing.assert_allclose(long.predict(padded(X)), short.predict(X), 1e-12)
    y = RNG.normal(size=(8, *short.output_shape[1:]))
    for a, b in zip(trained(long, padded(X), y), trained(short, X, y), strict=True):
        np.testing.assert_allclose(a, b, 1e-9, 1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: Dense(2)(GRU(3, return_sequences=True)(x)),
        lambda x: layers.Bidirectional(GRU(2, return_sequences=True), "sum")(x),
    ],
    ids=["recurrent", "two ways"],
)
def test_the_losses_of_masked_steps_do_not_count(function, weighted, float64):
    short, long = network(function, 4), network(function, 6)
    weights = RNG.uniform(size=(8, 4)) if weighted else None
    got = trained(
        long, padded(X), padded(TARGETS, 7.0), None if weights is None else padded(weights, 9.0)
    )
    for a, b in zip(got, trained(short, X, TARGETS, weights), strict=True):
        np.testing.assert_allclose(a, b, 1e-9, 1e-12)


def test_a_batch_that_is_masked_whole_has_no_loss(float64):
    model = network(lambda x: Dense(2)(GRU(3, return_sequences=True)(x)), 4)
    before = model.get_weights()
    history = model.fit(0 * X, TARGETS, verbose=0).history
    assert history["loss"] == [0.0]
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ROWS)
def test_on_values_masks_go_from_layer_to_layer_too(name, float64):
    model = network(ROWS[name], 6)
    x = padded(X)
    x[:4, 2] = 0.0
    np.testing.assert_allclose(model(x).numpy(), model.predict(x), 1e-12)


def test_a_loss_on_values_leaves_masked_steps_out(float64):
    long = network(lambda x: Dense(2)(GRU(3, return_sequences=True)(x)), 6)
    loss = fastdl.losses.MeanSquaredError()
    got = loss(padded(TARGETS, 5.0), long(padded(X)))
    np.testing.assert_allclose(float(got), long.evaluate(padded(X), padded(TARGETS))[0])


def test_a_sum_counts_where_any_of_its_sequences_does(float64):
    a, b = Masking()(fastdl.constant(X)), Masking()(fastdl.constant(np.where(X > 0, X, 0.0)))
    plain = fastdl.constant(X)
    assert layers.Add()([a, plain]).mask is None
    np.testing.assert_array_equal(layers.Add()([b, a]).mask.numpy(), a.mask.numpy())
    np.testing.assert_array_equal(layers.Concatenate()([b, b]).mask.numpy(), b.mask.numpy())
    both = layers.Concatenate(axis=1)([b, plain]).mask.numpy()
    np.testing.assert_array_equal(both, np.concatenate([b.mask.numpy(), np.ones((8, 4))], 1))


def test_two_ways_give_zeros_where_the_sequence_is_masked(float64):
    x = Masking()(fastdl.constant(padded(X)))
    out = layers.Bidirectional(GRU(2, return_sequences=True))(x).numpy()
    assert (out[:, [0, -1]] == 0).all() and (out[:, 1:-1] != 0).all()
    last = layers.Bidirectional(GRU(2), None)(x)
    assert all((t.numpy() != 0).all() for t in last)


def test_images_of_masked_steps_do_not_count_in_batch_norms(float64):
    images, mask = RNG.normal(size=(6, 4, 5, 5, 1)), np.ones((6, 4))
    results = []
    for steps, x, m in ((4, images, mask), (6, padded(images, 3.0), padded(mask))):
        fastdl.set_seed(2)
        inputs, given = Input((steps, 5, 5, 1)), Input((steps,))
        hidden = layers.ConvLSTM2D(2, 3, return_sequences=True)(inputs, mask=given)
        out = layers.ConvLSTM2D(1, 3)(layers.BatchNormalization()(hidden))
        model = Model([inputs, given], layers.Flatten()(out))
        model.compile("sgd", "mse")
        y = np.ones((6, *model.output_shape[1:]))
        results.append([*model.fit([x, m], y, verbose=0).history["loss"], *model.get_weights()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, 1e-9, 1e-12)
