"""Model files whose parts are well-formed but do not fit: always the one clean error."""

import copy
import os
import random
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
