"""Activations, softmax, and their gradients."""

from __future__ import annotations

from fastdl.gpu.core import Family
from fastdl.kernels.table import ACTIVATIONS

activations = Family("activations")

activations.elementwise(
    *(f"{name}_{way}" for name in ACTIVATIONS if name not in ("linear", "softmax")
      for way in ("forward", "backward"))
)  # fmt: skip
activations.rowwise("softmax_forward", "softmax_backward")
