"""Data: what a model takes at its door, and what is done to data before.

Splitting (`train_test_split`, `KFold`, `StratifiedKFold`), cross-validation (`cross_validate`),
scaling (`Standardizer`, `normalize`) and `one_hot`.
"""

from fastdl.data.batches import Batches, is_stream
from fastdl.data.door import (
    Rows,
    as_array,
    as_inputs,
    as_labels,
    as_rows,
    as_targets,
    as_weights,
    as_weights_of,
    by_dlpack,
    hold_out,
    is_on_gpu,
    known_to,
    labels_of,
    take,
)
from fastdl.data.scaling import Standardizer, normalize, one_hot
from fastdl.data.splits import KFold, StratifiedKFold, train_test_split

__all__ = [
    "Batches", "Folds", "KFold", "Rows", "Standardizer", "StratifiedKFold", "as_array", "as_inputs",
    "as_labels", "as_rows", "as_targets", "as_weights", "as_weights_of", "by_dlpack",
    "cross_validate", "hold_out", "is_on_gpu", "is_stream", "known_to", "labels_of", "normalize",
    "one_hot", "take", "train_test_split",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Cross-validation trains models, which know this package: it is imported when it is used."""
    if name in ("Folds", "cross_validate"):
        from fastdl.data import validation

        return getattr(validation, name)
    raise AttributeError(f"fastdl.data has no {name!r}")
