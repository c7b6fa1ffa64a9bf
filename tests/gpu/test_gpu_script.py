"""The script for a GPU: what it can do without one."""

import pytest

from fastdl.gpu import device

script = pytest.importorskip("bench.gpu", reason="wants the benchmarks beside it")


def test_without_a_device_it_says_what_is_missing(capsys, monkeypatch):
    def missing():
        raise RuntimeError("no GPU here")

    monkeypatch.setattr(device, "driver", missing)
    assert script.main([]) == 2
    assert capsys.readouterr().err == "bench.gpu: no GPU here\n"


def test_a_step_is_timed(emulated):
    found = script.time_steps("S0e", script.Clock(8))
    assert found["fastdl"] > 0 and not any("differs" in key for key in found)
    lines = script.table({"S0e": found, "tests": "fine"})
    assert "| S0e | fastdl |" in lines and "| tests |  | fine |" in lines


@pytest.mark.parametrize("name", script.STEPS)
def test_every_step_has_a_goal(name):
    assert name in script.ROWS and script.GOALS[name] <= 1
