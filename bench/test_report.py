"""The page of figures is what the result files say, and names where a peer is ahead."""

from __future__ import annotations

import json

import pytest

from bench import idle, kernels, many, pictures, report, sweep
from bench.work import parameters, updated

ROW = {"samples": [2e-6], "fastest": [2e-6], "call_seconds": []}
CEILING = {"row": "T1", "fma_flops": 2e11, "stream_bytes": 3e10, "update_stream_bytes": 6e10}


def run(threads):
    rows = {
        "T1": {"fastdl": ROW, "torch": {**ROW, "samples": [9e-6]}, "jax-scan": {"skip": "no"}},
        "S4": {"fastdl": ROW, "torch": {**ROW, "samples": [1e-6]}},
    }
    return {"threads": threads, "rows": rows, "versions": {"torch": "2"}, "ceilings": [CEILING]}


@pytest.fixture
def folder(tmp_path):
    facts = {"chip": "a", "commit": "b", "date": "2026-01-02 03:04 UTC"}
    timed = kernels.Timed(kernels.CASES[0], {"fastdl": 1e-2}, 2e11).figures()
    runs = [{"threads": 2, "rows": [timed]}]
    kinds = {
        "peers": {"runs": [run(1), run(2)]},
        "kernels": {"runs": runs, "import": {"fastdl": 0.03}, "wheel": {}},
        "sweep": {"times": {"width": {16: {1: 1e-6, 2: 2e-6}}}, "anomalies": ["16 is odd"]},
        "many": {"seconds": {}},
    }
    for kind, figures in kinds.items():
        path = tmp_path / f"box-2026-01-02-{kind}.json"
        path.write_text(json.dumps({"environment": facts, **figures}))
    (tmp_path / "box-2026-01-02-many.md").write_text("200 networks.\n\n| | |\n|---|---|\n")
    old = tmp_path / "box-2026-01-01-peers.json"
    old.write_text(json.dumps({"environment": {**facts, "date": "2026-01-01"}, "runs": []}))
    return tmp_path


def test_page(folder):
    text = report.written(folder, "", folder)
    assert "`box-2026-01-02-peers.json`, commit b" in text
    assert "| T1 | 30-64-64-1, Adam, MSE | 32 | 2 | 4.5× |" in text
    assert "| S4 | 784-128-10, Adam, CE | 32 | 2 | **0.5×** |" in text
    assert "- S4, 1 thread: fastdl 2 µs; torch takes 1 µs (0.50×)." in text
    assert "T1, 2 threads" not in text
    assert "**≥ 87 %**" in text and "fastdl 30 ms" in text
    assert "200 networks." in text and "- 16 is odd" in text
    if "roofline.svg" in text:
        assert (folder / "roofline.svg").is_file() and (folder / "sweep.svg").is_file()


def test_only_what_is_between_the_marks_is_written():
    page = f"above\n{report.BEGIN}\nold\n{report.END}\nbelow\n"
    assert report.put(page, "new") == f"above\n{report.BEGIN}\n\nnew\n\n{report.END}\nbelow\n"
    assert report.PAGE.read_text().count(report.BEGIN) == 1


def test_no_results(tmp_path):
    with pytest.raises(SystemExit, match="no results"):
        report.written(tmp_path, "", tmp_path)


def test_what_is_run_exists():
    modules = {f"bench.{m.__name__.split('.')[-1]}": m for m in (idle, kernels, many, sweep)}
    for command in report.RUNS.values():
        assert command[0] == "bench.peers" or hasattr(modules[command[0]], "main")


def test_bytes_of_a_step():
    row = report.ROWS["S4"]
    assert parameters(row) == 784 * 128 + 128 + 128 * 10 + 10
    assert updated(row) == 28 * parameters(row)


def test_ratios(tmp_path):
    pytest.importorskip("matplotlib")
    pictures.ratios(tmp_path / "ratios.svg", [run(1), run(2)])
    assert "<svg" in (tmp_path / "ratios.svg").read_text()
