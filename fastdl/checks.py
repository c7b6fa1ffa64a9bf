"""The numerical check of a model's gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastdl.data import as_inputs, as_targets
from fastdl.model import Model
from fastdl.optimizers import SGD
from fastdl.programs import Compiled, model_dtype, training_program

__all__ = ["gradient_check"]


def gradient_check(
    model: Model,
    x: Any,
    y: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    samples: int = 20,
    seed: int = 0,
) -> float:
    """Compares a model's gradients with central differences of its loss.

    Parameters
    ----------
    model : Model
        Compiled, of float64 weights (``fastdl.set_floatx("float64")`` before it is made).
    x, y : array
        A few rows.
    eps : float, default 1e-6
        The step of the differences.
    atol, rtol : float, default 1e-5 and 1e-3
        What is allowed: |a - n| <= atol + rtol*|n|.
    samples : int, default 20
        How many elements of each weight are tried.
    seed : int, default 0
        Decides which.

    Returns
    -------
    float
        The largest |a - n| / (atol + rtol*|n|), at most 1.

    Raises
    ------
    AssertionError
        If a gradient is off; the weight, the element and both values are named.
    TypeError
        If the weights are not float64.

    Examples
    --------
    >>> import fastdl
    >>> fastdl.set_floatx("float64")
    >>> model = fastdl.Sequential([fastdl.layers.Dense(2, activation="tanh", input_shape=(3,))])
    >>> fastdl.set_floatx("float32")
    >>> model.compile(optimizer="sgd", loss="mean_squared_error")
    >>> fastdl.gradient_check(model, np.eye(3), np.ones((3, 2))) <= 1
    True
    """
    model.build_for(x)
    if model_dtype(model) != np.float64:
        raise TypeError("gradient_check wants a model of float64 weights: set_floatx('float64')")
    inputs = as_inputs(x, model.input_names, model.row_shapes, model.input_classes)
    sources = [*inputs, *as_targets(y, model.targets)]
    before = model.get_weights()
    optimizer = model.optimizer
    try:
        # A step of plain gradient descent with learning rate 1 subtracts just the gradient; with
        # learning rate 0 it only computes the loss. So what is checked is the program that trains.
        model.optimizer = SGD(1.0)
        program = training_program(model, len(sources[0]))

        def loss(learning_rate: float) -> float:
            model.set_weights(before)
            return _run(program, sources, learning_rate)

        loss(1.0)
        gradients = [b - w.numpy() for b, w in zip(before, model.weights, strict=True)]
        return _compare(model, before, gradients, loss, eps, atol, rtol, samples, seed)
    finally:
        model.optimizer = optimizer
        model.set_weights(before)


def _run(program: Compiled, sources: list[np.ndarray], learning_rate: float) -> float:
    native = program.lowered.program
    native.bind(sources, [])
    native.run(native.capacity, step=1, seed=1, learning_rate=learning_rate)
    native.unbind()
    return float(program.logs(native.totals)["loss"])


def _compare(
    model: Model,
    before: list[np.ndarray],
    gradients: list[np.ndarray],
    loss: Callable[[float], float],
    eps: float,
    atol: float,
    rtol: float,
    samples: int,
    seed: int,
) -> float:
    rng = np.random.default_rng(seed)
    worst = 0.0
    trainable = set(model.trainable_weights)
    for k, weight in enumerate(model.weights):
        if weight not in trainable:
            continue
        for at in rng.permutation(weight.value.size)[:samples]:
            index = np.unravel_index(at, weight.value.shape)
            value = before[k][index]
            sides = []
            for change in (eps, -eps):
                before[k][index] = value + change
                sides.append(loss(0.0))
            before[k][index] = value
            numeric = (sides[0] - sides[1]) / (2 * eps)
            analytic = gradients[k][index]
            error = abs(analytic - numeric) / (atol + rtol * abs(numeric))
            if not error <= 1.0:
                where = [int(i) for i in index]
                raise AssertionError(
                    f"{weight.name}{where}: gradient {analytic!r}, but the loss changes by "
                    f"{numeric!r}"
                )
            worst = max(worst, float(error))
    return worst
