"""Runs the training steps of rows.py in fastdl and in every peer that is installed.

For each row: every peer builds the network in a process of its own from the same weights and data,
trains some steps, and its loss and weights are compared with a float64 reference. Those that agree
are timed in turn, several rounds, one at a time. The whole is done in several processes each, and
the medians over the processes make the table.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from .. import pictures, results
from . import OURS, PEERS, report
from .ceilings import measure_ceilings
from .process import Process
from .rows import ROWS
from .verify import LOSS_TOLERANCE, Verifier, verified_steps

_IMPORT_TIMEOUT = 120.0
_BUILD_TIMEOUT = 300.0
_SAMPLE_TIMEOUT = 120.0
_SETTLE = 0.3  # seconds between two peers: some libraries' threads spin so long before they sleep
_TOO_LONG = 2.0  # seconds: such a sample is not repeated within one process
_HEAVY = ("M2", "M2@1")  # left out by --quick


def main() -> int:
    options = _options()
    print(f"{len(options.only)} rows, {', '.join(options.peers)}", flush=True)
    started, runs = time.monotonic(), []
    for threads in options.threads:
        run = {"threads": threads, "rows": {name: {} for name in options.only}, "versions": {}}
        for number in range(options.processes):
            print(f"threads {threads}, process {number + 1} of {options.processes}:", flush=True)
            _one_process_each(run, threads, options)
        runs.append(run)
    tables = [report.table(run) for run in runs]
    text = report.heading(options, time.monotonic() - started) + "\n\n" + "\n\n".join(tables)
    print(f"\n{text}")
    tolerances = {name: ROWS[name].tolerance for name in options.only}
    figures = {"runs": runs, "loss_tolerance": LOSS_TOLERANCE, "weight_tolerance": tolerances}
    if options.json:
        options.json.write_text(report.as_json({"environment": results.environment(), **figures}))
    if options.plot:
        pictures.ratios(options.plot, runs)
    if options.save:
        print(results.save("peers", figures, text, machine=options.machine))
    failures = report.failures(runs)
    print("\n".join(failures))
    return 1 if failures else 0


def _options():
    parser = argparse.ArgumentParser("python -m bench.peers", description=__doc__)
    parser.add_argument("--only", type=_list, default=[], help="rows, e.g. S4,T1")
    parser.add_argument(
        "--peers",
        type=_list,
        default=[],
        help="e.g. torch,jax (also fits torch-compile, ...); fastdl always runs",
    )
    parser.add_argument("--threads", type=_list, default=[], help="e.g. 1,2; default: all cores")
    parser.add_argument("--processes", type=int, default=3, help="of each peer; default 3")
    parser.add_argument("--rounds", type=int, default=3, help="in each process; default 3")
    parser.add_argument("--seconds", type=float, default=0.15, help="a sample; default 0.15")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw the ratios in this file (matplotlib)")
    parser.add_argument("--save", action="store_true", help="write to bench/results/")
    parser.add_argument("--machine", default="", help="the machine's name in bench/results/")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="compare, time next to nothing, no M2: a check, not a measurement",
    )
    options = parser.parse_args()
    for name in options.only:
        if name not in ROWS:
            parser.error(f"no row {name}; there are {', '.join(ROWS)}")
    for name in options.peers:
        if not any(_fits(peer, name) for peer in PEERS):
            parser.error(f"no peer {name}; there are {', '.join(PEERS)}")
    heavy = _HEAVY if options.quick else ()
    options.only = options.only or [name for name in ROWS if name not in heavy]
    wanted = options.peers or list(PEERS)
    options.peers = [p for p in PEERS if p in OURS or any(_fits(p, w) for w in wanted)]
    cores = len(os.sched_getaffinity(0))
    options.threads = [int(count) for count in options.threads or [cores]]
    if any(not 1 <= count <= cores for count in options.threads):
        parser.error(f"--threads: 1 to {cores} here")
    if options.quick:
        options.processes = options.rounds = 1
        options.seconds = 0.0
    return options


def _list(text):
    return [part.strip() for part in text.split(",") if part.strip()]


def _fits(peer, wanted):
    return peer == wanted or peer.startswith(f"{wanted}-")


def _one_process_each(run, threads, options) -> None:
    """Each peer in a fresh process, which forks for each row: compares and times every row."""
    ceilings = run.setdefault("ceilings", [])
    with _started([name for name in options.peers if name not in OURS], threads, run) as theirs:
        for name in options.only:
            if not options.quick:
                ceilings.append({"row": name, **measure_ceilings(threads)})
            started = time.monotonic()
            with _started(OURS, threads, run) as ours:
                ready = _compare(run["rows"][name], name, ours + theirs, options)
                _time(run["rows"][name], ready, options)
            print(f"  {name:5} {time.monotonic() - started:6.1f} s", flush=True)


@contextlib.contextmanager
def _started(names, threads, run):
    """Processes that have imported their libraries, or say why not."""
    processes = [Process(name, threads) for name in names]
    try:
        for process in processes:
            process.started(_IMPORT_TIMEOUT)
            run["versions"].update(process.versions)
        yield processes
    finally:
        for process in processes:
            process.close()


_verifier = functools.cache(Verifier)  # its reference results serve all processes


def _compare(figures, name, processes, options) -> list[Process]:
    """Builds the row in each process, compares what it trained; returns those that agree."""
    verifier, ready = _verifier(name), []
    with tempfile.TemporaryDirectory() as folder:
        for process in processes:
            arrays = str(Path(folder, f"{process.name}.npz"))
            request = {"row": name, "verify": verified_steps(name), "arrays": arrays}
            process.send(request | {"warm": not options.quick})
        for process in processes:
            entry = figures.setdefault(process.name, _nothing_timed())
            answer = process.receive(_BUILD_TIMEOUT)
            if "loss" not in answer:
                entry.update({key: answer[key] for key in ("skip", "error") if key in answer})
                continue
            with np.load(Path(folder, f"{process.name}.npz")) as stored:
                arrays = list(stored.values())
            comparison = verifier.compare(answer["loss"], arrays, answer["adam"])
            if entry.setdefault("comparison", comparison)["ok"]:
                entry["comparison"] = comparison
            if "call_seconds" in answer:
                entry["call_seconds"].append(answer["call_seconds"])
            if comparison["ok"]:
                ready.append(process)
            else:
                process.ask({"end": True}, _SAMPLE_TIMEOUT)
    return ready


def _nothing_timed() -> dict:
    return {"samples": [], "fastest": [], "call_seconds": []}


def _time(figures, ready, options) -> None:
    """Samples in turn, in seconds a step; each time in another order, for other neighbours.

    An entry of ``samples`` is the median of one process, one of ``fastest`` its fastest sample.
    """
    samples: dict[str, list[float]] = {process.name: [] for process in ready}
    rounds = 0 if options.quick else options.rounds
    for number in range(rounds):
        for process in random.Random(number).sample(ready, len(ready)):
            time.sleep(_SETTLE)
            answer = process.ask({"seconds": options.seconds}, _SAMPLE_TIMEOUT)
            if "seconds" in answer:
                samples[process.name].append(answer["seconds"] / answer["steps"])
            else:
                figures[process.name]["error"] = answer["error"]
            if answer.get("seconds", _TOO_LONG) >= _TOO_LONG:
                ready = [p for p in ready if p is not process]
                process.ask({"end": True}, _SAMPLE_TIMEOUT)
    for process in ready:
        process.ask({"end": True}, _SAMPLE_TIMEOUT)
    for name, values in samples.items():
        if values:
            figures[name]["samples"].append(statistics.median(values))
            figures[name]["fastest"].append(min(values))


if __name__ == "__main__":
    sys.exit(main())
