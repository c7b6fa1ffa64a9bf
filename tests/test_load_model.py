"""Model files whose parts are well-formed but do not fit: always the one clean error."""

import copy
import os
import random
import re
import tracemalloc

import numpy as np
import pytest

import fastdl
from fastdl import layers, saving

WRONG = [
    *(None, 0, -1, 1.5, 10**6, 10**12, float("nan"), True, "x", "relu", "Dense"),
    *([], {}, [1, 2], {"tensor": [0, 0]}, {"tensor": [99, 0]}),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The parts of a sequential and a functional model, trained for a step."""
    path = tmp_path_factory.mktemp("models") / "m.fastdl"
    x = np.random.default_rng(0).random((8, 3)).astype("f4")
    one = fastdl.Sequential(
        [
            layers.Dense(4, activation="relu", input_shape=(3,)),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(2, activation="softmax", kernel_regularizer="l2"),
        ]
    )
    one.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    one.fit(x, np.arange(8) % 2, verbose=0)
    one.save(path)
    parts = [saving.read_model(path)]
    inputs = layers.Input((3,))
    total = layers.Add()([layers.Dense(4)(inputs), layers.Dense(4)(inputs)])
    two = fastdl.Model(inputs, layers.Dense(1)(total))
    two.compile("sgd", "mse")
    two.fit(x, x[:, :1], verbose=0)
    two.save(path)
    return [*parts, saving.read_model(path)]


def places(value, path=()):
    """Every place of a JSON structure, as a tuple of keys."""
    if path:
        yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in pairs:
        if isinstance(part, (dict, list)):
            yield from places(part, (*path, key))
        else:
            yield (*path, key)


def damage(rng, root):
    """Delete, replace or add something somewhere."""
    path = rng.choice(list(places(root)))
    owner = root
    for key in path[:-1]:
        owner = owner[key]
    choice = rng.random()
    if choice < 0.3:
        del owner[path[-1]]
    elif choice < 0.9:
        owner[path[-1]] = copy.deepcopy(rng.choice(WRONG))
    elif isinstance(owner, dict):
        owner["extra"] = 1


def test_damaged_architectures_and_states(files, tmp_path):
    rng = random.Random(0)
    path = str(tmp_path / "m.fastdl")
    refused = 0
    for _ in range(int(os.environ.get("FASTDL_TEST_FILES", "100"))):
        file = rng.choice(files)
        parts = copy.deepcopy(file.architecture), copy.deepcopy(file.state)
        damage(rng, parts[rng.random() < 0.2])
        tensors = dict(file.tensors)
        if rng.random() < 0.2:
            name = rng.choice(list(tensors))
            tensors[name] = np.zeros(rng.choice([(), (1,), (3, 4), (2, 2)]), rng.choice("f?d"))
        saving.save_model(path, parts[0], tensors, parts[1])
        try:
            fastdl.load_model(path)
        except ValueError as error:
            assert str(error).startswith(path), error
            refused += 1
    assert refused > 30


def test_an_architecture_cannot_claim_more_memory_than_the_file_has(files, tmp_path):
    path = tmp_path / "m.fastdl"
    architecture = copy.deepcopy(files[0].architecture)
    architecture["model"]["config"]["layers"][0]["config"]["units"] = 10**7
    saving.save_model(path, architecture, files[0].tensors, files[0].state)
    tracemalloc.start()
    with pytest.raises(ValueError, match="larger weights"):
        fastdl.load_model(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


# --- models that were saved well ------------------------------------------------------------------

X = np.random.default_rng(1).normal(size=(40, 3)).astype("f4")
LABELS = np.random.default_rng(2).integers(0, 2, 40)


class Double(layers.Layer):
    """A layer of somebody's own, with a weight and an argument."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", (input_shape[-1], input_shape[-1]))

    def call(self, x):
        return fastdl.ops.dense(x, self.kernel) * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Net(fastdl.Model):
    def __init__(self, units, name=None):
        super().__init__(name=name)
        self.units = units
        self.first, self.last = layers.Dense(units, "relu"), layers.Dense(2, "softmax")

    def call(self, x):
        return self.last(self.first(x))

    def get_config(self):
        return {"units": self.units, "name": self.name}


def sequential():
    return fastdl.Sequential(
        [
            layers.Dense(6, activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.GaussianNoise(0.1),
            layers.Dense(2, activation="softmax"),
        ]
    )


def functional():
    x = layers.Input((3,))
    shared = layers.Dense(3, "tanh")
    y = layers.Dropout(0.2)(shared(shared(x)) - x)
    return fastdl.Model(x, layers.Dense(2, "softmax")(layers.Concatenate()([y, x])))


def nested():
    inner = fastdl.Sequential([layers.Dense(4, "relu"), layers.Dropout(0.5)])
    return fastdl.Sequential([inner, functional_head(), layers.Dense(2, "softmax")])


def functional_head():
    x = layers.Input((4,))
    return fastdl.Model(x, layers.Add()([x, layers.Dense(4)(x)]))


def custom():
    return fastdl.Sequential([Double(0.5), layers.Dense(2, "softmax")])


def same_names():
    return fastdl.Sequential(
        [layers.Dense(4, "relu", name="d"), layers.Dense(2, "softmax", name="d")]
    )


MODELS = {
    "sequential": sequential,
    "functional": functional,
    "nested": nested,
    "custom": custom,
    "subclass": lambda: Net(5),
    "same names": same_names,
}
OPTIMIZERS = {
    "sgd": lambda: fastdl.optimizers.SGD(0.1),
    "momentum": lambda: fastdl.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda: fastdl.optimizers.RMSprop(centered=True, momentum=0.5, clipnorm=1.0),
    "adam": lambda: fastdl.optimizers.Adam(amsgrad=True),
    "adam of torch": lambda: fastdl.optimizers.Adam(convention="torch", weight_decay=0.1),
    "adamw": lambda: fastdl.optimizers.AdamW(global_clipnorm=0.5),
    "adagrad": lambda: fastdl.optimizers.Adagrad(0.1),
}
OWN = {"Double": Double, "Net": Net}


def by_number(name):
    """For sorting: dense_99 before dense_100, whatever layers other tests have made."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(9), name)


def everything(model):
    slots = model.optimizer.state(model.named_weights())
    tensors = [*model.get_weights(), *(slots[k] for k in sorted(slots, key=by_number))]
    return model.optimizer.iterations, [t.tobytes() for t in tensors]


def check_resume(make, optimizer, path):
    """Two fits with a file between them are two fits."""
    results = []
    for stop in (False, True):
        fastdl.set_seed(6)
        model = make()
        model.compile(optimizer(), fastdl.losses.SparseCategoricalCrossentropy(), ["accuracy"])
        model.fit(X, LABELS, batch_size=16, epochs=2, verbose=0)
        model.train_on_batch(X[:5], LABELS[:5])
        if stop:
            model.save(path)
            fastdl.set_seed(99)
            model = fastdl.load_model(path, OWN)
        history = model.fit(X, LABELS, batch_size=16, epochs=4, initial_epoch=2, verbose=0)
        results.append((history.history, everything(model), model.evaluate(X, LABELS)))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_exactly_with_every_optimizer(name, tmp_path):
    check_resume(sequential, OPTIMIZERS[name], tmp_path / "m.fastdl")


@pytest.mark.parametrize("name", MODELS)
def test_training_goes_on_exactly_with_every_kind_of_model(name, tmp_path):
    check_resume(MODELS[name], OPTIMIZERS["adam"], tmp_path / "m.fastdl")


def test_a_loaded_model_in_a_larger_one_goes_on_exactly(tmp_path):
    """The layers of a file keep their names, which the layers of this process may have too."""
    path = tmp_path / "inner.fastdl"
    inner = fastdl.Sequential([layers.Dense(3, "relu", input_shape=(3,), name="dense_in_both")])
    inner.save(path)

    def make():
        return fastdl.Sequential(
            [fastdl.load_model(path), layers.Dense(2, "softmax", name="dense_in_both")]
        )

    check_resume(make, OPTIMIZERS["momentum"], tmp_path / "m.fastdl")


def test_what_compile_was_given_is_loaded(tmp_path):
    path = tmp_path / "m.fastdl"
    x = layers.Input((3,))
    outputs = [layers.Dense(1, name="a")(x), layers.Dense(2, "softmax", name="b")(x)]
    model = fastdl.Model(x, outputs)
    model.compile(
        "sgd",
        {"a": fastdl.losses.Huber(0.3), "b": "sparse_categorical_crossentropy"},
        {"a": ["mae", fastdl.metrics.MeanSquaredError(name="squares")], "b": ["accuracy"]},
        {"a": 0.25},
    )
    y = [X[:, 0], LABELS]
    model.fit(X, y, verbose=0)
    model.save(path)
    other = fastdl.load_model(path)
    assert other.evaluate(X, y, return_dict=True) == model.evaluate(X, y, return_dict=True)
    for setup in (
        "mse",
        fastdl.losses.Huber(2.0),
        {"class_name": "Huber", "config": {"delta": 3.0}},
    ):
        model = fastdl.Sequential([layers.Dense(1)])
        model.compile("sgd", setup, [fastdl.metrics.BinaryAccuracy, "mae"])
        model.fit(X, X[:, 0], verbose=0)
        model.save(path)
        assert fastdl.load_model(path).evaluate(X, X[:, 0]) == model.evaluate(X, X[:, 0])


def test_a_model_that_is_not_compiled_is_loaded_so(tmp_path):
    model = functional()
    model.save(tmp_path / "m.fastdl")
    other = fastdl.load_model(tmp_path / "m.fastdl")
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    with pytest.raises(RuntimeError, match="compile"):
        other.evaluate(X, LABELS)


def test_float64_and_frozen_layers_are_loaded_as_they_were(tmp_path):
    fastdl.set_floatx("float64")
    try:
        model = nested()
        model.build((None, 3))
    finally:
        fastdl.set_floatx("float32")
    model.layers[0].trainable = False
    model.save(tmp_path / "m.fastdl")
    other = fastdl.load_model(tmp_path / "m.fastdl")
    assert {w.dtype for w in other.get_weights()} == {np.dtype("f8")}
    assert len(other.trainable_weights) == len(model.trainable_weights) == 4


def test_own_classes_must_be_passed(tmp_path):
    for make, name in ((custom, "Double"), (lambda: Net(3), "Net")):
        model = make()
        model.build((None, 3))
        model.save(tmp_path / "m.fastdl")
        with pytest.raises(ValueError, match=f"unknown layer '{name}'; pass its class"):
            fastdl.load_model(tmp_path / "m.fastdl")
        other = fastdl.load_model(tmp_path / "m.fastdl", custom_objects=OWN)
        np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_a_subclass_without_a_config_says_what_to_do(tmp_path):
    class Plain(fastdl.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Plain()
    model.build((None, 3))
    with pytest.raises(TypeError, match=r"define get_config.*save_weights"):
        model.save(tmp_path / "m.fastdl")
    model.save_weights(tmp_path / "w.safetensors")
    other = Plain()
    other.build((None, 3))
    other.load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_unbuilt_models_are_neither_saved_nor_filled(tmp_path):
    model = sequential()
    with pytest.raises(RuntimeError, match="has not been built"):
        model.save(tmp_path / "m.fastdl")
    other = functional()
    other.save_weights(tmp_path / "w.safetensors")
    with pytest.raises(RuntimeError, match="has not been built"):
        model.load_weights(tmp_path / "w.safetensors")
    assert not (tmp_path / "m.fastdl").exists()


def test_weights_alone(tmp_path):
    path = tmp_path / "w.safetensors"
    model, other = sequential(), sequential()  # with names of their own: then the order counts
    for each in (model, other):
        each.build((None, 3))
    model.save_weights(path)
    other.load_weights(path)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    model.save(tmp_path / "m.fastdl")  # the weights in a whole model's file
    model.layers[0].bias.assign(np.ones(6))
    model.load_weights(tmp_path / "m.fastdl")
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_weights_that_do_not_fit_change_nothing(tmp_path):
    path = tmp_path / "w.safetensors"
    model = same_names()
    model.build((None, 3))
    before = model.get_weights()
    wrong = fastdl.Sequential([layers.Dense(4, name="d"), layers.Dense(3, name="d")])
    wrong.build((None, 3))
    wrong.save_weights(path)
    with pytest.raises(ValueError, match=r"w\.safetensors.*d/kernel#1.*\(4, 3\).*\(4, 2\)"):
        model.load_weights(path)
    functional().save_weights(path)
    other = fastdl.Sequential([layers.Dense(4)])
    other.build((None, 3))
    with pytest.raises(ValueError, match=r"has 4 weights, but .* has 2"):
        other.load_weights(path)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("change", ["lose", "rename", "reshape"])
def test_an_optimizers_state_that_does_not_fit_is_an_error(change, tmp_path):
    path = tmp_path / "m.fastdl"
    model = sequential()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(X, LABELS, verbose=0)
    model.save(path)
    file = saving.read_model(path)
    tensors = dict(file.tensors)
    name = next(k for k in tensors if k.startswith("optimizer/"))
    value = tensors.pop(name)
    if change != "lose":
        tensors[name + "x" * (change == "rename")] = value if change == "rename" else value[:1]
    saving.save_model(path, file.architecture, tensors, file.state)
    with pytest.raises(ValueError, match=r"m\.fastdl: does not make a model"):
        fastdl.load_model(path)
