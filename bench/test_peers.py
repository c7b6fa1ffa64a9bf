"""The comparison behind bench.peers: its reference is right, and it finds what is wrong."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bench.peers import __main__ as runner
from bench.peers import report
from bench.peers.reference import loss_and_gradients, train
from bench.peers.rows import ROWS, Row, data, initial_weights
from bench.peers.verify import Verifier, verified_steps

SMALL = [
    Row("mse", "", (3, 5, 2, 1), batch=7, batches=1, loss="mse"),
    Row("ce", "", (3, 5, 4), batch=7, batches=1),
    Row(
        "images",
        "",
        (6, 3, 4),
        batch=5,
        batches=1,
        image=(9, 8, 2),
        convolutions=((3, True), (6, False)),
    ),
    Row(
        "normed images",
        "",
        (24, 4),
        batch=5,
        batches=1,
        image=(5, 4, 2),
        convolutions=((3, False), (6, True)),
        padding="same",
        batchnorm=True,
    ),
    Row("lstm", "", (3, 4), batch=3, batches=1, image=(4, 5), recurrent=("lstm", 3)),
    Row("gru", "", (3, 4), batch=3, batches=1, image=(4, 5), recurrent=("gru", 3)),
    Row(
        "convlstm",
        "",
        (24, 4),
        batch=2,
        batches=1,
        image=(3, 4, 3, 2),
        recurrent=("convlstm", 2),
    ),
    Row("attention", "", (8, 4), batch=2, batches=1, image=(5, 8), blocks=1),
    Row("norm", "", (3, 5, 6, 4), batch=7, batches=1, batchnorm=True),
]


@pytest.mark.parametrize("row", SMALL, ids=lambda row: row.name)
def test_reference_gradients(row):
    x, y = data(row)
    x = x.astype(np.float64)
    weights = [w.astype(np.float64) + 0.1 for w in initial_weights(row)]
    _, gradients = loss_and_gradients(row, weights, x, y)
    for weight, gradient in zip(weights, gradients, strict=True):
        for flat in range(0, weight.size, 1 + weight.size // 100):
            place = np.unravel_index(flat, weight.shape)
            before, losses = weight[place], []
            for change in (1e-6, -1e-6):
                weight[place] = before + change
                losses.append(loss_and_gradients(row, weights, x, y)[0])
            weight[place] = before
            numeric = (losses[0] - losses[1]) / 2e-6
            assert abs(numeric - gradient[place]) <= 1e-7 + 1e-5 * abs(numeric)


@pytest.mark.parametrize("name", ["S0", "T1", "S4", "M1"])
def test_wrong_training_is_found(name):
    row, verifier = ROWS[name], Verifier(name)
    steps, start = verified_steps(name), initial_weights(row)

    def compared(row, start, steps, adam="keras"):
        return verifier.compare(*train(row, start, *data(row), steps, adam), "keras")["ok"]

    assert compared(row, start, steps)
    assert not compared(replace(row, learning_rate=1.02 * row.learning_rate), start, steps)
    assert not compared(row, start, steps + 1)
    assert not compared(row, [1.01 * w for w in start], steps)


class Scripted:
    """A process that answers with these seconds, one after the other, or an error in the end."""

    def __init__(self, name, *seconds):
        self.name, self.seconds, self.ended = name, list(seconds), 0

    def ask(self, request, timeout):
        if request.get("end"):
            self.ended += 1
            return {}
        if self.seconds:
            return {"seconds": self.seconds.pop(0), "steps": 2}
        return {"error": "gone"}


def timed(*processes):
    figures = {p.name: {"samples": [], "fastest": [], "call_seconds": []} for p in processes}
    runner._time(figures, list(processes), SimpleNamespace(quick=False, rounds=3, seconds=0.1))
    return figures


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr(runner, "_SETTLE", 0.0)


def test_samples_that_are_too_long_are_taken_once(no_pause):
    processes = Scripted("fastdl", 3.0), Scripted("torch", 4.0)
    figures = timed(*processes)
    assert figures["fastdl"]["samples"] == [1.5] and figures["torch"]["fastest"] == [2.0]
    assert [p.ended for p in processes] == [1, 1]


def test_one_that_is_too_long_leaves_the_others(no_pause):
    figures = timed(Scripted("fastdl", 0.2, 0.8, 0.4), Scripted("torch", 4.0), Scripted("keras"))
    assert figures["fastdl"] == {"samples": [0.2], "fastest": [0.1], "call_seconds": []}
    assert figures["torch"]["samples"] == [2.0] and figures["keras"]["error"] == "gone"
    run = {"threads": 1, "rows": {"S4": figures}, "ceilings": [], "versions": {}}
    text = report.table(run)
    assert "| 2,000,000 (10×) |" in text and "| 2,000,000 (20×) |" in text
