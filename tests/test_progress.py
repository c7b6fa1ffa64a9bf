"""The progress display: bars on terminals, lines elsewhere, silence when asked for."""

import importlib.util
import io
import math
import re

import pytest

from fastdl import progress
from fastdl.progress import Progress, format_logs, format_seconds, resolve_verbose


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("verbose", "stream", "level"),
    [
        ("auto", Terminal(), 1),
        ("auto", io.StringIO(), 2),
        (1, Terminal(), 1),
        (1, io.StringIO(), 2),
        (True, io.StringIO(), 2),
        (2, Terminal(), 2),
        (0, Terminal(), 0),
    ],
)
def test_verbose(verbose, stream, level):
    assert resolve_verbose(verbose, stream) == level
    assert (Progress(10, verbose, stream).interval is not None) == (level == 1)


@pytest.mark.parametrize("verbose", [3, -1, "yes", "1", None])
def test_verbose_mistakes(verbose):
    with pytest.raises(ValueError, match="verbose"):
        resolve_verbose(verbose)


@pytest.fixture
def at_once(monkeypatch):
    """Make bars appear without waiting."""
    monkeypatch.setattr(progress, "_PAUSE", 0.0)


def run(stream, verbose="auto", steps=40):
    display = Progress(steps, verbose, stream)
    for epoch in range(2):
        display.start(f"Epoch {epoch + 1}/2")
        for step in range(1, 41):
            display.update(step, {"loss": 1 / step})
        display.finish({"loss": 0.025, "val_loss": math.nan}, seconds=0.004)
    return stream.getvalue()


LINES = [
    f"Epoch {k}/2 - 40 steps - 4ms - 100us/step - loss: 0.0250 - val_loss: nan" for k in (1, 2)
]


def test_a_file_gets_one_line_an_epoch():
    assert run(io.StringIO()).splitlines() == LINES
    assert run(io.StringIO(), 0) == ""
    assert run(io.StringIO(), steps=None).splitlines() == LINES


@pytest.mark.parametrize("with_tqdm", [False, True])
@pytest.mark.parametrize("steps", [40, None])
def test_a_terminal_gets_a_bar_and_keeps_the_same_lines(monkeypatch, at_once, with_tqdm, steps):
    if not with_tqdm:
        monkeypatch.setattr(progress, "optional", lambda name: None)
    elif importlib.util.find_spec("tqdm") is None:
        pytest.skip("tqdm is not installed")
    out = run(Terminal(), steps=steps)
    assert out.count("\n") == 2
    # What a terminal shows in the end: after the last return and erasure of each line.
    kept = [re.split(r"\r|\x1b\[K", line)[-1] for line in out.split("\n")[:-1]]
    assert kept == LINES
    assert "Epoch 1/2" in out.split("\r")[1]


def test_a_short_epoch_has_no_bar():
    out = run(Terminal())
    assert out.splitlines() == LINES


def test_a_closed_bar_leaves_nothing(monkeypatch, at_once):
    monkeypatch.setattr(progress, "optional", lambda name: None)
    stream = Terminal()
    display = Progress(10, 1, stream)
    display.start("Epoch 1/1")
    display.update(3)
    display.close()
    assert stream.getvalue().endswith("\r\x1b[K") and "\n" not in stream.getvalue()


def test_the_bar_fits_the_terminal(monkeypatch, at_once):
    monkeypatch.setattr(progress, "optional", lambda name: None)
    monkeypatch.setenv("COLUMNS", "50")
    stream = Terminal()
    display = Progress(10, 1, stream)
    display.start("Epoch 1/1")
    display.update(10, {"loss": 0.5, "a_very_long_metric_name": 0.25})
    assert max(len(part) for part in re.split(r"\r|\x1b\[K", stream.getvalue())) < 50


def test_standard_output_is_looked_up_late(capsys):
    display = Progress(1, 2)
    display.start("Epoch 1/1")
    display.finish({"loss": 1.0}, seconds=2.0)
    assert capsys.readouterr().out == "Epoch 1/1 - 1 step - 2s - 2s/step - loss: 1.0000\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0us"),
        (1e-6, "1us"),
        (999.6e-6, "1ms"),
        (0.9996, "1s"),
        (99.0, "99s"),
        (3725.0, "1:02:05"),
        (math.nan, "?"),
        (-1.0, "?"),
    ],
)
def test_times(seconds, text):
    assert format_seconds(seconds) == text


def test_logs():
    logs = {"loss": math.inf, "b": 1e6, "c": 0, "name": "x"}
    assert format_logs(logs) == "loss: inf - b: 1.0000e+06 - c: 0.0000 - name: x"
    assert format_logs(None) == ""
