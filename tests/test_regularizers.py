"""Regularizers: penalties, names, configs."""

import json
import math

import numpy as np
import pytest

from fastdl import regularizers as reg


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
