"""Memory: what `summary` says is what is allocated, and running for long takes no more of it."""

import gc
import os
import sys

import numpy as np
import pytest

from fastdl import Input, Sequential, optimizers
from fastdl.layers import Dense
from fastdl.programs import compiled


def small():
    model = Sequential([Input((2,)), Dense(1)])
    model.compile(optimizer="adam", loss="mean_squared_error")
    return model


def resident():
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(run):
    """(bytes, blocks of Python's allocator) that a second run takes beyond the first."""
    run()
    gc.collect()
    before, blocks = resident(), sys.getallocatedblocks()
    run()
    gc.collect()
    return resident() - before, sys.getallocatedblocks() - blocks


needs_statm = pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="the resident memory is read from /proc"
)
BYTES, BLOCKS = 2**20, 1000  # less than one of each for a thousand steps


@needs_statm
def test_a_million_steps_grow_nothing():
    model, rng = small(), np.random.default_rng(0)
    x, y = rng.random((4000, 2), np.float32), rng.random((4000, 1), np.float32)
    grown, blocks = growth(lambda: model.fit(x, y, batch_size=4, epochs=1000, verbose=0))
    assert model.optimizer.iterations == 2_000_000
    assert grown < BYTES and blocks < BLOCKS


@needs_statm
def test_a_million_predictions_grow_nothing():
    model, x = small(), np.ones((1, 2), np.float32)

    def predict():
        for _ in range(1_000_000):
            model.predict(x)

    grown, blocks = growth(predict)
    assert grown < BYTES and blocks < BLOCKS


@needs_statm
def test_many_short_fits_and_batches_grow_nothing():
    model, x, y = small(), np.ones((8, 2), np.float32), np.ones((8, 1), np.float32)

    def run():
        for _ in range(2000):
            model.fit(x, y, batch_size=4, verbose=0)
            model.train_on_batch(x, y)
            model.evaluate(x, y)

    grown, blocks = growth(run)
    assert grown < BYTES and blocks < BLOCKS


@needs_statm
def test_growth_would_be_seen():
    kept = []

    def leak():
        kept.append(np.ones(64 * 2**20, np.uint8))  # so large that no memory freed before serves
        kept.extend(bytes(1000) for _ in range(5000))

    grown, blocks = growth(leak)
    assert grown > BYTES and blocks > BLOCKS


# --- the table ----------------------------------------------------------------------------------


def lines_of(model, **arguments):
    lines = []
    model.summary(lines.append, **arguments)
    return lines[lines.index("Memory:") + 1 :] if "Memory:" in lines else []


def test_summary_says_nothing_of_programs_that_do_not_exist():
    model = small()
    assert lines_of(model) == [] and not model._programs


def test_summary_of_what_has_run():
    model = Sequential([Input((30,)), Dense(64, "relu"), Dense(64, "relu"), Dense(1)])
    model.compile(optimizers.Adam(), "mean_squared_error")
    model.fit(np.ones((64, 30)), np.ones(64), verbose=0)
    table = dict(line.split("   ", 1) for line in map(str.strip, lines_of(model)))
    weights = 4 * model.count_params()
    assert table["weights"].split() == [f"{weights / 1024:.1f}", "KB"]
    assert table["optimizer state"].split() == [f"{2 * weights / 1024:.1f}", "KB"]
    lowered = compiled(model, "train", 32).lowered
    planned = table["training: buffers for 32 rows"]
    assert f"{lowered.arena_bytes / 1024:.1f} KB" in planned and "less than" in planned
    assert "prediction: buffers for 256 rows" not in table


def test_summary_makes_the_programs_that_it_is_asked_for():
    model = small()
    titles = [line.split("  ")[0] for line in lines_of(model, batch_size=16)]
    assert "training: buffers for 16 rows" in titles
    assert "prediction: buffers for 16 rows" in titles
    with pytest.raises(ValueError, match="batch_size"):
        model.summary(batch_size=0)


def test_gradients_that_are_kept_whole_are_counted():
    def whole(**options):
        model = Sequential([Input((100,)), Dense(100)])
        model.compile(optimizers.Adam(**options), "mean_squared_error")
        lowered = compiled(model, "train", 8).lowered
        return lowered.gradient_bytes

    assert whole() < 4 * 100 * 100 <= whole(clipnorm=1.0) < 4 * 100 * 100 + 1000
