"""What other packages build on: the kernels by ``cimport``, an import that needs NumPy alone."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import cython_package
import numpy as np
import pytest

import fastdl
from fastdl.kernels import dispatch

SOURCE = """
# cython: language_level=3
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastdl.kernels.dispatch cimport bodies_of
from fastdl.kernels.runner cimport Bodies, Context, Op, kernel_of, op_rows, run_once


def rows(int64_t rows_per_item, int64_t batch):
    cdef Op op
    cdef Context context
    op.rows_per_item = rows_per_item
    op.fixed_rows = 7
    context.rows = batch
    return op_rows(&op, &context)


def add(float[::1] out, const float[::1] a, const float[::1] b):
    cdef const Bodies *bodies = bodies_of(False)
    with nogil:
        bodies.arithmetic.add(&out[0], &a[0], &b[0], out.shape[0])


def relu(float[::1] out, float[::1] x):
    cdef Op op
    cdef Context context
    memset(&op, 0, sizeof(op))
    memset(&context, 0, sizeof(context))
    op.kernel = kernel_of("relu_forward")
    op.bodies = bodies_of(False)
    op.itemsize = 4
    op.fixed_rows = x.shape[0]
    op.arguments[0] = <char *>&out[0]
    op.arguments[1] = <char *>&x[0]
    with nogil:
        run_once(&op, 1, &context)


def unknown():
    kernel_of("relu_sideways")
"""

IMPORTED = """
import json, sys
import numpy
before = set(sys.modules)
import fastdl
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return cython_package.build(tmp_path_factory.mktemp("package"), "guest", SOURCE)


def test_guest_calls_an_inline_function(module):
    assert module.rows(0, 32) == 7
    assert module.rows(28, 32) == 28 * 32


def test_guest_calls_a_body_without_the_gil(module):
    a, b = np.random.default_rng(0).standard_normal((2, 1001)).astype(np.float32)
    out = np.empty_like(a)
    module.add(out, a, b)
    np.testing.assert_array_equal(out, a + b)


@pytest.mark.parametrize("isa", dispatch.available())
def test_guest_runs_a_kernel_on_the_instruction_set_in_use(module, isa):
    x = np.random.default_rng(0).standard_normal(100_003).astype(np.float32)
    out = np.empty_like(x)
    before = dispatch.isa()
    try:
        dispatch.set_isa(isa)
        module.relu(out, x)
    finally:
        dispatch.set_isa(before)
    np.testing.assert_array_equal(out, np.maximum(x, 0))


def test_guest_asks_for_a_kernel_that_is_not_there(module):
    with pytest.raises(KeyError, match="relu_sideways"):
        module.unknown()


def printed(program):
    """What a Python of its own prints, which finds this fastdl."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(fastdl.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_importing_fastdl_imports_numpy_alone():
    others = set(json.loads(printed(IMPORTED))) - sys.stdlib_module_names - {"fastdl", "numpy"}
    # Cython modules share their types under names of their own.
    assert {name for name in others if "cython_" not in name} == set()


def test_importing_fastdl_leaves_what_few_need_for_later():
    program = "import sys, numpy; a = {*sys.modules}; import fastdl; print(*{*sys.modules} - a)"
    modules = {
        "numpy.random.mtrand",
        "numpy.typing",
        "copy",
        "csv",
        "dataclasses",
        "difflib",
        "fastdl.checks",
        "fastdl.compiled",
        "fastdl.many",
        "gzip",
        "hashlib",
        "json",
        "queue",
        "threading",
    }
    assert modules & set(printed(program).split()) == set()


def test_what_is_imported_later_is_there_when_it_is_asked_for():
    asked = "fastdl.fit_many, fastdl.compiled_step, fastdl.gradient_check, fastdl.FitManyError"
    printed(f"import fastdl; assert {{*fastdl.__all__}} <= {{*dir(fastdl)}}; {asked}")
    with pytest.raises(AttributeError, match="fastdl has no 'fit_most'"):
        fastdl.fit_most  # noqa: B018


def test_every_package_is_installed():
    root = Path(__file__).parents[1]
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folder = Path(fastdl.__file__).parent
    found = [file.parent for file in folder.rglob("__init__.py")]
    found.append(folder / "kernels")  # a link in a checkout, which rglob does not follow
    found += [file.parent for file in (folder / "kernels").rglob("__init__.py")]
    names = {".".join(path.relative_to(folder.parent).parts) for path in found}
    assert set(listed) == names
