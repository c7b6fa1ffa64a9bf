"""What is compiled, and with which flags; everything else is in pyproject.toml.

The C bodies in kernels/simd are compiled once for each instruction set into a static library of
its own. One extension (dispatch) holds them all and picks one at import; the others call them
through its table. OpenMP is probed: without it fastdl builds and runs on one thread.
"""

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SIMD = "fastdl/kernels/simd"

# What GCC needs to vectorise sqrt, comparisons and sums of products; NaN and Inf keep their
# meaning, unlike under -ffast-math.
ARITHMETIC = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fPIC", "-g0"]
WARNINGS = ["-Wall", "-Wextra", "-Wno-psabi"]

INSTRUCTION_SETS = {
    "x86": {
        "baseline": ["-mno-avx"],
        "avx2": ["-mavx2", "-mfma"],
        "avx512": [
            *("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mavx2", "-mfma"),
            "-mprefer-vector-width=512",
        ],
    },
    "arm": {"neon": []},
}


def machine_family() -> str:
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        return "x86"
    if machine in ("aarch64", "arm64"):
        return "arm"
    raise SystemExit(f"fastdl has no kernels for {machine}: x86-64 and 64-bit ARM only")


def compiles(flags: list[str], source: str) -> bool:
    """Whether the C compiler turns ``source`` into a program with these flags."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "probe.c")
        path.write_text(source)
        compiler = os.environ.get("CC", "cc").split()
        command = [*compiler, *flags, str(path), "-o", str(path.with_suffix(""))]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


OPENMP = (
    ["-fopenmp"]
    if compiles(["-fopenmp"], "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }")
    else []
)
if not OPENMP:
    print("fastdl: the compiler has no OpenMP; building for one thread", file=sys.stderr)

FAMILY = machine_family()
HEADERS = sorted(str(p) for p in Path(SIMD).glob("*.h")) + sorted(
    str(p) for p in Path(SIMD).glob("*.inc")
)

libraries = [
    (
        f"fastdl_{name}",
        {
            "sources": [f"{SIMD}/{name}_f32.c", f"{SIMD}/{name}_f64.c"],
            "cflags": [*ARITHMETIC, *WARNINGS, *flags],
            "obj_deps": {"": HEADERS},
        },
    )
    for name, flags in INSTRUCTION_SETS[FAMILY].items()
]

extensions = [
    Extension(
        f"fastdl.kernels.{path.stem}",
        [str(path)],
        include_dirs=["fastdl/kernels", numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=["-O2", "-fno-math-errno", "-fno-trapping-math", "-g0", *OPENMP],
        libraries=["m"],
        extra_link_args=OPENMP,
        depends=["fastdl/kernels/op.h", "fastdl/kernels/process.h", "fastdl/kernels/threads.h", *HEADERS],
    )
    for path in sorted(Path("fastdl/kernels").glob("*.pyx"))
]


class BuildExtensions(build_ext):
    """Builds the static libraries first, also for ``build_ext --inplace``."""

    def run(self) -> None:
        self.run_command("build_clib")
        super().run()


Options.docstrings = True
setup(
    libraries=libraries,
    ext_modules=cythonize(
        extensions,
        nthreads=int(os.environ.get("FASTDL_BUILD_JOBS", "0")),
        compiler_directives={
            "language_level": 3,
            "cdivision": True,
            "embedsignature": True,
        },
    ),
    cmdclass={"build_ext": BuildExtensions},
)
