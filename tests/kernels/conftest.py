"""Fixtures of the kernel tests: each instruction set in turn, threads without a threshold."""

import pytest

from fastdl.kernels import dispatch, runner

ISAS = ("baseline", "avx2", "avx512", "neon")


@pytest.fixture(params=ISAS)
def isa(request):
    """Runs the test once with each instruction set."""
    if request.param not in dispatch.available():
        pytest.skip(f"this build or processor does not have {request.param}")
    before = dispatch.isa()
    dispatch.set_isa(request.param)
    yield request.param
    dispatch.set_isa(before)


@pytest.fixture
def forced_threads():
    """Makes every phase use as many threads as it has pieces, whatever its work."""
    runner.force_threads(True)
    yield
    runner.force_threads(False)
    runner.set_num_threads(None)
