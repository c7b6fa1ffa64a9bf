"""Nested lists, tuples and dictionaries: their leaves, and the same with other leaves."""

from __future__ import annotations

from typing import Any

__all__ = ["flatten", "map_structure"]


def flatten(structure: Any) -> list[Any]:
    """The leaves of nested lists, tuples and dictionaries (those in the order of their keys)."""
    if isinstance(structure, (list, tuple)):
        return [leaf for part in structure for leaf in flatten(part)]
    if isinstance(structure, dict):
        return [leaf for key in structure for leaf in flatten(structure[key])]
    return [structure]


def map_structure(function: Any, structure: Any) -> Any:
    """The same nested lists and dictionaries with ``function`` of each leaf."""
    if isinstance(structure, (list, tuple)):
        return [map_structure(function, part) for part in structure]
    if isinstance(structure, dict):
        return {key: map_structure(function, part) for key, part in structure.items()}
    return function(structure)
