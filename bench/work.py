"""How many bytes a training step has to move, counted from its row."""

from __future__ import annotations

import functools

import numpy as np

from .peers.rows import Row, initial_weights

__all__ = ["moved", "parameters", "updated"]

#: Bytes of each parameter's update: Adam reads four numbers and writes three, plain SGD reads two
#: and writes one.
_UPDATE = {"adam": 28, "sgd": 12}


@functools.cache
def parameters(row: Row) -> int:
    """The trainable numbers of the network."""
    return sum(array.size for array in initial_weights(row))


def updated(row: Row) -> int:
    """The bytes of the update of all parameters."""
    return _UPDATE[row.optimizer] * parameters(row)


def moved(row: Row) -> int:
    """The bytes of the update, and of the rows that are read."""
    return updated(row) + 4 * row.batch * int(np.prod(row.inputs))
