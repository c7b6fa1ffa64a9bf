"""Losses: what training makes small.

Each is one op of the table, which computes the loss of every row and its gradient in one pass. A
softmax or sigmoid in front of a cross-entropy is left out and the loss computed from its input,
which is faster and exact.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastdl import kernels
from fastdl._names import lookup, split_config
from fastdl.tensor import Shape, Tensor, apply

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "get",
    "serialize",
]


class Loss:
    """The base of all losses.

    The value is the mean over the rows (and, within a row, over its outputs); with sample weights
    the weighted sum divided by the number of rows, as in Keras.

    Attributes
    ----------
    op : str
        The op of the table.
    labels : bool
        Whether targets are whole numbers, one for each row.
    fused_activation : str
        The activation that need not be computed in front of this loss.
    """

    op: ClassVar[str]
    labels: ClassVar[bool] = False
    fused_activation: ClassVar[str] = ""
    options: dict[str, Any]

    def __init__(self) -> None:
        self.options = {}

    def target_shape(self, prediction: Shape) -> Shape:
        """The shape of the targets for predictions of this shape."""
        return prediction[:-1] if self.labels else prediction

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
            What the gradient is the gradient of: the prediction, or the input of its activation.
        gradient : Tensor or None
            Of ``scale`` times the mean loss, if asked for.
        """
        options = dict(self.options)
        node = _same(prediction).node
        fusable = self.fused_activation and not options.get("from_logits")
        if fusable and node is not None and node.name == f"{self.fused_activation}_forward":
            prediction = node.inputs["x"]
            options["from_logits"] = True
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

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """The loss of arrays.

        Parameters
        ----------
        y_true : array, shape (n, outputs), or (n,) labels
        y_pred : array, shape (n, outputs)
        sample_weight : array, shape (n,), optional

        >>> MeanSquaredError()([[0.0, 1.0]], [[0.0, 3.0]])
        2.0
        """
        losses = getattr(kernels, self.op)(
            y_pred, y_true, sample_weight, grad_pred=False, **self.options
        )
        if sample_weight is not None:
            losses = losses * np.asarray(sample_weight)
        return float(np.mean(losses, dtype=np.float64))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal loss."""
        return dict(self.options)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


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
    label_smoothing : float, 0 ... 1
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
    label_smoothing : float, 0 ... 1
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
    label_smoothing : float, 0 ... 1
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


def get(identifier: Any) -> Loss:
    """The loss that a name, a configuration, a class or a loss stands for.

    Raises
    ------
    ValueError
        For an unknown name; the message gives the nearest one.
    """
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        return lookup("loss", identifier, _LOSSES)()
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if isinstance(identifier, dict):
        name, arguments = split_config("loss", identifier)
        return lookup("loss", name, _LOSSES)(**arguments)
    raise TypeError(f"a loss is a name or a fastdl.losses.Loss, not {type(identifier).__name__}")


def serialize(loss: Loss) -> dict[str, Any]:
    """A loss as a JSON-ready dict from which `get` makes an equal one."""
    return {"class_name": type(loss).__name__, "config": loss.get_config()}
