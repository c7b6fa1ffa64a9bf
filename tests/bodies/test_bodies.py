"""The C bodies held against naive C in double, by the driver in this folder.

Those of this machine's instruction sets are the ones that were built. NEON's are compiled and run
under an emulator on other machines, where Debian's gcc-aarch64-linux-gnu and qemu-user are
installed.
"""

import ctypes
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from fastdl import kernels
from fastdl.kernels import dispatch

DRIVER = sorted(Path(__file__).parent.glob("*.c"))
SOURCES = Path(__file__).parents[2] / "kernels"

# As in setup.py.
FLAGS = [
    *("-O3", "-fno-schedule-insns", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
    "-Wno-psabi",
]

REAL_BITS = pytest.mark.parametrize("real_bits", [32, 64])


def tool(why, *names):
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    pytest.skip(f"{' or '.join(names)} is not installed: {why}")


def compiled(compiler, path, real_bits, headers, *more):
    command = [compiler, *more, f"-DREAL_BITS={real_bits}", f"-I{headers}", *DRIVER]
    done = subprocess.run([*command, "-lm", "-o", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


def held_to(output):
    """What the driver printed says that many checks were made and that none failed."""
    assert output.endswith(" 0 failed\n"), output[-2000:]
    assert int(output.split()[-4]) > 1_000_000


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The driver as a library, by the bits of its float type."""
    compiler = tool("the driver is in C", shlex.split(os.environ.get("CC", "gcc"))[-1])
    folder = tmp_path_factory.mktemp("driver")

    def library(real_bits):
        path = folder / f"driver_{real_bits}.so"
        if not path.exists():
            compiled(compiler, path, real_bits, kernels.get_include(), "-O1", "-shared", "-fPIC")
        return ctypes.CDLL(str(path))

    return library


def bodies_of(float64):
    """Where the bodies in use are: by the function that dispatch.pxd gives to others."""
    capsule = dispatch.__pyx_capi__["bodies_of"]
    python = ctypes.pythonapi
    python.PyCapsule_GetName.restype = ctypes.c_char_p
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    name = python.PyCapsule_GetName(ctypes.py_object(capsule))
    address = python.PyCapsule_GetPointer(ctypes.py_object(capsule), ctypes.c_char_p(name))
    return ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int)(address)(float64)


@REAL_BITS
@pytest.mark.parametrize("isa", dispatch.available())
def test_bodies_that_were_built(isa, real_bits, driver, capfd):
    usual = dispatch.isa()
    check = driver(real_bits).check
    dispatch.set_isa(isa)
    try:
        failed = check(ctypes.c_void_p(bodies_of(real_bits == 64)))
    finally:
        dispatch.set_isa(usual)
    held_to(capfd.readouterr().out)
    assert not failed


@pytest.mark.skipif("neon" in dispatch.available(), reason="this processor has NEON itself")
@REAL_BITS
def test_neon_under_an_emulator(real_bits, tmp_path):
    compiler = tool("it compiles for NEON on this machine", "aarch64-linux-gnu-gcc")
    emulator = tool("it runs NEON code here", "qemu-aarch64", "qemu-aarch64-static")
    bodies = SOURCES / "simd" / f"neon_f{real_bits}.c"
    if not bodies.exists():
        pytest.skip("the sources of the C bodies are in a checkout only")
    program = compiled(
        compiler, tmp_path / "driver", real_bits, SOURCES, *FLAGS, "-static", bodies,
        f"-DBODIES=fastdl_neon_f{real_bits}",
    )  # fmt: skip
    ran = subprocess.run([emulator, program], capture_output=True, text=True, timeout=120)
    held_to(ran.stdout)
    assert ran.returncode == 0, ran.stderr
