"""Initializers: distributions, fans, names, configs."""

import json
import math

import numpy as np
import pytest

import fastdl
from fastdl import initializers as init

ALL = [getattr(init, name) for name in init.__all__ if name[0].isupper() and name != "Initializer"]
RANDOM = [cls for cls in ALL if cls not in (init.Zeros, init.Ones, init.Constant, init.Identity)]


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shape_and_type(cls, dtype):
    x = cls()((6, 4), dtype, np.random.default_rng(0))
    assert x.shape == (6, 4) and x.dtype == dtype
    assert x.flags.c_contiguous and x.flags.writeable and x.flags.aligned


@pytest.mark.parametrize("cls", RANDOM)
def test_the_generator_decides_and_both_types_agree(cls):
    def draw(dtype, seed):
        return cls()((20, 10), dtype, np.random.default_rng(seed))

    np.testing.assert_array_equal(draw("float32", 7), draw("float64", 7).astype("float32"))
    assert not np.array_equal(draw("float32", 7), draw("float32", 8))


@pytest.mark.parametrize("cls", RANDOM)
def test_a_seed_of_its_own_wins_over_the_generator(cls):
    rng = np.random.default_rng(0)
    a, b = cls(seed=3)((5, 4), "float64", rng), cls(seed=3)((5, 4), "float64")
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "variance", "limit"),
    [
        ("glorot_uniform", 2 / 500, math.sqrt(6 / 500)),
        ("glorot_normal", 2 / 500, 2 * math.sqrt(2 / 500) / 0.87962566103423978),
        ("he_uniform", 2 / 300, math.sqrt(6 / 300)),
        ("he_normal", 2 / 300, 2 * math.sqrt(2 / 300) / 0.87962566103423978),
        ("lecun_uniform", 1 / 300, math.sqrt(3 / 300)),
        ("lecun_normal", 1 / 300, 2 * math.sqrt(1 / 300) / 0.87962566103423978),
        ("random_uniform", 0.1**2 / 12, 0.05),
        ("random_normal", 0.05**2, math.inf),
        ("truncated_normal", (0.05 * 0.87962566103423978) ** 2, 0.1),
    ],
)
def test_mean_variance_and_limit(name, variance, limit):
    x = init.get(name)((300, 200), "float64", np.random.default_rng(1))
    n = x.size
    assert abs(x.mean()) < 5 * math.sqrt(variance / n)
    assert x.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / n))
    assert np.abs(x).max() <= limit
    if limit < math.inf:
        assert np.abs(x).max() > 0.99 * limit


def test_untruncated_and_fan_out():
    scaling = init.VarianceScaling(3.0, mode="fan_out", distribution="untruncated_normal")
    x = scaling((100, 600), "float64", np.random.default_rng(1))
    assert x.var() == pytest.approx(3 / 600, rel=0.03)
    assert np.abs(x).max() > 3 * x.std()


def test_fans_of_kernels():
    assert init.compute_fans(()) == (1, 1)
    assert init.compute_fans((7,)) == (7, 7)
    assert init.compute_fans((3, 5, 8, 16)) == (120, 240)


def test_orthogonal():
    rng = np.random.default_rng(2)
    tall = init.Orthogonal()((3, 4, 5), "float64", rng).reshape(12, 5)
    np.testing.assert_allclose(tall.T @ tall, np.eye(5), atol=1e-12)
    wide = init.Orthogonal(gain=2.0)((3, 7), "float64", rng)
    np.testing.assert_allclose(wide @ wide.T, 4 * np.eye(3), atol=1e-12)
    # Uniform over the group: without the choice of signs the diagonal would be one-sided.
    diagonal = np.array([init.Orthogonal()((3, 3), "float64", rng)[0, 0] for _ in range(200)])
    assert abs(diagonal.mean()) < 0.2


def test_identity_and_constant():
    np.testing.assert_array_equal(init.Identity(3.0)((2, 4)), 3 * np.eye(2, 4))
    assert init.Constant(0.25)(()) == np.float32(0.25)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1)])
def test_degenerate_shapes(cls, shape):
    assert cls()(shape, "float32", np.random.default_rng(0)).shape == shape


@pytest.mark.parametrize("cls", ALL)
def test_config_round_trip_through_json(cls):
    one = cls(seed=5) if cls in RANDOM else cls()
    two = init.get(json.loads(json.dumps(init.serialize(one))))
    assert two == one and hash(two) == hash(one) and repr(two) == repr(one)


@pytest.mark.parametrize("cls", ALL)
def test_names(cls):
    assert init.get(cls.__name__) == cls() == init.get(cls)
    assert init.get("glorot_uniform") == init.GlorotUniform()
    assert init.get("uniform") == init.RandomUniform()


def test_none_and_callables():
    assert init.get(None) is None and init.serialize(None) is None

    def ours(shape, dtype, rng):
        return np.ones(shape, dtype)

    assert init.get(ours) is ours
    with pytest.raises(ValueError, match="cannot be saved"):
        init.serialize(ours)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: init.get("glorot_unifrom"), ValueError, "'glorot_uniform'"),
        (lambda: init.get("HeNormale"), ValueError, "he_normal"),
        (lambda: init.get(3), TypeError, "not 3"),
        (lambda: init.get(int), TypeError, "not <class 'int'>"),
        (lambda: init.get({"class": "Zeros"}), ValueError, "class_name"),
        (lambda: init.get({"class_name": "Zeros", "config": {"a": 1}}), ValueError, "Zeros"),
        (lambda: init.VarianceScaling(0.0), ValueError, "scale"),
        (lambda: init.VarianceScaling(mode="fan"), ValueError, "fan_in"),
        (lambda: init.VarianceScaling(distribution="unifrom"), ValueError, "'uniform'"),
        (lambda: init.RandomNormal(stddev=-1.0), ValueError, "stddev"),
        (lambda: init.RandomUniform(1.0, 0.0), ValueError, "maxval"),
        (lambda: init.Constant(math.nan), ValueError, "value"),
        (lambda: init.Orthogonal()((3,)), ValueError, "two axes"),
        (lambda: init.Identity()((3, 3, 3)), ValueError, "two axes"),
        (lambda: init.Zeros()((-1, 2)), ValueError, "shape"),
        (lambda: init.Zeros()((1.5, 2)), ValueError, "shape"),
    ],
)
def test_mistakes_are_named(make, error, says):
    with pytest.raises(error, match=says):
        make()


class Tenths(init.Initializer):
    def __call__(self, shape):
        return np.full(shape, 0.1)


@pytest.mark.parametrize(
    "own",
    [
        Tenths(),
        lambda shape: np.full(shape, 0.1),
        lambda shape, dtype=None: np.full(shape, 0.1, dtype),
        lambda shape, dtype, rng: np.full(shape, 0.1, dtype),
        lambda shape, **options: np.full(shape, 0.1, options["dtype"]),
    ],
)
def test_one_of_your_own(own):
    layer = fastdl.layers.Dense(3, kernel_initializer=own)
    layer.build((None, 2))
    assert layer.kernel.value.dtype == np.float32
    np.testing.assert_array_equal(layer.kernel.numpy(), np.full((2, 3), 0.1, np.float32))


def test_another_shape_is_refused():
    layer = fastdl.layers.Dense(3, kernel_initializer=lambda shape: np.ones(shape[::-1]), name="d")
    with pytest.raises(ValueError, match=r"d/kernel: its initializer gave the shape \(3, 2\)"):
        layer.build((None, 2))


def test_one_of_your_own_is_saved_with_the_model(tmp_path):
    model = fastdl.Sequential([fastdl.layers.Dense(3, kernel_initializer=Tenths())])
    model.build((None, 2))
    model.save(tmp_path / "m.fastdl")
    again = fastdl.load_model(tmp_path / "m.fastdl", custom_objects={"Tenths": Tenths})
    assert again.layers[0].kernel_initializer == Tenths()
