"""Keras on TensorFlow: ``Model.fit`` on NumPy arrays, as its users call it."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from .peer import Peer
from .rows import BATCHNORM_EPSILON, BATCHNORM_MOMENTUM

__all__ = ["KerasFit"]


class KerasFit(Peer):
    distributions = ("keras", "tensorflow_cpu", "tensorflow")

    @staticmethod
    def limit_threads(threads):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)

    def build(self, weights, x, y):
        row, layers = self.row, keras.layers
        model = keras.Sequential([layers.Input(row.inputs)])
        for filters, pooled in row.convolutions:
            if row.batchnorm:
                model.add(layers.Conv2D(filters, 3, padding=row.padding, use_bias=False))
                model.add(
                    layers.BatchNormalization(
                        momentum=BATCHNORM_MOMENTUM, epsilon=BATCHNORM_EPSILON
                    )
                )
                model.add(layers.Activation("relu"))
            else:
                model.add(layers.Conv2D(filters, 3, padding=row.padding, activation="relu"))
            if pooled:
                model.add(layers.MaxPooling2D(2))
        if row.convolutions:
            model.add(layers.Flatten())
        for width in row.widths[1:-1]:
            if row.batchnorm:
                model.add(layers.Dense(width, use_bias=False))
                model.add(
                    layers.BatchNormalization(
                        momentum=BATCHNORM_MOMENTUM, epsilon=BATCHNORM_EPSILON
                    )
                )
                model.add(layers.Activation("relu"))
            else:
                model.add(layers.Dense(width, activation="relu"))
            if row.dropout:
                model.add(layers.Dropout(row.dropout))
        model.add(layers.Dense(row.widths[-1]))
        if row.optimizer == "adam":
            optimizer = keras.optimizers.Adam(row.learning_rate)
        else:
            optimizer = keras.optimizers.SGD(row.learning_rate)
        if row.loss == "mse":
            loss = "mean_squared_error"
        else:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=optimizer, loss=loss)
        for variable, value in zip(model.trainable_variables, weights, strict=True):
            variable.assign(value)
        self.model, self.x, self.y = model, x, y

    def epochs(self, count, batches):
        rows = batches * self.row.batch
        history = self.model.fit(
            self.x[:rows],
            self.y[:rows],
            batch_size=self.row.batch,
            epochs=count,
            shuffle=False,
            verbose=0,
        )
        return float(np.mean(history.history["loss"]))

    def weights(self):
        return [np.asarray(v) for v in self.model.trainable_variables]
