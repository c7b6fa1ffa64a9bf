"""Hundreds of different small models: ``python -m bench.many``.

Networks 30-w1-w2-1 (w from 16 to 128, batch 32, Adam, MSE) are trained in four ways: by ``fit``,
one after the other on one thread; by ``fit_many``; by plain Python threads that each call ``fit``;
and by PyTorch, where it is installed, one after the other on one thread. Before anything is timed,
all three of ours must have the same bits, and each library must agree with float64 NumPy.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np

import fastdl

from . import results
from .peers.fastdl_fit import FastdlFit
from .peers.reference import train
from .peers.rows import Row, data, initial_weights
from .peers.verify import LOSS_TOLERANCE

WAYS = ("fit", "fit_many", "threads", "torch")
TITLES = {
    "fit": "`fit`, one after the other, one thread",
    "fit_many": "`fit_many`",
    "threads": "`fit` in plain Python threads",
    "torch": "torch, one after the other, one thread",
}


def rows(models: int, batches: int) -> list[Row]:
    """The networks: every model's widths are drawn evenly from 16 ... 128."""
    widths = np.random.default_rng(0).integers(16, 129, (models, 2)).tolist()
    return [
        Row(f"30-{a}-{b}-1", "", (30, a, b, 1), batch=32, batches=batches, loss="mse")
        for a, b in widths
    ]


class Bench:
    """The data, fresh models of each kind, and the four ways to train them."""

    def __init__(self, models: int, batches: int, epochs: int) -> None:
        self.rows, self.batches, self.epochs = rows(models, batches), batches, epochs
        self.x, self.y = data(self.rows[0])
        self.processors = len(os.sched_getaffinity(0))
        self.arguments = {"batch_size": 32, "epochs": epochs, "shuffle": False, "verbose": 0}

    def networks(self, kind: type, count: int | None = None) -> list:
        return [kind(row, initial_weights(row), self.x, self.y, 1) for row in self.rows[:count]]

    def fit(self, models: list) -> None:
        fastdl.set_num_threads(1)
        try:
            for model in models:
                model.model.fit(self.x, self.y, **self.arguments)
        finally:
            fastdl.set_num_threads(None)

    def fit_many(self, models: list) -> None:
        given = [m.model for m in models]
        # PyTorch, limited to one thread, limits OpenMP for all in the process: said explicitly.
        fastdl.fit_many(given, self.x, self.y, workers=self.processors, **self.arguments)

    def threads(self, models: list) -> None:
        with ThreadPoolExecutor(self.processors) as pool:
            list(pool.map(lambda m: m.model.fit(self.x, self.y, **self.arguments), models))

    def torch(self, models: list) -> None:
        for model in models:
            model.epochs(self.epochs, self.batches)

    def run(self, way: str, count: int | None = None) -> tuple[float, float, list]:
        """Wall seconds, processor seconds, and what was trained; making models is not timed."""
        models = self.networks(torch_peer() if way == "torch" else FastdlFit, count)
        method: Callable[[list], None] = getattr(self, way)
        wall, processor = time.perf_counter(), time.process_time()
        method(models)
        return time.perf_counter() - wall, time.process_time() - processor, models


def torch_peer() -> type:
    from .peers.torch_eager import TorchEager

    return TorchEager


def verify(bench: Bench, ways: list[str]) -> None:
    """Raises SystemExit where two ways of ours differ, or a library from the float64 reference."""
    count = 2 * bench.processors + 1
    trained = {way: bench.run(way, count)[2] for way in ways if way != "torch"}
    for way, models in trained.items():
        for row, a, b in zip(bench.rows, trained["fit"], models, strict=False):
            if any(
                u.tobytes() != v.tobytes() for u, v in zip(a.weights(), b.weights(), strict=True)
            ):
                raise SystemExit(f"{row.name}: {way} has other bits than fit alone")
    row = bench.rows[0]
    steps = min(row.verified, row.batches)
    for kind in [FastdlFit, *([torch_peer()] if "torch" in ways else [])]:
        start = initial_weights(row)
        peer = kind(row, start, bench.x, bench.y, 1)
        peer.step(steps)
        loss, weights = train(row, start, bench.x, bench.y, steps, kind.adam)
        error = max(
            np.linalg.norm(got - true) / np.linalg.norm(true - first)
            for got, true, first in zip(peer.weights(), weights, start, strict=True)
        )
        if abs(peer.loss() - loss) > LOSS_TOLERANCE * loss or error > row.tolerance:
            raise SystemExit(f"{row.name}: {kind.__name__} differs from the reference by {error}")


def table(bench: Bench, seconds: dict[str, list[tuple[float, float]]]) -> str:
    """The medians, and what they are beside one at a time. (Not the least times: that of one thread
    is taken while one processor is undisturbed, those of all need all of them to be.)"""
    steps = len(bench.rows) * bench.epochs * bench.batches
    usual = {way: median(wall for wall, _ in times) for way, times in seconds.items()}
    lines = [
        f"{len(bench.rows)} networks 30-w-w-1 of {bench.epochs * bench.batches} steps each, batch "
        f"32, Adam; {bench.processors} processors; medians of {len(seconds['fit'])} rounds.",
        "",
        "| | seconds | processor seconds | µs a step | throughput |",
        "|---|---|---|---|---|",
    ]
    for way, times in seconds.items():
        processor = median(used for _, used in times)
        lines.append(
            f"| {TITLES[way]} | {usual[way]:.3f} | {processor:.3f} "
            f"| {1e6 * usual[way] / steps:.1f} | {usual['fit'] / usual[way]:.2f}× |"
        )
    if "torch" in usual:
        lines += ["", f"`fit_many` is {usual['torch'] / usual['fit_many']:.0f}× torch."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.many", description=__doc__)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--batches", type=int, default=64, help="steps of an epoch")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-torch", action="store_true")
    parser.add_argument("--quick", action="store_true", help="compare only; nothing is timed")
    parser.add_argument("--save", action="store_true", help="write to bench/results")
    parser.add_argument("--machine", default="", help="the machine's name in bench/results/")
    options = parser.parse_args()
    beside_torch = not options.without_torch and importlib.util.find_spec("torch") is not None
    ways = [w for w in WAYS if w != "torch" or beside_torch]
    if "torch" in ways:
        torch_peer().limit_threads(1)  # the fastest for networks of this size
    if options.quick:
        verify(Bench(5, 8, 1), ways)
        print("all agree")
        return 0
    bench = Bench(options.models, options.batches, options.epochs)
    verify(bench, ways)
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for number in range(options.rounds):
        for way in ways:
            if way != "torch" or number == 0:  # by far the longest: its noise matters least
                seconds[way].append(bench.run(way)[:2])
    text = table(bench, seconds)
    print(text)
    if options.save:
        print(results.save("many", {"seconds": seconds}, text, machine=options.machine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
