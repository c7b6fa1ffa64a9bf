"""Which instruction set runs: asked for by name, and really in the code."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastdl
from fastdl.kernels import dispatch


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        cwd=Path(fastdl.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("isa", dispatch.available())
def test_environment_chooses(isa):
    done = python("from fastdl.kernels import dispatch; print(dispatch.isa())", FASTDL_ISA=isa)
    assert done.stdout.strip() == isa, done.stderr


@pytest.mark.parametrize(
    "isa", ["sse9", "AVX2", "neon" if "baseline" in dispatch.available() else "avx2"]
)
def test_environment_asks_for_what_is_not_there(isa):
    done = python("import fastdl.kernels", FASTDL_ISA=isa)
    assert done.returncode != 0
    assert isa in done.stderr and dispatch.available()[-1] in done.stderr


def test_the_best_is_chosen_by_itself():
    environment = {k: v for k, v in os.environ.items() if k != "FASTDL_ISA"}
    code = "from fastdl.kernels import dispatch; print(dispatch.isa())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=Path(fastdl.__file__).parents[1],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == dispatch.available()[-1]


def test_set_isa_refuses_what_is_not_there():
    before = dispatch.isa()
    for name in ("sse9", "", "AVX2"):
        with pytest.raises(ValueError, match="instruction set"):
            dispatch.set_isa(name)
    with pytest.raises(TypeError):
        dispatch.set_isa(None)
    assert dispatch.isa() == before


def instructions(isa):
    """The disassembly of an instruction set's library, where this is a built checkout."""
    root = Path(fastdl.__file__).resolve().parents[1]
    libraries = sorted(root.glob(f"build/temp*/libfastdl_{isa}.a"))
    if not libraries:
        pytest.skip(f"no library of {isa} in build/: not a checkout built in place")
    if shutil.which("objdump") is None:
        pytest.skip("objdump is not installed")
    return subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", libraries[-1]],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


MULTIPLY_ADD = r"\bvfn?m(add|sub)\d+p[sd]\b.*%{}"


def test_avx512_has_multiply_adds_on_zmm():
    assert re.search(MULTIPLY_ADD.format("zmm"), instructions("avx512"))


def test_avx2_has_multiply_adds_on_ymm_and_no_zmm():
    code = instructions("avx2")
    assert re.search(MULTIPLY_ADD.format("ymm"), code)
    assert "%zmm" not in code


def test_baseline_has_none_of_them():
    code = instructions("baseline")
    assert "%xmm" in code
    assert not re.search(r"%[yz]mm|\bv[a-z0-9]+\s", code)
