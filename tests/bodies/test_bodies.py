"""The C bodies without Python: driver.c holds them against naive C in double.

Those of this machine's instruction sets run directly, NEON's under an emulator on other machines,
where Debian's gcc-aarch64-linux-gnu and qemu-user-static are installed.
"""

import os
import platform
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from fastdl.kernels import dispatch

HERE = Path(__file__).parent
KERNELS = HERE.parent.parent / "kernels"

# As in setup.py.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"]
X86 = {
    "baseline": ["-mno-avx"],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mavx2", "-mfma"],
}
IS_ARM = platform.machine().lower() in ("aarch64", "arm64")


def tool(name, why):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: {why}")
    return path


def compiler_and_runner(isa):
    if isa == "neon" and not IS_ARM:
        compiler = tool("aarch64-linux-gnu-gcc", "it compiles for NEON on this machine")
        return [compiler, "-static"], [tool("qemu-aarch64-static", "it runs NEON code here")]
    if isa not in dispatch.available():
        pytest.skip(f"this processor does not have {isa}")
    name = shlex.split(os.environ.get("CC", "gcc"))[-1]
    return [tool(name, "the driver is in C"), *X86.get(isa, [])], []


@pytest.mark.parametrize("real_bits", [32, 64])
@pytest.mark.parametrize("isa", [*X86, "neon"])
def test_bodies_against_naive_c(isa, real_bits, tmp_path):
    compiler, runner = compiler_and_runner(isa)
    if not KERNELS.is_dir():
        pytest.skip("the kernels' sources are in a checkout only")
    program = tmp_path / "driver"
    command = [
        *compiler, *FLAGS, f"-DREAL_BITS={real_bits}", f"-DBODIES=fastdl_{isa}_f{real_bits}",
        f"-I{KERNELS}", HERE / "driver.c", KERNELS / "simd" / f"{isa}_f{real_bits}.c",
        "-lm", "-o", program,
    ]  # fmt: skip
    compiled = subprocess.run(command, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    ran = subprocess.run([*runner, program], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr
    assert ran.stdout.endswith(" 0 failed\n") and int(ran.stdout.split()[-4]) > 100_000
