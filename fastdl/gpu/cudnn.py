"""Convolutions by cuDNN, through its frontend, where that is installed.

``FASTDL_GPU_CONVOLUTIONS`` in the environment may be "own" for our kernels, which also make what
cuDNN has no way for, or "cudnn", which makes it an error if cuDNN is missing. float32 is float32
there too, unless ``FASTDL_GPU_PRODUCTS`` allows shorter numbers. Bias and activation are ours, in
one pass over what comes out: its graphs do not say what a ReLU makes of NaN.

Images lie channels last in both, which cuDNN is told by strides. Of a filter's strides it asks only
whether its channels or its columns are closer together, and takes ours, (R, S, I, O), for one of
its own two layouts without a word. So it is given a copy, (O, R, S, I).
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from fastdl import _optional
from fastdl.gpu.core import Call
from fastdl.gpu.moves import transpose

__all__ = ["Cudnn", "from_environment"]

_NAME = "FASTDL_GPU_CONVOLUTIONS"


def from_environment(driver: Any) -> Cudnn | None:
    """What makes the convolutions; None: our own kernels.

    Raises
    ------
    ValueError
        If ``FASTDL_GPU_CONVOLUTIONS`` is neither "own" nor "cudnn".
    ImportError
        If it is "cudnn", and the frontend is not installed, or not the library that it is for.
    """
    kind = os.environ.get(_NAME)
    if kind not in (None, "own", "cudnn"):
        raise ValueError(f"{_NAME} must be 'own' or 'cudnn', got {kind!r}")
    if kind == "own" or (kind is None and _optional.optional("cudnn") is None):
        return None
    frontend = _optional.require("cudnn", "cudnn12", _NAME)
    try:
        frontend.backend_version()
    except RuntimeError as error:
        if kind is None:
            return None
        raise ImportError(
            f"{_NAME} needs the library cuDNN ({error}): pip install 'fastdl[cudnn12]', or cudnn13"
        ) from error
    return Cudnn(driver, frontend, os.environ.get("FASTDL_GPU_PRODUCTS") in ("tf32", "bf16"))


class Cudnn:
    """Convolutions between larger images (B, H, W, C), smaller ones (B, P, Q, O) and a weight.

    Parameters
    ----------
    shorter : bool
        Whether float32 may be cut to TensorFloat-32.
    """

    def __init__(self, driver: Any, frontend: Any, shorter: bool) -> None:
        self.driver, self.frontend = driver, frontend
        self.handle = frontend.create_handle()
        notes = frontend.numerical_note
        self._refused = [notes.NONDETERMINISTIC, notes.DOWN_CONVERT_INPUTS]
        if not shorter:
            self._refused.append(notes.TENSOR_CORE)
        self._plans: dict[Any, tuple[Any, ...] | None] = {}
        self._lock = threading.Lock()

    def convolve(self, call: Call, kind: str, larger: Any, smaller: Any, weight: Any) -> bool:
        """Makes one of the three from the others: the smaller images ("fprop"), the larger
        ("dgrad") or the weight ("wgrad"); False where cuDNN cannot."""
        lengths, options = call.lengths, call.options
        sizes = call.rows, *(lengths[letter] for letter in "HWCPQORSI")
        before, after = (
            (options[a], options[b]) for a, b in (("top", "left"), ("bottom", "right"))
        )
        stride, dilation = (
            (options[f"{what}_height"], options[f"{what}_width"]) for what in ("stride", "dilation")
        )
        if min(*sizes, *after) < 0 or 0 in sizes:
            return False
        geometry = before, after, stride, dilation
        with self._lock:
            key = kind, larger.dtype.itemsize, sizes, geometry
            if key not in self._plans:
                self._plans[key] = self._plan(*key)
            plan = self._plans[key]
            if plan is None:
                return False
            graph, tensors, room = plan
            taps, O = weight.size // lengths["O"], lengths["O"]  # noqa: E741
            turned = call.workspace("turned", weight.size)
            if kind != "wgrad":
                transpose(call, turned, weight, 1, taps, O)
            place = self.driver.address
            places = dict(zip(tensors, map(place, (larger, smaller, turned)), strict=True))
            workspace = place(call.workspace("cudnn", room, np.uint8))
            stream = self.driver.current_stream()
            self.frontend.set_stream(handle=self.handle, stream=stream)
            graph.execute(places, workspace, handle=self.handle)
        if kind == "wgrad":
            transpose(call, weight, turned, 1, O, taps)
        return True

    def _plan(
        self, kind: str, itemsize: int, sizes: tuple[int, ...], geometry: tuple[Any, ...]
    ) -> tuple[Any, ...] | None:
        """The graph, its (larger, smaller, weight), and the bytes that it works in."""
        frontend, (B, H, W, C, P, Q, O, R, S, I) = self.frontend, sizes  # noqa: E741
        real = frontend.data_type.FLOAT if itemsize == 4 else frontend.data_type.DOUBLE
        graph = frontend.pygraph(
            io_data_type=real, intermediate_data_type=real, compute_data_type=real,
            handle=self.handle,
        )  # fmt: skip
        names = ("pre_padding", "post_padding", "stride", "dilation")
        given = {name: list(pair) for name, pair in zip(names, geometry, strict=True)}

        def lying(count: int, channels: int, rows: int, columns: int) -> dict[str, list[int]]:
            return {
                "dim": [count, channels, rows, columns],
                "stride": [rows * columns * channels, 1, columns * channels, channels],
            }

        layouts = [lying(B, C, H, W), lying(B, O, P, Q), lying(O, I, R, S)]
        target = ("dgrad", "fprop", "wgrad").index(kind)
        tensors = [
            None if i == target else graph.tensor(name=name, data_type=real, **layout)
            for i, (name, layout) in enumerate(
                zip(("larger", "smaller", "weight"), layouts, strict=True)
            )
        ]
        larger, smaller, weight = tensors
        if kind == "fprop":
            made = graph.conv_fprop(image=larger, weight=weight, **given)
        elif kind == "dgrad":
            made = graph.conv_dgrad(loss=smaller, filter=weight, **given)
        else:
            made = graph.conv_wgrad(image=larger, loss=smaller, **given)
        made.set_output(True).set_data_type(real)
        made.set_dim(layouts[target]["dim"]).set_stride(layouts[target]["stride"])
        tensors[target] = made
        modes = frontend.heur_mode
        try:
            graph.validate()
            graph.build_operation_graph()
            graph.create_execution_plans([modes.A, modes.FALLBACK])
            graph.deselect_numeric_notes(self._refused)
            graph.check_support()
            graph.build_plans()
        except frontend.cudnnGraphNotSupportedError:
            return None
        return graph, tensors, graph.get_workspace_size()
