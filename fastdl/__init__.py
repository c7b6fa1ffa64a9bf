"""fastdl: train neural networks from NumPy arrays at the speed of the machine."""

__version__ = "0.1.0"

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
from fastdl.checks import gradient_check
from fastdl.compiled import compiled_step
from fastdl.layers import Input, Layer
from fastdl.many import FitManyError, fit_many
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
