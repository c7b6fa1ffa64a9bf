"""Pictures of results, drawn by matplotlib: ratios to the peers, and the roofline."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from .peers import OURS, PEERS
from .peers.rows import ROWS
from .work import moved

__all__ = ["ratios", "roofline"]

_OURS, _THEIRS, _PRODUCT = "#2166ac", "#d6604d", "#4d9221"


def _median(entries: dict[str, Any], name: str) -> float | None:
    samples = entries.get(name, {}).get("samples")
    return statistics.median(samples) if samples else None


def _tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)


def ratios(path: Path, runs: list[dict[str, Any]]) -> None:
    """How many times as long as fastdl's ``fit`` each peer takes, for each row of each run."""
    from matplotlib.figure import Figure

    rows = max(len(run["rows"]) for run in runs)
    figure = Figure(figsize=(7 * len(runs), 1.5 + 0.3 * rows), layout="constrained")
    for run, axes in zip(runs, figure.subplots(1, len(runs), squeeze=False).flat, strict=True):
        names = list(run["rows"])[::-1]
        for k, peer in enumerate(name for name in PEERS if name not in OURS):
            points = []
            for y, name in enumerate(names):
                ours = _median(run["rows"][name], "fastdl")
                theirs = _median(run["rows"][name], peer)
                if ours and theirs:
                    points.append((theirs / ours, y))
            if points:
                x, y = zip(*points, strict=True)
                axes.scatter(x, y, marker="osD^vP"[k % 6], s=28, label=peer)
        axes.axvline(1.0, color="black", linewidth=1)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("time of a step, beside fastdl's fit (right of 1: fastdl is ahead)")
        axes.set_title(f"{run['threads']} thread{'s' * (run['threads'] > 1)}")
        _tidy(axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path)


def roofline(
    path: Path, run: dict[str, Any], kernels: list[dict[str, Any]], ceilings: dict[str, float]
) -> None:
    """Operations a second against operations per byte, below the two ceilings of the machine.

    A step's bytes are those that its update moves, and its rows; a product's those of its three
    arrays, each once. What stays in the caches may stand above the slope of the memory.

    Parameters
    ----------
    path : Path
    run : dict
        Of `bench.peers`, with one number of threads.
    kernels : list of dict
        The rows of `bench.kernels` with as many threads.
    ceilings : dict
        ``fma_flops`` and ``update_stream_bytes``.
    """
    from matplotlib.figure import Figure

    peak, stream = ceilings["fma_flops"] / 1e9, ceilings["update_stream_bytes"] / 1e9
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    steps = []
    for name, entries in run["rows"].items():
        ours = _median(entries, "fastdl")
        if not ours or name not in ROWS:
            continue
        row = ROWS[name]
        x, y = row.flops / moved(row), row.flops / ours / 1e9
        steps.append((x, y))
        axes.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8)
        theirs = [s for peer in PEERS if peer not in OURS and (s := _median(entries, peer))]
        if theirs:
            best = row.flops / min(theirs) / 1e9
            axes.plot([x, x], [y, best], color="#bbbbbb", linewidth=1, zorder=1)
            axes.scatter(x, best, facecolors="white", edgecolors=_THEIRS, s=26, zorder=2)
    products = [
        (k["flops"] / k["moved_by_product"], k["flops"] / k["seconds"]["fastdl"] / 1e9)
        for k in kernels
        if k.get("moved_by_product")
    ]
    for points, colour, marker, label in (
        (steps, _OURS, "o", "a training step, fastdl"),
        (products, _PRODUCT, "^", "a matrix product, fastdl"),
    ):
        if points:
            x, y = zip(*points, strict=True)
            axes.scatter(x, y, color=colour, marker=marker, s=30, label=label, zorder=3)
    axes.scatter([], [], facecolors="white", edgecolors=_THEIRS, s=26, label="the fastest peer")
    low = min([x for x, _ in [*steps, *products]], default=0.1) / 2
    high = max([x for x, _ in [*steps, *products]], default=100) * 2
    corner = peak / stream
    axes.plot([low, corner, max(high, corner)], [low * stream, peak, peak], color="black")
    axes.text(
        max(high, corner), peak, f"multiply-adds: {peak:.0f} GFLOP/s", ha="right", va="bottom"
    )
    middle = (low * corner) ** 0.5
    axes.text(middle, middle * stream * 1.15, f"memory: {stream:.0f} GB/s ", ha="right")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations for each byte moved")
    axes.set_ylabel("GFLOP/s")
    threads = f"{run['threads']} thread{'s' * (run['threads'] > 1)}"
    axes.set_title(f"Training steps and products below the machine's ceilings, {threads}")
    axes.legend(loc="lower right", frameon=False)
    _tidy(axes)
    figure.savefig(path)
