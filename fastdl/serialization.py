"""Models as configurations and files: what `Model.save` writes and `load_model` reads.

A layer is its class and its arguments; a functional model also says which call made which tensor.
Weights go by name, optimizer state by weight and slot. Nothing in a file is ever executed: classes
are looked up among fastdl's own and those that the caller passes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import losses, metrics, optimizers
from fastdl._names import custom_objects_known, split_config
from fastdl.functional import Functional
from fastdl.layers.base import Layer, loading

if TYPE_CHECKING:
    from fastdl import saving
    from fastdl.model import Model

__all__ = ["load_model", "load_weights", "save"]


# --- layers ---------------------------------------------------------------------------------------


def _classes(custom: Mapping[str, Any] | None = None) -> dict[str, Any]:
    from fastdl import layers
    from fastdl.model import Model
    from fastdl.sequential import Sequential

    known = {n: getattr(layers, n) for n in layers.__all__ if isinstance(getattr(layers, n), type)}
    return {**known, "Model": Model, "Sequential": Sequential, **(custom or {})}


def serialize_layer(layer: Layer) -> dict[str, Any]:
    """A layer as a JSON-ready dict."""
    return {"class_name": type(layer).__name__, "config": layer.get_config()}


def deserialize_layer(config: Mapping[str, Any], custom: Mapping[str, Any] | None = None) -> Any:
    """The layer that `serialize_layer` described.

    Raises
    ------
    ValueError
        If its class is neither fastdl's nor among ``custom``.
    """
    name, arguments = split_config("layer", config)
    known = _classes(custom)
    if name not in known:
        raise ValueError(
            f"unknown layer {name!r}; pass its class in custom_objects={{{name!r}: ...}}"
        )
    if name in ("Model", "Sequential") or getattr(known[name], "holds_layers", False):
        return known[name].from_config(arguments, custom)
    return known[name].from_config(arguments)


def functional_config(model: Model, functional: Functional) -> dict[str, Any]:
    """A functional model: its layers, and the calls in order."""
    layers = [serialize_layer(layer) for layer in functional.layers]
    return {"name": model.name, "layers": layers, **functional.describe()}


def functional_from_config(
    config: Mapping[str, Any], custom: Mapping[str, Any] | None = None
) -> Model:
    """The model that `functional_config` described."""
    from fastdl.model import Model

    layers = [deserialize_layer(c, custom) for c in config["layers"]]
    functional = Functional.rebuild(config, layers)
    outputs: Any = functional.outputs if functional.several else functional.outputs[0]
    return Model(functional.inputs, outputs, name=config.get("name"))


# --- files ----------------------------------------------------------------------------------------


def save(
    model: Model,
    path: str | os.PathLike[str],
    more_state: Mapping[str, Any] | None = None,
    more_tensors: Mapping[str, np.ndarray] | None = None,
) -> None:
    """See `Model.save`; the file may hold more, for those who know of it."""
    tensors = {f"weights/{k}": w.value for k, w in model.named_weights().items()}
    state: dict[str, Any] = {"seed": model.seed, "fits": model._fits}
    architecture: dict[str, Any] = {
        "model": serialize_layer(model),
        "dtype": str(model.weights[0].value.dtype) if model.weights else None,
        "row_shapes": [list(s) for s in model.row_shapes],
        "input_keys": model._input_keys,
    }
    setup = model._setup
    if setup is not None:
        optimizer = model.optimizer
        architecture["compile"] = {
            "optimizer": optimizers.serialize(optimizer),
            "loss": _configs(setup.loss, _loss_config),
            "metrics": _configs(setup.metrics, _metric_config),
            "loss_weights": setup.loss_weights,
            "weighted_metrics": _configs(setup.weighted_metrics, _metric_config),
        }
        state["iterations"] = optimizer.iterations
        slots = optimizer.state(model.named_weights())
        tensors.update({f"optimizer/{k}": v for k, v in slots.items()})
    state.update(more_state or {})
    tensors.update(more_tensors or {})
    from fastdl import saving

    saving.save_model(path, architecture, tensors, state)


def _loss_config(loss: Any) -> Any:
    return loss if isinstance(loss, str) else losses.serialize(losses.get(loss))


def _metric_config(metric: Any) -> Any:
    if isinstance(metric, type):
        metric = metric()
    return metrics.serialize(metric)


def _configs(structure: Any, function: Any, of_config: Any = lambda config: config) -> Any:
    """The structure with each loss or metric as JSON can hold it; configurations stay."""
    if isinstance(structure, (list, tuple)):
        return [_configs(part, function, of_config) for part in structure]
    if isinstance(structure, Mapping):
        if "class_name" in structure:
            return of_config(structure)
        return {key: _configs(part, function, of_config) for key, part in structure.items()}
    return None if structure is None else function(structure)


def load_model(
    path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None
) -> Any:
    """Reads a model that `Model.save` wrote: weights, optimizer and random state included.

    Parameters
    ----------
    path : path
    custom_objects : dict, optional
        Classes of your own layers, schedules, initializers and regularizers, and your own losses
        and metrics, by name.

    Returns
    -------
    Model
        Training goes on exactly as it would have.

    Raises
    ------
    ValueError
        If the file is damaged or not of this kind, or a class in it is unknown.
    OSError
        If it cannot be read.
    """
    from fastdl import saving

    file = saving.read_model(path)
    weights = _part(file.tensors, "weights/")
    try:
        budget = sum(array.size for array in weights.values())
        with loading(budget), custom_objects_known(custom_objects):
            model = _from_architecture(file.architecture, custom_objects)
        _assign(model, weights, "its data")
        _restore_training(model, file, custom_objects)
    except (
        *(KeyError, IndexError, TypeError, AttributeError, ValueError),
        *(MemoryError, OverflowError, RecursionError),
    ) as error:
        reason = str(error) if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"{os.fspath(path)}: does not make a model: {reason}") from error
    return model


def _from_architecture(architecture: Mapping[str, Any], custom: Mapping[str, Any] | None) -> Any:
    """The model of a file, its weights still to be set."""
    from fastdl import runtime

    before = runtime.floatx()
    try:
        runtime.set_floatx(architecture.get("dtype") or before)
        model = deserialize_layer(architecture["model"], custom)
        if not model.built:
            model._input_keys = architecture.get("input_keys")
            model._set_rows([tuple(s) for s in architecture["row_shapes"]])
        return model
    finally:
        runtime.set_floatx(before)


def _restore_training(model: Any, file: saving.ModelFile, custom: Mapping[str, Any] | None) -> None:
    """Compiles the model as it was, and gives it optimizer and random state."""
    setup = file.architecture.get("compile")
    if setup is not None:

        def own_metric(config: Mapping[str, Any]) -> Any:
            return metrics.from_config(config, custom)

        model.compile(
            optimizers.get(setup["optimizer"], custom),
            _configs(setup["loss"], lambda loss: loss, lambda c: losses.get(c, custom)),
            _configs(setup["metrics"], lambda metric: metric, own_metric),
            setup["loss_weights"],
            weighted_metrics=_configs(setup["weighted_metrics"], lambda metric: metric, own_metric),
        )
    _restore_state(model, file)


def _restore_state(model: Any, file: saving.ModelFile) -> None:
    """Gives a compiled model the optimizer and random state of a file."""
    if model._setup is not None:
        names = _names(model, _part(file.tensors, "weights/"), "its data")
        named = {names[own]: weight for own, weight in model.named_weights().items()}
        model.optimizer.restore(named, _part(file.tensors, "optimizer/"))
        model.optimizer.iterations = int(file.state.get("iterations", 0))
    model.seed = int(file.state.get("seed", model.seed))
    model._fits = int(file.state.get("fits", 0))


def restore(model: Any, file: saving.ModelFile) -> None:
    """Gives a compiled model the weights, optimizer and random state of a file."""
    _restore_state(model, file)
    _assign(model, _part(file.tensors, "weights/"), "its data")


def check_weights(model: Model, tensors: Mapping[str, np.ndarray], path: str) -> None:
    """Refuses a file whose weights are not those of the model."""
    _fitting(model, _part(tensors, "weights/"), path)


def _part(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def load_weights(model: Model, path: str | os.PathLike[str]) -> None:
    """See `Model.load_weights`."""
    model.row_shapes  # noqa: B018 - raises where the model is not built
    from fastdl import saving

    tensors = saving.load_tensors(path)
    weights = _part(tensors, "weights/") or tensors
    _assign(model, weights, os.fspath(path))


def _assign(model: Model, tensors: Mapping[str, np.ndarray], path: str) -> None:
    """Sets all weights, or none where one does not fit."""
    names = _fitting(model, tensors, path)
    for name, weight in model.named_weights().items():
        weight.assign(tensors[names[name]])


def _fitting(model: Model, tensors: Mapping[str, np.ndarray], path: str) -> dict[str, str]:
    """For each weight its name in the file, or an error where one does not fit."""
    names = _names(model, tensors, path)
    for name, weight in model.named_weights().items():
        if tensors[names[name]].shape != weight.shape:
            raise ValueError(
                f"{path}: weight {names[name]} has shape {tensors[names[name]].shape}, but "
                f"{model.name} wants {weight.shape} for {name}"
            )
    return names


def _names(model: Model, tensors: Mapping[str, np.ndarray], path: str) -> dict[str, str]:
    """For each weight of the model its name in the file: the same, or else the one in its place."""
    named = model.named_weights()
    if set(named) == set(tensors):
        return {name: name for name in named}
    if len(named) != len(tensors):
        raise ValueError(f"{path}: has {len(tensors)} weights, but {model.name} has {len(named)}")
    return dict(zip(named, tensors, strict=True))
