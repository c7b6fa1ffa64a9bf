"""Model files: an architecture, named arrays and a training state in one safetensors file.

Architecture and state are JSON texts in the file's metadata. Any safetensors reader can read the
arrays; nothing in a model file can run code. This module knows no layers: dicts in, dicts out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl import _safetensors

__all__ = ["ModelFile", "load_tensors", "read_model", "save_model", "save_tensors"]

_FORMAT, _VERSION = "fastdl", 1
_MAX_JSON = 16_000_000
_MAX_DEPTH = 100


class ModelFile(NamedTuple):
    """What a model file holds: ``architecture``, ``tensors`` by name, and training ``state``."""

    architecture: dict[str, Any]
    tensors: dict[str, NDArray[Any]]
    state: dict[str, Any]


def save_tensors(path: str | os.PathLike[str], tensors: Mapping[str, ArrayLike]) -> None:
    """Write named arrays alone to a ``.safetensors`` file, atomically and with a checksum.

    Raises
    ------
    TypeError, ValueError
        If an array's type or name does not fit the format.
    OSError
        If the file cannot be written; it names ``path``, and the old file is as it was.
    """
    _safetensors.save(path, tensors)


def load_tensors(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a ``.safetensors`` file, anybody's, or of a model file.

    Raises
    ------
    ValueError
        If the file is damaged or not of this format; it names ``path``.
    OSError
        If it cannot be read.
    """
    return _safetensors.load(path)[0]


def save_model(
    path: str | os.PathLike[str],
    architecture: Mapping[str, Any],
    tensors: Mapping[str, ArrayLike],
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write a model file, atomically: the old file or the new one always loads.

    Parameters
    ----------
    path : path
        The file; its folder must exist.
    architecture, state : mapping
        Of what JSON has: dicts with string keys, lists (tuples become lists), strings, numbers
        (NumPy's too, NaN and Inf included), booleans, None. At most 16 MB each as text.
    tensors : mapping of str to array
        See `fastdl._safetensors.save` for the types.

    Raises
    ------
    TypeError
        If something cannot be written to JSON or safetensors; it says where it is.
    ValueError
        If something is too large or too deep, or a name is reserved.
    OSError
        If the file cannot be written; it names ``path``, and the old file is as it was.

    Examples
    --------
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "model.fastdl")
    >>> save_model(path, {"layers": []}, {"w": np.zeros(2)}, {"step": 7})
    >>> read_model(path)
    ModelFile(architecture={'layers': []}, tensors={'w': array([0., 0.])}, state={'step': 7})
    """
    metadata = {
        "format": _FORMAT,
        "format_version": str(_VERSION),
        "architecture": _to_json("architecture", architecture),
        "state": _to_json("state", state or {}),
    }
    _safetensors.save(path, tensors, metadata)


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read a model file and verify its checksum.

    Raises
    ------
    ValueError
        If the file is damaged, is no model file, or was written by a newer version; it names
        ``path``.
    OSError
        If it cannot be read.
    """
    metadata = _safetensors.load_metadata(path)  # first: say "no model" before reading gigabytes
    _check_format(os.fspath(path), metadata)
    tensors, metadata = _safetensors.load(path, require_checksum=True)
    architecture, state = (
        _from_json(os.fspath(path), part, metadata) for part in ("architecture", "state")
    )
    return ModelFile(architecture, tensors, state)


def _check_format(path: str, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != _FORMAT or "architecture" not in metadata:
        raise ValueError(
            f"{path}: a safetensors file, but not a fastdl model "
            "(weights alone are read by load_weights)"
        )
    version = metadata.get("format_version", "")
    if not version.isdecimal() or len(version) > 9:
        raise ValueError(f"{path}: the format version {version[:20]!r} is not a number")
    if int(version) > _VERSION:
        raise ValueError(
            f"{path}: written in format {version} by a newer fastdl; "
            f"this one reads up to {_VERSION}"
        )


def _to_json(part: str, value: Mapping[str, Any]) -> str:
    if not isinstance(value, Mapping):
        raise TypeError(f"{part} must be a dict, not {type(value).__name__}")
    text = json.dumps(_plain(value, part, 0), separators=(",", ":"))
    if len(text) > _MAX_JSON:
        raise ValueError(f"{part} is too large: {len(text)} characters of JSON, not {_MAX_JSON}")
    return text


def _plain(value: Any, where: str, depth: int) -> Any:
    """Return ``value`` as what JSON gives back: plain dicts, lists and scalars."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"{where[:100]}... is nested more than {_MAX_DEPTH} deep")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        return value.item()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}; keys must be strings")
        return {key: _plain(v, f"{where}[{key!r}]", depth + 1) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
    hint = "; arrays belong into the tensors" if isinstance(value, np.ndarray) else ""
    raise TypeError(f"{where} is a {type(value).__name__}, which JSON has not{hint}")


def _from_json(path: str, part: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    text = metadata.get(part, "{}")
    if len(text) > _MAX_JSON:
        raise ValueError(f"{path}: its {part} is too large: {len(text)} characters")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: its {part} is malformed: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: its {part} is not a JSON object")
    return value
