"""Shared by all tests; its being here also lets every test folder import ``oracle``."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def interrupts_are_heard():
    """A shell that starts the tests in the background has them ignore Ctrl-C, which is tested."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
