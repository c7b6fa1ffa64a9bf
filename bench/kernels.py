"""The kernel table: ``python -m bench.kernels`` prints goal, ours, PyTorch's, ratio and share.

The cases are those of the suites (``test_kernels.py``, ``test_matmul.py``, ``test_predict.py``,
``test_import.py``): each is checked against float64 NumPy there. Then ours and PyTorch's take
turns, and the fastest of the samples counts, the ceilings being measured in between.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import results, test_import, test_kernels, test_matmul, test_predict

_SAMPLE = 0.01  # seconds
_SETTLE = 0.02  # between two libraries: the threads of the last one go to sleep


@dataclass(frozen=True)
class Case:
    """A line of the table.

    ``test`` is a suite's function without ``benchmark``, ``request`` and ``rng``. Of the goals,
    ``times`` is how many times as fast as PyTorch, ``share`` is of the ceiling, ``seconds`` is not
    to be exceeded. ``flops`` and ``moved`` (bytes) are what the ceiling is measured in:
    multiply-adds in registers, or the ``stream`` of `calibrate` over arrays of so many
    ``elements``, which lie in the same caches as the case's. Products are also compared with many
    small ones that stay in the caches next to the cores: they load what they multiply, which
    another user of the same core slows down, and multiply-adds in registers it does not.
    """

    name: str
    test: Callable[..., Any]
    libraries: tuple[str, ...] = ("fastdl", "torch")
    times: float = 0.0
    share: float = 0.0
    seconds: float = 0.0
    flops: float = 0.0
    moved: float = 0.0
    stream: str = ""
    elements: int = 0
    product: float = 0.0  # bytes of a product's three arrays
    alone: bool = False  # one thread is as good as two: only the first number of threads

    @property
    def goal(self) -> str:
        parts = [f"≥ {self.times:g}×"] if self.times else []
        parts += [f"≥ {100 * self.share:.0f} %"] if self.share else []
        parts += [f"≤ {_time(self.seconds)}"] if self.seconds else []
        return ", ".join(parts)


def _product(form: str, m: int, k: int, n: int, share: float) -> Case:
    test = partial(test_matmul.test_share_of_peak, dtype="float32", shape=(form, m, k, n))
    names = {"nn": "x·W", "tn": "xᵀ·dy", "nt": "dy·Wᵀ"}
    name = f"product {names[form]}, {m}x{k}x{n}"
    bytes_ = 4.0 * (m * k + k * n + m * n)
    return Case(name, test, ("fastdl",), share=share, flops=2.0 * m * k * n, product=bytes_)


def _dense(b: int, i: int, o: int, times: float) -> Case:
    test = partial(test_kernels.test_dense_relu, sizes=(b, i, o))
    flops = 6.0 * b * i * o
    return Case(f"dense + relu, forward + backward, {b}x{i}x{o}", test, times=times, flops=flops)


def _norm(shape: tuple[int, ...], times: float, *more: str) -> Case:
    test = partial(test_kernels.test_batchnorm, shape=shape)
    name = f"BatchNorm, forward + backward, {shape}"
    n = math.prod(shape)  # x is read four times, its gradient twice, two arrays are written
    return Case(
        name, test, ("fastdl", "torch", *more), times=times, moved=32.0 * n,
        stream="stream", elements=4 * n // 3,
    )  # fmt: skip


def _update(kind: str, n: int, arrays: int, **goals: float) -> Case:
    test = partial(getattr(test_kernels, f"test_{kind.lower()}"), n=n)
    moved, name = 4.0 * arrays * n, f"{kind}, {n:,}"
    return Case(name, test, moved=moved, stream="update_stream", elements=n, **goals)


CASES = (
    _product("nn", 512, 1024, 1024, 0.87),
    _product("nn", 2048, 2048, 2048, 0.83),
    _product("nn", 32, 784, 128, 0.80),
    _product("nn", 128, 784, 128, 0.80),
    _product("tn", 784, 32, 128, 0.80),
    _product("tn", 784, 128, 128, 0.80),
    _product("nt", 32, 128, 784, 0.72),
    _product("nt", 128, 128, 784, 0.78),
    _dense(32, 784, 128, 2.8),
    _dense(128, 1024, 1024, 2.3),
    _dense(512, 1024, 1024, 2.3),
    Case("Adam, 1,000", partial(test_kernels.test_adam, n=1000), seconds=1.5e-6, alone=True),
    _update("Adam", 100_000, 7, seconds=10e-6),
    _update("Adam", 10_000_000, 7, times=1.0, share=0.9),
    _update("RMSprop", 10_000_000, 5, times=5.0),
    _norm((256, 1024), 4.0),
    _norm((4096, 512), 2.2),
    _norm((64, 28, 28, 32), 3.0, "torch channels_last"),
    Case("softmax + cross-entropy, forward + gradient, (128, 1000)",
         test_kernels.test_softmax_crossentropy, times=2.0),
    Case("predict, one row, 784-128-10, from Python", partial(test_predict.test_predict, rows=1),
         seconds=4e-6, alone=True),
)  # fmt: skip


class _Caught:
    """Stands for pytest-benchmark's ``benchmark``: keeps what it was to time."""

    stats = None

    def __init__(self) -> None:
        self.group, self.call = "", lambda: None
        self.extra_info: dict[str, Any] = {}

    def __call__(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        self.call = partial(call, *arguments, **named)

    def pedantic(self, call: Callable[[], Any], rounds: int) -> None:
        for _ in range(rounds):
            call()


class _Libraries:
    """Stands for pytest's ``request``: the fixtures that the suites ask for."""

    def __init__(self, threads: int) -> None:
        import fastdl
        from fastdl import kernels

        self.cpu_models = fastdl
        self.threads = threads
        self.backend = SimpleNamespace(
            name="cpu", kernels=kernels, array=np.array, numpy=np.asarray, wait=lambda: None
        )

    @property
    def torch(self) -> Any:
        import torch

        torch.set_flush_denormal(True)
        torch.set_num_threads(self.threads)
        return torch

    def getfixturevalue(self, name: str) -> Any:
        return getattr(self, name)


@dataclass
class Timed:
    """The fastest sample of each library, in seconds a call, and the ceilings around it."""

    case: Case
    seconds: dict[str, float] = field(default_factory=dict)
    ceiling: float = 0.0  # FLOP/s or bytes/s
    small: float = 0.0  # FLOP/s of products next to the cores

    @property
    def ratio(self) -> float | None:
        """How many times as long PyTorch takes, in the faster of its layouts."""
        others = [s for name, s in self.seconds.items() if name != "fastdl"]
        return min(others) / self.seconds["fastdl"] if others else None

    @property
    def share(self) -> float | None:
        done = self.case.flops or self.case.moved
        return done / self.seconds["fastdl"] / self.ceiling if self.ceiling else None

    @property
    def bound(self) -> dict[str, float]:
        """What the case could reach at most here: how many times as fast as PyTorch, what share of
        the ceiling, in how many seconds."""
        done = self.case.flops or self.case.moved
        if not self.ceiling:
            return {}
        rate = self.small or self.ceiling
        found = {"share": rate / self.ceiling, "seconds": done / rate}
        if self.ratio is not None:
            found["times"] = self.ratio * self.seconds["fastdl"] / found["seconds"]
        return found

    @property
    def beyond(self) -> bool:
        """Whether a goal is more than that."""
        case, bound = self.case, self.bound
        return bool(bound) and (
            case.share > bound["share"]
            or case.times > bound.get("times", case.times)
            or 0 < case.seconds < bound["seconds"]
        )

    @property
    def reached(self) -> bool:
        """Whether all goals are; those beside PyTorch only where it is installed."""
        case, ratio, share = self.case, self.ratio, self.share
        return (
            (not case.times or ratio is None or ratio >= case.times)
            and (not case.share or (share is not None and share >= case.share))
            and (not case.seconds or self.seconds["fastdl"] <= case.seconds)
        )

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.case.name, "goal": self.case.goal, "reached": self.reached,
            "seconds": self.seconds, "ratio": self.ratio, "share": self.share,
            "flops": self.case.flops, "moved": self.case.moved, "ceiling": self.ceiling,
            "small": self.small, "bound": self.bound, "beyond": self.beyond,
            "moved_by_product": self.case.product,
        }  # fmt: skip


def prepare(case: Case, threads: int, torch: bool) -> dict[str, Callable[[], Any]]:
    """What to time of each library, after its results have been compared with float64 NumPy's."""
    calls = {}
    for library in case.libraries:
        if library != "fastdl" and not torch:
            continue
        caught = _Caught()
        given = {"benchmark": caught, "library": library, "request": _Libraries(threads)}
        given |= {"rng": np.random.default_rng(0), "backend": given["request"].backend}
        given["threads"] = threads
        test = case.test.func if isinstance(case.test, partial) else case.test
        wanted = test.__code__.co_varnames[: test.__code__.co_argcount]
        case.test(**{name: value for name, value in given.items() if name in wanted})
        calls[library] = caught.call
    return calls


def measure(case: Case, threads: int, torch: bool, samples: int) -> Timed:
    """Times one case."""
    from fastdl.kernels import calibrate

    timed, calls = Timed(case), prepare(case, threads, torch)
    counts = dict.fromkeys(calls, 0)
    for number in range(samples + 1):
        for name, call in calls.items():
            time.sleep(_SETTLE)
            call()  # wakes the threads
            count = counts[name] or 1
            begin = time.perf_counter()
            for _ in range(count):
                call()
            took = (time.perf_counter() - begin) / count
            counts[name] = max(1, round(_SAMPLE / took))
            if number:
                timed.seconds[name] = min(timed.seconds.get(name, took), took)
        if case.flops and number % 2 == 0:
            timed.ceiling = max(timed.ceiling, calibrate.fma_peak("float32", threads))
            timed.small = max(timed.small, small_products(threads))
        elif case.moved and number % 2 == 0:
            repeats = max(5, round(_SAMPLE * 1e10 / case.moved))
            stream = getattr(calibrate, case.stream)(threads, repeats, case.elements)
            timed.ceiling = max(timed.ceiling, stream)
    return timed


def small_products(threads: int) -> float:
    """FLOP/s of products that fit the caches next to the cores, 16 for each thread."""
    from fastdl import kernels

    rows, depth, columns = 56, 128, 64
    rng = np.random.default_rng(0)
    a = rng.standard_normal((16 * threads, rows, depth), np.float32)
    b = rng.standard_normal((16 * threads, depth, columns), np.float32)
    out = kernels.batch_matmul_forward(a, b)
    begin = time.perf_counter()
    for _ in range(20):
        kernels.batch_matmul_forward(a, b, out=out)
    return 20 * 2.0 * len(a) * rows * depth * columns / (time.perf_counter() - begin)


def import_time(torch: bool) -> dict[str, float]:
    """Seconds that importing takes after NumPy; PyTorch's is looked at once, it takes long."""
    found = {}
    for module in ["fastdl", *(["torch"] if torch else [])]:
        caught = _Caught()
        test_import.test_import(caught, module)
        found[module] = caught.extra_info["import_milliseconds"] / 1e3
    return found


def run(threads: int, names: list[str], torch: bool, samples: int) -> list[Timed]:
    """All cases whose names hold one of these texts."""
    import fastdl

    fastdl.set_num_threads(threads)
    try:
        return [measure(case, threads, torch, samples) for case in chosen(names)]
    finally:
        fastdl.set_num_threads(None)


def chosen(names: list[str]) -> Iterator[Case]:
    for case in CASES:
        if not names or any(name.lower() in case.name.lower() for name in names):
            yield case


# --- what is printed ----------------------------------------------------------------------------


def table(threads: int, rows: list[dict[str, Any]]) -> str:
    """The figures of one number of threads as Markdown. A goal that was not reached is bold, and
    italic too where the ceiling itself is below it."""
    lines = [
        f"## Kernels, {threads} thread{'s' * (threads > 1)}", "",
        "| kernel | goal | fastdl | torch | ratio | share of the ceiling | at most |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for row in rows:
        others = [s for name, s in row["seconds"].items() if name != "fastdl"]
        stars = "" if row["reached"] else "***" if row.get("beyond") else "**"
        cells = [
            row["name"],
            f"{stars}{row['goal']}{stars}",
            _time(row["seconds"]["fastdl"]),
            _time(min(others)) if others else "–",
            f"{row['ratio']:.2g}×" if others else "–",
            f"{100 * row['share']:.0f} %" if row["share"] else "–",
            _at_most(row["goal"], row.get("bound")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    missed = [row for row in rows if not row["reached"]]
    beyond = sum(bool(row.get("beyond")) for row in missed)
    lines += [
        "",
        f"{len(rows) - len(missed)} of {len(rows)} goals reached; those missed are bold, and "
        f"italic where they are more than could be reached here at most ({beyond}): at the rate of "
        "the stream or, of products, of many small ones that stay in the caches next to the cores.",
    ]
    return "\n".join(lines)


def _at_most(goal: str, bound: dict[str, float] | None) -> str:
    """What could be reached, in the goal's terms."""
    if not bound:
        return "–"
    parts = [f"{bound['times']:.2g}×"] if "×" in goal and "times" in bound else []
    parts += [f"{100 * bound['share']:.0f} %"] if "%" in goal else []
    parts += [_time(bound["seconds"])] if "≤" in goal else []
    return ", ".join(parts) or "–"


def size_lines(imports: dict[str, float], wheel: dict[str, float]) -> list[str]:
    """What importing and installing cost."""
    lines = []
    if imports:
        parts = ", ".join(f"{name} {_time(seconds)}" for name, seconds in imports.items())
        lines.append(f"- import after NumPy's (goal: ≤ 50 ms): {parts}")
    if wheel:
        lines.append(
            f"- wheel (goal: ≤ 3 MB): {wheel['wheel'] / 1e6:.2f} MB; what installing adds "
            f"(goal: ≤ 10 MB): {wheel['installed'] / 1e6:.2f} MB"
        )
    return lines


def wheel_size(path: Path) -> dict[str, float]:
    """Bytes of a wheel and of what it holds."""
    with zipfile.ZipFile(path) as file:
        return {
            "wheel": path.stat().st_size,
            "installed": sum(entry.file_size for entry in file.infolist()),
        }


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            return f"{seconds / size:.3g} {unit}"
    raise AssertionError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.kernels", description=__doc__)
    parser.add_argument("--only", default="", help="parts of names, e.g. adam,product")
    parser.add_argument("--threads", default="", help="e.g. 1,2; default: one and all cores")
    parser.add_argument("--samples", type=int, default=15, help="of each library; default 15")
    parser.add_argument("--without-torch", action="store_true")
    parser.add_argument("--wheel", type=Path, help="a wheel of fastdl, for its size")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--save", action="store_true", help="write to bench/results/")
    parser.add_argument("--machine", default="", help="the machine's name in bench/results/")
    parser.add_argument("--quick", action="store_true", help="compare only; nothing is timed")
    options = parser.parse_args()
    names = [part for part in options.only.split(",") if part]
    torch = not options.without_torch and importlib.util.find_spec("torch") is not None
    cores = len(os.sched_getaffinity(0))
    threads = sorted({int(t) for t in options.threads.split(",") if t} or {1, cores})
    if options.quick:
        for case in chosen(names):
            prepare(case, threads[-1], torch)
        print("all agree")
        return 0
    runs = []
    for count in threads:
        timed = run(count, names, torch, options.samples)
        timed = [t for t in timed if not t.case.alone or count == threads[0]]
        runs.append({"threads": count, "rows": [t.figures() for t in timed]})
    imports = import_time(torch) if not names else {}
    wheel = wheel_size(options.wheel) if options.wheel else {}
    tables = [table(r["threads"], r["rows"]) for r in runs]
    text = "\n\n".join(
        [*tables, *(["\n".join(size_lines(imports, wheel))] if imports or wheel else [])]
    )
    print(text)
    figures = {"runs": runs, "import": imports, "wheel": wheel}
    if options.json:
        options.json.write_text(
            json.dumps({"environment": results.environment(), **figures}, indent=1) + "\n"
        )
    if options.save:
        print(results.save("kernels", figures, text, machine=options.machine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
