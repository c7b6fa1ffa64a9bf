"""Builds a small Cython package against the fastdl that is being tested, as its users would."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import fastdl

SETUP = """
import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

from fastdl import kernels

include = [kernels.get_include(), numpy.get_include()]
setup(ext_modules=cythonize(Extension("{name}", ["{name}.pyx"], include_dirs=include)))
"""


def build(folder, name, source):
    """The module ``name``, compiled from ``source`` in ``folder``; skips without the tools."""
    for package in ("Cython", "setuptools"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"no C compiler: {compiler} is not there")
    (folder / f"{name}.pyx").write_text(source)
    (folder / "setup.py").write_text(SETUP.format(name=name))
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(fastdl.__file__).parents[1]),
            "CFLAGS": "-O0",  # most of the time goes into Cython's own code
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    spec = importlib.util.spec_from_file_location(name, next(folder.glob(f"{name}*.so")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
