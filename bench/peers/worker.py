"""The process of one peer: imports the library once, then forks a fresh child for each row.

Requests come as lines of JSON on standard input and are answered one by one on standard output.
A row's child reads the requests from "row" to "end" itself; nothing of the library has run in the
parent, so each child starts its own threads and its own state without paying the import again.
fastdl, which imports in no time and works on one thread after a fork, serves one row and ends.

    python -m bench.peers.worker PEER THREADS
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import statistics
import sys
import time
from dataclasses import replace

import numpy as np

from . import NOT_IMPORTED, OURS, PEERS
from .peer import Unsupported
from .rows import ROWS, data, initial_weights

__all__: list[str] = []

_FULL_SPEED_AFTER = 0.1  # seconds of warming up
_CALLS_BUDGET = 0.1  # seconds for timing calls of one step


def main() -> int:
    name, threads = sys.argv[1], int(sys.argv[2])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    channel = _Channel()
    try:
        peer = _load(name)
    except ImportError as error:
        channel.send({"skip": f"{NOT_IMPORTED}{error}"})
        return 0
    channel.send({"versions": _versions(peer)})
    while (request := channel.receive()) is not None:
        if name in OURS:
            _serve(channel, peer, threads, request)
            return 0
        child = os.fork()
        if child == 0:
            try:
                _serve(channel, peer, threads, request)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            channel.send({"error": f"the process died: wait status {status}"})
    return 0


class _Channel:
    """Lines of JSON. Whatever a library prints goes to standard error instead."""

    def __init__(self) -> None:
        self._in = os.fdopen(os.dup(0), "rb", buffering=0)
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)

    def receive(self):
        line = self._in.readline()
        return json.loads(line) if line else None

    def send(self, answer) -> None:
        self._out.write(json.dumps(answer).encode() + b"\n")


def _load(name):
    module, attribute = PEERS[name]
    return getattr(importlib.import_module(f".{module}", __package__), attribute)


def _versions(peer):
    versions = {}
    for name in peer.distributions:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _serve(channel, peer, threads, request) -> None:
    """Answers one row's requests: {"row", ...}, then {"seconds"} any number of times, {"end"}."""
    try:
        model, answer = _prepare(peer, threads, request)
        channel.send(answer)
        while not (request := channel.receive() or {"end": True}).get("end"):
            channel.send(_time(model, request["seconds"]))
        channel.send({})
    except Unsupported as reason:
        channel.send({"skip": str(reason)})
    except Exception as error:  # whatever a library does, the other peers go on
        channel.send({"error": f"{type(error).__name__}: {error}"[:500]})


def _prepare(peer, threads, request):
    """Builds the row, trains the steps to be compared, warms up."""
    row = ROWS[request["row"]]
    x, y = data(row)
    peer.limit_threads(threads)
    plain = replace(row, dropout=0.0)  # masks differ between libraries: compared without
    model = peer(plain, initial_weights(row), x, y, threads)
    model.step(request["verify"])
    np.savez(request["arrays"], *model.weights())
    answer = {"loss": model.loss(), "adam": peer.adam}
    if not request["warm"]:
        return model, answer
    if row.dropout:
        model = peer(row, initial_weights(row), x, y, threads)
    started, count = time.perf_counter(), 0
    while count < 2 or time.perf_counter() - started < _FULL_SPEED_AFTER:
        before = time.perf_counter()
        model.step(row.batches)
        count += 1
        model.epoch_seconds = time.perf_counter() - before
        if model.epoch_seconds > 1:
            break
    if peer.single_calls:
        answer["call_seconds"] = _one_step_call(model)
    return model, answer


def _one_step_call(model) -> float:
    """What a call that trains a single step takes: a fit's fixed cost and one step."""
    model.step(1)
    samples: list[float] = []
    while len(samples) < 3 or (sum(samples) < _CALLS_BUDGET and len(samples) < 50):
        before = time.perf_counter()
        model.step(1)
        samples.append(time.perf_counter() - before)
    return statistics.median(samples)


def _time(model, seconds):
    """Times whole epochs that together take about this long."""
    steps = model.row.batches * max(1, round(seconds / model.epoch_seconds))
    before = time.perf_counter()
    model.step(steps)
    took = time.perf_counter() - before
    model.epoch_seconds = took / steps * model.row.batches
    return {"steps": steps, "seconds": took}


if __name__ == "__main__":
    sys.exit(main())
