"""A page about a fit: one HTML file, complete in itself, that any browser shows.

The curves are drawn here, as SVG: a report needs no other package.
"""

from __future__ import annotations

import html
import math
import os
import platform
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl._files import replacing
from fastdl.kernels import dispatch
from fastdl.plots import curves, title
from fastdl.progress import format_seconds

if TYPE_CHECKING:
    from fastdl.callbacks import History

__all__ = ["write"]

_STYLE = """
:root { --ink: #1d2733; --faint: #6b7683; --line: #e3e7ec; --paper: #ffffff;
  --training: #2166ac; --validation: #c8553d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaef; --faint: #97a3b0; --line: #303943;
  --paper: #161b21; --training: #6aaee8; --validation: #f08b73; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
.under { color: var(--faint); margin: 0 0 1.2rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1rem; }
@media (max-width: 30rem) { .charts { grid-template-columns: 1fr; } }
figure { margin: 0; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--faint); }
svg .grid { stroke: var(--line); } svg .curve { fill: none; stroke-width: 2; }
svg .training { stroke: var(--training); } svg .validation { stroke: var(--validation); }
svg circle.training { fill: var(--training); } svg circle.validation { fill: var(--validation); }
.key::before { content: ""; display: inline-block; width: 1.2em; height: 3px;
  margin: 0 .4em .2em 0; }
.key { color: var(--faint); font-weight: 400; font-size: .85rem; margin-left: 1em; }
.key.training::before { background: var(--training); }
.key.validation::before { background: var(--validation); }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
td, th { text-align: left; padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; } th { font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { overflow-x: auto; font: 13px/1.45 ui-monospace, monospace; }
"""

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 460, 250, 54, 12, 10, 34


def write(history: History, path: str | os.PathLike[str]) -> None:
    """Writes the page; see `History.report`.

    Raises
    ------
    ValueError
        If no epoch has run.
    OSError
        If the file cannot be written.
    """
    page = _page(history)
    with replacing(path) as file:
        file.write(page.encode())


def _page(history: History) -> str:
    model = history.model
    name = getattr(model, "name", "a model")
    epochs = len(history.epoch)
    charts = "".join(_chart(history, each) for each in curves(history))
    lines: list[str] = []
    if model is not None:
        model.summary(print_fn=lines.append)
    under = (
        f"{epochs:,} epoch{'' if epochs == 1 else 's'} in {format_seconds(history.seconds)}"
        if history.seconds
        else f"{epochs:,} epochs"
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(name)}: report of a fit</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{html.escape(name)}</h1>
<p class="under">{under}</p>
<div class="charts">{charts}</div>
<h2>Results</h2>
{_results(history)}
<h2>Timings</h2>
{_table(_timings(history))}
<h2>Configuration</h2>
{_table(_configuration(history))}
<h2>Model</h2>
<pre>{html.escape(chr(10).join(lines))}</pre>
</body>
</html>
"""


# --- tables ---------------------------------------------------------------------------------------


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in rows
    )
    return f'<div class="wide"><table>{cells}</table></div>'


def _results(history: History) -> str:
    """The last value of everything, and the best."""
    rows = ['<tr><th></th><th class="number">last</th><th class="number">lowest</th>'
            '<th class="number">highest</th></tr>']  # fmt: skip
    arrays = []
    for name, values in history.history.items():
        if np.ndim(values[-1]):
            arrays.append(f"<h3>{html.escape(_spelled(name))}, last</h3>{_array(values[-1])}")
            continue
        shown = [v for v in values if isinstance(v, (int, float)) and math.isfinite(v)]
        cells = [values[-1], min(shown, default=math.nan), max(shown, default=math.nan)]
        numbers = "".join(f'<td class="number">{v:.5g}</td>' for v in cells)
        rows.append(f"<tr><th>{html.escape(_spelled(name))}</th>{numbers}</tr>")
    return f'<div class="wide"><table>{"".join(rows)}</table></div>{"".join(arrays)}'


def _array(value: np.ndarray) -> str:
    """The numbers of each class, or of each pair of them: the true one down, the other across."""
    lines = value.reshape(-1, value.shape[-1])
    head = "".join(f'<th class="number">{i}</th>' for i in range(lines.shape[1]))
    rows = [f"<tr><th></th>{head}</tr>"]
    for i, line in enumerate(lines):
        cells = "".join(f'<td class="number">{number:.5g}</td>' for number in line)
        rows.append(f"<tr><th>{i if len(lines) > 1 else ''}</th>{cells}</tr>")
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _spelled(name: str) -> str:
    """A name of the logs as a title, that of validation in full."""
    return title(name.replace("val_", "validation ", 1) if name.startswith("val_") else name)


def _timings(history: History) -> list[tuple[str, str]]:
    epochs, seconds = len(history.epoch), history.seconds
    rows = [("in all, with validation and callbacks", format_seconds(seconds))]
    if epochs and seconds:
        rows.append(("an epoch", format_seconds(seconds / epochs)))
        steps = history.params.get("steps")
        if steps:
            rows.append(("a step", format_seconds(seconds / epochs / steps)))
        trained = history.params.get("rows")
        if trained:
            rows.append(("rows a second", f"{trained * epochs / seconds:,.0f}"))
    return rows


def _configuration(history: History) -> list[tuple[str, str]]:
    from fastdl import __version__
    from fastdl.runtime import get_backend, get_num_threads

    params, model = history.params, history.model
    rows = []
    if model is not None:
        optimizer = model.optimizer
        rows += [("loss", _named(model.loss)), ("optimizer", type(optimizer).__name__)]
        config = optimizer.get_config()
        rows += [
            (key.replace("_", " "), _short(value))
            for key, value in config.items()
            if key != "name" and value not in (None, 0.0, False)
        ]
        weights = model.weights
        rows.append(("float type", str(weights[0].value.dtype) if weights else "-"))
    for key in ("rows", "validation_rows", "batch_size", "steps", "shuffle"):
        if key in params:
            value = params[key]
            text = f"{value:,}" if isinstance(value, int) and value is not True else str(value)
            rows.append((key.replace("_", " "), text))
    rows += [
        (
            "fastdl",
            f"{__version__}, {get_backend()}, {dispatch.isa()}, {get_num_threads()} threads",
        ),
        (
            "machine",
            f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        ),
    ]
    return rows


def _named(loss: Any) -> str:
    """A loss, or those of several outputs, by name."""
    if isinstance(loss, dict):
        return ", ".join(f"{output}: {_named(each)}" for output, each in loss.items())
    if isinstance(loss, (list, tuple)):
        return ", ".join(map(_named, loss))
    return str(getattr(loss, "__name__", loss))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        arguments = ", ".join(f"{k}={_short(v)}" for k, v in value.get("config", {}).items())
        return f"{value.get('class_name')}({arguments})"
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- curves ---------------------------------------------------------------------------------------


def _chart(history: History, name: str) -> str:
    """The figure of one metric, training and validation."""
    series = {}
    for key, kind in ((name, "training"), (f"val_{name}", "validation")):
        values = history.history.get(key)
        if values:
            epochs = [epoch + 1 for epoch in history.epoch][-len(values) :]
            series[kind] = list(zip(epochs, values, strict=True))
    keys = "".join(f'<span class="key {kind}">{kind}</span>' for kind in series)
    return (
        f"<figure><figcaption>{html.escape(title(name))}{keys}</figcaption>{_svg(series)}</figure>"
    )


def _svg(series: dict[str, list[tuple[int, float]]]) -> str:
    points = [p for line in series.values() for p in line if math.isfinite(p[1])]
    if not points:
        return "<p>No value is finite.</p>"
    x_ticks = _ticks(min(p[0] for p in points), max(p[0] for p in points), 6, whole=True)
    y_ticks = _ticks(min(p[1] for p in points), max(p[1] for p in points), 5)
    low_x, high_x = min(p[0] for p in points), max(p[0] for p in points)
    low_y, high_y = y_ticks[0], y_ticks[-1]

    def x_of(value: float) -> float:
        span = high_x - low_x
        inside = (value - low_x) / span if span else 0.5
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * inside

    def y_of(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high_y - value) / (high_y - low_y)

    parts = []
    for tick in y_ticks:
        y = y_of(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" '
                     f'y2="{y:.1f}"/><text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">'
                     f'{tick:.6g}</text>')  # fmt: skip
    for tick in x_ticks:
        if low_x <= tick <= high_x:
            parts.append(f'<text x="{x_of(tick):.1f}" y="{_HEIGHT - _BOTTOM + 16}" '
                         f'text-anchor="middle">{tick:.6g}</text>')  # fmt: skip
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 3}" text-anchor="middle">epoch</text>')
    for kind, line in series.items():
        for piece in _finite_pieces(line):
            if len(piece) == 1:
                x, y = x_of(piece[0][0]), y_of(piece[0][1])
                parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
            else:
                path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in piece)
                parts.append(f'<polyline class="curve {kind}" points="{path}"/>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>'


def _finite_pieces(line: list[tuple[int, float]]) -> list[list[tuple[int, float]]]:
    """The parts of a line between its values that are not finite."""
    pieces: list[list[tuple[int, float]]] = [[]]
    for x, y in line:
        if math.isfinite(y):
            pieces[-1].append((x, y))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Round numbers from below ``low`` to above ``high``.

    >>> _ticks(0.13, 0.87, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> _ticks(1, 30, 6, whole=True)
    [0, 5, 10, 15, 20, 25, 30]
    """
    span = high - low or abs(high) or 1.0
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    if whole:
        step = max(1, round(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        first, last = first - 1, last + 1
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [i * step if whole else round(i * step, digits) for i in range(first, last + 1)]
