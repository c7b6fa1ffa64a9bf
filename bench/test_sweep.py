"""The sweep finds what it looks for, and compares before it times."""

from __future__ import annotations

import pytest

from bench import sweep

FAMILY = sweep.FAMILIES["width"]


def found(changes, threads=2):
    """The anomalies where a step takes as long as its work says, but for these factors."""
    work = {size: FAMILY.row(size).flops * 1e-11 for size in (62, 63, 64, 65, 66, 80)}
    times = {size: {1: 2 * t, 2: t * changes.get(size, 1.0)} for size, t in work.items()}
    return list(sweep.anomalies(FAMILY, threads, times))


def test_what_is_regular_is_not_reported():
    assert found({}) == found({63: 1.1, 65: 1.1}) == []


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({63: 1.3}, ["63 takes 1.30 times its neighbours'"]),
        ({80: 1.2}, ["80 takes 1.20 times 66's"]),
        ({80: 2.2}, ["80 takes ", "on one thread", "80 takes 2.20 times 66's"]),
        ({80: 0.5}, ["66 is slower than 80"]),
    ],
)
def test_what_is_irregular_is_reported(changes, texts):
    text = "\n".join(found(changes))
    assert all(part in text for part in texts)


def test_compared_and_timed():
    row = FAMILY.row(17)
    sweep.check(row, [1, 2])
    times = sweep.measure(row, [1, 2], samples=1, seconds=0.0)
    assert times.keys() == {1, 2} and all(0 < t < 1 for t in times.values())
    assert "| 17 |" in sweep.table(FAMILY, {17: times})


def test_wrong_training_is_found(monkeypatch):
    monkeypatch.setattr(sweep, "train", lambda *arguments: (1.0, sweep.initial_weights(row)))
    row = FAMILY.row(16)
    with pytest.raises(SystemExit, match="differs from float64"):
        sweep.check(row, [1])


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    times = {"width": {16: {1: 1e-6, 2: 2e-6}, 17: {1: 2e-6, 2: 1e-6}}}
    sweep.plot(tmp_path / "sweep.svg", times)
    assert "<svg" in (tmp_path / "sweep.svg").read_text()
