"""Optimizers' updates: one launch for all parameters that lie in a range."""

from __future__ import annotations

from fastdl.gpu.core import Call, Family

updates = Family("updates")

#: A block begins by working out what follows from the step, so there are no more of them than fill
#: the largest GPUs a few times over.
_THREADS, _MOST_BLOCKS = 256, 4096


@updates.host("sgd_update", "rmsprop_update", "adam_update", "adagrad_update")
def _update(call: Call) -> None:
    blocks = min(-(-call.lengths["N"] // _THREADS), _MOST_BLOCKS)
    call.launch(call.op.name, blocks, _THREADS, *call.arguments())
