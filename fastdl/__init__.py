"""fastdl: train neural networks from NumPy arrays at the speed of the machine."""

__version__ = "0.1.0"

import importlib
from typing import TYPE_CHECKING

from fastdl import (
    callbacks,
    data,
    datasets,
    initializers,
    kernels,
    layers,
    losses,
    metrics,
    ops,
    optimizers,
    regularizers,
    schedules,
)
from fastdl.layers import Input, Layer
from fastdl.model import Model
from fastdl.runtime import (
    backend,
    floatx,
    get_backend,
    get_num_threads,
    set_backend,
    set_floatx,
    set_num_threads,
    set_seed,
    show_config,
)
from fastdl.sequential import Sequential
from fastdl.serialization import load_model
from fastdl.tape import GradientTape
from fastdl.tensor import Tensor, Variable, constant, from_dlpack
from fastdl.trace import stop_gradient

if TYPE_CHECKING:
    from fastdl.checks import gradient_check
    from fastdl.compiled import compiled_step
    from fastdl.many import FitManyError, fit_many

__all__ = [
    "FitManyError",
    "GradientTape",
    "Input",
    "Layer",
    "Model",
    "Sequential",
    "Tensor",
    "Variable",
    "__version__",
    "backend",
    "callbacks",
    "compiled_step",
    "constant",
    "data",
    "datasets",
    "fit_many",
    "floatx",
    "from_dlpack",
    "get_backend",
    "get_num_threads",
    "gradient_check",
    "initializers",
    "kernels",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "ops",
    "optimizers",
    "regularizers",
    "schedules",
    "set_backend",
    "set_floatx",
    "set_num_threads",
    "set_seed",
    "show_config",
    "stop_gradient",
]

#: What most programs do without is imported when it is asked for: importing fastdl must be quick.
_LATER = {
    "FitManyError": "many",
    "compiled_step": "compiled",
    "fit_many": "many",
    "gradient_check": "checks",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"fastdl has no {name!r}")
    return getattr(importlib.import_module(f"fastdl.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
