"""What the GPU's kernels are tested on: the host emulator in each order of threads, and a GPU."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "kernels"))

import cases
from emulator import COMPILER, ORDERS, Emulator

import fastdl
from fastdl import gpu as gpu_ops
from fastdl.gpu import device

#: Set by ``bench.gpu``, whose time is for the device.
ON_DEVICE_ONLY = bool(os.environ.get("FASTDL_TESTS_ON_DEVICE_ONLY"))


def _emulator(order):
    if ON_DEVICE_ONLY:
        pytest.skip("on the device only")
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    return Emulator(order)


class OnDevice:
    """The functions of fastdl.gpu for NumPy arrays, which are copied there and back."""

    def __getattr__(self, name):
        function = getattr(gpu_ops, name)

        def call(*args, **kwargs):
            driver = device.driver()
            pairs = []

            def there(value):
                if not isinstance(value, np.ndarray):
                    return value
                pairs.append((value, driver.upload(value)))
                return pairs[-1][1]

            result = function(*map(there, args), **{k: there(v) for k, v in kwargs.items()})
            for here, copy in pairs:
                here[...] = driver.download(copy)
            results = result if isinstance(result, tuple) else (result,)
            back = tuple([None if r is None else driver.download(r) for r in results])
            return back if isinstance(result, tuple) else back[0]

        return call


def _device_is_missing() -> str:
    try:
        device.CupyDriver()
    except (ImportError, RuntimeError) as error:
        return str(error)
    return ""


@pytest.fixture(params=[*ORDERS, "gpu"])
def on(request, monkeypatch):
    """Runs the test with the emulator's threads in each order, and on the GPU if there is one. The
    cases' calls go there."""
    if request.param == "gpu":
        if missing := _device_is_missing():
            pytest.skip(missing)
        before = device.use(None)
    else:
        before = device.use(_emulator(request.param))
    monkeypatch.setattr(cases, "kernels", OnDevice() if request.param == "gpu" else gpu_ops)
    yield request.param
    device.use(before)


@pytest.fixture
def emulated():
    """The emulator is the GPU of this test."""
    before = device.use(_emulator("random"))
    yield device.driver()
    fastdl.set_backend("cpu")
    device.use(before)


@pytest.fixture(params=["emulator", "gpu"])
def gpu(request):
    """The emulator, or a GPU where there is one."""
    if request.param == "emulator":
        yield request.getfixturevalue("emulated")
        return
    if missing := _device_is_missing():
        pytest.skip(missing)
    before = device.use(None)
    yield device.driver()
    fastdl.set_backend("cpu")
    device.use(before)
