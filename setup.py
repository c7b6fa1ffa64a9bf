"""What is compiled, and with which flags; everything else is in pyproject.toml.

The C bodies in kernels/simd are compiled once for each instruction set, into a static library of
its own. One extension (dispatch) holds them all and picks one at import; the others call them
through its table. OpenMP is probed: without it fastdl builds and runs on one thread.
"""

import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext

KERNELS = Path("fastdl/kernels")  # through the link: by this path Cython knows the package

# What GCC needs to vectorise sqrt, comparisons and sums of products; NaN and Inf keep their
# meaning, unlike under -ffast-math.
ARITHMETIC = ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
BODY_FLAGS = ["-O3", *ARITHMETIC, "-fPIC", "-g0", "-Wall", "-Wextra", "-Wno-psabi"]
EXTENSION_FLAGS = ["-O2", "-fno-math-errno", "-fno-trapping-math", "-g0"]

# A prefetch of what will be written (prfchw) has other cores give the line up; processors that know
# AVX2 but not that take it for nothing to do.
X86 = {
    "baseline": ["-mno-avx"],
    "avx2": ["-mavx2", "-mfma", "-mprfchw"],
    "avx512": [
        *("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mavx2", "-mfma", "-mprfchw"),
        "-mprefer-vector-width=512",
    ],
}
# Scheduled before registers are given out, a large tile would need more of them than there are.
ARM = {"neon": ["-fno-schedule-insns"]}
INSTRUCTION_SETS = {"x86_64": X86, "amd64": X86, "aarch64": ARM, "arm64": ARM}

DIRECTIVES = {"language_level": 3, "cdivision": True, "embedsignature": True}

OPENMP = ["-fopenmp"]
OPENMP_PROGRAM = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"


def sources(*patterns: str) -> list[str]:
    return sorted(str(path) for pattern in patterns for path in KERNELS.glob(pattern))


def libraries() -> list[tuple[str, dict]]:
    """One static library for each instruction set of this machine's family."""
    machine = platform.machine().lower()
    if machine not in INSTRUCTION_SETS:
        raise SystemExit(f"fastdl has no kernels for {machine}: x86-64 and 64-bit ARM only")
    return [
        (
            f"fastdl_{name}",
            {
                "sources": sources(f"simd/{name}_*.c"),
                "cflags": [*BODY_FLAGS, *flags],
                "obj_deps": {"": sources("simd/*.h", "simd/*.inc")},
            },
        )
        for name, flags in INSTRUCTION_SETS[machine].items()
    ]


def extensions() -> list[Extension]:
    """One extension for each .pyx file."""
    return [
        Extension(
            f"fastdl.kernels.{Path(source).stem}",
            [source],
            include_dirs=[str(KERNELS), numpy.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
            extra_compile_args=EXTENSION_FLAGS,
            libraries=["m"],
            depends=sources("*.h", "simd/*.[hc]", "simd/*.inc"),
        )
        for source in sources("*.pyx")
    ]


class BuildLibraries(build_clib):
    """Compiles the instruction sets side by side: they are most of the work."""

    def build_libraries(self, libraries: list) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(super().build_libraries, [[library] for library in libraries]))


class BuildExtensions(build_ext):
    """Builds the libraries first, with OpenMP where the compiler has it."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        if sys.platform == "linux" and not self.inplace:
            # A checkout keeps its symbols, for profiling; what is installed is smaller.
            for extension in self.extensions:
                extension.extra_link_args.append("-Wl,-s")
        self.run_command("build_clib")
        super().run()

    def build_extensions(self) -> None:
        openmp = OPENMP if self.has_openmp() else []
        if not openmp:
            print("fastdl: the compiler has no OpenMP; building for one thread", file=sys.stderr)
        made = cythonize(self.extensions, compiler_directives=DIRECTIVES)
        for extension, translated in zip(self.extensions, made, strict=True):
            extension.sources = translated.sources
            extension.extra_compile_args = [*extension.extra_compile_args, *openmp]
            extension.extra_link_args = [*extension.extra_link_args, *openmp]
        super().build_extensions()

    def has_openmp(self) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(OPENMP_PROGRAM)
            command = [*self.compiler.compiler, *OPENMP, str(source), "-o", f"{folder}/probe"]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0


setup(
    libraries=libraries(),
    ext_modules=extensions(),
    cmdclass={"build_clib": BuildLibraries, "build_ext": BuildExtensions},
)
