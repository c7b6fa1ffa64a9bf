"""Step time against width and batch size: ``python -m bench.sweep``.

Two networks, Adam, cross-entropy: 64-w-w-10 with batches of 32, w from 16 to 1024, and 784-128-10
with batches of 1 to 512 rows; odd sizes among them. Each is compared with float64 NumPy and, for
several threads, with the bits of one thread; then the numbers of threads are timed in turn, and the
fastest of a few samples counts, taken in rounds over all sizes. What is looked for:

- more threads that are slower than one,
- a larger size that is faster than a smaller one, or a step that grows more than its work does,
- an odd size that does its work more than 15 % slower than its neighbours.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fastdl

from . import results
from .peers.fastdl_fit import FastdlFit
from .peers.reference import train
from .peers.rows import Row, data, initial_weights

WIDTHS = (
    *(16, 17, 18, 24, 31, 32, 33, 34, 40, 47, 48, 49, 50, 56, 63, 64, 65, 66, 72, 80, 95, 96, 97),
    *(98, 112, 127, 128, 129, 130, 144, 160, 191, 192, 193, 194, 224, 255, 256, 257, 258, 288, 320),
    *(383, 384, 385, 386, 448, 500, 511, 512, 513, 514, 640, 767, 768, 769, 770, 896, 1000, 1024),
)  # fmt: skip
BATCHES = (
    *range(1, 19), 20, 24, 28, 31, 32, 33, 34, 40, 48, 56, 63, 64, 65, 66, 80, 96, 112, 127, 128,
    *(129, 130, 160, 192, 224, 255, 256, 257, 258, 320, 384, 448, 511, 512),
)  # fmt: skip

SLOWER = 1.05  # more threads, or a smaller size, may take so many times as long: noise
GROWS = 1.15  # a step may grow so many times as much as its work
NEAR = 1.5  # where the larger size is at most so many times the smaller one
ODD = 1.15  # and an odd size may take so many times its neighbours' time for the same work
_LOSS, _WEIGHTS = 1e-4, 1e-2  # of the comparison, see peers/verify.py


@dataclass(frozen=True)
class Family:
    """Networks that differ in one size."""

    name: str
    title: str
    sizes: tuple[int, ...]
    row: Callable[[int], Row]


def _wide(width: int) -> Row:
    return Row(f"width {width}", "", (64, width, width, 10), batch=32, batches=16)


def _many_rows(batch: int) -> Row:
    batches = max(4, min(64, 2048 // batch))
    return Row(f"batch {batch}", "", (784, 128, 10), batch=batch, batches=batches)


FAMILIES = {
    "width": Family("width", "64-w-w-10, batch 32", WIDTHS, _wide),
    "batch": Family("batch", "784-128-10, batch b", BATCHES, _many_rows),
}


def check(row: Row, threads: list[int]) -> None:
    """Raises SystemExit where training differs from float64, or its bits between threads."""
    start, (x, y) = initial_weights(row), data(row)
    loss, true = train(row, start, x, y, 3, "keras")
    bits = set()
    for count in threads:
        peer = FastdlFit(row, start, x, y, count)
        fastdl.set_num_threads(count)
        peer.step(3)
        weights = peer.weights()
        bits.add(b"".join(w.tobytes() for w in weights))
        error = max(
            np.linalg.norm(got - wanted) / np.linalg.norm(wanted - first)
            for got, wanted, first in zip(weights, true, start, strict=True)
        )
        if abs(peer.loss() - loss) > _LOSS * loss or error > _WEIGHTS:
            raise SystemExit(f"{row.name}, {count} threads: differs from float64 by {error:.1e}")
    if len(bits) > 1:
        raise SystemExit(f"{row.name}: the bits depend on the number of threads")


def measure(row: Row, threads: list[int], samples: int, seconds: float) -> dict[int, float]:
    """Seconds a step for each number of threads, which take turns: the fastest of the samples."""
    peers = {}
    for count in threads:
        fastdl.set_num_threads(count)
        peers[count] = FastdlFit(row, initial_weights(row), *data(row), count)
        peers[count].epochs(1, row.batches)
    epochs, least = {}, {}
    for number in range(samples + 1):
        for count, peer in peers.items():
            fastdl.set_num_threads(count)
            begin = time.perf_counter()
            peer.epochs(epochs.get(count, 1), row.batches)
            took = (time.perf_counter() - begin) / epochs.get(count, 1)
            if number:
                least[count] = min(least.get(count, took), took)
            epochs[count] = max(1, round(seconds / took))
    return {count: took / row.batches for count, took in least.items()}


def anomalies(family: Family, threads: int, times: dict[int, dict[int, float]]) -> Iterator[str]:
    """What is odd about the times of this many threads: a line each.

    ``times`` holds, by size and number of threads, seconds a step.
    """
    seconds = {size: row[threads] for size, row in times.items()}
    work = {size: family.row(size).flops for size in seconds}
    cost = {size: seconds[size] / work[size] for size in seconds}
    what = f"{family.name}, {threads} thread{'s' * (threads > 1)}:"
    for size, row in times.items():
        if 1 in row and row[threads] > SLOWER * row[1]:
            alone, both = _micro(row[1]), _micro(row[threads])
            yield f"{what} {size} takes {both} µs, on one thread {alone}"
    for size in (s for s in seconds if s % 2 and {s - 1, s + 1} <= seconds.keys()):
        ratio = cost[size] / ((cost[size - 1] + cost[size + 1]) / 2)
        if ratio > ODD:
            yield f"{what} {size} takes {ratio:.2f} times its neighbours' time for the same work"
    even = [size for size in seconds if size % 2 == 0]
    for small, large in itertools.pairwise(even):
        pair = f"{_micro(seconds[small])} and {_micro(seconds[large])} µs"
        if seconds[small] > SLOWER * seconds[large]:
            yield f"{what} {small} is slower than {large}: {pair}"
        grown = cost[large] / cost[small]
        if grown > GROWS and large <= NEAR * small:
            yield f"{what} {large} takes {grown:.2f} times {small}'s time for the same work: {pair}"


def table(family: Family, times: dict[int, dict[int, float]]) -> str:
    threads = list(next(iter(times.values())))
    head = [family.name, *(f"{t} thread{'s' * (t > 1)}, µs" for t in threads)]
    head += [f"{t} thread{'s' * (t > 1)}, GFLOP/s" for t in threads]
    lines = [f"### {family.title}", "", _line(head), "|--:" * len(head) + "|"]
    for size, row in times.items():
        rates = [family.row(size).flops / row[t] / 1e9 for t in threads]
        lines.append(
            _line([str(size), *(_micro(row[t]) for t in threads), *(f"{r:.1f}" for r in rates)])
        )
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _micro(seconds: float) -> str:
    return f"{1e6 * seconds:.3g}" if seconds < 1e-3 else f"{1e6 * seconds:,.0f}"


def plot(path: Path, times: dict[str, dict[int, dict[int, float]]]) -> None:
    """Step time, and the work done in it, against the size; for each network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    grid = figure.subplots(2, len(times), squeeze=False)
    for (name, rows), (top, bottom) in zip(times.items(), grid.T, strict=True):
        family = FAMILIES[name]
        for threads in next(iter(rows.values())):
            sizes = list(rows)
            seconds = [rows[size][threads] for size in sizes]
            rates = [family.row(size).flops / rows[size][threads] / 1e9 for size in sizes]
            label = f"{threads} thread{'s' * (threads > 1)}"
            top.plot(sizes, [1e6 * s for s in seconds], marker=".", linewidth=1, label=label)
            bottom.plot(sizes, rates, marker=".", linewidth=1, label=label)
        top.set_title(family.title)
        top.set_yscale("log")
        top.set_ylabel("µs a step")
        bottom.set_ylabel("GFLOP/s of the products")
        bottom.set_ylim(bottom=0)
        for axes in (top, bottom):
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set_xlabel(name)
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)
    figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__)
    parser.add_argument("--only", choices=FAMILIES, help="one of the two networks")
    parser.add_argument("--sizes", help="instead of all, e.g. 63,64,65")
    parser.add_argument("--threads", help="e.g. 1,2; default: one and all cores")
    parser.add_argument("--samples", type=int, default=3, help="of each round; default 3")
    parser.add_argument("--rounds", type=int, default=2, help="over all sizes; default 2")
    parser.add_argument("--seconds", type=float, default=0.01, help="a sample; default 0.01")
    parser.add_argument("--plot", type=Path, help="write a picture to this file (needs matplotlib)")
    parser.add_argument("--save", action="store_true", help="write to bench/results/")
    parser.add_argument("--machine", default="", help="the machine's name in bench/results/")
    parser.add_argument("--quick", action="store_true", help="compare only; nothing is timed")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    threads = [int(t) for t in options.threads.split(",")] if options.threads else [1, cores]
    threads = sorted(set(threads))
    times: dict[str, dict[int, dict[int, float]]] = {}
    for name in [options.only] if options.only else FAMILIES:
        family = FAMILIES[name]
        sizes = [int(s) for s in options.sizes.split(",")] if options.sizes else family.sizes
        for size in sizes:
            check(family.row(size), threads)
        for _ in range(0 if options.quick else options.rounds):
            for size in sizes:
                found = measure(family.row(size), threads, options.samples, options.seconds)
                known = times.setdefault(name, {}).setdefault(size, found)
                known.update({count: min(took, known[count]) for count, took in found.items()})
    if options.quick:
        print("all agree")
        return 0
    tables = [table(FAMILIES[name], rows) for name, rows in times.items()]
    odd = [
        line for name, rows in times.items() for t in threads
        for line in anomalies(FAMILIES[name], t, rows)
    ]  # fmt: skip
    text = "\n\n".join([*tables, *(["\n".join(f"- {line}" for line in odd)] if odd else [])])
    print(text)
    if options.plot:
        plot(options.plot, times)
    if options.save:
        figures = {"times": times, "anomalies": odd}
        print(results.save("sweep", figures, text, machine=options.machine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
