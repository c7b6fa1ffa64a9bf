"""The README's code runs as it stands there."""

from pathlib import Path

import cython_package
import numpy as np
import pages
import pytest

README = Path(__file__).parents[1] / "README.md"
if not README.is_file():
    pytest.skip("README.md is not beside the tests", allow_module_level=True)


def test_python_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    pytest.importorskip("sklearn", reason="the README trains on scikit-learn's digits")
    monkeypatch.chdir(tmp_path)
    names = pages.run(README)
    assert names["accuracy"] > 0.85
    assert (tmp_path / "digits.safetensors").is_file()
    np.testing.assert_array_equal(
        names["y"], np.maximum(names["kernels"].matmul(names["x"], names["weight"]), 0)
    )


def test_cython_block_builds_and_runs(tmp_path):
    (block,) = pages.code(README, "cython")
    module = cython_package.build(tmp_path, "readme", "# cython: language_level=3\n" + block)
    a, b = np.random.default_rng(0).standard_normal((2, 100)).astype(np.float32)
    out = np.empty_like(a)
    module.add(out, a, b)
    np.testing.assert_array_equal(out, a + b)


def test_links_lead_somewhere():
    assert pages.broken_links(README) == []


def test_commands_are_two_lines_that_use_a_virtual_environment():
    train, test = pages.code(README, "sh")
    for command in (train, test):
        assert len(command.splitlines()) == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
