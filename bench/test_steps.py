"""Training steps through ``Model.fit`` and ``train_on_batch``: an epoch of each row of bench.peers.

One round is one epoch; ``extra_info`` holds the microseconds a step. The peers' figures beside them
come from ``python -m bench.peers``.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from bench.peers.rows import ROWS, data, initial_weights
from bench.peers.verify import Verifier, verified_steps

# M2's float64 reference takes longer than all the others together: bench.peers has it.
NAMES = [name for name in ROWS if not name.startswith("M2")]


def check(kind, name):
    """Trains a few steps and compares them with the float64 reference."""
    row = replace(ROWS[name], dropout=0.0)
    model = kind(row, initial_weights(row), *data(row), threads())
    model.step(verified_steps(name))
    comparison = Verifier(name).compare(model.loss(), model.weights(), kind.adam)
    assert comparison["ok"], comparison


def threads():
    return len(os.sched_getaffinity(0))


def time_epochs(benchmark, kind, name):
    check(kind, name)
    row = ROWS[name]
    model = kind(row, initial_weights(row), *data(row), threads())
    benchmark.group = f"{name}: {row.title}, batch {row.batch} ({row.batches} steps)"
    benchmark(model.step, row.batches)
    if benchmark.stats:
        benchmark.extra_info["microseconds_a_step"] = (
            1e6 * benchmark.stats.stats.median / row.batches
        )


@pytest.mark.parametrize("name", NAMES)
def test_fit(benchmark, cpu_models, name):
    from bench.peers.fastdl_fit import FastdlFit

    time_epochs(benchmark, FastdlFit, name)


@pytest.mark.parametrize("name", ["S1e", "T1", "S4"])
def test_train_on_batch(benchmark, cpu_models, name):
    from bench.peers.fastdl_call import FastdlCall

    time_epochs(benchmark, FastdlCall, name)
