"""The kernel table: its cases are compared before they are timed, and it names what is missed."""

from __future__ import annotations

import pytest

from bench import kernels
from fastdl.kernels import calibrate


@pytest.mark.parametrize("case", kernels.CASES, ids=lambda case: case.name)
def test_cases_have_something_to_time(case):
    if case.flops > 1e9 or "10,000,000" in case.name:
        pytest.skip("large: the suites run it")
    calls = kernels.prepare(case, 1, torch=False)
    assert list(calls) == ["fastdl"]
    calls["fastdl"]()


def test_wrong_results_are_found(monkeypatch):
    monkeypatch.setattr(kernels.test_kernels, "close", _never_close)
    adam = next(kernels.chosen(["adam, 1,000"]))
    with pytest.raises(AssertionError, match="not close"):
        kernels.prepare(adam, 1, torch=False)


def _never_close(*arguments):
    raise AssertionError("not close")


def test_goals():
    case = kernels.Case("a", lambda: None, times=2.0, share=0.8, flops=1e9)

    def reached(ours, theirs, ceiling):
        seconds = {"fastdl": ours, **({"torch": theirs} if theirs else {})}
        return kernels.Timed(case, seconds, ceiling).reached

    assert reached(1.0, 2.0, 1.25e9) and reached(1.0, None, 1.25e9)
    assert not reached(1.0, 1.9, 1.25e9) and not reached(1.0, 2.0, 1.3e9)
    assert not reached(1.0, 2.0, 0.0)
    assert not kernels.Timed(kernels.Case("b", lambda: None, seconds=0.5), {"fastdl": 1.0}).reached


def test_what_could_be_reached_at_most():
    case = kernels.Case("a", lambda: None, times=2.0, share=0.8, seconds=1.0, flops=1e9)
    seconds = {"fastdl": 2.0, "torch": 3.0}
    near = kernels.Timed(case, seconds, ceiling=2e9, small=1.75e9)
    assert near.bound == pytest.approx({"share": 0.875, "seconds": 1 / 1.75, "times": 5.25})
    assert not near.beyond
    assert kernels.Timed(case, seconds, ceiling=2e9, small=1.5e9).beyond  # 75 %, for 80
    assert kernels.Timed(case, seconds, ceiling=1.1e9, small=0.9e9).beyond  # 1.1 s, for 1
    seconds["torch"] = 1.0
    assert kernels.Timed(case, seconds, ceiling=2e9, small=1.9e9).beyond  # 1.9 times, for 2
    alone = kernels.Timed(case, {"fastdl": 2.0}, ceiling=2e9, small=1.75e9)
    assert "times" not in alone.bound and not alone.beyond
    assert kernels.Timed(case, seconds).bound == {} and not kernels.Timed(case, seconds).beyond


@pytest.mark.parametrize("name", ["adam, 100,000", "(256, 1024)"])
def test_what_moves_is_compared_with_a_stream_in_the_same_caches(name, monkeypatch):
    asked, measured = [], []

    def stream(threads, repeats, elements):
        asked.append((threads, elements))
        measured.append(real(threads, 1, 1000))
        return measured[-1]

    case = next(kernels.chosen([name]))
    real = getattr(calibrate, case.stream)
    monkeypatch.setattr(calibrate, case.stream, stream)
    timed = kernels.measure(case, 1, torch=False, samples=1)
    assert asked == [(1, case.elements)] and measured[0] > 1e6
    assert timed.share == pytest.approx(case.moved / timed.seconds["fastdl"] / measured[0])


def test_peak_is_measured():
    assert all(calibrate.fma_peak("float32", threads, 1) > 1e8 for threads in (1, 2))
    assert kernels.small_products(1) > 1e8


def test_table():
    case = next(kernels.chosen(["adam, 1,000"]))
    timed = kernels.measure(case, 1, torch=False, samples=1)
    text = kernels.table(1, [timed.figures()])
    assert "| Adam, 1,000 |" in text and "of 1 goals reached" in text
