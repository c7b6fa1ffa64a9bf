"""Optimizers' updates: one launch for all parameters that lie in a range."""

from __future__ import annotations

from fastdl.gpu.core import Family

updates = Family("updates")

updates.elementwise("sgd_update", "rmsprop_update", "adam_update", "adagrad_update")
