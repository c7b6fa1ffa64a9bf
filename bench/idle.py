"""Other libraries after a Program has ended: ``python -m bench.idle``.

A fit on all threads ends, and at once NumPy (with its BLAS) or PyTorch multiplies on all of its
threads. Beside it stands the same after the same fit on one thread, which leaves no workers behind.
They take turns; the medians are compared. The processor time of this process while it sleeps after
a fit says how long the workers go on waiting for more.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

import fastdl
from fastdl.kernels import runner

from . import results
from .peers.fastdl_fit import FastdlFit
from .peers.rows import Row, data, initial_weights

ROW = Row("idle", "", (784, 256, 10), batch=64, batches=8)
SIZE = 384  # of the matrices: some hundred microseconds
SLEEP = 0.05  # seconds


def trainer(threads: int) -> Callable[[], None]:
    """A short fit on so many threads, all of which take part."""
    peer = FastdlFit(ROW, initial_weights(ROW), *data(ROW), threads)

    def train() -> None:
        fastdl.set_num_threads(threads)
        runner.force_threads(threads > 1)
        try:
            peer.epochs(1, ROW.batches)
        finally:
            runner.force_threads(False)
            fastdl.set_num_threads(None)

    train()
    if runner.last_threads() != threads:
        raise SystemExit(f"the fit ran on {runner.last_threads()} threads, not on {threads}")
    return train


def products(library: str, threads: int) -> Callable[[], object]:
    """A matrix product on all threads of the library."""
    a = np.random.default_rng(0).random((SIZE, SIZE), np.float32)
    if library == "numpy":
        return lambda: a @ a
    import torch

    torch.set_num_threads(threads)
    b = torch.from_numpy(a)
    return lambda: b @ b


def seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def compare(library: str, threads: int, rounds: int) -> tuple[float, float]:
    """Median seconds of the product right after a fit on one thread, and on all threads."""
    fits = trainer(1), trainer(threads)
    product = products(library, threads)
    took: tuple[list[float], list[float]] = [], []
    for number in range(2 * rounds + 4):
        time.sleep(0.01)
        fits[number % 2]()
        took[number % 2].append(seconds(product))
    alone, after = (statistics.median(times[2:]) for times in took)
    return alone, after


def waiting(threads: int, rounds: int) -> list[float]:
    """Processor seconds of this process in `SLEEP` seconds of sleep right after each fit."""
    train, used = trainer(threads), []
    time.sleep(0.3)  # NumPy's workers, which made the data, wait longer than ours
    for _ in range(rounds):
        train()
        begin = time.process_time()
        time.sleep(SLEEP)
        used.append(time.process_time() - begin)
    return used


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--save", action="store_true", help="write to bench/results")
    parser.add_argument("--machine", default="", help="the machine's name in bench/results/")
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    used = waiting(threads, options.rounds)
    lines = [
        f"Processor time in {1e3 * SLEEP:.0f} ms of sleep right after a fit on {threads} threads: "
        f"{1e3 * statistics.median(used):.2f} ms (median), {1e3 * max(used):.2f} ms (most).",
        "",
        f"| a product of {SIZE}x{SIZE} after a fit | on one thread, µs | on {threads}, µs | |",
        "|---|--:|--:|--:|",
    ]
    figures: dict[str, object] = {"threads": threads, "waiting": used}
    for library in ["numpy", *(["torch"] if importlib.util.find_spec("torch") else [])]:
        alone, after = compare(library, threads, options.rounds)
        figures[library] = {"after_one_thread": alone, "after_all_threads": after}
        row = f"| {library} | {1e6 * alone:.0f} | {1e6 * after:.0f} | {after / alone:.2f}× |"
        lines.append(row)
    text = "\n".join(lines)
    print(text)
    if options.save:
        print(results.save("idle", figures, text, machine=options.machine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
