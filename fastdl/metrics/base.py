"""What a metric is: something that counts over the rows of an epoch, and a number made of it.

Three kinds. A `NativeMetric` adds ops of the table to the Program; they add to float64
accumulators, and the number is made of those when an epoch has ended. A `MeanMetric` is one whose
accumulator is the mean of one number a row. Any other `Metric` is plain Python: the Program keeps
the targets and outputs of the epoch's rows, and the metric sees them all at its end.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastdl._names import Hinted, snake_case
from fastdl.tensor import Shape, Tensor, apply
from fastdl.trace import Trace

__all__ = ["MeanMetric", "Metric", "NativeMetric"]

Totals = dict[str, Any]


class Metric(Hinted):
    """The base of all metrics, and of your own in plain Python.

    A subclass says how to begin (`reset_state`), what to do with rows (`update_state`) and what the
    number is (`result`), as in Keras. In `fit` and `evaluate` it is handed the targets and the
    outputs of all rows of an epoch at its end, in one call, as arrays.

    Parameters
    ----------
    name : str, optional
        The key in the history; by default the name of the class.

    Examples
    --------
    >>> class LargestError(Metric):
    ...     def reset_state(self):
    ...         self.largest = 0.0
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         self.largest = max(self.largest, float(abs(y_true - y_pred).max()))
    ...     def result(self):
    ...         return self.largest
    >>> LargestError()(np.array([1.0, 2.0]), np.array([1.5, 2.0]))
    0.5
    """

    #: Which targets it takes: "labels", "arrays" (of the outputs' shape), or "any".
    targets: ClassVar[str] = "any"

    def __init__(self, name: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)

    def check(self, prediction: Shape) -> None:
        """Raises ValueError where the metric has no meaning for outputs of this shape."""

    def reset_state(self) -> None:
        """Forgets all rows."""
        raise NotImplementedError(f"{type(self).__name__} has no reset_state(self)")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds rows: targets, outputs and, where there are such, weights."""
        raise NotImplementedError(
            f"{type(self).__name__} has no update_state(self, y_true, y_pred, sample_weight=None)"
        )

    def result(self) -> Any:
        """The number for the rows so far."""
        raise NotImplementedError(f"{type(self).__name__} has no result(self)")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The metric of these rows alone."""
        self.reset_state()
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal metric."""
        return {"name": self.name}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class NativeMetric(Metric):
    """A metric whose rows are counted by ops, inside the Program.

    A subclass gives the shapes of its accumulators, the ops that add to them, and `compute`.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self._forget()

    def accumulators(self, prediction: Shape) -> dict[str, tuple[int, ...]]:
        """The shape of each accumulator, by name; all are float64 and begin at 0."""
        raise NotImplementedError(f"{type(self).__name__} has no accumulators(self, prediction)")

    def add(
        self, totals: dict[str, Tensor], prediction: Tensor, target: Tensor, weight: Tensor | None
    ) -> None:
        """Applies the ops that add a batch to the accumulators."""
        raise NotImplementedError(f"{type(self).__name__} has no add(...)")

    def compute(self, **totals: np.ndarray) -> Any:
        """The number that the accumulators of an epoch say."""
        raise NotImplementedError(f"{type(self).__name__} has no compute(self, ...)")

    @property
    def by_order(self) -> bool:
        """Whether only the order of a row's outputs counts: then a softmax need not be computed."""
        return False

    # --- on arrays, outside of models -----------------------------------------------------------

    def _forget(self) -> None:
        self._programs: dict[Any, Any] = {}
        self._totals: np.ndarray | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}

    def __getstate__(self) -> dict[str, Any]:
        private = ("_programs", "_totals", "_shapes")
        return {k: v for k, v in self.__dict__.items() if k not in private}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def reset_state(self) -> None:
        """See `Metric.reset_state`."""
        self._totals = None

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """See `Metric.update_state`.

        Raises
        ------
        ValueError, TypeError
            If the shapes do not fit each other or the metric, or a label is out of range.
        """
        from fastdl.data import as_labels, as_rows, as_weights_of  # which know the metrics

        shape = np.shape(y_pred)[1:] or (1,)
        pred = as_rows("y_pred", y_pred, shape)
        self.check((None, *shape))
        labels = self._are_labels(y_true, shape)
        if labels:
            target = as_labels("y_true", y_true, shape[:-1], shape[-1])
        else:
            target = as_rows("y_true", y_true, shape)
        weight = None if sample_weight is None else as_weights_of(sample_weight, shape[:-1])
        sources = [pred, target, *([] if weight is None else [weight])]
        if len({len(source) for source in sources}) > 1:
            raise ValueError(
                f"{self.name}: different numbers of rows: y_true {target.shape}, "
                f"y_pred {pred.shape}"
                + ("" if weight is None else f", sample_weight {weight.shape}")
            )
        if not len(pred):
            return
        program = self._program(shape, labels, weight is not None, pred.dtype, len(pred))
        if self._totals is None or self._totals.size != program.totals.size:
            self._totals = np.zeros(program.totals.size)
        program.totals[:] = self._totals
        program.bind(sources, [])
        program.run(len(pred), keep_totals=True)
        program.unbind()
        self._totals[:] = program.totals

    def _are_labels(self, y_true: Any, shape: tuple[int, ...]) -> bool:
        if self.targets != "any":
            return self.targets == "labels"
        given = np.shape(y_true)[1:]
        return shape[-1] > 1 and given != shape

    def _program(
        self, shape: tuple[int, ...], labels: bool, weighted: bool, dtype: np.dtype, rows: int
    ) -> Any:
        """What adds rows of this kind to the accumulators."""
        from fastdl.graph import fuse, prune
        from fastdl.lowering import lower

        dtype = np.dtype(np.float32 if dtype == np.float32 else np.float64)
        key = shape, labels, weighted, dtype
        found = self._programs.get(key)
        if found is None or found.capacity < rows:
            pred = Tensor((None, *shape), name="y_pred")
            target = Tensor(
                (None, *(shape[:-1] if labels else shape)), "label" if labels else "real"
            )
            feeds = [pred, target]
            if weighted:
                feeds.append(Tensor((None, *shape[:-1]), name="sample_weight"))
            self._shapes = self.accumulators(pred.shape)
            totals = {k: Tensor(s, "float64", name=k) for k, s in self._shapes.items()}
            with Trace(training=False) as trace:
                self.add(totals, pred, target, feeds[2] if weighted else None)
            found = lower(
                fuse(prune(trace.nodes, ())),
                capacity=rows,
                dtype=dtype,
                feeds=feeds,
                fetches=[],
                totals=list(totals.values()),
            ).program
            self._programs[key] = found
        return found

    def result(self) -> Any:
        """See `Metric.result`.

        Raises
        ------
        RuntimeError
            If there have been no rows yet.
        """
        if self._totals is None:
            raise RuntimeError(f"{self.name}: there are no rows: call update_state first")
        return plain(self.compute(**split(self._totals, self._shapes)))


class MeanMetric(NativeMetric):
    """The mean of one number a row, which `call` computes from tensors.

    Parameters
    ----------
    name : str, optional

    Examples
    --------
    >>> from fastdl import ops
    >>> class DoubledError(MeanMetric):
    ...     def call(self, y_true, y_pred):
    ...         return ops.mean_absolute_error(y_pred, y_true)[0] * 2.0
    >>> DoubledError()([[0.0, 1.0]], [[0.0, 3.0]])
    2.0
    """

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """One number for each row."""
        raise NotImplementedError(f"{type(self).__name__} has no call(self, y_true, y_pred)")

    def accumulators(self, prediction: Shape) -> dict[str, tuple[int, ...]]:
        """See `NativeMetric.accumulators`."""
        return {"total": (2,)}

    def add(
        self, totals: dict[str, Tensor], prediction: Tensor, target: Tensor, weight: Tensor | None
    ) -> None:
        """See `NativeMetric.add`."""
        values = self.call(target, prediction)
        if isinstance(values, tuple):  # of a loss, whose gradient comes with it
            values = values[0]
        if not isinstance(values, Tensor) or len(values.shape) >= len(prediction.shape):
            shape = getattr(values, "shape", type(values).__name__)
            raise ValueError(
                f"{self.name}: call must give one number a row, a tensor of shape "
                f"{prediction.shape[:-1]}, not {shape}"
            )
        apply(
            "accumulate", total=totals["total"], values=values, sample_weight=weight, by_weight=True
        )

    def compute(self, total: np.ndarray) -> Any:  # type: ignore[override]
        """See `NativeMetric.compute`; for the totals of many epochs as well."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return total[..., 0] / total[..., 1]


def split(totals: np.ndarray, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The accumulators in a flat array, by name."""
    parts, at = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        parts[name] = totals[at : at + size].reshape(shape)
        at += size
    return parts


def plain_logs(logs: dict[str, Any]) -> dict[str, Any]:
    """Each value as `plain` gives it."""
    return {name: plain(value) for name, value in logs.items()}


def plain(value: Any) -> Any:
    """A float for one number, an array for more."""
    array = np.asarray(value)
    return float(array) if array.ndim == 0 else array
