"""The short benchmark of ``fastdl bench``: the time of a training step of a few networks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdl.progress import format_seconds

__all__ = ["run", "time_step"]

#: Name, widths from the input to the classes, batch size.
NETWORKS: tuple[tuple[str, tuple[int, ...], int], ...] = (
    ("tiny", (2, 8, 2), 4),
    ("small", (30, 64, 64, 2), 32),
    ("digits, one row", (784, 128, 10), 1),
    ("digits", (784, 128, 10), 32),
    ("digits, large", (784, 128, 10), 128),
    ("wide", (784, 512, 512, 10), 128),
)


def time_step(widths: Sequence[int], batch_size: int, seconds: float = 0.5) -> tuple[float, float]:
    """Return the time of a training step and of a one-row prediction, each the best of several.

    Parameters
    ----------
    widths : sequence of int
        Inputs, units of the hidden layers, classes.
    batch_size : int
        Rows of a step.
    seconds : float, default 0.5
        About how long to measure.

    Returns
    -------
    step, predict : float
        Seconds. The step is Adam's on relu layers with softmax and cross-entropy.
    """
    import fastdl
    from fastdl.layers import Dense

    rng = np.random.default_rng(0)
    steps = 32
    x = rng.standard_normal((steps * batch_size, widths[0])).astype(np.float32)
    y = rng.integers(0, widths[-1], len(x))
    model = fastdl.Sequential(
        [*(Dense(n, activation="relu") for n in widths[1:-1]), Dense(widths[-1], "softmax")]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    fit = _best(lambda: model.fit(x, y, batch_size=batch_size, verbose=0), seconds)
    predict = _best(lambda: model.predict(x[:1], verbose=0), seconds / 5)
    return fit / steps, predict


def _best(call: Any, seconds: float) -> float:
    """Return the shortest time of ``call``, made for about ``seconds`` and 3 times or more."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def run(seconds: float = 0.5) -> None:
    """Print a table of `time_step` for all networks."""
    print(f"{'network':<16} {'layers':<22} {'batch':>5} {'step':>8} {'predict 1 row':>14}")
    for name, widths, batch_size in NETWORKS:
        step, predict = time_step(widths, batch_size, seconds)
        layers = "-".join(map(str, widths))
        print(
            f"{name:<16} {layers:<22} {batch_size:>5} {format_seconds(step):>8} "
            f"{format_seconds(predict):>14}",
            flush=True,
        )
