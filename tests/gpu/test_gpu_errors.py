"""What is said where there is no GPU, or one that cannot be used."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

import fastdl
from fastdl.gpu import device


class CudaError(Exception):
    pass


@pytest.fixture
def cupy(monkeypatch):
    """A CuPy whose runtime says what the test wants."""
    runtime = SimpleNamespace(
        CUDARuntimeError=CudaError,
        getDeviceCount=lambda: 0,
        driverGetVersion=lambda: 12020,
        runtimeGetVersion=lambda: 13000,
    )
    module = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", module)
    before = device.use(None)
    yield runtime
    device.use(before)


def refused():
    with pytest.raises(RuntimeError) as error:
        fastdl.set_backend("gpu")
    assert fastdl.get_backend() == "cpu"
    return str(error.value)


def test_no_device(cupy):
    assert "needs an NVIDIA GPU and its driver, and CUDA finds none" in refused()


def test_a_driver_that_is_too_old(cupy):
    def fails():
        raise CudaError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")

    cupy.getDeviceCount = fails
    said = refused()
    assert "the NVIDIA driver supports CUDA 12.2 and CuPy was made for 13.0" in said
    assert "install a newer driver" in said and "fastdl[cuda12]" in said


def test_an_error_of_the_runtime(cupy):
    def fails():
        raise CudaError("cudaErrorUnknown: unknown error")

    cupy.getDeviceCount = fails
    assert "cudaErrorUnknown" in refused()


def test_importing_fastdl_looks_for_nothing():
    code = "import sys, fastdl; print([m for m in sys.modules if 'cupy' in m or m == 'fastdl.gpu'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
