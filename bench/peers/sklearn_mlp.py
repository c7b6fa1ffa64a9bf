"""scikit-learn: ``MLPRegressor`` / ``MLPClassifier``, whose ``partial_fit`` is one epoch."""

from __future__ import annotations

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from .peer import Peer, Unsupported

__all__ = ["SklearnMLP"]


class SklearnMLP(Peer):
    distributions = ("scikit-learn",)

    def build(self, weights, x, y):
        row = self.row
        if row.convolutions:
            raise Unsupported("scikit-learn has no convolutions")
        if row.recurrent or row.blocks:
            raise Unsupported("scikit-learn has no recurrence and no attention")
        if row.batchnorm or row.dropout:
            raise Unsupported("scikit-learn has no BatchNorm and no Dropout")
        # Its squared loss is half of ours: twice the rate, or half the epsilon, is the same step.
        self.factor = 2 if row.loss == "mse" else 1
        rate = row.learning_rate * (self.factor if row.optimizer == "sgd" else 1)
        options = {
            "hidden_layer_sizes": row.widths[1:-1],
            "batch_size": row.batch,
            "solver": row.optimizer,
            "alpha": 0.0,
            "shuffle": False,
            "momentum": 0.0,
            "nesterovs_momentum": False,
            "epsilon": 1e-7 / self.factor,
            "learning_rate_init": rate,
        }
        if row.loss == "mse":
            self.model, y, self.first = MLPRegressor(**options), y.ravel(), {}
        else:
            self.model = MLPClassifier(**options)
            self.first = {"classes": np.arange(row.widths[-1])}
        self.x, self.y = x, y
        # The first call draws weights and an optimizer: the given ones take their place.
        self.model.partial_fit(x[: row.batch], y[: row.batch], **self.first)
        del self.model._optimizer
        self.model.coefs_ = [w.copy() for w in weights[0::2]]
        self.model.intercepts_ = [w.copy() for w in weights[1::2]]

    def epochs(self, count, batches):
        rows, total = batches * self.row.batch, 0.0
        for _ in range(count):
            self.model.partial_fit(self.x[:rows], self.y[:rows])
            total += self.model.loss_ * self.factor
        return total / count

    def weights(self):
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [array for pair in pairs for array in pair]
