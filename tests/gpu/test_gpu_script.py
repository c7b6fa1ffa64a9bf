"""The script for a GPU: what it can do without one."""

from types import SimpleNamespace

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
    found = script.time_steps("S0e", script.Clock(60))
    assert found["fastdl"] > 0 and not any("differs" in key for key in found)
    lines = script.table({"S0e": found, "tests": "fine"})
    assert "| S0e | fastdl |" in lines and "| tests |  | fine |" in lines


def test_a_part_that_fails_does_not_stop_the_others(capsys, monkeypatch, tmp_path):
    runtime = SimpleNamespace(getDeviceProperties=lambda number: {"name": b"NVIDIA Z1"})
    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), __version__="14")
    monkeypatch.setattr(device, "driver", lambda: SimpleNamespace(xp=cupy))
    written = []

    def last():
        written.append(next(tmp_path.glob("nvidia-z1-*-gpu.md")).read_text())
        return {"rate": 3}

    made = {"first": lambda: 1 / 0, "last": last}
    monkeypatch.setattr(script, "parts", lambda *given: made)
    assert script.main(["--folder", str(tmp_path)]) == 0
    assert "| first |  | ZeroDivisionError: division by zero |" in written[0]
    assert "| last | rate | 3 |" in next(tmp_path.glob("*.md")).read_text()


def test_the_parts_are_in_time(emulated):
    names = list(script.parts(None, script.Clock(1), None))
    assert names[:2] == ["kernels compiled", "tests"]
    assert names.index("sanitizer") < names.index("S0 beside torch.compile")
    assert list(script.parts(None, script.Clock(1), "sanitizer")) == ["sanitizer"]


@pytest.mark.parametrize("name", script.STEPS)
def test_every_step_has_a_goal(name):
    assert name in script.ROWS and script.GOALS[name] <= 1
