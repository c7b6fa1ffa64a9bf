"""fastdl: ``Model.fit`` on NumPy arrays, as its users call it."""

from __future__ import annotations

import numpy as np

import fastdl
from fastdl import layers, optimizers

from .peer import Peer
from .rows import (
    BATCHNORM_EPSILON,
    BATCHNORM_MOMENTUM,
    HEADS,
    HIDDEN,
    LAYERNORM_EPSILON,
)

__all__ = ["FastdlFit"]


class _Block(layers.Layer):
    """Attention and two dense layers, each added to its input, with layer normalization."""

    def build(self, input_shape):
        width = input_shape[-1]
        self.attention = layers.MultiHeadAttention(HEADS, width // HEADS, use_bias=False)
        self.norm = layers.LayerNormalization(epsilon=LAYERNORM_EPSILON)
        self.hidden = layers.Dense(HIDDEN, activation="relu")
        self.out = layers.Dense(width)
        self.last_norm = layers.LayerNormalization(epsilon=LAYERNORM_EPSILON)

    def call(self, x):
        x = self.norm(x + self.attention(x))
        return self.last_norm(x + self.out(self.hidden(x)))


class FastdlFit(Peer):
    distributions = ("numpy",)

    @staticmethod
    def limit_threads(threads):
        fastdl.set_num_threads(threads)

    def build(self, weights, x, y):
        row = self.row
        parts = [layers.Input(row.inputs)]
        for filters, pooled in row.convolutions:
            if row.batchnorm:
                parts.append(layers.Conv2D(filters, 3, padding=row.padding, use_bias=False))
                parts.append(
                    layers.BatchNormalization(
                        momentum=BATCHNORM_MOMENTUM, epsilon=BATCHNORM_EPSILON
                    )
                )
                parts.append(layers.Activation("relu"))
            else:
                parts.append(layers.Conv2D(filters, 3, padding=row.padding, activation="relu"))
            if pooled:
                parts.append(layers.MaxPooling2D(2))
        if row.recurrent:
            kind, units = row.recurrent
            if kind == "convlstm":
                parts.append(layers.ConvLSTM2D(units, 3, padding="same"))
            else:
                parts.append({"lstm": layers.LSTM, "gru": layers.GRU}[kind](units))
        parts += [_Block() for _ in range(row.blocks)]
        if row.blocks:
            parts.append(layers.GlobalAveragePooling1D())
        if row.image:
            parts.append(layers.Flatten())
        for width in row.widths[1:-1]:
            if row.batchnorm:
                parts.append(layers.Dense(width, use_bias=False))
                parts.append(
                    layers.BatchNormalization(
                        momentum=BATCHNORM_MOMENTUM, epsilon=BATCHNORM_EPSILON
                    )
                )
                parts.append(layers.Activation("relu"))
            else:
                parts.append(layers.Dense(width, activation="relu"))
            if row.dropout:
                parts.append(layers.Dropout(row.dropout))
        parts.append(layers.Dense(row.widths[-1]))
        if row.loss == "ce":
            parts.append(layers.Activation("softmax"))  # fused with the cross-entropy
        if row.optimizer == "adam":
            optimizer = optimizers.Adam(row.learning_rate)
        else:
            optimizer = optimizers.SGD(row.learning_rate)
        mse = row.loss == "mse"
        self.model = fastdl.Sequential(parts)
        self.model.compile(
            optimizer=optimizer,
            loss="mean_squared_error" if mse else "sparse_categorical_crossentropy",
        )
        for weight, value in zip(self.model.trainable_weights, weights, strict=True):
            weight.assign(value)
        self.x, self.y = x, y

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
        return [weight.numpy() for weight in self.model.trainable_weights]
