"""Optimizers: which update op, with which options, over which state.

The arithmetic is in the kernels (the ``*_update`` ops); an optimizer names the op, its options and
its slots, the arrays that it keeps for each weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastdl import schedules
from fastdl._names import lookup, split_config
from fastdl.optimizers.base import Optimizer
from fastdl.optimizers.methods import SGD, Adagrad, Adam, AdamW, RMSprop

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "get", "serialize"]

_OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
    "adagrad": Adagrad,
}


def get(identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Optimizer:
    """The optimizer that a name, a configuration, a class or an optimizer stands for.

    Parameters
    ----------
    identifier : str, dict, type or Optimizer
    custom_objects : dict, optional
        Classes of your own schedules, by name, where a configuration has such.

    Raises
    ------
    ValueError
        For an unknown name; the message gives the nearest one.
    """
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str):
        return lookup("optimizer", identifier.lower(), _OPTIMIZERS)()
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        return identifier()
    if isinstance(identifier, dict):
        name, arguments = split_config("optimizer", identifier)
        if isinstance(arguments.get("learning_rate"), Mapping):
            arguments["learning_rate"] = schedules.get(arguments["learning_rate"], custom_objects)
        return lookup("optimizer", name.lower(), _OPTIMIZERS)(**arguments)
    raise TypeError(
        f"an optimizer is a name or a fastdl.optimizers.Optimizer, not {type(identifier).__name__}"
    )


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer as a JSON-ready dict from which `get` makes an equal one."""
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}
