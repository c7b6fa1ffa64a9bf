"""Every CUDA source compiles for every architecture, by NVRTC, which needs no GPU."""

import ctypes
import importlib.util
from pathlib import Path

import pytest

from fastdl.gpu import sources

ARCHITECTURES = (75, 80, 90, 100)


def find_nvrtc():
    """NVRTC of the extra ``cuda-check``, or of a CUDA installation; None without either."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(p) for p in (spec.submodule_search_locations if spec else None) or []]
    found = sorted(p for f in folders for p in f.glob("*/lib/libnvrtc.so.*"))
    for name in [*found, "libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"]:
        try:
            return ctypes.CDLL(str(name))
        except OSError:
            continue
    return None


NVRTC = find_nvrtc()


def compile_source(text, *options):
    """Whether it compiles, and the compiler's words."""
    program = ctypes.c_void_p()
    NVRTC.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"unit.cu", 0, None, None)
    given = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    failed = NVRTC.nvrtcCompileProgram(program, len(options), given)
    size = ctypes.c_size_t()
    NVRTC.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    NVRTC.nvrtcGetProgramLog(program, log)
    NVRTC.nvrtcDestroyProgram(ctypes.byref(program))
    return not failed, log.value.decode()


@pytest.mark.skipif(NVRTC is None, reason="no NVRTC: pip install 'fastdl[cuda-check]'")
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("family", sources.families())
def test_compiles_without_warnings(family, architecture, bits):
    fine, log = compile_source(
        sources.text(family), f"-arch=sm_{architecture}", f"-DREAL_BITS={bits}", "--std=c++17"
    )
    assert fine, log
    assert "warning" not in log, log


@pytest.mark.skipif(NVRTC is None, reason="no NVRTC: pip install 'fastdl[cuda-check]'")
def test_what_is_wrong_does_not_compile():
    assert not compile_source("void f() { undeclared(); }", "-arch=sm_80")[0]
