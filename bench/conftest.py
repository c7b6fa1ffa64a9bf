"""What the benchmark suites share: ``--backend=cpu|gpu``, the libraries, the machine's facts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from . import results


def pytest_addoption(parser):
    parser.addoption("--backend", choices=("cpu", "gpu"), default="cpu", help="of fastdl's side")


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["fastdl"] = results.environment()


@pytest.fixture(scope="session")
def backend(request):
    """fastdl's side: ``kernels``, ``array`` and ``numpy`` (there and back), ``wait``."""
    if request.config.getoption("--backend") == "cpu":
        kernels = pytest.importorskip("fastdl.kernels")
        return SimpleNamespace(
            name="cpu", kernels=kernels, array=np.array, numpy=np.asarray, wait=lambda: None
        )
    try:
        import cupy

        from fastdl import gpu

        cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy has errors of its own for "no driver", "no device", ...
        pytest.skip(f"no GPU backend: {error}")
    return SimpleNamespace(
        name="gpu",
        kernels=gpu,
        array=cupy.array,
        numpy=cupy.asnumpy,
        wait=cupy.cuda.get_current_stream().synchronize,
    )


@pytest.fixture(scope="session")
def cpu_models(request):
    """Skips what goes through models where they cannot run on the backend that was asked for."""
    if request.config.getoption("--backend") == "gpu":
        pytest.skip("models on the GPU are timed by bench.peers on a machine that has one")
    return pytest.importorskip("fastdl")


@pytest.fixture(scope="session")
def torch(request):
    """PyTorch on the CPU, denormals flushed as ours are."""
    if request.config.getoption("--backend") == "gpu":
        pytest.skip("PyTorch's CPU kernels stand beside the CPU backend's")
    module = pytest.importorskip("torch")
    module.set_flush_denormal(True)
    return module


@pytest.fixture
def rng():
    return np.random.default_rng(0)
