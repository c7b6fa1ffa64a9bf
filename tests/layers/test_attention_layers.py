"""Embedding, PositionalEncoding, Attention, MultiHeadAttention, Permute."""

import numpy as np
import pytest

import fastdl
from fastdl import Input, Model, Sequential, layers, ops

RNG = np.random.default_rng(0)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_embedding_looks_rows_up():
    layer = layers.Embedding(7, 3)
    model = Sequential([layer])
    labels = np.array([[0, 6, 2, 2]])
    for kind in (np.int64, np.int32, np.uint8, np.float32):
        np.testing.assert_array_equal(
            model.predict(labels.astype(kind)), layer.embeddings.value[labels]
        )
    np.testing.assert_array_equal(layer(labels), layer.embeddings.value[labels])


@pytest.mark.parametrize("bad", [7, -1, 0.5])
def test_embedding_refuses_what_is_out_of_range(bad):
    model = Sequential([layers.Embedding(7, 3), layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.zeros((5, 4))
    model.predict(x)
    before = model.get_weights()
    x[3, 1] = bad
    message = f"whole numbers from 0 to 6, but row 3 has {bad}"
    for call in (lambda: model.predict(x), lambda: model.predict(x[3:4]),
                 lambda: model.fit(x, np.zeros(5), verbose=0),
                 lambda: model.evaluate(x, np.zeros(5), verbose=0)):  # fmt: skip
        with pytest.raises(ValueError, match=message.replace("row 3", "row [03]")):
            call()
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_labels_must_come_from_an_input():
    with pytest.raises(TypeError, match=r"embedding.*whole numbers from an input"):
        layers.Embedding(7, 3)(layers.Dense(2)(Input((2,))))


def test_embedding_learns_and_is_saved(tmp_path):
    x = RNG.integers(0, 9, (200, 6))
    y = (x[:, 0] + x[:, 5] > 8).astype(int)
    model = Sequential([layers.Embedding(9, 4), layers.Flatten(), layers.Dense(2, "softmax")])
    optimizer = fastdl.optimizers.Adam(0.02)
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(x, y, epochs=60, verbose=0)
    assert history.history["accuracy"][-1] > 0.95
    model.save(tmp_path / "m.fastdl")
    loaded = fastdl.load_model(tmp_path / "m.fastdl")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    with pytest.raises(ValueError, match="whole numbers from 0 to 8"):
        loaded.predict(x + 1)


def test_positional_encoding():
    layer = layers.PositionalEncoding()
    pattern = layer.encoding(6, 4)
    np.testing.assert_allclose(pattern[:, 0], np.sin(np.arange(6)))
    np.testing.assert_allclose(pattern[:, 1], np.cos(np.arange(6)))
    np.testing.assert_allclose(pattern[:, 3], np.cos(np.arange(6) / 100))
    x = RNG.normal(size=(2, 6, 4)).astype(np.float32)
    got = Sequential([layer]).predict(x)
    np.testing.assert_allclose(got, x + pattern, 1e-6, 1e-6)


def test_permute():
    x = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
    got = Sequential([layers.Permute((3, 1, 2))]).predict(x)
    np.testing.assert_array_equal(got, x.transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match="1 to n"):
        layers.Permute((0, 1))


def test_attention_is_the_formula():
    q, v, k = (RNG.normal(size=s).astype(np.float32) for s in ((2, 5, 4), (2, 7, 3), (2, 7, 4)))
    inputs = [Input(x.shape[1:]) for x in (q, v, k)]
    model = Model(inputs, layers.Attention()(inputs))
    wanted = softmax(q @ k.swapaxes(1, 2)) @ v
    np.testing.assert_allclose(model.predict([q, v, k]), wanted, 1e-5, 1e-6)


def test_multi_head_attention_is_the_formula():
    x = RNG.normal(size=(2, 5, 6)).astype(np.float32)
    mask = (RNG.random((2, 5, 5)) < 0.7).astype(np.float32) + np.eye(5, dtype=np.float32)
    layer = layers.MultiHeadAttention(2, 3, value_dim=4, bias_initializer="normal")
    inputs = {"query": Input((5, 6)), "attention_mask": Input((5, 5))}
    out = layer({**inputs, "value": inputs["query"]})
    got = Model(list(inputs.values()), out).predict([x, mask])
    w = {v.name.split("/")[-1]: v.value for v in layer.weights}
    q, k, v = (
        (x @ w[f"{n}_kernel"] + w[f"{n}_bias"]).reshape(2, 5, 2, -1).swapaxes(1, 2)
        for n in ("query", "key", "value")
    )
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(3)
    weights = softmax(np.where(mask[:, None] == 0, -np.inf, scores))
    heads = (weights @ v).swapaxes(1, 2).reshape(2, 5, 8)
    np.testing.assert_allclose(got, heads @ w["output_kernel"] + w["output_bias"], 1e-5, 1e-5)


def test_causal_attention_does_not_look_ahead():
    model = Sequential([layers.MultiHeadAttention(2, 3, use_causal_mask=True)])
    x = RNG.normal(size=(2, 8, 6)).astype(np.float32)
    before = model.predict(x)
    x[:, 5:] = 0
    after = model.predict(x)
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any()


def test_padding_is_not_attended_to():
    x = Input((6,))
    embedding = layers.Embedding(5, 4, mask_zero=True)
    model = Model(x, layers.MultiHeadAttention(2, 2)(embedding(x)))
    labels = np.array([[3, 1, 4, 2, 0, 0], [1, 2, 3, 4, 4, 1]])
    before = model.predict(labels)
    embedding.embeddings.value[0] += 10
    after = model.predict(labels)
    np.testing.assert_array_equal(before[0, :4], after[0, :4])
    np.testing.assert_array_equal(before[1], after[1])


NETWORKS = {
    "self": lambda x: layers.MultiHeadAttention(2, 3)(x),
    "causal, without bias": lambda x: layers.MultiHeadAttention(
        2, 3, value_dim=2, use_bias=False, use_causal_mask=True, output_shape=5)(x),
    "dropout": lambda x: layers.MultiHeadAttention(2, 3, dropout=0.3)(x),
    "query and value": lambda x: layers.MultiHeadAttention(2, 3)([x, layers.Dense(5)(x)]),
    "attention": lambda x: layers.Attention(use_scale=True)([x, layers.Dense(4)(x)]),
    "positions": lambda x: layers.MultiHeadAttention(1, 4)(layers.PositionalEncoding()(x)),
    "permute": lambda x: layers.Dense(3, "tanh")(layers.Permute((2, 1))(x)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients(name, float64):
    x = Input((5, 4))
    y = NETWORKS[name](layers.Dense(4, "tanh")(x))
    model = Model(x, layers.Dense(2)(layers.Flatten()(y)))
    model.compile("sgd", "mse")
    assert fastdl.gradient_check(model, RNG.normal(size=(3, 5, 4)), np.ones((3, 2))) <= 1


def test_gradients_of_a_masked_sequence(float64):
    x = Input((6,))
    y = layers.MultiHeadAttention(2, 3)(layers.Embedding(5, 4, mask_zero=True)(x))
    model = Model(x, layers.Dense(2)(layers.Flatten()(y)))
    model.compile("sgd", "mse")
    labels = np.array([[3, 1, 4, 2, 0, 0], [1, 2, 3, 4, 4, 1], [0, 0, 0, 0, 0, 0]])
    assert fastdl.gradient_check(model, labels, np.ones((3, 2))) <= 1


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.MultiHeadAttention(2, 3, value_dim=4, dropout=0.1, output_shape=5),
        lambda: layers.Attention(dropout=0.1, use_causal_mask=True),
        lambda: layers.PositionalEncoding(100.0),
        lambda: layers.Permute((2, 1)),
        lambda: layers.Embedding(4, 2, "normal", "l2", mask_zero=True),
    ],
)
def test_configurations(layer):
    one = layer()
    assert type(one).from_config(one.get_config()).get_config() == one.get_config()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: layers.MultiHeadAttention(0, 3), "num_heads must be"),
        (lambda: layers.MultiHeadAttention(2, 3, dropout=1.0), "dropout must be"),
        (lambda: layers.MultiHeadAttention(2, 3)(Input((4,))), "shape"),
        (lambda: layers.Attention()([Input((4, 3)), Input((4, 5))]), "differ in their features"),
        (lambda: layers.Attention()([Input((4, 3))]), "query, value"),
        (lambda: layers.MultiHeadAttention(2, 3)(
            {"query": Input((4, 3)), "value": Input((4, 3)), "attention_mask": Input((4, 5))}),
         "attention_mask of shape"),
        (lambda: layers.MultiHeadAttention(2, 3)({"query": Input((4, 3))}), "query and value"),
        (lambda: layers.PositionalEncoding(0.5), "max_wavelength"),
        (lambda: layers.PositionalEncoding()(Input((4,))), "places, features"),
        (lambda: layers.Permute((2, 1))(Input((4,))), "axes behind the batch"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(make, error):
    with pytest.raises(ValueError, match=error):
        make()


def test_a_compiled_step_attends_as_the_plain_loop_does():
    rng = np.random.default_rng(0)
    query, value = (rng.standard_normal((2, n, 6)).astype(np.float32) for n in (3, 5))

    def trained(wrap):
        fastdl.set_seed(0)
        layer = layers.MultiHeadAttention(2, 4, value_dim=3, dropout=0.3)
        optimizer = fastdl.optimizers.SGD(0.1)

        @wrap
        def step(query, value):
            with fastdl.GradientTape() as tape:
                loss = ops.mean(layer([query, value], training=True) ** 2)
            gradients = tape.gradient(loss, layer.trainable_variables)
            optimizer.apply_gradients(zip(gradients, layer.trainable_variables, strict=True))
            return loss

        return [float(step(query, value)) for _ in range(3)]

    np.testing.assert_allclose(trained(lambda step: step), trained(fastdl.compiled_step), rtol=1e-5)
