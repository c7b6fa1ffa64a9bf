"""Losses: what training makes small.

Each of the built-in ones is one op of the table, which computes the loss of every row and its
gradient in one pass. A softmax or sigmoid in front of a cross-entropy is left out and the loss
computed from its input, which is faster and exact. A loss of your own is a function of (y_true,
y_pred), or a `Loss` with such a ``call``, written in ops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from fastdl._names import Hinted, lookup, snake_case, split_config
from fastdl.kernels import values
from fastdl.tensor import Shape, Tensor, apply, constant
from fastdl.trace import batch_hint, reshape

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "FunctionLoss",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "get",
    "serialize",
]


class Loss(Hinted):
    """The base of all losses.

    The value is the mean over the rows (and, within a row, over its outputs); with sample weights
    the weighted sum divided by the number of rows, as in Keras.

    A subclass of your own defines ``call(self, y_true, y_pred)`` in ops, which gives one number a
    row, or more: then a row's loss is their mean.

    Attributes
    ----------
    op : str
        The op of the table; "" for a loss of your own.
    labels : bool
        Whether targets are whole numbers, one for each row.
    fused_activation : str
        The activation that need not be computed in front of this loss.

    Examples
    --------
    >>> class Cubed(Loss):
    ...     def call(self, y_true, y_pred):
    ...         error = y_pred - y_true
    ...         return error * error * error
    >>> float(Cubed()([0.0, 0.0], [2.0, 0.0]))
    4.0
    """

    op: ClassVar[str] = ""
    labels: ClassVar[bool] = False
    fused_activation: ClassVar[str] = ""
    options: dict[str, Any]

    def __init__(self) -> None:
        self.options = {}

    @property
    def name(self) -> str:
        """What errors call it."""
        return type(self).__name__

    def target_shape(self, prediction: Shape) -> Shape:
        """The shape of the targets for predictions of this shape."""
        return prediction[:-1] if self.labels else prediction

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of each row."""
        if not self.op:
            raise TypeError(f"{self.name} has no call(self, y_true, y_pred)")
        source, options = self._source(y_pred)
        name = "labels" if self.labels else "target"
        return apply(self.op, ("grad_pred",), pred=source, **{name: y_true}, **options)

    def _source(self, prediction: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """What the loss is computed from: the prediction or the input of its activation."""
        options = dict(self.options)
        if self.fused_activation and not options.get("from_logits"):
            before = _before(prediction, self.fused_activation)
            if before is not None:
                return before, {**options, "from_logits": True}
        return prediction, options

    def apply(
        self,
        prediction: Tensor,
        target: Tensor,
        weight: Tensor | None,
        scale: float,
        gradient: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Adds the loss to the graph.

        Returns
        -------
        loss : Tensor, shape (batch,)
        source : Tensor
            What the gradient is the gradient of: the prediction, the input of its activation, or
            the mean loss.
        gradient : Tensor or None
            Of ``scale`` times the mean loss, if asked for.
        """
        if not self.op:
            rows = self._rows(self.call(target, prediction), prediction)
            if not gradient:
                return rows, prediction, None
            mean = apply("batch_mean", values=rows, sample_weight=weight)
            return rows, mean, constant(scale)
        prediction, options = self._source(prediction)
        name = "labels" if self.labels else "target"
        result = apply(
            self.op,
            () if gradient else ("grad_pred",),
            pred=prediction,
            **{name: target},
            sample_weight=weight,
            scale=scale,
            **options,
        )
        loss, grad_pred = result if gradient else (result, None)
        return loss, prediction, grad_pred

    def _rows(self, values: Any, prediction: Tensor) -> Tensor:
        """One number a row."""
        from fastdl import ops

        if not isinstance(values, Tensor):
            raise TypeError(f"{self.name}: must return a tensor, got {type(values).__name__}")
        batch = prediction.shape[:1]
        if values.shape == ():
            return _for_each(values, prediction)
        if values.shape[:1] != batch:
            raise ValueError(
                f"{self.name}: must return one number a row, or a single one; predictions have "
                f"shape {prediction.shape}, what it returned {values.shape}"
            )
        inner = values.shape[1:]
        if all(length == 1 for length in inner):
            return reshape(values, values.shape[:1]) if inner else values
        return ops.mean(values, tuple(range(1, len(values.shape))))

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The loss of a batch: a tensor of shape (), which a `GradientTape` differentiates.

        Gradients flow to y_pred.

        Parameters
        ----------
        y_true : array or Tensor, shape (n, outputs), or (n,) labels
        y_pred : array or Tensor, shape (n, outputs), or (n,) where there is one output
        sample_weight : array or Tensor, shape (n,), optional

        Raises
        ------
        ValueError
            If shapes do not fit.

        >>> float(MeanSquaredError()([[0.0, 1.0]], [[0.0, 3.0]]))
        2.0
        """
        prediction = y_pred if isinstance(y_pred, Tensor) else constant(y_pred)
        if self.op and not self.labels and len(prediction.shape) == 1:
            prediction = reshape(prediction, (*prediction.shape, 1))
        target = self._as_target(y_true, prediction)
        values = self.call(target, prediction)
        if not self.op:
            if isinstance(values, Tensor) and values.shape == () and sample_weight is None:
                return values
            values = self._rows(values, prediction)
        mask = mask_of_losses(prediction, values.shape)
        if mask is not None:
            sample_weight = masked_weights(mask, sample_weight)
        return apply("batch_mean", values=values, sample_weight=sample_weight)

    def _as_target(self, y_true: Any, prediction: Tensor) -> Tensor:
        """The targets as a tensor; an axis of length 1 at the end may be missing or too many."""
        if isinstance(y_true, Tensor):
            target = y_true
        elif self.labels or prediction._value is None:
            target = constant(y_true)
        else:
            target = constant(np.asarray(y_true), prediction._value.dtype)
        shape, wanted = target.shape, self.target_shape(prediction.shape)
        if shape != wanted and shape[: len(wanted)] == wanted[: len(shape)]:
            longer = max(shape, wanted, key=len)
            if longer[min(len(shape), len(wanted)) :] == (1,):
                return reshape(target, wanted)
        if self.op and shape != wanted:
            raise ValueError(
                f"{snake_case(self.name)}: targets of shape {shape} do not fit predictions of "
                f"shape {prediction.shape}{batch_hint(shape, prediction.shape)}"
            )
        return target

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal loss."""
        return dict(self.options)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class FunctionLoss(Loss):
    """A function of (y_true, y_pred), written in ops, as a loss.

    Parameters
    ----------
    function : callable
        Gives one number a row, or more; or the mean itself.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """See `Loss.call`."""
        return self.function(y_true, y_pred)

    def __repr__(self) -> str:
        return f"FunctionLoss({self.name})"


def _for_each(number: Tensor, prediction: Tensor) -> Tensor:
    """A number once for each row of the predictions."""
    from fastdl import ops

    flat = reshape(prediction, (None, -1))
    return ops.reshape(apply("broadcast_rows_forward", x=reshape(number, (1,)), like=flat), (None,))


def mask_of_losses(prediction: Tensor, shape: Shape) -> Tensor | None:
    """The mask of a prediction, if it says which of the losses of this shape count."""
    mask: Tensor | None = prediction.mask
    return mask if mask is not None and mask.shape == shape else None


def masked_weights(mask: Tensor, weight: Any) -> Tensor:
    """The weights with which a loss is the mean over those that the mask counts, as in Keras."""
    from fastdl import ops

    share = mask / ops.maximum(ops.mean(mask), 1e-30)  # 0 where none counts
    return share if weight is None else ops.multiply(share, weight)


def _before(tensor: Tensor, activation: str) -> Tensor | None:
    """The input of this activation, where the tensor is its output."""
    if tensor._value is not None:
        name, before = tensor.logits or ("", None)
        if name != f"{activation}_forward":
            return None
        log = (
            values.current_log()
        )  # where a tape watches the output alone, the loss is its function
        return None if log is not None and log.follows(tensor) > log.follows(before) else before
    node = _same(tensor).node
    return node.inputs["x"] if node is not None and node.name == f"{activation}_forward" else None


def _same(tensor: Tensor) -> Tensor:
    """The tensor behind layers that hand it through as it is."""
    while tensor.node is not None and tensor.node.op is None:
        before = tensor.node.inputs["x"]
        if before.shape != tensor.shape:
            break
        tensor = before
    return tensor


class MeanSquaredError(Loss):
    """mean((y_pred - y_true)**2)."""

    op = "mean_squared_error"


class MeanAbsoluteError(Loss):
    """mean(|y_pred - y_true|)."""

    op = "mean_absolute_error"


class Huber(Loss):
    """Squared for errors up to ``delta``, linear beyond (Huber 1964).

    Parameters
    ----------
    delta : float > 0, default 1.0
    """

    op = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        if not float(delta) > 0:
            raise ValueError(f"Huber: delta must be > 0, got {delta!r}")
        self.options = {"delta": float(delta)}


class _Crossentropy(Loss):
    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= float(label_smoothing) <= 1.0:
            raise ValueError(
                f"{type(self).__name__}: label_smoothing must be from 0 to 1, "
                f"got {label_smoothing!r}"
            )
        self.options = {
            "from_logits": bool(from_logits),
            "label_smoothing": float(label_smoothing),
        }


class BinaryCrossentropy(_Crossentropy):
    """-t*log(p) - (1 - t)*log(1 - p), averaged over the outputs.

    Parameters
    ----------
    from_logits : bool, default False
        Whether predictions are the inputs of a sigmoid.
    label_smoothing : float, 0 ... 1, default 0.0
        Moves targets towards 1/2.
    """

    op = "binary_crossentropy"
    fused_activation = "sigmoid"


class CategoricalCrossentropy(_Crossentropy):
    """-sum(t*log(p)) for one-hot (or soft) targets t.

    Parameters
    ----------
    from_logits : bool, default False
        Whether predictions are the inputs of a softmax.
    label_smoothing : float, 0 ... 1, default 0.0
        Moves targets towards 1/classes.
    """

    op = "categorical_crossentropy"
    fused_activation = "softmax"


class SparseCategoricalCrossentropy(_Crossentropy):
    """Categorical cross-entropy for labels 0 ... classes - 1.

    Parameters
    ----------
    from_logits : bool, default False
        Whether predictions are the inputs of a softmax.
    label_smoothing : float, 0 ... 1, default 0.0
        Moves targets towards 1/classes.
    """

    op = "sparse_categorical_crossentropy"
    labels = True
    fused_activation = "softmax"


_LOSSES: dict[str, type[Loss]] = {
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
    "huber": Huber,
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}


def get(identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Loss:
    """The loss that a name, a configuration, a class, a function or a loss stands for.

    Parameters
    ----------
    identifier : str, dict, class, callable or Loss
    custom_objects : dict, optional
        Classes and functions of your own by name.

    Raises
    ------
    ValueError
        For an unknown name; the message gives the nearest one.
    TypeError
        If it is none of these.
    """
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        return lookup("loss", identifier, _LOSSES)()
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if isinstance(identifier, dict):
        name, arguments = split_config("loss", identifier)
        made = lookup("loss", name, {**_LOSSES, **(custom_objects or {})})
        return made(**arguments) if isinstance(made, type) else FunctionLoss(made)
    if callable(identifier):
        return FunctionLoss(identifier)
    raise TypeError(f"a loss is a name or a fastdl.losses.Loss, not {type(identifier).__name__}")


def serialize(loss: Loss) -> dict[str, Any]:
    """A loss as a JSON-ready dict from which `get` makes an equal one."""
    return {"class_name": loss.name, "config": loss.get_config()}
