"""Packages that fastdl can use and does not require: each belongs to an extra of the install."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["optional", "require"]


def require(module: str, extra: str, purpose: str) -> Any:
    """Import and return ``module``, which ``purpose`` needs.

    Raises
    ------
    ImportError
        If it is not installed; the message says what to type.

    Examples
    --------
    >>> require("no_such_package.part", "demo", "load_digits")
    Traceback (most recent call last):
    ImportError: load_digits needs no_such_package: pip install 'fastdl[demo]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        if (getattr(error, "name", None) or package).partition(".")[0] != package:
            raise  # it is there, but something that it imports is not
        raise ImportError(
            f"{purpose} needs {package}: pip install 'fastdl[{extra}]'", name=package
        ) from error


def optional(module: str) -> Any | None:
    """Return ``module`` where it is installed, else None.

    >>> optional("no_such_package") is None
    True
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        return None
