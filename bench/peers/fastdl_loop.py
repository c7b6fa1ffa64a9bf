"""fastdl: a hand-written loop with a gradient tape, as it is and as a compiled step."""

from __future__ import annotations

import fastdl
from fastdl import losses

from .fastdl_fit import FastdlFit

__all__ = ["FastdlCompiled", "FastdlTape"]


class FastdlTape(FastdlFit):
    """The plain loop: forward and loss on a tape, gradients, update."""

    def build(self, weights, x, y):
        super().build(weights, x, y)
        starts, size = range(0, len(x), self.row.batch), self.row.batch
        self.data = [(x[i : i + size], y[i : i + size]) for i in starts]
        mse = self.row.loss == "mse"
        self.loss_function = (
            losses.MeanSquaredError() if mse else losses.SparseCategoricalCrossentropy()
        )

    def train(self, x, y):
        model = self.model
        with fastdl.GradientTape() as tape:
            loss = self.loss_function(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    def epochs(self, count, batches):
        total = 0.0
        for _ in range(count):
            for x, y in self.data[:batches]:
                total += float(self.train(x, y))
        return total / (count * batches)


class FastdlCompiled(FastdlTape):
    """The same loop, its step compiled."""

    def build(self, weights, x, y):
        super().build(weights, x, y)
        self.train = fastdl.compiled_step(self.train)
