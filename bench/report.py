"""Writes ``docs/performance.md`` from the results of a machine: ``python -m bench.report``.

It takes the newest files of each kind in ``bench/results/`` and writes what stands between the two
marks of the page, and the pictures beside it. ``--run`` measures all of it first: an hour with all
peers, less with ``--processes 1``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import kernels, pictures, results, sweep
from .peers import OURS, PEERS
from .peers.rows import ROWS
from .work import updated

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN = "<!-- written by python -m bench.report: do not edit below -->"
END = "<!-- end of what python -m bench.report writes -->"

#: What is run by --run, and the end of the name of the file that it makes.
RUNS = {
    "peers": ["bench.peers", "--threads", "1,2", "--save"],
    "kernels": ["bench.kernels", "--save"],
    "sweep": ["bench.sweep", "--save"],
    "many": ["bench.many", "--save"],
    "idle": ["bench.idle", "--save"],
}


def newest(kind: str, folder: Path, machine: str = "") -> tuple[str, dict[str, Any]] | None:
    """(the file's name, its figures) of the latest results of this kind, if there are any."""
    pattern = re.compile(rf"(.+)-(\d{{4}}-\d\d-\d\d)-{kind}\.json")
    found = []
    for path in folder.glob(f"*-{kind}.json"):
        match = pattern.fullmatch(path.name)
        if match and machine in ("", match[1]):
            figures = json.loads(path.read_text())
            found.append((figures["environment"]["date"], path.name, figures))
    return max(found, key=lambda f: f[:2])[1:] if found else None


def machine_of(name: str) -> str:
    """The machine's name in a file's name."""
    return re.sub(r"-\d{4}-\d\d-\d\d-\w+\.json$", "", name)


# --- the sections -------------------------------------------------------------------------------


def _median(entries: dict[str, Any], name: str) -> float | None:
    samples = entries.get(name, {}).get("samples")
    return statistics.median(samples) if samples else None


def _ceilings(run: dict[str, Any]) -> dict[str, float]:
    keys = {key for measured in run["ceilings"] for key in measured if key != "row"}
    return {k: statistics.median(c[k] for c in run["ceilings"] if k in c) for k in keys}


def _micro(seconds: float) -> str:
    value = 1e6 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rate(value: float) -> str:
    return f"{value:,.0f}×" if value >= 10 else f"{value:.2g}×"


def steps(run: dict[str, Any]) -> str:
    """Each row: ours, each peer's ratio, shares of the ceilings; bold where a peer is ahead."""
    ceilings = _ceilings(run)
    peers = [p for p in PEERS if p not in OURS]
    peers = [p for p in peers if any(_median(row, p) for row in run["rows"].values())]
    head = ["", "a step", "batch", "fastdl, µs", *peers, "of peak", "of stream"]
    lines = [_line(head), "|---|---|" + "--:|" * (len(head) - 2)]
    for name, entries in run["rows"].items():
        ours = _median(entries, "fastdl")
        if not ours or name not in ROWS:
            continue
        row = ROWS[name]
        cells = [name, row.title, str(row.batch), _micro(ours)]
        for peer in peers:
            theirs = _median(entries, peer)
            ratio = theirs / ours if theirs else 0.0
            text = _rate(ratio) if theirs else "–"
            cells.append(f"**{text}**" if 0 < ratio < 1 else text)
        for done, ceiling in ((row.flops, "fma_flops"), (updated(row), "update_stream_bytes")):
            share = done / ours / ceilings[ceiling] if ceiling in ceilings else None
            cells.append(f"{100 * share:.0f} %" if share else "–")
        lines.append(_line(cells))
    return "\n".join(lines)


def behind(run: dict[str, Any]) -> list[str]:
    """The rows in which a peer took less time than ``fit``, in words."""
    lines = []
    for name, entries in run["rows"].items():
        ours = _median(entries, "fastdl")
        faster = {p: s for p in PEERS if p not in OURS and (s := _median(entries, p))}
        faster = {p: s for p, s in faster.items() if ours and s < ours}
        if faster:
            parts = ", ".join(
                f"{p} takes {_micro(s)} µs ({s / ours:.2f}×)"
                for p, s in sorted(faster.items(), key=lambda item: item[1])
            )
            threads = f"{run['threads']} thread{'s' * (run['threads'] > 1)}"
            lines.append(f"- {name}, {threads}: fastdl {_micro(ours)} µs; {parts}.")
    return lines


def _machine(facts: dict[str, str], runs: list[dict[str, Any]]) -> str:
    lines = [results.environment_table(facts), ""]
    head = ["ceiling", *(f"{r['threads']} thread{'s' * (r['threads'] > 1)}" for r in runs)]
    lines += [_line(head), "|---|" + "--:|" * len(runs)]
    for key, title, unit in (
        ("fma_flops", "multiply-adds, float32", "GFLOP/s"),
        ("stream_bytes", "memory, triad", "GB/s"),
        ("update_stream_bytes", "memory, 4 reads and 3 writes in place", "GB/s"),
    ):
        values = [_ceilings(run).get(key) for run in runs]
        lines.append(_line([title, *(f"{v / 1e9:.0f} {unit}" if v else "–" for v in values)]))
    return "\n".join(lines)


def _source(name: str, figures: dict[str, Any]) -> str:
    facts = figures["environment"]
    return f"From `{name}`, commit {facts['commit']}, {facts['date']}."


def written(folder: Path, machine: str, pictures_in: Path) -> str:
    """All that stands between the marks; draws the pictures.

    Raises
    ------
    SystemExit
        If there are no results of `bench.peers`.
    """
    peers = newest("peers", folder, machine)
    if peers is None:
        raise SystemExit(f"no results of bench.peers for {machine or 'any machine'} in {folder}")
    name, figures = peers
    machine = machine_of(name)
    runs = sorted(figures["runs"], key=lambda run: run["threads"])
    parts = ["## The machine", _machine(figures["environment"], runs)]
    parts += ["Peers: " + ", ".join(f"{k} {v}" for k, v in sorted(runs[-1]["versions"].items()))]
    parts += ["## Training steps", _source(name, figures)]
    parts += ["Bold: the peer is ahead. \"Of peak\" is the products' operations, \"of stream\" the "
              "update's bytes, over the time, as shares of the ceilings above."]  # fmt: skip
    for run in reversed(runs):
        parts += [f"### {run['threads']} thread{'s' * (run['threads'] > 1)}", steps(run)]
    products = newest("kernels", folder, machine)
    kernel_runs = [] if products is None else products[1]["runs"]
    if importlib.util.find_spec("matplotlib"):
        same = [k["rows"] for k in kernel_runs if k["threads"] == runs[-1]["threads"]]
        pictures_in.mkdir(parents=True, exist_ok=True)
        pictures.roofline(
            pictures_in / "roofline.svg", runs[-1], same[0] if same else [], _ceilings(runs[-1])
        )
        parts += ["![Roofline](roofline.svg)", _ROOFLINE]
    slower = [line for run in reversed(runs) for line in behind(run)]
    nowhere = "No peer was ahead in any row."
    parts += ["### Where fastdl is not ahead", "\n".join(slower) if slower else nowhere]
    if products is not None:
        parts += ["## Kernels", _source(*products)]
        for run in reversed(kernel_runs):
            parts.append(kernels.table(run["threads"], run["rows"]).replace("## ", "### ", 1))
        extra = kernels.size_lines(products[1]["import"], products[1]["wheel"])
        parts.append("\n".join(extra))
    many = newest("many", folder, machine)
    if many is not None:
        parts += ["## Many models at once", _source(*many), _table_of(folder / many[0])]
    swept = newest("sweep", folder, machine)
    if swept is not None:
        parts += ["## Width and batch size", _source(*swept)]
        if importlib.util.find_spec("matplotlib"):
            times = {
                family: {int(s): {int(t): v for t, v in row.items()} for s, row in rows.items()}
                for family, rows in swept[1]["times"].items()
            }
            sweep.plot(pictures_in / "sweep.svg", times)
            parts.append("![Step time against width and batch size](sweep.svg)")
        odd = swept[1]["anomalies"]
        parts.append(
            "\n".join(["What is irregular:", "", *(f"- {line}" for line in odd)])
            if odd
            else "No size that was tried is slower than a larger one, and no odd size stands out."
        )
    idle = newest("idle", folder, machine)
    if idle is not None:
        parts += ["## Other libraries after a fit", _source(*idle), _table_of(folder / idle[0])]
    return "\n\n".join(part for part in parts if part)


def _table_of(path: Path) -> str:
    """What a run printed: the Markdown beside its figures, without the machine's facts."""
    return path.with_suffix(".md").read_text().split("\n\n| | |\n")[0].strip()


_ROOFLINE = (
    "Each dot is a training step (hollow: the fastest peer's), each triangle a product. A step's "
    "bytes are those that its update moves, and its rows; what stays in the caches may stand above "
    "the slope of the memory."
)


def put(page: str, text: str) -> str:
    """The page with this text between the marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("--run", action="store_true", help="measure everything first")
    parser.add_argument("--processes", type=int, default=3, help="of each peer, see bench.peers")
    parser.add_argument("--machine", default="", help="its name in bench/results/; default: newest")
    parser.add_argument("--results", type=Path, default=results.FOLDER)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    if options.run:
        more = ["--machine", options.machine] if options.machine else []
        for kind, command in RUNS.items():
            own = ["--processes", str(options.processes)] if kind == "peers" else []
            done = subprocess.run([sys.executable, "-m", *command, *own, *more], check=False)
            if done.returncode:  # a peer that differs is named in its table
                print(f"{command[0]} ended with exit status {done.returncode}", file=sys.stderr)
    text = written(options.results, options.machine, options.page.parent)
    options.page.write_text(put(options.page.read_text(), text))
    print(options.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
