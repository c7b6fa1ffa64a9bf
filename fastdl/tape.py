"""GradientTape: watches what is computed, so that its gradients can be asked for.

On eager tensors a tape keeps a `Log` of the kernels that were run and walks it backwards. Where a
step is traced (see `compiled_step`) it notes which nodes of the trace came while it was open, and
`gradient` adds their backward ops to the trace: a tape's user sees no difference.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastdl._nested import flatten
from fastdl.graph import differentiate, root
from fastdl.kernels import eager, values
from fastdl.tensor import Tensor, Variable, constant
from fastdl.trace import Node, Trace, current_trace

__all__ = ["GradientTape"]


class GradientTape:
    """Records what is computed inside its ``with`` block from weights and watched tensors.

    Parameters
    ----------
    persistent : bool, default False
        Whether `gradient` may be called more than once. The tape then keeps what it has recorded
        for as long as it lives.
    watch_accessed_variables : bool, default True
        Whether all trainable weights are watched.

    Examples
    --------
    >>> import fastdl
    >>> x = fastdl.constant(3.0)
    >>> with fastdl.GradientTape() as tape:
    ...     tape.watch(x)
    ...     y = x * x
    >>> float(tape.gradient(y, x))
    6.0
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True) -> None:
        self._persistent = persistent
        self._weights = watch_accessed_variables
        self._log: Any = None
        self._trace: Trace | None = None
        self._open = self._used = False
        self._first = self._last = 0
        self._hidden: list[tuple[int, int]] = []
        self._watched: set[Tensor] = set()

    def __enter__(self) -> GradientTape:
        if self._open or self._log is not None or self._trace is not None or self._used:
            raise RuntimeError("GradientTape: a tape can be entered once only; make a new one")
        self._open = True
        if values.is_tracing():
            trace = current_trace()
            if not isinstance(trace, Trace):
                raise RuntimeError("GradientTape: cannot be used inside a layer's call")
            self._trace = trace
            self._first = len(trace.nodes)
            return self
        log = values.current_log()
        self._outermost = log is None
        if log is None:
            log = values.Log(self._weights)
            log.open()
        elif self._weights:
            log.follow_weights()
        self._log = log
        self._first = len(log)
        return self

    def __exit__(self, *exc: object) -> None:
        self._open = False
        if self._trace is not None:
            self._last = len(self._trace.nodes)
        else:
            self._last = len(self._log)
            if self._outermost:
                self._log.close()

    def _recording(self) -> None:
        if not self._open:
            raise RuntimeError("GradientTape: is not recording; use it inside its with block")

    def watch(self, tensor: Any) -> None:
        """Follows tensors, or a nested structure of them, from now on as if they were weights.

        Raises
        ------
        TypeError
            If one is no tensor, or holds whole numbers.
        RuntimeError
            Outside of the ``with`` block.
        """
        self._recording()
        for one in flatten(tensor):
            if not isinstance(one, Tensor):
                raise TypeError(
                    f"GradientTape.watch: wants tensors, got {type(one).__name__}; "
                    f"fastdl.constant(x) makes one"
                )
            if one.dtype == "label":
                raise TypeError("GradientTape.watch: whole numbers have no gradient")
            if self._log is not None:
                self._log.follow(one)
            self._watched.add(one)

    @contextlib.contextmanager
    def stop_recording(self) -> Iterator[None]:
        """Records nothing inside a ``with`` block."""
        self._recording()
        start = len(self._trace.nodes if self._trace is not None else self._log)
        before = self._log.pause(True) if self._log is not None and self._outermost else None
        try:
            yield
        finally:
            if before is not None:
                self._log.pause(before)
            end = len(self._trace.nodes if self._trace is not None else self._log)
            self._hidden.append((start, end))

    def gradient(self, target: Any, sources: Any, output_gradients: Any = None) -> Any:
        """The gradient of the target, or of the sum of several, by each source.

        Parameters
        ----------
        target : Tensor, or list of Tensor
        sources : Tensor or Variable, or a list or dictionary of them
        output_gradients : Tensor or array, or list of them, optional
            Weights for the target's elements; ones by default.

        Returns
        -------
        Tensor or None, in the structure of ``sources``
            None where the target does not depend on a source by what the tape has seen.

        Raises
        ------
        RuntimeError
            If a tape that is not persistent was used before, or a weight was changed between its
            use and this call.
        TypeError, ValueError
            If these are no tensors, or output gradients do not fit.
        """
        if self._log is None and self._trace is None:
            if self._used:
                raise RuntimeError(
                    "GradientTape: gradient() was called before, and the tape is used up; "
                    "GradientTape(persistent=True) may be asked more than once"
                )
            raise RuntimeError("GradientTape: has recorded nothing; use it in a with statement")
        targets, seeds = _targets(target, output_gradients)
        wanted = flatten(sources)
        for source in wanted:
            if not isinstance(source, Tensor):
                raise TypeError(
                    f"GradientTape.gradient: sources must be tensors, got {type(source).__name__}"
                )
        if self._trace is not None:
            found = self._traced_gradient(targets, seeds, wanted)
        else:
            found = self._eager_gradient(targets, seeds, wanted)
        if not self._persistent:
            self._used = True
            self._log = self._trace = None
            self._watched = set()
        if isinstance(sources, dict):
            return dict(zip(sources, found, strict=True))
        return found if isinstance(sources, (list, tuple)) else found[0]

    def _eager_gradient(self, targets: list, seeds: list, wanted: list) -> list[Tensor | None]:
        log = self._log
        last = len(log) if self._open else self._last
        if not self._open or not self._outermost:
            return eager.gradients(log, self._first, last, self._hidden, targets, seeds, wanted)
        before = log.pause(True)  # nobody else listens
        try:
            return eager.gradients(log, self._first, last, self._hidden, targets, seeds, wanted)
        finally:
            log.pause(before)

    def _traced_gradient(self, targets: list, seeds: list, wanted: list) -> list[Tensor | None]:
        trace = self._trace
        assert trace is not None
        last = len(trace.nodes) if self._open else self._last
        nodes = [
            node
            for at, node in enumerate(trace.nodes[self._first : last], self._first)
            if not any(start <= at < end for start, end in self._hidden)
        ]
        made = {t for node in nodes for t in node.outputs.values()}
        followed = [
            s for s in wanted if s in self._watched or s in made or (s.trainable and self._weights)
        ]
        pairs = [(t, _ones(t) if s is None else s) for t, s in zip(targets, seeds, strict=True)]
        _check_unchanged(nodes, trace.nodes[self._first :])
        backward, gradients = differentiate(nodes, pairs, followed)
        trace.nodes += backward
        return [gradients.get(s) for s in wanted]


def _targets(target: Any, output_gradients: Any) -> tuple[list[Tensor], list[Tensor | None]]:
    targets = flatten(target)
    if output_gradients is None:
        given = [None] * len(targets)
    else:
        several = isinstance(target, (list, tuple))
        given = list(output_gradients) if several else [output_gradients]
    if len(given) != len(targets):
        raise ValueError(
            f"GradientTape.gradient: there are {len(targets)} targets and {len(given)} "
            f"output_gradients"
        )
    seeds: list[Tensor | None] = []
    for one, seed in zip(targets, given, strict=True):
        if not isinstance(one, Tensor):
            raise TypeError(
                f"GradientTape.gradient: the target must be a Tensor, got {type(one).__name__}; "
                f"what was computed in NumPy or turned into a number has no gradient"
            )
        if one.dtype == "label":
            raise TypeError("GradientTape.gradient: a target of whole numbers has no gradient")
        if seed is not None and not isinstance(seed, Tensor):
            like = None if one._value is None else one._value.dtype
            seed = constant(np.asarray(seed, np.float64), like)
        if seed is not None and seed.shape != one.shape:
            raise ValueError(
                f"GradientTape.gradient: output_gradients have shape {seed.shape}, but the target "
                f"{one.shape}"
            )
        seeds.append(seed)
    return targets, seeds


def _ones(target: Tensor) -> Tensor:
    """The gradient of a traced target by itself."""
    if None in target.shape:
        raise ValueError(
            f"GradientTape.gradient: in a compiled step the target must be a number, such as a "
            f"mean, or output_gradients be given; this one has shape {target.shape}"
        )
    return constant(np.ones(target.shape))


def _check_unchanged(nodes: list[Node], all_nodes: list[Node]) -> None:
    """Refuses to differentiate what used a weight that the step has changed since."""
    used: dict[Tensor, Node] = {}
    own = set(nodes)
    for node in all_nodes:
        if node in own:
            for tensor in map(root, node.inputs.values()):
                if isinstance(tensor, Variable) and tensor.trainable:
                    used.setdefault(tensor, node)
        if node.op is not None:
            for name in node.op.updates:
                changed = node.inputs.get(name)
                if changed is not None and (weight := root(changed)) in used:
                    raise RuntimeError(
                        f"gradient: {weight.name} was changed after {used[weight].name} used it; "
                        f"take all gradients before applying any"
                    )
