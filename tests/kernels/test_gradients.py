"""Backward ops, and the gradients of losses, against central differences of the forward op."""

from functools import partial

import numpy as np
import oracle
import pytest
from cases import (
    NAMES,
    NORMALISED_BY_BATCH,
    complete,
    draw_inputs,
    needs_outputs,
    options_of,
    other_values,
    required,
    shape_of,
    variants,
)
from geometries import GEOMETRIES

from fastdl import kernels
from fastdl.kernels.table import OPS

EPSILON, ABSOLUTE, RELATIVE = 1e-6, 1e-5, 1e-3

#: Distance that inputs keep from where a function has no derivative.
KINK = 1e-3

SHAPES = (
    ((1,), (1, 1, 1)), ((2,), (1, 2, 1)), ((1,), (3, 1, 2)), ((3,), (2, 3, 3)),
    ((4,), (5, 2, 3)), ((5,), (3, 4, 2)), ((2, 2), (4, 3, 2)), ((1, 3), (2, 5, 3)),
    ((7,), (3, 3, 4)), ((3,), (9, 2, 5)), ((2, 1, 2), (4, 4, 4)), ((6,), (2, 7, 3)),
    ((17,), (2, 2, 2)),
)  # fmt: skip

DIFFERENTIABLE = [name for name in NAMES if OPS[name].backward]
LOSSES = [name for name in NAMES if OPS[name].outputs and OPS[name].outputs[0].name == "loss"]


def option_sets(op):
    """Ordinary options, and each with another value; tails are not part of an op's gradient."""
    if op.name in GEOMETRIES:
        yield from (options for options, _ in variants(op))
        return
    base = required(op)
    yield base
    for option in op.options:
        if option != op.tail and op.geometry is None:
            for value in other_values(option):
                yield {**base, option.name: value}


def away_from_kinks(op, inputs, options):
    x = inputs.get("x")
    if x is not None:
        x += np.where(np.abs(x) < KINK, 2 * KINK, 0.0)
    if op.name in LOSSES and "target" in inputs:
        pred, target = inputs["pred"], inputs["target"]
        for kink in (0.0, options.get("delta", 1.0)):
            pred += np.where(np.abs(np.abs(pred - target) - kink) < KINK, 3 * KINK, 0.0)
    return inputs


def new_outputs(op, lengths):
    """Outputs to be written, where they have to be given."""
    return {a.name: np.empty(shape_of(a, lengths)) for a in op.outputs if needs_outputs(op)}


def forward(op, inputs, options, given=None):
    """All outputs of the kernel, by name; statistics that an op differentiates through are made
    anew from its x."""
    inputs = dict(inputs)
    if op.name in NORMALISED_BY_BATCH:
        inputs["mean"], inputs["variance"] = kernels.batchnorm_statistics(inputs["x"])
    given = {name: array.copy() for name, array in (given or {}).items()}
    results = getattr(kernels, op.name)(**inputs, **options, **given)
    results = results if isinstance(results, tuple) else (results,)
    return inputs, dict(zip([a.name for a in op.outputs], results, strict=True))


def weighted_sum(op, inputs, options, weights, given=None):
    """A number whose gradient by each output is its ``weights``."""
    outputs = forward(op, inputs, options, given)[1]
    return sum((outputs[name] * w).sum() for name, w in weights.items())


def draw_weights(op, outputs, number):
    """Weights of those outputs that gradients come from: the others are for the gradient alone."""
    read = {a.name for name in op.backward for a in OPS[name].inputs}
    rng = np.random.default_rng(number)
    return {k: 1 + rng.random(v.shape) for k, v in outputs.items() if f"grad_{k}" in read}


def assert_gradient(gradient, x, what, scalar, *args):
    """``scalar(*args)`` depends on the elements of x, which are changed in place."""
    numeric = np.empty_like(x)
    for at in np.ndindex(x.shape):
        value = x[at]
        x[at] = value + EPSILON
        above = scalar(*args)
        x[at] = value - EPSILON
        numeric[at] = (above - scalar(*args)) / (2 * EPSILON)
        x[at] = value
    np.testing.assert_allclose(gradient, numeric, RELATIVE, ABSOLUTE, err_msg=what)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_backward(name, shape):
    op = OPS[name]
    for number, options in enumerate(option_sets(op)):
        lengths = complete(op, *shape)
        inputs = draw_inputs(op, lengths, options, optional=number != 1, seed=number)
        inputs = away_from_kinks(op, inputs, options)
        given = new_outputs(op, lengths)
        known, outputs = forward(op, inputs, options, given)
        weights = draw_weights(op, outputs, number)
        grads = {f"grad_{name}": w for name, w in weights.items()}
        for backward in (OPS[b] for b in op.backward):
            gradients = run_backward(backward, {**known, **outputs, **grads}, options)
            for key, gradient in gradients.items():
                if inputs[key] is not None:
                    what = f"{backward.name}: grad_{key}, {options}"
                    args = (op, inputs, options, weights, given)
                    assert_gradient(gradient, inputs[key], what, weighted_sum, *args)


def run_backward(backward, known, options):
    """The gradients by the names of what they are gradients of."""
    names = [a.name.removeprefix("grad_") for a in backward.outputs]
    given = {f"grad_{k}": np.full(known[k].shape, np.nan) for k in names if known[k] is not None}
    arguments = {a.name: known[a.name] for a in backward.inputs}
    results = getattr(kernels, backward.name)(**arguments, **options_of(backward, options), **given)
    return dict(zip(names, results if isinstance(results, tuple) else (results,), strict=True))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [name for name in NAMES if OPS[name].passes])
def test_inputs_that_take_over_the_gradient(name, shape):
    op = OPS[name]
    for options in option_sets(op):
        inputs = draw_inputs(op, complete(op, *shape), options)
        weights = 1 + np.random.default_rng(0).random(inputs[op.passes[0]].shape)
        for key in op.passes:
            args = (op, inputs, options, {"out": weights})
            assert_gradient(weights, inputs[key], f"{name}: {key}", weighted_sum, *args)


def mean_loss(losses, inputs, options, factor):
    """What a loss op's grad_pred is the gradient of; ``losses`` gives one loss a row."""
    weight = 1.0 if inputs["sample_weight"] is None else inputs["sample_weight"]
    return factor * np.mean(losses(**inputs, **options) * weight)


def assert_gradient_of_loss(op, inputs, options, losses, gradient):
    factor = options.get("scale", 1.0)
    args = (losses, inputs, options, factor)
    assert_gradient(gradient, inputs["pred"], f"{op.name}: {options}", mean_loss, *args)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_of_loss(name, shape):
    op, losses = OPS[name], partial(getattr(kernels, name), grad_pred=False)
    for number, options in enumerate(option_sets(op)):
        lengths = complete(op, *shape)
        inputs = draw_inputs(op, lengths, options, optional=number != 1, seed=number)
        inputs = away_from_kinks(op, inputs, options)
        _, gradient = getattr(kernels, name)(**inputs, **options)
        assert_gradient_of_loss(op, inputs, options, losses, gradient)


@pytest.mark.parametrize("name", LOSSES)
def test_oracle_gradient_of_loss(name):
    """The oracle's own gradients, which the kernels are held against."""
    op, function = OPS[name], getattr(oracle, name)
    for number, options in enumerate(option_sets(op)):
        lengths = complete(op, (4,), (3, 3, 3))
        inputs = away_from_kinks(op, draw_inputs(op, lengths, options, seed=number), options)
        _, gradient = function(**inputs, **options)
        assert_gradient_of_loss(
            op, inputs, options, lambda function=function, **given: function(**given)[0], gradient
        )
