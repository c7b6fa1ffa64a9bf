"""The host side of the ops on a GPU: which kernels an op launches, written once for all drivers.

A family's module here makes a `Family` and says for each of its ops how it is launched. A `Call` is
one call of an op with its arrays, options and lengths: an eager one, or one of a Program, which
is made once and launched for every batch. It reaches the device by a `Driver` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fastdl.kernels.table import DYNAMIC_OPTIONS, OPS, Op

__all__ = ["CONTEXT", "HOSTS", "Call", "Driver", "Family", "Host", "power_of_two"]

#: The struct Context of common.cuh.
CONTEXT = np.dtype(
    [("first", np.int64), ("order", np.uint64), ("step", np.int64), ("seed", np.int64),
     ("learning_rate", np.float64), ("rates", np.uint64)]
)  # fmt: skip

_WARP, _BLOCK, _MOST_BLOCKS = 32, 256, 1 << 16

#: Rows up to this width have a warp each, or a part of one, wider ones a block.
_NARROW = 1024


class Driver(Protocol):
    """A device: CuPy's, or the tests' emulator of one."""

    #: the module whose functions make and know its arrays: ``cupy`` or ``numpy``
    xp: Any
    #: whether products of eager calls go to ``xp.matmul``
    multiplies: bool
    #: what makes all products instead of our kernels; None: these do
    blas: Any
    #: and what makes the convolutions of which it is able
    cudnn: Any

    def kernel(self, family: str, bits: int, name: str) -> Any:
        """A kernel of ``family``.cu, compiled for float32 or float64."""

    def launch(
        self,
        kernel: Any,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: tuple[Any, ...],
    ) -> None:
        """Runs it. Arguments are arrays, None (a null pointer), int and float."""

    def upload(self, array: Any) -> Any:
        """The array on the device, contiguous; itself where it is so already."""

    def download(self, array: Any) -> np.ndarray:
        """A copy on the host."""

    def write(self, there: Any, here: np.ndarray) -> None:
        """Copies to an array of the device."""

    def read(self, here: np.ndarray, there: Any) -> None:
        """Copies from an array of the device, when what writes to it is done."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array as the user gets it."""

    def is_host(self, array: Any) -> bool:
        """Whether an array of the user's lies on the host."""

    def address(self, array: Any) -> int:
        """Where an array of the device lies."""

    def stream(self) -> Any:
        """Inside of ``with`` work goes there; ``synchronize()`` waits until it is done."""

    def release(self, stream: Any) -> None:
        """Takes a stream back that nobody works on any more."""

    def follow(self, stream: Any) -> None:
        """Has the stream wait for all that the current one has been given."""

    def record(self, launches: Callable[[], None], stream: Any) -> Callable[[], None]:
        """Has the launches written down instead of done: what repeats them."""


def power_of_two(count: int) -> int:
    """The least one that is not below."""
    return 1 << max(count - 1, 0).bit_length()


def elements_grid(count: int) -> tuple[int, int]:
    """Blocks, and threads of each, for a kernel of EACH_ELEMENT over ``count`` elements."""
    return min(-(-count // _BLOCK), _MOST_BLOCKS), _BLOCK


@dataclass(slots=True)
class Call:
    """One call of an op.

    Attributes
    ----------
    arrays : dict
        By the names of the table; None for an optional one left out. All contiguous.
    options : dict
        By name, the dynamic ones left out, a choice by its name.
    lengths : dict
        By letter; "B" is the product of the leading axes.
    context : array
        One `CONTEXT` on the device.
    eager : bool
        Whether this call is not part of a Program.
    """

    op: Op
    host: Host
    driver: Driver
    real: np.dtype
    arrays: dict[str, Any]
    options: dict[str, Any]
    lengths: dict[str, int]
    context: Any
    eager: bool = True
    #: activation and its alpha, for a product's epilogue
    epilogue: tuple[int, float] = (0, 0.0)
    #: scratch memory by name and type; the calls of a Program, one after the other, share it
    scratch: dict[Any, Any] = field(default_factory=dict)

    def run(self) -> None:
        self.host.launch(self)

    def __getitem__(self, name: str) -> Any:
        """An argument's array, or an option's value as kernels take it."""
        if name in self.arrays:
            return self.arrays[name]
        value = self.options[name]
        option = next(o for o in self.op.options if o.name == name)
        if option.kind == "float":
            return float(value)
        return option.choices.index(value) if option.kind == "choice" else int(value)

    @property
    def rows(self) -> int:
        """B, or the length of the first letter where no argument has a B."""
        return self.lengths["B"] if "B" in self.lengths else self.lengths[self.op.letters[0]]

    def size(self, name: str) -> int:
        """The number of an argument's elements for this many rows."""
        argument = next(a for a in self.op.arguments if a.name == name)
        return math.prod(
            sum(int(p) if p.isdigit() else self.lengths[p] for p in axis.split("+"))
            for axis in argument.axes
        )

    def arguments(self) -> tuple[Any, ...]:
        """Arrays and own options in the order of the table, the context where the op has dynamic
        options, then B where the op has it, and the other lengths in the order of the letters."""
        options = [o.name for o in self.op.options if o.name not in DYNAMIC_OPTIONS]
        dynamic = len(options) < len(self.op.options)
        return (
            *(self.arrays[a.name] for a in self.op.arguments),
            *(self[name] for name in options),
            *((self.context,) if dynamic else ()),
            *((self.lengths["B"],) if "B" in self.lengths else ()),
            *(self.lengths[letter] for letter in self.op.letters),
        )

    def launch(self, kernel: str, grid: Any, block: Any, *arguments: Any) -> None:
        """Launches a kernel of this op's family, or of another ("products.merge"); nothing where
        the grid is empty."""
        grid = (*grid, 1, 1)[:3] if isinstance(grid, tuple) else (grid, 1, 1)
        block = (*block, 1, 1)[:3] if isinstance(block, tuple) else (block, 1, 1)
        if 0 in grid:
            return
        family, _, name = kernel.rpartition(".")
        compiled = self.driver.kernel(family or self.host.family, 8 * self.real.itemsize, name)
        self.driver.launch(compiled, grid, block, arguments)

    def elements(self, kernel: str, count: int, *arguments: Any) -> None:
        """Launches a kernel of EACH_ELEMENT over ``count`` elements."""
        self.launch(kernel, *elements_grid(count), *arguments)

    def by_rows(self, kernel: str, count: int, width: int, *arguments: Any) -> None:
        """Launches a kernel of ROW and EACH_COLUMN over ``count`` rows of this width."""
        threads = min(power_of_two(width), _WARP) if width <= _NARROW else _BLOCK
        each = _BLOCK // threads
        self.launch(kernel, -(-count // each), (threads, each), *arguments)

    def workspace(self, name: str, count: int, dtype: Any = None) -> Any:
        """Scratch memory, not initialised, for this one launch of the call."""
        dtype = self.real if dtype is None else np.dtype(dtype)
        scratch = self.scratch.get((name, dtype))
        if scratch is None or scratch.size < count:
            scratch = self.scratch[name, dtype] = self.driver.xp.empty(max(count, 1), dtype)
        return scratch

    def counters(self, count: int) -> Any:
        """Whole numbers for kernels to count with: 0 before a launch, and to be left at 0."""
        found = self.scratch.get("counters")
        if found is None or found.size < count:
            found = self.scratch["counters"] = self.driver.xp.zeros(count, np.uint32)
        return found


@dataclass(frozen=True)
class Host:
    """How an op is launched, with kernels from which family."""

    family: str
    launch: Callable[[Call], None]


#: By the name of the op: those that have been ported.
HOSTS: dict[str, Host] = {}


class Family:
    """The ops whose kernels stand in one .cu file."""

    def __init__(self, name: str) -> None:
        self.name = name

    def host(self, *ops: str) -> Callable[[Callable[[Call], None]], Callable[[Call], None]]:
        """Registers a function of a `Call` as the host side of these ops."""

        def register(launch: Callable[[Call], None]) -> Callable[[Call], None]:
            for op in ops:
                if op not in OPS or op in HOSTS:
                    raise ValueError(f"op {op} is not in the table, or has a host side already")
                HOSTS[op] = Host(self.name, launch)
            return launch

        return register

    def elementwise(self, *ops: str) -> None:
        """Ops of one kernel of their name over the elements of the first argument, which takes
        `Call.arguments`."""

        @self.host(*ops)
        def launch(call: Call) -> None:
            count = call.size(call.op.arguments[0].name)
            call.elements(call.op.name, count, *call.arguments())

    def rowwise(self, *ops: str) -> None:
        """Ops of one kernel of their name over rows as wide as the first letter, which takes
        `Call.arguments`."""

        @self.host(*ops)
        def launch(call: Call) -> None:
            width = call.lengths[call.op.letters[0]]
            call.by_rows(call.op.name, call.rows, width, *call.arguments())
