"""Shared by the tests of layers."""

import pytest

import fastdl


@pytest.fixture
def float64():
    """Layers and models of float64, beginning with the same numbers each time."""
    fastdl.set_floatx("float64")
    fastdl.set_seed(0)
    yield
    fastdl.set_floatx("float32")
