"""The examples in docstrings are true, and public things have a docstring."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import fastdl

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(fastdl.__path__, "fastdl.")
    if module.name != "fastdl.__main__"
)


@pytest.mark.parametrize("name", ["fastdl", *MODULES])
def test_examples(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0


PYTHON = [name for name in MODULES if not name.startswith("fastdl.kernels")]


@pytest.mark.parametrize("name", PYTHON)
def test_public_things_are_described(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for public in getattr(module, "__all__", ()):
        thing = getattr(module, public)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert thing.__doc__, f"{name}.{public} has no docstring"
