"""Files from which training goes on: written while a fit runs, after all callbacks were called.

What is in them and how a fit takes it up again is in `fastdl.resume`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from fastdl.callbacks.base import Callback, Logs
from fastdl.callbacks.monitor import Monitor, at_least

__all__ = ["BackupAndRestore", "ModelCheckpoint"]


class ModelCheckpoint(Monitor):
    """Saves the model while it is trained.

    The files are those of ``Model.save``, and they also hold the place in the fit: ``load_model``
    reads them, and ``fit(..., resume_from=path)`` goes on from them exactly. A file is written
    beside its target and then moved there, so that the old one or the new one always loads.

    Parameters
    ----------
    filepath : path
        May have names in braces: ``"{epoch:02d}-{val_loss:.3f}.fastdl"``, of the logs, ``epoch``
        (counted from 1) and, where batches are counted, ``batch`` (likewise).
    monitor : str, default "val_loss"
        What tells the best, for ``save_best_only``.
    verbose : {0, 1}
        Whether to say what is saved.
    save_best_only : bool, default False
        Save only where the watched number is better than ever.
    save_weights_only : bool, default False
        Write the weights alone, as ``Model.save_weights``.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better; "auto" tells by the name.
    save_freq : "epoch" or int, default "epoch"
        An int saves every so many batches, counted over the epochs of the fit.
    initial_value_threshold : float, optional
        What the first one has to be better than.

    Raises
    ------
    ValueError
        When it is to be saved, if the logs lack a name that the path or ``monitor`` has.
    OSError
        If the file cannot be written; the one that was there before is untouched.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = bool(save_best_only)
        self.save_weights_only = bool(save_weights_only)
        self.save_freq = save_freq
        self.best = self.worst if initial_value_threshold is None else initial_value_threshold
        if save_freq == "epoch":
            self.on_epoch_end = self._after_epoch  # type: ignore[method-assign]
        else:
            self.batch_interval = at_least(self, "save_freq", save_freq, 1)
            self.on_train_batch_end = self._after_batch  # type: ignore[method-assign]
            self.on_epoch_begin = self._note_epoch  # type: ignore[method-assign]
        self._epoch = 0

    def _note_epoch(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def _after_batch(self, batch: int, logs: Logs | None = None) -> None:
        self._save({**(logs or {}), "epoch": self._epoch + 1, "batch": batch + 1}, logs)

    def _after_epoch(self, epoch: int, logs: Logs | None = None) -> None:
        self._save({**(logs or {}), "epoch": epoch + 1}, logs)

    def _save(self, names: Mapping[str, Any], logs: Logs | None) -> None:
        try:
            path = self.filepath.format(**names)
        except KeyError as error:
            raise ValueError(
                f"ModelCheckpoint: the path {self.filepath!r} names {error}, but the logs have "
                f"{', '.join(sorted(names))}"
            ) from None
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"ModelCheckpoint: the path {self.filepath!r} cannot be filled in: {error}"
            ) from None
        if self.save_best_only:
            value = self.value(logs)
            if not self.better(value, self.best):
                return
            self.best = value
        if self.verbose:
            print(f"Epoch {names['epoch']}: saving to {path}")
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model._save_after_hooks(path)

    def get_state(self) -> dict[str, Any]:
        """See `Callback.get_state`."""
        return {"best": self.best, "epoch": self._epoch}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Callback.set_state`."""
        self.best, self._epoch = state["best"], state["epoch"]


class BackupAndRestore(Callback):
    """Keeps a file from which a fit that was broken off goes on by itself when it is called again.

    Where the file is there when a fit begins, the fit is resumed from it, exactly; call it with the
    same data and arguments. When a fit comes to its end, the file is removed.

    Parameters
    ----------
    filepath : path
        The file; its folder must exist.
    save_freq : "epoch" or int, default "epoch"
        An int saves every so many batches, counted over the epochs of the fit.
    delete_checkpoint : bool, default True
        Whether to remove the file at the end.

    Examples
    --------
    >>> import os, tempfile, numpy as np, fastdl
    >>> from fastdl.layers import Dense
    >>> path = os.path.join(tempfile.mkdtemp(), "backup.fastdl")
    >>> def run(epochs_until_power_fails=None):
    ...     fastdl.set_seed(1)
    ...     model = fastdl.Sequential([Dense(1)])
    ...     model.compile("adam", "mean_squared_error")
    ...     def fail(epoch, logs):
    ...         if epoch == epochs_until_power_fails:
    ...             raise KeyboardInterrupt
    ...     hooks = [BackupAndRestore(path), LambdaCallback(on_epoch_begin=fail)]
    ...     model.fit(np.ones((8, 1)), np.ones(8), epochs=9, verbose=0, callbacks=hooks)
    ...     return model
    >>> from fastdl.callbacks import LambdaCallback
    >>> whole = run()
    >>> try:
    ...     run(epochs_until_power_fails=5)
    ... except KeyboardInterrupt:
    ...     again = run()  # epochs 6 to 9 alone
    >>> bool(again.get_weights()[0] == whole.get_weights()[0]), os.path.exists(path)
    (True, False)
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        self.filepath = os.fspath(filepath)
        self.delete_checkpoint = bool(delete_checkpoint)
        if save_freq == "epoch":
            self.on_epoch_end = self._save  # type: ignore[method-assign, assignment]
        else:
            self.batch_interval = at_least(self, "save_freq", save_freq, 1)
            self.on_train_batch_end = self._save  # type: ignore[method-assign, assignment]

    def _save(self, count: int, logs: Logs | None = None) -> None:
        self.model._save_after_hooks(self.filepath)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Remove the file."""
        if self.delete_checkpoint:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.filepath)
