"""The figures of a run as Markdown: time a step, ratio to fastdl, share of the machine's peak."""

from __future__ import annotations

import json
import statistics

from . import NOT_IMPORTED, OURS, PEERS
from .rows import ROWS
from .verify import LOSS_TOLERANCE

__all__ = ["as_json", "failures", "heading", "table"]


def heading(options, seconds: float) -> str:
    if options.quick:
        return "# Training steps, compared (not timed)"
    return (
        "# Training steps, side by side\n\n"
        f"Microseconds a step: medians over {options.processes} processes of medians over up to "
        f"{options.rounds} samples of about {options.seconds} s; in brackets, how many times as "
        "long as fastdl's `fit`. All peers alternated, one at a time, after their losses (within "
        f"{LOSS_TOLERANCE}) and weights (within {_tolerances(options.only)} of the way that they "
        f"moved) had agreed with a float64 reference. The run took {seconds / 60:.0f} minutes."
    )


def _tolerances(names) -> str:
    """What most rows have, and which have another."""
    common = statistics.mode(ROWS[name].tolerance for name in names)
    others = [f"{n} {ROWS[n].tolerance:g}" for n in names if ROWS[n].tolerance != common]
    return f"{common:g}" + (f"; {', '.join(others)};" if others else "")


def table(run) -> str:
    """One run's table, with the notes under it."""
    names = [name for name in PEERS if any(name in row for row in run["rows"].values())]
    names = [name for name in names if not _absent(run, name)]
    timed = any(entry["samples"] for row in run["rows"].values() for entry in row.values())
    head = ["row", "step", "batch", *names, *(("GFLOP/s", "of peak") if timed else ())]
    lines = [f"## {run['threads']} thread{'s' * (run['threads'] > 1)}", "", _line(head)]
    lines.append("|---|---|" + "--:|" * (len(head) - 2))
    notes: dict[str, None] = {}  # in the order of appearance, once each
    for row_name, entries in run["rows"].items():
        row, ours = ROWS[row_name], _seconds(entries, "fastdl")
        cells = [row.name, row.title, str(row.batch)]
        cells += [_cell(entries, name, row_name, ours, notes) for name in names]
        if timed:
            cells += _throughput(run, row, ours)
        lines.append(_line(cells))
    for name in PEERS:
        if reason := _absent(run, name):
            notes[f"{name}: {reason}"] = None
    parts = ["\n".join(lines), _fastest(run, names), _calls(run, names)]
    parts += ["\n".join(f"- {note}" for note in notes), _ceilings(run), _versions(run)]
    return "\n\n".join(part for part in parts if part)


def failures(runs) -> list[str]:
    """What did not compute the same; ours where it is missing or stopped with an error."""
    lines = []
    for run in runs:
        if reason := _absent(run, "fastdl"):
            lines.append(f"FAILED: fastdl {reason}")
        for row_name, entries in run["rows"].items():
            for name, entry in entries.items():
                comparison = entry.get("comparison", {"ok": True})
                if not comparison["ok"]:
                    lines.append(
                        f"DIFFERS: {row_name} {name} ({run['threads']} threads): loss by "
                        f"{comparison['loss_error']:.1e}, weights by "
                        f"{comparison['weight_error']:.1e}"
                    )
                if "error" in entry and name in OURS and not _absent(run, name):
                    lines.append(f"FAILED: {row_name} {name}: {entry['error']}")
    return lines


def as_json(figures) -> str:
    return json.dumps(figures, indent=1) + "\n"


def _line(cells):
    return "| " + " | ".join(cells) + " |"


def _seconds(entries, name):
    samples = entries.get(name, {}).get("samples")
    return statistics.median(samples) if samples else None


def _shortest(entries, name):
    samples = entries.get(name, {}).get("fastest")
    return min(samples) if samples else None


def _absent(run, name):
    """Why a peer ran no row at all; empty where it ran one."""
    reasons = [row[name].get("error") for row in run["rows"].values() if name in row]
    if reasons and all(reasons) and len(set(reasons)) == 1 and reasons[0].startswith(NOT_IMPORTED):
        return reasons[0]
    return ""


def _cell(entries, name, row_name, ours, notes):
    entry, seconds = entries[name], _seconds(entries, name)
    for kind in ("skip", "error"):
        if kind in entry:
            notes[f"{row_name} {name}: {entry[kind]}"] = None
    comparison = entry.get("comparison")
    if comparison and not comparison["ok"]:
        return "**differs**"
    if seconds is None:
        return "same" if comparison else "–"
    return _time(name, seconds, ours)


def _time(name, seconds, ours):
    """Microseconds and, for another than fastdl's ``fit``, how many times as long."""
    text = _digits(seconds * 1e6, 3)
    return text if name == "fastdl" or not ours else f"{text} ({_digits(seconds / ours, 2)}×)"


def _microseconds(seconds):
    return _digits(seconds * 1e6, 3)


def _digits(value, digits):
    """At least this many digits that count, and no exponent: 0.0312, 3.12, 312, 31,234."""
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{float(f'{value:.{digits}g}'):g}"


def _median_ceiling(run, key):
    values = [c[key] for c in run["ceilings"] if key in c]
    return statistics.median(values) if values else None


def _throughput(run, row, ours):
    if ours is None:
        return ["–", "–"]
    rate, peak = row.flops / ours, _median_ceiling(run, "fma_flops")
    return [_digits(rate / 1e9, 3), f"{100 * rate / peak:.0f} %" if peak else "–"]


def _fastest(run, names):
    """The fastest sample of each, which hardly knows what else ran on the machine."""
    lines = []
    for row_name, entries in run["rows"].items():
        ours = _shortest(entries, "fastdl")
        times = {name: _shortest(entries, name) for name in names}
        if any(times.values()):
            cells = [_time(name, s, ours) if s else "–" for name, s in times.items()]
            lines.append(_line([row_name, *cells]))
    if not lines:
        return ""
    title = "The fastest sample of any process, µs a step (how many times as long as `fit`'s):"
    head = ["row", *names]
    return "\n".join([title, "", _line(head), "|---|" + "--:|" * len(names), *lines])


def _calls(run, names):
    """What a call that trains one step costs: a fit's fixed cost with one step."""
    lines = []
    for row_name, entries in run["rows"].items():
        cells = [row_name]
        for name in names:
            samples = entries[name].get("call_seconds")
            cells.append(_microseconds(statistics.median(samples)) if samples else "–")
        if any(cell != "–" for cell in cells[1:]):
            lines.append(_line(cells))
    if not lines:
        return ""
    head = ["row", *names]
    title = "A call from Python that trains one step, µs (of a `fit`: its fixed cost):"
    return "\n".join([title, "", _line(head), "|---|" + "--:|" * len(names), *lines])


def _ceilings(run):
    units = {
        "fma_flops": "fp32 multiply-adds {:.0f} GFLOP/s",
        "stream_bytes": "memory stream {:.1f} GB/s",
        "update_stream_bytes": "update stream (4 reads, 3 writes) {:.1f} GB/s",
    }
    parts = []
    for key, text in units.items():
        values = [c[key] / 1e9 for c in run["ceilings"] if key in c]
        if values:
            middle = text.format(statistics.median(values))
            parts.append(f"{middle} ({min(values):.3g}–{max(values):.3g})")
    return "Ceilings, medians of this run (from–to): " + "; ".join(parts) + "." if parts else ""


def _versions(run):
    text = ", ".join(f"{name} {version}" for name, version in sorted(run["versions"].items()))
    return f"Versions: {text}." if text else ""
