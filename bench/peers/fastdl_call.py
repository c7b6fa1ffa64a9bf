"""fastdl: one ``train_on_batch`` from Python a step, as in a hand-written loop."""

from __future__ import annotations

from .fastdl_fit import FastdlFit

__all__ = ["FastdlCall"]


class FastdlCall(FastdlFit):
    def build(self, weights, x, y):
        super().build(weights, x, y)
        starts, size = range(0, len(x), self.row.batch), self.row.batch
        self.data = [(x[i : i + size], y[i : i + size]) for i in starts]

    def epochs(self, count, batches):
        total = 0.0
        for _ in range(count):
            for x, y in self.data[:batches]:
                total += self.model.train_on_batch(x, y)
        return total / (count * batches)
