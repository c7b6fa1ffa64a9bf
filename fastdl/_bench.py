"""The short benchmark of ``fastdl bench``: training steps of a few networks, and what they reach of
the machine's peak. Other libraries beside it: ``python -m bench.peers`` in a checkout.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastdl._files import replacing
from fastdl._optional import require
from fastdl.progress import format_seconds

__all__ = ["check", "draw", "make", "run", "time_step"]

#: Name, widths from the input to the classes, batch size.
NETWORKS: tuple[tuple[str, tuple[int, ...], int], ...] = (
    ("tiny", (2, 8, 2), 4),
    ("small", (30, 64, 64, 2), 32),
    ("digits, one row", (784, 128, 10), 1),
    ("digits", (784, 128, 10), 32),
    ("digits, large", (784, 128, 10), 128),
    ("wide", (784, 512, 512, 10), 128),
)

_STEPS = 32  # of an epoch


def make(widths: Sequence[int], batch_size: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return a compiled network and one epoch of data: relu layers, softmax, cross-entropy, Adam.

    Parameters
    ----------
    widths : sequence of int
        Inputs, units of the hidden layers, classes.
    batch_size : int
        Rows of a step.
    """
    import fastdl
    from fastdl.layers import Dense

    rng = np.random.default_rng(0)
    x = rng.standard_normal((_STEPS * batch_size, widths[0])).astype(np.float32)
    y = rng.integers(0, widths[-1], len(x))
    model = fastdl.Sequential(
        [*(Dense(n, activation="relu") for n in widths[1:-1]), Dense(widths[-1], "softmax")]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    return model, x, y


def check(widths: Sequence[int], batch_size: int) -> float:
    """Compare outputs and loss of a trained network with float64 NumPy's.

    Returns
    -------
    float
        The largest relative difference of the outputs.

    Raises
    ------
    ArithmeticError
        If they differ by more than float32's rounding explains.
    """
    model, x, y = make(widths, batch_size)
    model.fit(x, y, batch_size=batch_size, verbose=0)
    arrays = [weight.numpy().astype(np.float64) for weight in model.weights]
    out = x.astype(np.float64)
    for kernel, bias in zip(arrays[0:-2:2], arrays[1:-2:2], strict=True):
        out = np.maximum(out @ kernel + bias, 0.0)
    odds = np.exp(out @ arrays[-2] + arrays[-1])
    wanted = odds / odds.sum(axis=1, keepdims=True)
    error = float(np.max(np.abs(model.predict(x) - wanted) / wanted))
    loss = float(-np.log(wanted[np.arange(len(y)), y]).mean())
    if not error < 1e-3 or not abs(model.evaluate(x, y) - loss) < 1e-4 * loss:
        raise ArithmeticError(f"{widths}: the outputs differ from float64 by {error:.1e}")
    return error


def time_step(widths: Sequence[int], batch_size: int, seconds: float = 0.5) -> tuple[float, float]:
    """Return the time of a training step and of a one-row prediction, each the best of several.

    Parameters
    ----------
    widths, batch_size
        As in `make`.
    seconds : float, default 0.5
        About how long to measure.

    Returns
    -------
    step, predict : float
        Seconds.
    """
    model, x, y = make(widths, batch_size)
    fit = _best(lambda: model.fit(x, y, batch_size=batch_size, verbose=0), seconds)
    predict = _best(lambda: model.predict(x[:1], verbose=0), seconds / 5)
    return fit / _STEPS, predict


def _best(call: Callable[[], Any], seconds: float) -> float:
    """Return the shortest time of ``call``, made for about ``seconds`` and 3 times or more."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def run(
    seconds: float = 0.5,
    to_json: str | os.PathLike[str] | None = None,
    to_plot: str | os.PathLike[str] | None = None,
) -> None:
    """Print a table of `time_step` for all networks, each checked first; write it where asked.

    Parameters
    ----------
    seconds : float, default 0.5
        About how long to measure each network.
    to_json, to_plot : path, optional
        Files for the figures and for a picture, which needs matplotlib.
    """
    from fastdl import runtime
    from fastdl.kernels.calibrate import fma_peak, stream, update_stream

    if to_plot is not None:
        require("matplotlib.pyplot", "plot", "fastdl bench --plot")  # before, not afterwards
    peak, triad, update = fma_peak(), stream(), update_stream()
    print(
        f"multiply-adds: {peak / 1e9:.0f} GFLOP/s, memory: {triad / 1e9:.0f} GB/s (triad), "
        f"{update / 1e9:.0f} GB/s (4 reads, 3 writes)\n"
    )
    print(
        f"{'network':<16} {'layers':<16} {'batch':>5} {'step':>8} {'GFLOP/s':>8} {'of peak':>8} "
        f"{'predict 1 row':>14}"
    )
    rows = []
    for name, widths, batch_size in NETWORKS:
        error = check(widths, batch_size)
        step, predict = time_step(widths, batch_size, seconds)
        products = [i * o for i, o in itertools.pairwise(widths)]
        rate = 2 * batch_size * (3 * sum(products) - products[0]) / step
        print(
            f"{name:<16} {'-'.join(map(str, widths)):<16} {batch_size:>5} "
            f"{format_seconds(step):>8} {rate / 1e9:>8.3g} {rate / peak:>8.1%} "
            f"{format_seconds(predict):>14}",
            flush=True,
        )
        rows.append({
            "network": name, "widths": widths, "batch": batch_size, "step_seconds": step,
            "predict_seconds": predict, "flops_per_second": rate, "share_of_peak": rate / peak,
            "error": error,
        })  # fmt: skip
    print("\nOutputs and losses agree with float64 NumPy's. Other libraries beside these: in a")
    print("checkout of fastdl, python -m bench.peers")
    figures = {
        "config": runtime.config(), "fma_flops": peak, "stream_bytes": triad,
        "update_stream_bytes": update, "rows": rows,
    }  # fmt: skip
    if to_json is not None:
        with replacing(to_json) as file:
            file.write((json.dumps(figures, indent=1, default=str) + "\n").encode())
    if to_plot is not None:
        draw(figures, to_plot)


def draw(figures: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw what each network's step reaches, below the peak."""
    pyplot = require("matplotlib.pyplot", "plot", "fastdl bench --plot")
    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    rows = figures["rows"]
    names = [f"{'-'.join(map(str, r['widths']))}\nbatch {r['batch']}" for r in rows]
    bars = axes.bar(names, [r["flops_per_second"] / 1e9 for r in rows], color="#2166ac")
    axes.bar_label(bars, [format_seconds(r["step_seconds"]) for r in rows], padding=2)
    axes.axhline(figures["fma_flops"] / 1e9, color="black", linewidth=1, label="peak")
    axes.set_yscale("log")
    axes.set_ylabel("GFLOP/s of a training step")
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
