"""Several GPUs: a process for each, which train on rows of their own and average their gradients.

The average is a step of the training Program, behind the last op that makes a gradient and before
the first that reads one: so clipping and updates see the same gradients everywhere, and weights
that were the same stay the same.
"""

from __future__ import annotations

from typing import Any, Protocol

from fastdl import _optional
from fastdl.gpu.core import Call, elements_grid

__all__ = ["Average", "Communicator", "Nccl", "average_gradients", "with_average"]


class Communicator(Protocol):
    """Those who train together."""

    #: how many they are
    size: int

    def add_up(self, array: Any) -> None:
        """Puts the sum of all processes' arrays into each, on the current stream."""


class Nccl:
    """The processes of several GPUs, through NCCL.

    Parameters
    ----------
    size, rank : int
        How many processes there are, and which one this is. Each has a device of its own:
        ``cupy.cuda.Device(rank).use()``, or ``CUDA_VISIBLE_DEVICES``.
    host, port : str, int
        Where the process with rank 0 can be reached.
    """

    def __init__(self, size: int, rank: int, host: str = "127.0.0.1", port: int = 13333) -> None:
        distributed = _optional.require("cupyx.distributed", "cuda12", "training on several GPUs")
        self.size = size
        self._nccl = distributed.init_process_group(size, rank, host=host, port=port)

    def add_up(self, array: Any) -> None:
        self._nccl.all_reduce(array, array, "sum")


def average_gradients(model: Any, communicator: Communicator | None) -> None:
    """Has a model's fits average their gradients with those of the others, from now on.

    All processes must begin with the same weights (say by `fastdl.set_seed`), and fit with as many
    batches, all of them full or of the same length.

    Parameters
    ----------
    model : Model
        On the backend "gpu".
    communicator : Communicator or None
        None: the model is on its own again.

    Raises
    ------
    ValueError
        If the model's backend is another one.
    """
    if communicator is not None and model.backend != "gpu":
        raise ValueError(f"{model.name}: gradients are averaged on the backend 'gpu' alone")
    model._communicator = communicator
    model._forget_programs()


class Average:
    """The launch that averages some gradients."""

    def __init__(self, communicator: Communicator, calls: list[Call]) -> None:
        self.communicator, self.driver = communicator, calls[0].driver
        self.bits = 8 * calls[0].real.itemsize
        self.gradients = [call["grad"].reshape(-1) for call in calls]

    def run(self) -> None:
        kernel = self.driver.kernel("arithmetic", self.bits, "scale")
        for array in self.gradients:
            self.communicator.add_up(array)
            grid, block = elements_grid(array.size)
            share = 1.0 / self.communicator.size
            self.driver.launch(
                kernel, (grid, 1, 1), (block, 1, 1), (array, array, share, array.size)
            )


def with_average(calls: list[Any], communicator: Communicator) -> list[Any]:
    """The launches of a training step, with the average of the gradients among them."""
    updates = [c for c in calls if isinstance(c, Call) and {"param", "grad"} <= c.arrays.keys()]
    if not updates:
        return calls
    places = [_place(call, call["grad"]) for call in updates]
    made = 0
    for at, call in enumerate(calls):
        outputs = call.op.outputs if isinstance(call, Call) else ()
        written = [_place(call, call[a.name]) for a in outputs if call[a.name] is not None]
        if any(low < end and begin < high for low, high in written for begin, end in places):
            made = at + 1
    return [*calls[:made], Average(communicator, updates), *calls[made:]]


def _place(call: Call, array: Any) -> tuple[int, int]:
    begin = call.driver.address(array)
    return begin, begin + array.nbytes
