"""Keras on TensorFlow: ``Model.fit`` on NumPy arrays, as its users call it."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from .peer import Peer
from .rows import (
    BATCHNORM_EPSILON,
    BATCHNORM_MOMENTUM,
    HEADS,
    HIDDEN,
    LAYERNORM_EPSILON,
)

__all__ = ["KerasFit"]


class KerasFit(Peer):
    distributions = ("keras", "tensorflow_cpu", "tensorflow")

    @staticmethod
    def limit_threads(threads):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)

    def build(self, weights, rows, y):
        row, layers = self.row, keras.layers
        x = h = layers.Input(row.inputs)
        for filters, pooled in row.convolutions:
            if row.batchnorm:
                h = layers.Conv2D(filters, 3, padding=row.padding, use_bias=False)(h)
                h = self._normalized(h)
            else:
                h = layers.Conv2D(filters, 3, padding=row.padding, activation="relu")(h)
            if pooled:
                h = layers.MaxPooling2D(2)(h)
        if row.recurrent:
            kind, units = row.recurrent
            if kind == "convlstm":
                h = layers.ConvLSTM2D(units, 3, padding="same")(h)
            else:
                h = {"lstm": layers.LSTM, "gru": layers.GRU}[kind](units)(h)
        for _ in range(row.blocks):
            h = self._block(h)
        if row.blocks:
            h = layers.GlobalAveragePooling1D()(h)
        if row.image:
            h = layers.Flatten()(h)
        for width in row.widths[1:-1]:
            if row.batchnorm:
                h = self._normalized(layers.Dense(width, use_bias=False)(h))
            else:
                h = layers.Dense(width, activation="relu")(h)
            if row.dropout:
                h = layers.Dropout(row.dropout)(h)
        model = keras.Model(x, layers.Dense(row.widths[-1])(h))
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
            variable.assign(value.reshape(variable.shape))
        self.model, self.x, self.y = model, rows, y
        self.shapes = [value.shape for value in weights]

    @staticmethod
    def _normalized(h):
        layers = keras.layers
        h = layers.BatchNormalization(momentum=BATCHNORM_MOMENTUM, epsilon=BATCHNORM_EPSILON)(h)
        return layers.Activation("relu")(h)

    @staticmethod
    def _block(h):
        layers, width = keras.layers, h.shape[-1]
        attended = layers.MultiHeadAttention(HEADS, width // HEADS, use_bias=False)(h, h)
        h = layers.LayerNormalization(epsilon=LAYERNORM_EPSILON)(layers.Add()([h, attended]))
        hidden = layers.Dense(width)(layers.Dense(HIDDEN, activation="relu")(h))
        return layers.LayerNormalization(epsilon=LAYERNORM_EPSILON)(layers.Add()([h, hidden]))

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
        arrays = map(np.asarray, self.model.trainable_variables)
        return [a.reshape(shape) for a, shape in zip(arrays, self.shapes, strict=True)]
