"""What importing costs after NumPy, each import in a fresh interpreter.

A round is a whole interpreter; the import alone is in ``extra_info`` (milliseconds, the median).
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys

import pytest

PROGRAM = """
import time
import numpy
before = time.perf_counter()
import {module}
print(time.perf_counter() - before)
"""


@pytest.mark.parametrize("module", ["fastdl", "torch"])
def test_import(benchmark, module):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    seconds: list[float] = []
    # As an installed package, which has its bytecode.
    installed = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def run():
        command = [sys.executable, "-c", PROGRAM.format(module=module)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, env=installed)
        seconds.append(float(answer.stdout))

    run()  # reads the files into the page cache, and compiles to bytecode
    seconds.clear()
    benchmark.group = "import after NumPy"
    benchmark.pedantic(run, rounds=5)
    benchmark.extra_info["import_milliseconds"] = 1e3 * statistics.median(seconds)
