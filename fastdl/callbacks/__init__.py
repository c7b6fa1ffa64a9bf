"""What a user may hang into training, with Keras's names.

A callback overrides the hooks that it wants, and training leaves its native loop for these alone.
"""

from fastdl.callbacks.base import Callback, CallbackList
from fastdl.callbacks.checkpoint import BackupAndRestore, ModelCheckpoint
from fastdl.callbacks.history import History
from fastdl.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from fastdl.callbacks.logs import CSVLogger, LambdaCallback, Progress, TensorBoard
from fastdl.callbacks.norms import NormRecorder
from fastdl.callbacks.stopping import EarlyStopping, TerminateOnNaN

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "NormRecorder",
    "Progress",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]
