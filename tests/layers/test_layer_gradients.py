"""Gradients by central differences in float64: each layer, and whole random networks."""

import numpy as np
import pytest

import fastdl
from fastdl import Input, Model, layers


@pytest.fixture(autouse=True)
def float64():
    fastdl.set_floatx("float64")
    fastdl.set_seed(0)
    yield
    fastdl.set_floatx("float32")


LAYERS = {
    "Dense": lambda: layers.Dense(4),
    "Dense of all kinds": lambda: layers.Dense(3, "silu", use_bias=False, kernel_regularizer="l2"),
    **{
        name: lambda name=name: layers.Activation(name)
        for name in ("relu", "elu", "selu", "gelu", "gelu_tanh", "sigmoid", "tanh", "softplus")
    },
    "LeakyReLU": lambda: layers.LeakyReLU(0.2),
    "Softmax": layers.Softmax,
    "BatchNormalization": layers.BatchNormalization,
    "BatchNormalization of torch": lambda: layers.BatchNormalization(convention="torch"),
    "BatchNormalization without scale": lambda: layers.BatchNormalization(scale=False),
    "frozen BatchNormalization": lambda: layers.BatchNormalization(trainable=False),
    "LayerNormalization": layers.LayerNormalization,
    "LayerNormalization without center": lambda: layers.LayerNormalization(center=False),
    "Dropout": lambda: layers.Dropout(0.4),
    "GaussianNoise": lambda: layers.GaussianNoise(0.3),
    "Flatten": layers.Flatten,
    "Reshape": lambda: layers.Reshape((-1, 2)),
}


@pytest.mark.parametrize("shape", [(7, 4), (3, 5, 4)])
@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_between_two_dense_ones(name, shape):
    rng = np.random.default_rng(0)
    model = fastdl.Sequential(
        [layers.Dense(4, "tanh", bias_initializer="normal"), LAYERS[name](), layers.Dense(2)]
    )
    model.build((None, *shape[1:]))
    model.compile("sgd", "mse")
    y = rng.normal(size=(shape[0], *model.output_shape[1:]))
    assert fastdl.gradient_check(model, rng.normal(size=shape), y) <= 1


LOSSES = {
    "mse": ("mean_squared_error", None, "real"),
    "mae": ("mean_absolute_error", None, "real"),
    "huber": (fastdl.losses.Huber(0.5), None, "real"),
    "binary": ("binary_crossentropy", "sigmoid", "share"),
    "binary of logits": (fastdl.losses.BinaryCrossentropy(True, 0.1), None, "share"),
    "categorical": (
        fastdl.losses.CategoricalCrossentropy(label_smoothing=0.1),
        "softmax",
        "onehot",
    ),
    "sparse": ("sparse_categorical_crossentropy", "softmax", "label"),
    "sparse of probabilities": ("sparse_categorical_crossentropy", "unfused", "label"),
}


def targets(rng, kind, rows, width):
    if kind == "label":
        return rng.integers(0, width, rows)
    if kind == "onehot":
        return np.eye(width)[rng.integers(0, width, rows)]
    return rng.random((rows, width)) if kind == "share" else rng.normal(size=(rows, width))


def head(x, width, activation):
    """The last layers before a loss; "unfused" hides the softmax from it."""
    if activation == "unfused":
        return layers.Multiply()(
            [layers.Dense(width, "softmax")(x), layers.Dense(width, "sigmoid")(x)]
        )
    return layers.Dense(width, activation)(x)


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss(name):
    loss, activation, kind = LOSSES[name]
    rng = np.random.default_rng(1)
    x = Input((5,))
    model = Model(x, head(layers.Dense(6, "tanh")(x), 3, activation))
    model.compile("sgd", loss)
    assert fastdl.gradient_check(model, rng.normal(size=(8, 5)), targets(rng, kind, 8, 3)) <= 1


class RandomNetwork:
    """Layers put on tensors that are there already, at random; several inputs, outputs, losses."""

    unary = (
        lambda rng: layers.Dense(int(rng.integers(1, 7)), rng.choice(["tanh", "relu", "gelu"])),
        lambda rng: layers.Dense(int(rng.integers(1, 7)), kernel_regularizer="l2"),
        lambda rng: layers.Activation(rng.choice(["sigmoid", "silu", "elu", "softmax", "linear"])),
        lambda rng: layers.BatchNormalization(),
        lambda rng: layers.LayerNormalization(),
        lambda rng: layers.Dropout(0.3),
        lambda rng: layers.GaussianNoise(0.1),
    )

    def __init__(self, seed):
        rng = self.rng = np.random.default_rng(seed)
        inputs = [Input((int(rng.integers(1, 6)),)) for _ in range(rng.integers(1, 4))]
        self.tensors = list(inputs)
        self.shared = {}
        for _ in range(rng.integers(2, 10)):
            self.tensors.append(self.step())
        losses = list(LOSSES)
        self.names = [losses[i] for i in rng.integers(0, len(losses), rng.integers(1, 4))]
        outputs, self.y = [], []
        for name in self.names:
            _, activation, kind = LOSSES[name]
            width = int(rng.integers(2, 5))
            outputs.append(head(self.pick(), width, activation))
            self.y.append(targets(rng, kind, 6, width))
        self.model = Model(inputs, outputs)
        self.x = [rng.normal(size=(6, *t.shape[1:])) for t in inputs]
        weights = rng.random(len(outputs)).tolist()
        self.model.compile("adam", [LOSSES[n][0] for n in self.names], loss_weights=weights)

    def pick(self):
        return self.tensors[self.rng.integers(len(self.tensors))]

    def step(self):
        rng, x = self.rng, self.pick()
        choice = rng.random()
        same = [t for t in self.tensors if t.shape == x.shape]
        if choice < 0.2:
            return layers.Concatenate()([x, self.pick()])
        if choice < 0.45:
            other = same[rng.integers(len(same))]
            return [layers.Add()([x, other]), layers.Multiply()([x, other]), x - other, x * 0.5][
                rng.integers(4)
            ]
        if choice < 0.55:
            width = x.shape[1]
            if width % 2 == 0:
                inner = layers.Dense(2)(layers.Reshape((2, width // 2))(x))  # over (batch, 2, w/2)
                return layers.Flatten()(inner)
        if choice < 0.65:
            layer = self.shared.setdefault(x.shape[1], layers.Dense(x.shape[1], "tanh"))
            return layer(layer(x))
        return self.unary[rng.integers(len(self.unary))](rng)(x)


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed):
    network = RandomNetwork(seed)
    y = network.y if len(network.y) > 1 else network.y[0]
    x = network.x if len(network.x) > 1 else network.x[0]
    # relu, mae and the like have corners: a difference across one is no gradient.
    assert fastdl.gradient_check(network.model, x, y, samples=4) <= 1


@pytest.mark.parametrize("seed", range(0, 40, 8))
def test_random_networks_train_the_same_fused_and_from_their_configuration(seed):
    results = []
    for fuse in (True, False):
        fastdl.set_seed(1)
        network = RandomNetwork(seed)
        network.model.fuse = fuse
        y = network.y if len(network.y) > 1 else network.y[0]
        x = network.x if len(network.x) > 1 else network.x[0]
        history = network.model.fit(x, y, batch_size=4, epochs=2, verbose=0)
        results.append(
            (repr([*history.history.values()]), [w.tobytes() for w in network.model.get_weights()])
        )
    assert results[0] == results[1]
    again = Model.from_config(network.model.get_config())
    again.set_weights(network.model.get_weights())
    want, got = network.model.predict(x), again.predict(x)
    for a, b in zip(*(r if isinstance(r, list) else [r] for r in (want, got)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_wrong_gradient_is_found(monkeypatch):
    model = fastdl.Sequential([layers.Dense(3, "tanh", input_shape=(2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(5, 2))
    from fastdl import checks

    original = checks.training_program

    def wrong(*arguments):
        model.layers[0].kernel.trainable = False  # its gradient is then missing
        program = original(*arguments)
        model.layers[0].kernel.trainable = True
        return program

    monkeypatch.setattr(checks, "training_program", wrong)
    with pytest.raises(AssertionError, match="kernel"):
        fastdl.gradient_check(model, x, x[:, :1])


def test_the_check_leaves_the_model_as_it_was():
    model = fastdl.Sequential(
        [layers.Dense(3, "tanh"), layers.BatchNormalization(), layers.Dense(1)]
    )
    x = np.random.default_rng(0).normal(size=(5, 2))
    model.compile("adam", "mse")
    model.fit(x, x[:, :1], verbose=0)
    before, optimizer = model.get_weights(), model.optimizer
    fastdl.gradient_check(model, x, x[:, :1])
    assert model.optimizer is optimizer and optimizer.iterations == 1
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_check_wants_float64():
    fastdl.set_floatx("float32")
    model = fastdl.Sequential([layers.Dense(1, input_shape=(2,))])
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="float64"):
        fastdl.gradient_check(model, np.ones((2, 2)), np.ones(2))
