"""Regularizers: penalties, names, configs."""

import json
import math

import numpy as np
import pytest

import fastdl
from fastdl import ops
from fastdl import regularizers as reg
from fastdl.layers import Dense


def test_penalties():
    w = np.random.default_rng(0).normal(size=(7, 5)).astype("float32")
    w64 = w.astype("float64")
    l1, l2 = np.abs(w64).sum(), (w64**2).sum()
    assert reg.L1(0.3)(w) == pytest.approx(0.3 * l1, rel=1e-14)
    assert reg.L2(0.2)(w.T) == pytest.approx(0.2 * l2, rel=1e-14)
    assert reg.L1L2(0.3, 0.2)(w) == pytest.approx(0.3 * l1 + 0.2 * l2, rel=1e-14)
    assert reg.L1L2()([math.inf]) == 0.0
    assert reg.L2()(np.zeros((0, 3))) == 0.0


def test_defaults_are_those_of_keras():
    assert (reg.L1().l1, reg.L1().l2) == (0.01, 0.0)
    assert (reg.L2().l1, reg.L2().l2) == (0.0, 0.01)
    assert (reg.L1L2().l1, reg.L1L2().l2) == (0.0, 0.0)


@pytest.mark.parametrize("one", [reg.L1(0.5), reg.L2(0.25), reg.L1L2(0.1, 0.2)])
def test_config_round_trip_through_json(one):
    two = reg.get(json.loads(json.dumps(reg.serialize(one))))
    assert two == one and hash(two) == hash(one) and repr(two) == repr(one)


def test_get():
    assert reg.get(None) is None and reg.serialize(None) is None
    assert reg.get("l1") == reg.get("L1") == reg.get(reg.L1) == reg.L1()
    assert reg.get("l1_l2") == reg.get("L1L2") == reg.L1L2()
    assert reg.get("l2") != reg.L1()


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: reg.get("l3"), ValueError, "unknown regularizer 'l3'"),
        (lambda: reg.serialize(reg.get(abs)), ValueError, "cannot be saved"),
        (lambda: reg.get(0.01), TypeError, "0.01"),
        (lambda: reg.get({"class_name": "L1", "config": {"l2": 1}}), ValueError, "L1"),
        (lambda: reg.get({"class_name": 1}), ValueError, "class_name"),
        (lambda: reg.L1(-0.1), ValueError, "l1"),
        (lambda: reg.L2(math.nan), ValueError, "l2"),
    ],
)
def test_mistakes_are_named(make, error, says):
    with pytest.raises(error, match=says):
        make()


class Squares(reg.Regularizer):
    """What L2 computes, in ops."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, weight):
        return self.factor * ops.sum(weight * weight)

    def get_config(self):
        return {"factor": self.factor}


def trained(regularizer, loop=False, **options):
    fastdl.set_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(70, 6)), rng.normal(size=(70, 1))
    first = Dense(8, "tanh", kernel_regularizer=regularizer, bias_regularizer="l1")
    model = fastdl.Sequential([first, Dense(1, kernel_regularizer=regularizer)])
    model.compile(fastdl.optimizers.Adam(0.01, **options), "mse")
    if not loop:
        history = model.fit(x, y, epochs=3, batch_size=16, shuffle=False, verbose=0)
        return model, history.history["loss"]
    mse = fastdl.losses.MeanSquaredError()
    for _ in range(3):
        for k in range(0, 70, 16):
            with fastdl.GradientTape() as tape:
                loss = mse(y[k : k + 16], model(x[k : k + 16], training=True))
                for penalty in model.losses:
                    loss = loss + penalty
            weights = model.trainable_weights
            model.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
    return model, None


@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 0.1}], ids=["plain", "clipped"])
@pytest.mark.parametrize("own", [Squares(0.05), lambda w: 0.05 * ops.sum(w**2)], ids=["class", "f"])
def test_one_of_your_own_in_fit_and_in_a_loop(own, options):
    wanted, losses = trained(reg.L2(0.05), **options)
    model, own_losses = trained(own, **options)
    looped, _ = trained(own, loop=True, **options)
    np.testing.assert_allclose(own_losses, losses, rtol=1e-5)
    for a, b, c in zip(*(m.get_weights() for m in (wanted, model, looped)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(b, c, rtol=1e-3, atol=1e-5)
    x, y = np.ones((5, 6)), np.ones((5, 1))
    assert model.evaluate(x, y) == pytest.approx(wanted.evaluate(x, y), rel=1e-4)


def test_one_of_your_own_is_saved_with_the_model(tmp_path):
    model, _ = trained(Squares(0.05))
    model.save(tmp_path / "m.fastdl")
    with pytest.raises(ValueError, match="unknown regularizer 'Squares'"):
        fastdl.load_model(tmp_path / "m.fastdl")
    again = fastdl.load_model(tmp_path / "m.fastdl", custom_objects={"Squares": Squares})
    assert again.layers[0].kernel.regularizer == model.layers[0].kernel.regularizer


def test_a_penalty_is_one_number():
    with pytest.raises(TypeError, match="must give a tensor of one number"):
        trained(lambda w: w * w)
