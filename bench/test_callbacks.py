"""What callbacks, schedules and validation add to a fit: an epoch of 200 steps on one thread.

Before it is timed, each is checked to leave the weights as they are without it.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastdl
from fastdl.callbacks import EarlyStopping, LambdaCallback, NormRecorder, TerminateOnNaN
from fastdl.layers import Dense
from fastdl.schedules import CosineDecay

ROWS, STEPS = 6400, 200

CASES = {
    "nothing": {},
    "hooks of epochs": {"callbacks": lambda: [LambdaCallback(on_epoch_end=lambda e, logs: None)]},
    "EarlyStopping": {"callbacks": lambda: [EarlyStopping("loss", patience=10**9)]},
    "TerminateOnNaN": {"callbacks": lambda: [TerminateOnNaN()]},
    "NormRecorder": {"callbacks": lambda: [NormRecorder()]},
    "hooks of batches": {
        "callbacks": lambda: [LambdaCallback(on_train_batch_end=lambda b, logs: None)]
    },
    "a schedule": {"rate": CosineDecay(1e-3, 10**9)},
    "validation of 1280 rows": {"validation": 1280},
}


def make(rate=1e-3, **unused):
    fastdl.set_seed(0)
    model = fastdl.Sequential([Dense(128, activation="relu"), Dense(10, activation="softmax")])
    model.compile(fastdl.optimizers.Adam(rate), "sparse_categorical_crossentropy", ["accuracy"])
    return model


@pytest.fixture
def one_thread():
    fastdl.set_num_threads(1)
    yield
    fastdl.set_num_threads(None)


@pytest.mark.parametrize("name", CASES)
def test_fit_with(benchmark, one_thread, name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 64)).astype(np.float32)
    y = rng.integers(0, 10, ROWS)
    case = CASES[name]
    arguments = {"batch_size": ROWS // STEPS, "verbose": 0}
    plain = make()
    plain.fit(x, y, **arguments)
    model = make(**case)
    arguments["callbacks"] = case.get("callbacks", list)()
    if "validation" in case:
        arguments["validation_data"] = (x[: case["validation"]], y[: case["validation"]])
    model.fit(x, y, **arguments)
    # A rate that falls over 10**9 steps is a little lower than a constant one.
    tolerance = 1e-6 if "rate" in case else 0.0
    for a, b in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    benchmark.group = f"fit of {STEPS} steps, MLP 64-128-10, batch {ROWS // STEPS}"
    benchmark(model.fit, x, y, **arguments)
    if benchmark.stats:
        benchmark.extra_info["microseconds_a_step"] = 1e6 * benchmark.stats.stats.median / STEPS
