"""Writing the logs down as they come, or handing them to functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import numpy as np

from fastdl._names import nearest
from fastdl._optional import require
from fastdl.callbacks.base import HOOKS, Callback, Logs
from fastdl.callbacks.monitor import at_least
from fastdl.progress import resolve_verbose

__all__ = ["CSVLogger", "LambdaCallback", "Progress", "TensorBoard"]


class CSVLogger(Callback):
    """Writes one line an epoch to a file of comma-separated values.

    Parameters
    ----------
    filename : path
    separator : str, default ","
    append : bool, default False
        Go on with a file that is there, instead of writing a new one.

    Notes
    -----
    The first line has the names: "epoch" and those of the first epoch's logs. A metric that is an
    array, such as a confusion matrix, is a list, or a list of lists, in its cell. A resumed
    fit goes on with the file from where it was; what had been written after that is removed.
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        super().__init__()
        self.filename = os.fspath(filename)
        self.separator, self.append = separator, bool(append)
        self._file: TextIO | None = None
        self._keys: list[str] = []
        self._resume_at: int | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the fit before; the file is opened when there is something to write."""
        self._close()
        self._resume_at = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's line."""
        import csv

        logs = logs or {}
        if self._file is None:
            self._file, self._keys = self._open(logs)
        writer = csv.writer(self._file, delimiter=self.separator, lineterminator="\n")
        writer.writerow([epoch, *(_on_a_line(logs.get(k, "NA")) for k in self._keys)])
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the file."""
        self._close()

    def _open(self, logs: Logs) -> tuple[TextIO, list[str]]:
        """Opens the file at the end of what stays; gives it and the names in its first line."""
        import csv

        keep = os.path.exists(self.filename) and (self.append or self._resume_at is not None)
        mode = "r+" if keep else "w"
        file: Any = open(self.filename, mode, newline="", encoding="utf-8")  # noqa: SIM115
        keys: list[str] = []
        if keep:
            if self._resume_at is not None:
                file.truncate(self._resume_at)
            keys = next(csv.reader(file, delimiter=self.separator), ["epoch"])[1:]
            file.seek(0, os.SEEK_END)
        if not keys:
            keys = list(logs)
            writer = csv.writer(file, delimiter=self.separator, lineterminator="\n")
            writer.writerow(["epoch", *keys])
        return file, keys

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def get_state(self) -> dict[str, Any]:
        """See `Callback.get_state`."""
        if self._file is None:
            return {} if self._resume_at is None else {"bytes": self._resume_at}
        return {"bytes": self._file.tell()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Callback.set_state`."""
        self._resume_at = state.get("bytes")


def _on_a_line(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


class TensorBoard(Callback):
    """Writes the logs for TensorBoard; needs tensorboardX (``fastdl[tensorboard]``).

    Parameters
    ----------
    log_dir : path, default "logs"
        ``train`` and ``validation`` in it get the events.
    histogram_freq : int >= 0, default 0
        Every so many epochs, histograms of all weights; 0 for none.
    update_freq : "epoch" or int, default "epoch"
        An int also writes the running means every so many batches.

    Raises
    ------
    ImportError
        If tensorboardX is not installed.

    Notes
    -----
    The tags are Keras's: ``epoch_loss``, ``epoch_accuracy``, ``batch_loss``,
    ``epoch_learning_rate``. Of a metric that is an array, such as a confusion matrix, each number
    has its own: ``epoch_confusion_matrix/0/1``.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        update_freq: str | int = "epoch",
    ) -> None:
        super().__init__()
        self._make_writer = require("tensorboardX", "tensorboard", "TensorBoard").SummaryWriter
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = at_least(self, "histogram_freq", histogram_freq, 0)
        self.update_freq = update_freq
        self._writers: dict[str, Any] = {}
        if update_freq != "epoch":
            self.batch_interval = at_least(self, "update_freq", update_freq, 1)
            self.on_train_batch_end = self._write_batch  # type: ignore[method-assign]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget the fit before."""
        self._close()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's logs."""
        for name, value in (logs or {}).items():
            validation = name.startswith("val_")
            part = "validation" if validation else "train"
            self._write(part, f"epoch_{name.removeprefix('val_')}", value, epoch)
        if "learning_rate" not in (logs or {}):
            rate = self.model.optimizer.learning_rate
            self._writer("train").add_scalar("epoch_learning_rate", rate, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for name, weight in self.model.named_weights().items():
                self._writer("train").add_histogram(name, weight.value, epoch)
        for writer in self._writers.values():
            writer.flush()

    def _write_batch(self, batch: int, logs: Logs | None = None) -> None:
        step = self.model.optimizer.iterations
        for name, value in (logs or {}).items():
            self._write("train", f"batch_{name}", value, step)

    def _write(self, part: str, tag: str, value: Any, step: int) -> None:
        """Writes a number, or each number of an array under a tag with its place."""
        for place in np.ndindex(np.shape(value)):
            number = np.asarray(value)[place]
            self._writer(part).add_scalar("/".join([tag, *map(str, place)]), number, step)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the files."""
        self._close()

    def _writer(self, name: str) -> Any:
        if name not in self._writers:
            self._writers[name] = self._make_writer(os.path.join(self.log_dir, name))
        return self._writers[name]

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


class LambdaCallback(Callback):
    """Calls functions at the hooks whose names they are given by.

    Parameters
    ----------
    **hooks : callable
        ``on_epoch_end=function`` and so on, any hook of `Callback`; the function takes what the
        hook takes: ``(epoch, logs)``, ``(batch, logs)`` or ``(logs)``.

    Raises
    ------
    TypeError
        If there is no such hook, or what is given cannot be called.

    Examples
    --------
    >>> callback = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
    >>> callback.on_epoch_end(3, {"loss": 0.5})
    3 0.5
    """

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        super().__init__()
        for name, function in hooks.items():
            if name not in HOOKS:
                raise TypeError(f"LambdaCallback: no hook {name!r}{nearest(name, HOOKS)}")
            if not callable(function):
                raise TypeError(f"LambdaCallback: {name} must be callable, got {function!r}")
            setattr(self, name, function)


class Progress(Callback):
    """Where the progress of a fit is shown, instead of standard output, and how.

    Parameters
    ----------
    stream : text stream, optional
        Standard output by default.
    verbose : {"auto", 0, 1, 2}
        As in `Model.fit`, whose own ``verbose`` then does not count.

    Examples
    --------
    >>> import io, numpy as np, fastdl
    >>> from fastdl.layers import Dense
    >>> model = fastdl.Sequential([Dense(1)])
    >>> model.compile("sgd", "mean_squared_error")
    >>> log = io.StringIO()
    >>> _ = model.fit(np.ones((8, 1)), np.ones(8), callbacks=[Progress(log)])
    >>> log.getvalue().startswith("Epoch 1/1 - 1 step - ")
    True
    """

    def __init__(self, stream: TextIO | None = None, verbose: str | int = "auto") -> None:
        super().__init__()
        resolve_verbose(verbose, stream)
        self.stream, self.verbose = stream, verbose
