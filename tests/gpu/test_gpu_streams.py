"""What the driver asks CuPy's streams for."""

import gc
from types import SimpleNamespace

import numpy as np
import pytest

import fastdl
from fastdl.gpu import device


class Stream:
    made = 0

    def __init__(self, non_blocking=False):
        assert non_blocking
        Stream.made += 1
        self.device_id, self.said = 0, []

    def wait_event(self, event):
        self.said.append(("wait", event))

    def begin_capture(self):
        self.said.append("begin")

    def end_capture(self):
        self.said.append("end")
        return SimpleNamespace(launch=lambda stream: self.said.append("launch"))


@pytest.fixture
def driver(monkeypatch):
    """A driver for a CuPy that has nothing but streams."""
    runtime = SimpleNamespace(CUDARuntimeError=OSError, getDeviceCount=lambda: 1)
    runtime.getDevice = lambda: 0
    default = SimpleNamespace(record=lambda: "event", ptr=0)
    cuda = SimpleNamespace(runtime=runtime, Stream=Stream, get_current_stream=lambda: default)
    module = SimpleNamespace(cuda=cuda, ndarray=np.ndarray)
    monkeypatch.setattr(device, "_cupy", lambda: module)
    return device.CupyDriver()


def test_what_is_recorded_is_launched(driver):
    stream = driver.stream()
    driver.follow(stream)
    again = driver.record(lambda: stream.said.append("work"), stream)
    again()
    assert stream.said == [("wait", "event"), "begin", "work", "end", "launch"]


def test_a_recording_that_fails_is_ended(driver):
    stream = driver.stream()
    with pytest.raises(ZeroDivisionError):
        driver.record(lambda: 1 / 0, stream)
    assert stream.said == ["begin", "end"]


def test_streams_are_used_again(driver):
    made = Stream.made
    first, second = driver.stream(), driver.stream()
    driver.release(first)
    assert driver.stream() is first and first is not second
    assert Stream.made == made + 2


def test_a_program_that_is_gone_gives_its_stream_back(emulated, monkeypatch):
    released = []
    monkeypatch.setattr(emulated, "release", released.append)
    model = fastdl.Sequential([fastdl.layers.Dense(2)]).to("gpu")
    model.predict(np.ones((3, 2)), verbose=0)
    assert not released
    del model
    gc.collect()
    assert len(released) == 1
