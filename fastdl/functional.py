"""What stands behind ``Model(inputs, outputs)``: the calls that led from inputs to outputs.

They are found by walking back from the outputs, repeated on new inputs when the model is called,
and written down as a configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastdl._nested import flatten, map_structure
from fastdl.layers.base import Layer, LayerCall
from fastdl.layers.input import InputLayer
from fastdl.tensor import Tensor, Variable, constant
from fastdl.trace import Node, apply_node, reshape

__all__ = ["Functional", "walk"]

Step = LayerCall | Node


def walk(outputs: Sequence[Tensor]) -> list[Step]:
    """The calls of layers, and of ops outside of layers, that lead to these tensors, in order."""
    finished: dict[Step, None] = {}
    met: set[Step] = set()
    todo = [(step, False) for step in map(_origin, outputs[::-1]) if step is not None]
    while todo:
        step, ready = todo.pop()
        if ready:
            finished[step] = None
        elif step not in met:
            met.add(step)
            todo.append((step, True))
            before = map(_origin, flatten(step.inputs)[::-1])
            todo += [(b, False) for b in before if b is not None and b not in met]
    return list(finished)


def _origin(tensor: Tensor) -> Step | None:
    return tensor.layer_call or tensor.node


class Functional:
    """A graph from inputs to outputs, each a tensor or a list of tensors.

    Raises
    ------
    TypeError, ValueError
        If inputs are not what `Input` gave, or outputs depend on another one.
    """

    def __init__(self, inputs: Any, outputs: Any) -> None:
        self.inputs = _tensors("inputs", inputs)
        self.outputs = _tensors("outputs", outputs)
        self.several = isinstance(outputs, (list, tuple))
        for tensor in self.inputs:
            if not isinstance(getattr(tensor.layer_call, "layer", None), InputLayer):
                raise ValueError("Model: inputs must be what Input() gave")
        self.steps = walk(self.outputs)
        for step in self.steps:
            layer = step.layer if isinstance(step, LayerCall) else None
            if isinstance(layer, InputLayer) and layer.output not in self.inputs:
                raise ValueError(f"Model: outputs depend on {layer.name}, which is no input")

    @property
    def layers(self) -> list[Layer]:
        """The layers in order, inputs first."""
        first = [t.layer_call.layer for t in self.inputs]
        calls = [s.layer for s in self.steps if isinstance(s, LayerCall)]
        return list(dict.fromkeys([*first, *calls]))

    def call(self, x: Any, training: bool) -> Any:
        """The outputs for other inputs."""
        given = flatten(x)
        if len(given) != len(self.inputs):
            raise ValueError(f"Model: wants {len(self.inputs)} inputs, got {len(given)}")
        known = dict(zip(self.inputs, given, strict=True))

        def find(tensor: Tensor) -> Tensor:
            return known.get(tensor, tensor)  # weights stand for themselves

        for step in self.steps:
            if isinstance(step, LayerCall):
                if step.outputs[0] not in known:
                    inputs = map_structure(find, step.inputs)
                    results = flatten(step.layer(inputs, training=training))
                    known.update(zip(step.outputs, results, strict=True))
            elif step.op is None:
                out = step.outputs["out"]
                known[out] = reshape(find(step.inputs["x"]), out.shape)
            else:
                inputs = map_structure(find, step.inputs)
                new = apply_node(step.op.name, (), **inputs, **step.options)
                known.update((t, new.outputs[name]) for name, t in step.outputs.items())
        results = [find(t) for t in self.outputs]
        return results if self.several else results[0]

    # --- written down ---------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Inputs, outputs and steps in terms of the numbers of layers and steps."""
        layers = self.layers
        weights = {w: [i, k] for i, layer in enumerate(layers) for k, w in enumerate(layer.weights)}
        places: dict[Tensor, list[int]] = {}

        def number(tensor: Tensor) -> dict[str, Any]:
            if isinstance(tensor, Variable):
                return {"variable": weights[tensor]}
            if tensor._value is not None:
                return {"constant": tensor._value.tolist(), "dtype": str(tensor._value.dtype)}
            return {"tensor": places[tensor]}

        calls: list[dict[str, Any]] = []
        for at, step in enumerate(self._all_steps()):
            inputs = map_structure(number, step.inputs)
            if isinstance(step, LayerCall):
                calls.append({"layer": layers.index(step.layer), "inputs": inputs})
            elif step.op is None:
                calls.append({"reshape": list(step.outputs["out"].shape), "inputs": inputs})
            else:
                calls.append({"op": step.op.name, "options": step.options, "inputs": inputs})
            places.update((t, [at, k]) for k, t in enumerate(flatten(step.outputs)))
        return {
            "calls": calls,
            "inputs": [number(t) for t in self.inputs],
            "outputs": map_structure(number, self.outputs if self.several else self.outputs[0]),
        }

    def _all_steps(self) -> list[Step]:
        """The steps, and the inputs that no output depends on."""
        return list(dict.fromkeys([*(t.layer_call for t in self.inputs), *self.steps]))

    @classmethod
    def rebuild(cls, description: Mapping[str, Any], layers: Sequence[Any]) -> Functional:
        """What `describe` described, over these layers."""
        results: list[list[Tensor]] = []

        def resolve(structure: Any) -> Any:
            if isinstance(structure, list):
                return [resolve(part) for part in structure]
            if _is_reference(structure, "variable"):
                layer, k = structure["variable"]
                return layers[layer].weights[k]
            if isinstance(structure, Mapping) and structure.keys() == {"constant", "dtype"}:
                return constant(structure["constant"], structure["dtype"])
            if _is_reference(structure, "tensor"):
                call, output = structure["tensor"]
                return results[call][output]
            return {key: resolve(part) for key, part in structure.items()}

        for call in description["calls"]:
            if "op" in call:
                node = apply_node(call["op"], (), **resolve(call["inputs"]), **call["options"])
                results.append(list(node.outputs.values()))
            elif "reshape" in call:
                results.append([reshape(resolve(call["inputs"])["x"], tuple(call["reshape"]))])
            elif isinstance(layer := layers[call["layer"]], InputLayer):
                results.append([layer.output])
            else:
                results.append(flatten(layer(resolve(call["inputs"]))))
        return cls(resolve(description["inputs"]), resolve(description["outputs"]))

    # Pickles hold the description: the graph itself may be deeper than pickle can recurse.

    def __getstate__(self) -> dict[str, Any]:
        return {"description": self.describe(), "layers": self.layers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = vars(Functional.rebuild(state["description"], state["layers"]))


def _is_reference(structure: Mapping[str, Any], kind: str) -> bool:
    """Whether this is one of our pairs of numbers, not a dictionary with such a key."""
    numbers = structure.get(kind)
    return isinstance(numbers, list) and all(isinstance(n, int) for n in numbers)


def _tensors(what: str, structure: Any) -> list[Tensor]:
    tensors = list(structure) if isinstance(structure, (list, tuple)) else [structure]
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"Model: {what} must be a tensor or a list of tensors, got {type(tensor).__name__}"
            )
    if not tensors or (what == "inputs" and len(set(tensors)) < len(tensors)):
        raise ValueError(f"Model: {what} must be one tensor or several different ones")
    return tensors
