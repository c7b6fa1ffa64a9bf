"""The progress display of fit, evaluate and predict: a bar on a terminal, a line in a log file."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np

from fastdl._optional import optional

__all__ = ["Progress", "format_logs", "format_seconds", "resolve_verbose"]

# Seconds between two pictures of a bar, and before the first: a short epoch needs no bar.
_PAUSE = 0.05


def resolve_verbose(verbose: str | int | bool, stream: TextIO | None = None) -> int:
    """Return 0 (silent), 1 (a bar that moves) or 2 (one line an epoch).

    Parameters
    ----------
    verbose : {"auto", 0, 1, 2}
        ``"auto"`` and 1 are a bar where ``stream`` is a terminal and one line an epoch elsewhere:
        a moving bar would flood a log file.
    stream : text stream, optional
        Where to write; standard output by default.

    Raises
    ------
    ValueError
        If ``verbose`` is none of the four.

    Examples
    --------
    >>> resolve_verbose(2), resolve_verbose(False)
    (2, 0)
    """
    level = 1 if verbose == "auto" else verbose
    if isinstance(level, str) or level not in (0, 1, 2):
        raise ValueError(f"verbose must be 'auto', 0, 1 or 2, not {verbose!r}")
    stream = sys.stdout if stream is None else stream
    if stream is None:  # a windowed program has no standard output
        return 0
    return 2 if level == 1 and not stream.isatty() else int(level)


def format_seconds(seconds: float) -> str:
    """Return a time in the unit that suits it, in three digits.

    >>> format_seconds(0.0000341), format_seconds(0.25), format_seconds(3.21), format_seconds(200)
    ('34.1us', '250ms', '3.21s', '3:20')
    """
    if not math.isfinite(seconds) or seconds < 0:
        return "?"
    if seconds >= 99.95:
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    for limit, factor, unit in ((999.5e-6, 1e6, "us"), (999.5e-3, 1e3, "ms")):
        if seconds < limit:
            return f"{seconds * factor:.3g}{unit}"
    return f"{seconds:.3g}s"


def format_logs(logs: Mapping[str, Any] | None) -> str:
    """Return the logs as ``loss: 0.2513 - accuracy: 0.9312``; small numbers with an exponent.

    Metrics that are arrays, which would not fit on a line, are left out.

    >>> format_logs({"loss": 0.25134, "lr": 1e-5})
    'loss: 0.2513 - lr: 1.0000e-05'
    """
    parts = []
    for name, value in (logs or {}).items():
        if np.ndim(value):
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            parts.append(f"{name}: {value}")
            continue
        fixed = number == 0 or not math.isfinite(number) or 1e-3 <= abs(number) < 1e5
        parts.append(f"{name}: {number:.4f}" if fixed else f"{name}: {number:.4e}")
    return " - ".join(parts)


class Progress:
    """The display of one call of fit, evaluate or predict.

    For each epoch: `start`, then `update` now and then, then `finish`. The bar is tqdm's where tqdm
    is installed (``pip install 'fastdl[progress]'``), else a plain one; the line that stays at the
    end is the same everywhere.

    Parameters
    ----------
    steps : int or None
        Batches per epoch; None when unknown.
    verbose : {"auto", 0, 1, 2}, default "auto"
        See `resolve_verbose`.
    stream : text stream, optional
        Where to write; standard output by default.
    unit : str, default "step"
        What is counted.

    Attributes
    ----------
    interval : float or None
        Seconds between two updates that are worth making; None when updates show nothing, so that
        training need not return for them.

    Examples
    --------
    >>> progress = Progress(steps=250, verbose=2)
    >>> progress.start("Epoch 1/5")
    >>> progress.finish({"loss": 0.5}, seconds=0.01)
    Epoch 1/5 - 250 steps - 10ms - 40us/step - loss: 0.5000
    """

    def __init__(
        self,
        steps: int | None,
        verbose: str | int | bool = "auto",
        stream: TextIO | None = None,
        unit: str = "step",
    ) -> None:
        self.steps = steps
        self.unit = unit
        self.level = resolve_verbose(verbose, stream)
        self.interval = 0.1 if self.level == 1 else None
        self._stream = stream
        self._title = ""
        self._done = 0
        self._begin = 0.0
        self._shown = 0.0
        self._drawn = False
        self._tqdm: Any = None

    @property
    def stream(self) -> TextIO:
        """Where the display goes: looked up late, so that redirecting standard output works."""
        return sys.stdout if self._stream is None else self._stream

    def start(self, title: str) -> None:
        """Begin an epoch called ``title`` (``"Epoch 1/5"``), and its clock."""
        self._title, self._done = title, 0
        self._begin = self._shown = time.perf_counter()

    def update(self, step: int, logs: Mapping[str, Any] | None = None) -> None:
        """Show that ``step`` batches of the epoch are done; often called, it shows only some.

        Parameters
        ----------
        step : int
            Batches done so far in this epoch.
        logs : mapping, optional
            The running means.
        """
        self._done = step
        if self.level != 1:
            return
        now = time.perf_counter()
        if now - self._shown < _PAUSE:
            return
        if not self._drawn:
            self._open()
        self._shown, self._drawn = now, True
        text = format_logs(logs)
        if self._tqdm is not None:
            self._tqdm.n = step
            self._tqdm.set_postfix_str(text)
        else:
            self._draw(self._bar(step, now - self._begin, text))

    def finish(self, logs: Mapping[str, Any] | None = None, seconds: float | None = None) -> None:
        """Replace the bar by the epoch's line.

        Parameters
        ----------
        logs : mapping, optional
            The epoch's results.
        seconds : float, optional
            The time spent in the steps, for the time per step; by default all since `start`.
            (Give it where validation came between.)
        """
        elapsed = time.perf_counter() - self._begin if seconds is None else seconds
        if self.level == 0:
            return
        self.close()
        steps = self.steps if self.steps is not None else self._done
        count = f"{steps} {self.unit}{'' if steps == 1 else 's'}"
        parts = [self._title, count, format_seconds(elapsed)]
        if steps:
            parts.append(f"{format_seconds(elapsed / steps)}/{self.unit}")
        parts.append(format_logs(logs))
        self.stream.write(" - ".join(part for part in parts if part) + "\n")
        self.stream.flush()

    def close(self) -> None:
        """Take the bar away without a line: for an epoch that was interrupted."""
        if self._tqdm is not None:
            self._tqdm.close()
            self._tqdm = None
        elif self._drawn:
            self._draw("")
        self._drawn = False

    def _open(self) -> None:
        """Make tqdm's bar, where there is tqdm."""
        tqdm = optional("tqdm")
        if tqdm is None:
            return
        layout = "{desc} {n_fmt}/{total_fmt} |{bar:20}| {elapsed}<{remaining}{postfix}"
        self._tqdm = tqdm.tqdm(
            total=self.steps,
            desc=self._title,
            leave=False,
            file=self.stream,
            bar_format=layout if self.steps else None,
            dynamic_ncols=True,
        )
        self._tqdm.start_t -= time.perf_counter() - self._begin

    def _bar(self, step: int, elapsed: float, logs: str) -> str:
        """Return the plain bar's text."""
        if not self.steps:
            parts = (f"{self._title} {step}", format_seconds(elapsed), logs)
            return " - ".join(part for part in parts if part)
        width = 20
        filled = min(width, width * step // self.steps)
        bar = "=" * filled + ">" * (filled < width)
        left = elapsed / step * (self.steps - step) if step else math.nan
        head = f"{self._title} {step}/{self.steps} [{bar:.<{width}}]"
        return f"{head} - {format_seconds(left)} left" + (f" - {logs}" if logs else "")

    def _draw(self, text: str) -> None:
        """Put ``text`` over the terminal's current line, cut to its width."""
        import shutil  # here, because it brings compressors along and only a terminal needs it

        width = shutil.get_terminal_size().columns - 1
        self.stream.write("\r\x1b[K" + text[:width])
        self.stream.flush()
