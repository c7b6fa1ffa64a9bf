"""Grids of arrays with billions of elements: nothing is run, and no memory is taken."""

import math

import numpy as np
import pytest
from cases import GEOMETRIES, axis_length, required

from fastdl.gpu import metrics, moves
from fastdl.gpu.core import HOSTS, Call
from fastdl.kernels.table import ACTIVATIONS, DYNAMIC_OPTIONS, OPS

#: Elements of the largest array: about as many as a device has memory for, and four times as many
#: as 32 bits can count.
MOST = 2**34

#: Lengths of a head's vectors, of which a block has a part.
LIMITED = {("attention_forward", "V"), ("attention_backward", "V"), ("attention_backward", "D")}


class Anything:
    """An array of any shape."""

    def __init__(self, size=0, dtype=None):
        self.size, self.dtype = size, dtype


class Recorder:
    """A driver that looks at launches."""

    multiplies = False
    blas = cudnn = None

    class xp:
        empty = Anything

    def __init__(self):
        self.threads = 0

    def kernel(self, family, bits, name):
        return name

    def launch(self, kernel, grid, block, arguments):
        assert all(isinstance(n, int) and n > 0 for n in (*grid, *block)), (kernel, grid, block)
        assert grid[0] < 2**31 and max(grid[1:]) < 2**16, (kernel, grid)
        assert np.prod(block) <= 1024 and block[2] <= 64, (kernel, block)
        assert all(a is None or isinstance(a, Anything | int | float) for a in arguments), kernel
        assert all(abs(a) < 2**63 for a in arguments if isinstance(a, int)), kernel
        self.threads += int(np.prod(grid, dtype=object) * np.prod(block))


def lengths_of(op, letter, huge, options):
    """All lengths small but one."""
    least = GEOMETRIES[op.name].least if op.name in GEOMETRIES else {}
    free = [k for k in (least or op.letters) if k != letter]
    known = {letter: huge} if letter != "B" else {}
    if op.geometry is None or least:
        known |= {k: max(least.get(k, 0), 3) for k in free}
    op.derive(known, options)
    if letter == "B" and op.letters:
        known.setdefault(op.letters[-1], 12)
        op.derive(known, options)
    known |= {k: 3 for k in op.letters if k not in known}
    return known | {"B": huge if letter == "B" else 3}


def largest(op, lengths):
    return max(math.prod(axis_length(axis, lengths) for axis in a.axes) for a in op.arguments)


@pytest.mark.parametrize("name", OPS)
def test_any_one_length_may_be_huge(name, monkeypatch):
    monkeypatch.setattr(moves, "_ROWS", 2**28)
    monkeypatch.setattr(metrics, "_CHUNK", 2**28)
    op = OPS[name]
    options = op.defaults | required(op)
    tried = 0
    for letter in ("B", *op.letters):
        if (letter == "B" and not any(a.batched for a in op.arguments)) or (
            name,
            letter,
        ) in LIMITED:
            continue
        try:
            each = largest(op, lengths_of(op, letter, 2**20, options)) / 2**20
            lengths = lengths_of(op, letter, int(MOST / each), options)
            static = {k: v for k, v in options.items() if k not in DYNAMIC_OPTIONS}
            arrays = {a.name: Anything() for a in op.arguments}
            driver = Recorder()
            call = Call(
                op, HOSTS[name], driver, np.dtype(np.float32), arrays, static, lengths, Anything(),
                eager=False, epilogue=(ACTIVATIONS.index("relu") if op.tail else 0, 0.0),
            )  # fmt: skip
            call.run()
        except ValueError:  # it follows from others, or a convolution refuses it
            continue
        assert driver.threads > 0
        tried += 1
    assert tried > 0 or not op.letters
