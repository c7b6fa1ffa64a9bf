"""Pictures, drawn by matplotlib (``fastdl[plot]``): curves, confusion matrix, norms, filters.

Each function gives the figure, and writes it to a file where a path is given.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl._optional import require

if TYPE_CHECKING:
    from fastdl.callbacks import History, NormRecorder

__all__ = ["plot_confusion_matrix", "plot_filters", "plot_history", "plot_norms"]

_TRAINING, _VALIDATION = "#2166ac", "#d6604d"


def _figure(rows: int, columns: int, width: float, height: float, **arguments: Any) -> Any:
    """(figure, axes as a flat list)."""
    pyplot = require("matplotlib.pyplot", "plot", "drawing")
    figure, axes = pyplot.subplots(
        rows,
        columns,
        figsize=(width * columns, height * rows),
        squeeze=False,
        layout="constrained",
        **arguments,
    )
    return figure, list(axes.flat)


def _finish(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _tidy(axes: Any) -> None:
    """Less ink: no box, a faint grid behind the lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)


def plot_history(history: History, path: str | os.PathLike[str] | None = None) -> Any:
    """The curves of a fit: a panel for the loss and each metric, training beside validation.

    Parameters
    ----------
    history : History
        What ``fit`` returned.
    path : path, optional
        Where to write the picture; its ending says in which format.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If no epoch has run.
    ImportError
        If matplotlib is not installed.
    """
    names = curves(history)
    figure, panels = _figure(1, len(names), 4.6, 3.4)
    epochs = [epoch + 1 for epoch in history.epoch]
    marker = "o" if len(epochs) == 1 else None
    for axes, name in zip(panels, names, strict=True):
        for key, label, color in (
            (name, "training", _TRAINING),
            (f"val_{name}", "validation", _VALIDATION),
        ):
            if key in history.history:
                values = history.history[key]
                x = epochs[-len(values) :]
                axes.plot(x, values, color=color, label=label, linewidth=1.8, marker=marker)
        axes.set_title(title(name), loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        _tidy(axes)
    if any(name.startswith("val_") for name in history.history):
        panels[0].legend(frameon=False)
    return _finish(figure, path)


def curves(history: History) -> list[str]:
    """The names of what has a curve, those of validation and of arrays left out.

    Raises
    ------
    ValueError
        If no epoch has run.
    """
    if not history.epoch:
        raise ValueError("there is nothing to draw: no epoch has run")
    known = [name for name, values in history.history.items() if not np.ndim(values[-1])]
    return list(dict.fromkeys(name.removeprefix("val_") for name in known))


def title(name: str) -> str:
    """A name as a title: ``"mean_squared_error"`` -> ``"Mean squared error"``."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def plot_confusion_matrix(
    y_true: Any,
    y_pred: Any,
    labels: Sequence[str] | None = None,
    normalize: bool = False,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """How often each label was taken for which.

    Parameters
    ----------
    y_true : array, shape (n,) of labels, or (n, classes) one-hot
    y_pred : array, shape (n,) of labels, or (n, classes) of what a model predicts
    labels : list of str, optional
        The names of the classes.
    normalize : bool, default False
        Shares of each true label instead of counts.
    path : path, optional
        Where to write the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the arrays are of different lengths, or hold no labels.
    """
    true, predicted = _labels("y_true", y_true), _labels("y_pred", y_pred)
    if len(true) != len(predicted):
        raise ValueError(
            f"plot_confusion_matrix: y_true has {len(true)} rows, y_pred {len(predicted)}"
        )
    count = 1 + int(max(true.max(initial=0), predicted.max(initial=0)))
    if labels is not None:
        if len(labels) < count:
            raise ValueError(f"plot_confusion_matrix: {count} classes, but {len(labels)} labels")
        count = len(labels)
    matrix = np.zeros((count, count))
    np.add.at(matrix, (true, predicted), 1)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    names = list(labels) if labels is not None else [str(i) for i in range(count)]
    side = max(3.6, 1.6 + 0.42 * count)
    figure, (axes,) = _figure(1, 1, side + 0.8, side)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), names, rotation=90 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(range(count), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    if count <= 30:
        for i in range(count):
            for k in range(count):
                if matrix[i, k]:
                    text = f"{shares[i, k]:.2f}" if normalize else f"{matrix[i, k]:.0f}"
                    color = "white" if shares[i, k] > 0.5 else "#333333"
                    axes.text(k, i, text, ha="center", va="center", color=color, fontsize=8)
    figure.colorbar(image, ax=axes, label="share of the true label", shrink=0.8)
    right = np.trace(matrix) / max(matrix.sum(), 1)
    axes.set_title(f"{right:.1%} of {int(matrix.sum()):,} right", loc="left")
    return _finish(figure, path)


def _labels(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
        if array.dtype.kind == "f" and name == "y_pred" and not np.all(array == np.floor(array)):
            array = array > 0.5
    if array.ndim == 2:
        array = array.argmax(axis=1)
    if array.ndim != 1 or array.size == 0 or np.any(array < 0) or np.any(array != array // 1):
        raise ValueError(f"plot_confusion_matrix: {name} must hold labels 0, 1, ...")
    return array.astype(np.int64)


def plot_norms(recorder: NormRecorder, path: str | os.PathLike[str] | None = None) -> Any:
    """The norms of every layer's gradient and weights over the steps, on logarithmic axes.

    Parameters
    ----------
    recorder : NormRecorder
        After a fit.
    path : path, optional
        Where to write the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If nothing has been recorded.
    """
    if not recorder.steps:
        raise ValueError("there is nothing to draw: the recorder has seen no step")
    figure, panels = _figure(1, 2, 4.8, 3.6)
    colors = require("matplotlib", "plot", "drawing").colormaps["viridis"]
    ticker = require("matplotlib.ticker", "plot", "drawing")
    marker = "o" if len(recorder.steps) == 1 else None
    for axes, which in zip(panels, ("gradients", "weights"), strict=True):
        layers = recorder.layers(which)
        for i, (layer, norms) in enumerate(layers.items()):
            color = colors(0.9 * i / max(len(layers) - 1, 1))
            shown = [norm if norm > 0 else math.nan for norm in norms]
            axes.plot(recorder.steps, shown, color=color, label=layer, linewidth=1.2, marker=marker)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(ticker.LogFormatter(minor_thresholds=(1, 0.4)))
        axes.set_title(f"Norms of {which}", loc="left")
        axes.set_xlabel("step")
        _tidy(axes)
    panels[1].legend(
        frameon=False, title="layer", loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8
    )
    return _finish(figure, path)


def plot_filters(
    model: Any,
    shape: Sequence[int] | None = None,
    most: int = 64,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """What the units of the first layer look for, each as a picture.

    Parameters
    ----------
    model : Model or Layer
        Of a model the first layer with a kernel is taken, convolutional or dense.
    shape : (height, width), optional
        Of the images that a dense layer's inputs are; by default a square.
    most : int, default 64
        How many units are drawn at most.
    path : path, optional
        Where to write the picture.

    Returns
    -------
    matplotlib.figure.Figure
        Blue is negative and red positive, on one scale; filters over three channels are in their
        colours.

    Raises
    ------
    ValueError
        If there is no such layer, or its inputs are no image.
    """
    kernel = _first_kernel(model)
    if kernel.ndim == 2:
        side = math.isqrt(kernel.shape[0])
        height, width = shape if shape is not None else (side, side)
        if height * width != kernel.shape[0]:
            raise ValueError(
                f"plot_filters: {kernel.shape[0]} inputs are no image of {height} x {width}; give "
                f"shape=(height, width)"
            )
        kernel = kernel.reshape(height, width, 1, -1)
    if kernel.ndim != 4:
        raise ValueError(f"plot_filters: a kernel of shape {kernel.shape} is no set of pictures")
    units = min(kernel.shape[-1], most)
    columns = min(units, math.ceil(math.sqrt(units * 1.6)))
    rows = math.ceil(units / columns)
    figure, panels = _figure(rows, columns, 0.9, 0.9)
    bound = float(np.abs(kernel).max()) or 1.0
    for axes in panels:
        axes.axis("off")
    for unit, axes in zip(range(units), panels, strict=False):
        picture = kernel[..., unit]
        if picture.shape[-1] == 3:
            axes.imshow(0.5 + picture / (2 * bound), interpolation="nearest")
        else:
            mean = picture.mean(axis=-1)
            axes.imshow(mean, cmap="RdBu_r", vmin=-bound, vmax=bound, interpolation="nearest")
    return _finish(figure, path)


def _first_kernel(layer: Any) -> np.ndarray:
    for inner in getattr(layer, "layers", []) or []:
        try:
            return _first_kernel(inner)
        except ValueError:
            continue
    kernel = getattr(layer, "kernel", None)
    if kernel is None:
        raise ValueError(
            f"plot_filters: {getattr(layer, 'name', layer)!r} has no kernel (is it built?)"
        )
    return kernel.numpy()
