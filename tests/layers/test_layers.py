"""Every layer: shapes, configuration, forward pass against NumPy, errors."""

import math

import numpy as np
import pytest

import fastdl
from fastdl import Input, Model, layers, ops

X = np.random.default_rng(0).normal(size=(6, 4))


def erf(x):
    return np.vectorize(math.erf)(x)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def normalised(x, axis, epsilon):
    mean, variance = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon)


def dense(x, layer):
    y = x @ layer.kernel.value
    return y if layer.bias is None else y + layer.bias.value


#: name: (layer, what it computes from x and itself)
LAYERS = {
    "Dense": (lambda: layers.Dense(3), dense),
    "Dense without bias": (lambda: layers.Dense(3, use_bias=False), dense),
    "Dense with activation": (
        lambda: layers.Dense(5, "relu"),
        lambda x, s: np.maximum(dense(x, s), 0),
    ),
    "Dense with all": (
        lambda: layers.Dense(
            2,
            "tanh",
            kernel_initializer=fastdl.initializers.HeNormal(seed=1),
            bias_initializer="ones",
            kernel_regularizer="l2",
            bias_regularizer=fastdl.regularizers.L1(0.1),
            name="d",
            trainable=False,
        ),
        lambda x, s: np.tanh(dense(x, s)),
    ),
    "Activation": (lambda: layers.Activation("sigmoid"), lambda x, s: 1 / (1 + np.exp(-x))),
    "ReLU": (layers.ReLU, lambda x, s: np.maximum(x, 0)),
    "SELU": (
        layers.SELU,
        lambda x, s: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    ),
    "ELU": (lambda: layers.ELU(0.7), lambda x, s: np.where(x > 0, x, 0.7 * np.expm1(x))),
    "LeakyReLU": (lambda: layers.LeakyReLU(0.1), lambda x, s: np.where(x > 0, x, 0.1 * x)),
    "GELU": (layers.GELU, lambda x, s: x * (1 + erf(x / np.sqrt(2))) / 2),
    "GELU by tanh": (
        lambda: layers.GELU(approximate=True),
        lambda x, s: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    ),
    "Sigmoid": (layers.Sigmoid, lambda x, s: 1 / (1 + np.exp(-x))),
    "Tanh": (layers.Tanh, lambda x, s: np.tanh(x)),
    "Softplus": (layers.Softplus, lambda x, s: np.log1p(np.exp(x))),
    "SiLU": (layers.SiLU, lambda x, s: x / (1 + np.exp(-x))),
    "Softmax": (layers.Softmax, lambda x, s: softmax(x)),
    "BatchNormalization": (
        lambda: layers.BatchNormalization(-1, 0.5, 0.1, moving_mean_initializer="ones"),
        lambda x, s: (x - 1) / np.sqrt(1.1),
    ),
    "LayerNormalization": (layers.LayerNormalization, lambda x, s: normalised(x, -1, 1e-3)),
    "LayerNormalization of torch": (
        lambda: layers.LayerNormalization(convention="torch", center=False, scale=False),
        lambda x, s: normalised(x, -1, 1e-5),
    ),
    "Dropout": (lambda: layers.Dropout(0.5), lambda x, s: x),
    "GaussianNoise": (lambda: layers.GaussianNoise(0.5), lambda x, s: x),
    "Flatten": (layers.Flatten, lambda x, s: x.reshape(len(x), -1)),
    "Reshape": (lambda: layers.Reshape((2, -1)), lambda x, s: x.reshape(len(x), 2, -1)),
}


@pytest.fixture
def float64():
    fastdl.set_floatx("float64")
    yield
    fastdl.set_floatx("float32")


@pytest.mark.parametrize("shape", [(6, 4), (6, 5, 4), (6, 3, 2, 4)])
@pytest.mark.parametrize("name", LAYERS)
def test_forward_shapes_and_configuration(name, shape, float64):
    make, formula = LAYERS[name]
    layer = make()
    x = np.random.default_rng(1).normal(size=shape)
    model = fastdl.Sequential([layer])
    model.build((None, *shape[1:]))
    got = model.predict(x)
    np.testing.assert_allclose(got, formula(x, layer), atol=1e-12, rtol=1e-10)
    assert got.shape[1:] == model.output_shape[1:]
    # A configuration makes an equal layer, also through JSON-like types.
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert again.get_config() == config
    other = fastdl.Sequential([again])
    other.build((None, *shape[1:]))
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(other.predict(x), got)


@pytest.mark.parametrize("convention", ["keras", "torch"])
def test_batch_normalization_of_another_axis_is_that_of_the_last(convention, float64):
    x, y = np.random.default_rng(2).normal(size=(2, 8, 3, 4, 5))
    last = layers.BatchNormalization(convention=convention)
    weights = []
    for layer, turn in (
        (layers.BatchNormalization(axis=1, convention=convention), lambda a: a),
        (layers.BatchNormalization(axis=-3, convention=convention), lambda a: a),
        (last, lambda a: np.moveaxis(a, 1, -1).copy()),
    ):
        model = fastdl.Sequential([layer])
        model.build((None, *turn(x).shape[1:]))
        model.compile(fastdl.optimizers.SGD(0.1), "mse")
        model.fit(turn(x), turn(y), batch_size=4, epochs=2, shuffle=False, verbose=0)
        assert layer.gamma.shape == (3,)
        weights.append(model.get_weights())
    for got in weights[:2]:
        for a, b in zip(got, weights[2], strict=True):
            np.testing.assert_array_equal(a, b)


def test_names_are_those_of_keras():
    theirs = pytest.importorskip("keras", reason="Keras is not installed").layers
    from fastdl._names import snake_case

    for name in layers.__all__:
        if hasattr(theirs, name) and isinstance(getattr(theirs, name), type):
            from keras.src.utils.naming import to_snake_case

            assert snake_case(name) == to_snake_case(name)
    names = {"MaxPooling2D": "max_pooling2d", "Conv2DTranspose": "conv2d_transpose",
             "ConvLSTM2D": "conv_lstm2d", "LSTM": "lstm", "GRUCell": "gru_cell",
             "GlobalAveragePooling1D": "global_average_pooling1d"}  # fmt: skip
    for name, wanted in names.items():
        assert snake_case(name) == wanted


def test_every_public_layer_is_tested_here():
    tested = {name.split(" ")[0] for name in LAYERS}
    assert set(layers.__all__) - tested == {
        *("Input", "InputLayer", "Layer", "Add", "Multiply", "Concatenate"),
        # in test_attention_layers.py
        *("Attention", "Embedding", "MultiHeadAttention", "Permute", "PositionalEncoding"),
        # in test_convolution.py
        *("Conv1D", "Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "SeparableConv2D"),
        # in test_resizing.py
        *(
            f"{kind}{axes}D"
            for kind in ("ZeroPadding", "Cropping", "UpSampling")
            for axes in (1, 2)
        ),
        *("RepeatVector", "SpatialDropout1D", "SpatialDropout2D"),
        # in test_pooling.py
        *(
            f"{kind}Pooling{axes}D"
            for kind in ("Max", "Average", "GlobalMax", "GlobalAverage")
            for axes in (1, 2)
        ),
        # in test_augmentation.py
        *("Augmentation", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom"),
        # in test_recurrent.py
        *("GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "SimpleRNN", "SimpleRNNCell"),
        *("Bidirectional", "ConvLSTM2D", "Masking", "TimeDistributed"),
    }


MERGES = {
    "Add": (layers.Add, lambda a, b, c: a + b + c),
    "Multiply": (layers.Multiply, lambda a, b, c: a * b * c),
    "Concatenate": (layers.Concatenate, lambda a, b, c: np.concatenate([a, b, c], -1)),
    "Concatenate 1": (lambda: layers.Concatenate(axis=1), lambda *p: np.concatenate(p, 1)),
}


@pytest.mark.parametrize("name", MERGES)
def test_merging_layers(name, float64):
    make, formula = MERGES[name]
    layer = make()
    inputs = [Input((3, 4)) for _ in range(3)]
    model = Model(inputs, layer(inputs))
    parts = list(np.random.default_rng(2).normal(size=(3, 5, 3, 4)))
    np.testing.assert_allclose(model.predict(parts), formula(*parts), rtol=1e-15)
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


BAD = {
    "units": (lambda: layers.Dense(0), "units"),
    "units half": (lambda: layers.Dense(1.5), "units"),
    "activation": (lambda: layers.Dense(1, "rellu"), "relu"),
    "activation layer": (lambda: layers.Activation("sofmax"), "softmax"),
    "rate": (lambda: layers.Dropout(1.0), "rate"),
    "stddev": (lambda: layers.GaussianNoise(-1), "stddev"),
    "momentum": (lambda: layers.BatchNormalization(momentum=2.0), "momentum"),
    "axis": (lambda: layers.BatchNormalization(0), "axis"),
    "axis that is not there": (lambda: layers.BatchNormalization(3)(Input((4, 5))), "axis|on 3"),
    "epsilon": (lambda: layers.LayerNormalization(-1.0), "epsilon"),
    "convention": (lambda: layers.LayerNormalization(convention="jax"), "convention"),
    "initializer": (lambda: layers.Dense(1, kernel_initializer="gloriot_normal"), "glorot"),
    "regularizer": (lambda: layers.Dense(1, kernel_regularizer="l3"), "l1"),
    "input shape": (lambda: Input((0,)), "positive"),
    "input number": (lambda: Input(4), "tuple"),
    "add one": (lambda: layers.Add()([Input((2,))]), "at least two"),
    "add shapes": (lambda: layers.Add()([Input((2,)), Input((3,))]), r"\(None, 3\)"),
    "concatenate": (lambda: layers.Concatenate()([Input((2, 1)), Input((3, 1))]), "cannot join"),
    "concatenate batch": (lambda: layers.Concatenate(0)([Input((2,)), Input((2,))]), "cannot join"),
    "reshape": (lambda: layers.Reshape((3,))(Input((4,))), "does not fit"),
    "input shape number": (lambda: layers.Dense(1, input_shape=4), "input_shape must be a tuple"),
    "build number": (lambda: fastdl.Sequential([layers.Dense(1)]).build(4), "tuple"),
    "build text": (lambda: fastdl.Sequential([layers.Dense(1)]).build((None, "4")), "tuple"),
    "dense features": (lambda: layers.Dense(2)(Input(())), "features"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named(name):
    make, match = BAD[name]
    with pytest.raises(ValueError, match=match):
        make()


def test_unknown_arguments_give_the_nearest():
    for make, match in (
        (lambda: layers.Dense(1, activaton="relu"), "Dense: no argument 'activaton'.*'activation'"),
        (lambda: layers.Dropout(0.1, nane="x"), "Dropout: no argument 'nane'.*'name'"),
        (lambda: fastdl.optimizers.Adam(lr=0.1), "Adam: no argument 'lr'"),
        (lambda: fastdl.optimizers.AdamW(beta1=0.1), "AdamW: no argument 'beta1'.*'beta_1'"),
        (lambda: fastdl.optimizers.SGD(clipnrom=0.1), "SGD: no argument 'clipnrom'.*'clipnorm'"),
        (lambda: fastdl.optimizers.SGD(l1=0.1), "SGD: no argument 'l1'"),
        (lambda: fastdl.Sequential(layers.Dense(1)), "wants a list of layers"),
    ):
        with pytest.raises(TypeError, match=match):
            make()


def test_leaky_relu_must_be_given_its_slope():
    with pytest.raises(TypeError):
        layers.LeakyReLU()


def test_dense_used_on_another_width_names_both():
    layer = layers.Dense(2)
    layer(Input((4,)))
    with pytest.raises(ValueError, match=r"4 features.*\(None, 5\)"):
        layer(Input((5,)))


def test_layers_of_arrays_compute_at_once():
    layer = layers.Dense(2)
    out = layer(X)
    np.testing.assert_allclose(out, X @ layer.kernel.value + layer.bias.value, 1e-5, 1e-6)


def test_layers_refuse_what_is_no_array():
    with pytest.raises(TypeError, match=r"dense.*real numbers.*U4"):
        layers.Dense(2)("text")
    with pytest.raises(ValueError, match=r"\(None, 2\).*\(6, 4\)"):
        layers.Add()([Input((2,)), X])


# --- own layers -----------------------------------------------------------------------------------


class Gate(layers.Layer):
    """x * sigmoid(x @ kernel)"""

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", (input_shape[-1], input_shape[-1]))

    def call(self, x):
        return x * ops.sigmoid(ops.dense(x, self.kernel))


class Block(layers.Layer):
    """Two layers and a way around them."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = [layers.Dense(units, "relu"), layers.Dense(units)]

    def call(self, x):
        y = x
        for layer in self.inner:
            y = layer(y)
        return x + y

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_an_own_layer_in_a_few_lines(float64):
    model = fastdl.Sequential([Gate(input_shape=(4,)), Block(4), layers.Dense(1)])
    model.compile("sgd", "mse")
    assert len(model.trainable_weights) == 1 + 4 + 2
    kernel = model.layers[0].kernel.value
    part = Model(x := Input((4,)), model.layers[0](x))
    np.testing.assert_allclose(part.predict(X), X / (1 + np.exp(-(X @ kernel))))
    assert fastdl.gradient_check(model, X, X[:, :1]) <= 1


def test_layers_inside_are_found_in_lists_and_dictionaries_also_later():
    class Net(Model):
        def __init__(self):
            super().__init__()
            self.blocks = []
            self.heads = {}
            for _ in range(2):
                self.blocks.append(layers.Dense(3))
            self.heads["a"] = layers.Dense(1)

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return self.heads["a"](x)

    model = Net()
    model.build((None, 3))
    assert len(model.layers) == 3 and len(model.weights) == 6
    model.heads = {"a": layers.Dense(2)}  # the old head is gone
    model.build((None, 3))
    assert len(model.layers) == 3 and model.output_shape == (None, 2)


def test_forgetting_to_call_the_base_class_is_told():
    class Net(Model):
        def __init__(self):
            self.dense = layers.Dense(1)

    with pytest.raises(RuntimeError, match="super"):
        Net()


def test_call_must_return_tensors():
    class Wrong(layers.Layer):
        def call(self, x):
            return 3

    with pytest.raises(TypeError, match="must return tensors"):
        Wrong()(Input((2,)))


def test_data_dependent_python_in_call_is_refused():
    class Wrong(layers.Layer):
        def call(self, x):
            return x if x else -x

    with pytest.raises(TypeError, match="truth value"):
        Wrong()(Input((2,)))
    with pytest.raises(TypeError, match=r"fastdl\.ops"):
        np.asarray(Input((2,)))


def test_a_weight_can_be_set_and_written_into():
    model = fastdl.Sequential([layers.Dense(2, input_shape=(3,))])
    kernel = model.layers[0].kernel
    before = kernel.value
    model.predict(np.ones((1, 3)))
    assert kernel.value is before  # a built model does not move its weights again
    kernel.value = np.ones((3, 2))
    kernel.value[0, 0] = 5.0
    np.testing.assert_array_equal(model.predict(np.ones((1, 3))), [[7.0, 3.0]])
    for wrong, error in ((np.ones((2, 3)), ValueError), ("x", TypeError)):
        with pytest.raises(error, match="kernel"):
            kernel.assign(wrong)
