"""What is measured: the networks, their batches, their data and initial weights.

A row is one training step: forward, loss, backward, update. Everything about it is made from its
seed, so each process builds the same data and the same weights by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["BATCHNORM_EPSILON", "BATCHNORM_MOMENTUM", "ROWS", "Row", "data", "initial_weights"]

BATCHNORM_MOMENTUM = 0.99
BATCHNORM_EPSILON = 1e-3


@dataclass(frozen=True)
class Row:
    """One training step.

    ``widths`` are the network's, input and output included. Hidden layers are ReLU, or, where
    ``batchnorm``, Dense without bias, BatchNorm, ReLU, Dropout. ``loss`` is ``"mse"`` (one linear
    output) or ``"ce"`` (softmax with cross-entropy on whole-number labels).
    ``convolutions`` of 3x3 come before them, on images of shape ``image``: (filters, whether 2x2
    maxima are taken). They have ReLU, or, where ``batchnorm``, no bias and BatchNorm, ReLU. The
    widths are then those of what follows, the flattened images first.
    An epoch is ``batches`` batches of ``batch`` rows, in the order in which they lie.
    """

    name: str
    title: str
    widths: tuple[int, ...]
    batch: int
    batches: int
    optimizer: str = "adam"
    loss: str = "ce"
    batchnorm: bool = False
    image: tuple[int, ...] = ()
    convolutions: tuple[tuple[int, bool], ...] = ()
    padding: str = "valid"
    dropout: float = 0.0
    learning_rate: float = 1e-3
    verified: int = 12  # steps of the comparison

    @property
    def inputs(self) -> tuple[int, ...]:
        """The shape of one row of x."""
        return self.image or self.widths[:1]

    @property
    def flops(self) -> int:
        """Of the products alone: forward, weight gradients, input gradients but the first's."""
        products = []
        if self.image:
            height, width, channels = self.image
            for filters, pooled in self.convolutions:
                margin = 2 if self.padding == "valid" else 0
                height, width = height - margin, width - margin
                products.append(height * width * 9 * channels * filters)
                channels = filters
                if pooled:
                    height, width = height // 2, width // 2
        products += [i * o for i, o in zip(self.widths, self.widths[1:], strict=False)]
        return 2 * self.batch * (3 * sum(products) - products[0])


def _rows() -> dict[str, Row]:
    s0 = {"widths": (10, 10, 1), "optimizer": "sgd", "learning_rate": 0.01, "loss": "mse"}
    s1 = {"widths": (2, 1), "loss": "mse"}
    t1 = {"widths": (30, 64, 64, 1), "loss": "mse"}
    s4 = {"widths": (784, 128, 10)}
    # Where rounding moves a ReLU of M1 to its other side, that unit's gradient is another one, and
    # from then on its weights: few steps are the sharper comparison.
    m1 = {"widths": (784, 512, 512, 10), "batchnorm": True, "dropout": 0.2, "verified": 3}
    m2 = {"widths": (1024, 4096, 4096, 1000), "learning_rate": 1e-4, "verified": 2}
    # The same again, and the largest of a pooling's pixels may become another one.
    s3 = {
        "widths": (576, 64, 10),
        "image": (28, 28, 1),
        "convolutions": ((32, True), (64, True), (64, False)),
        "verified": 3,
    }
    c1 = {
        "widths": (2048, 10),
        "image": (32, 32, 3),
        "convolutions": ((32, True), (64, True), (128, True)),
        "padding": "same",
        "batchnorm": True,
        "verified": 1,
    }
    cnn = "28x28: Conv 32, pool, Conv 64, pool, Conv 64, 64-10"
    mlp = "784-512-512-10, BatchNorm, Dropout .2"
    rows = [
        Row("S0", "10-10-1, SGD, MSE", batch=100, batches=1000, **s0),
        Row("S0e", "10-10-1, SGD, MSE; an epoch is one step", batch=100, batches=1, **s0),
        Row("S1", "Dense(1) on 2 features, Adam, MSE", batch=4, batches=1000, **s1),
        Row(
            "S1e",
            "Dense(1) on 2 features, Adam, MSE; an epoch is one step",
            batch=4,
            batches=1,
            **s1,
        ),
        Row("T1", "30-64-64-1, Adam, MSE", batch=32, batches=500, **t1),
        Row("S4", "784-128-10, Adam, CE", batch=32, batches=250, **s4),
        Row("S4b", "784-128-10, Adam, CE", batch=128, batches=64, **s4),
        Row("M1", f"{mlp}, Adam, CE", batch=128, batches=64, **m1),
        Row("M2", "1024-4096-4096-1000, Adam, CE", batch=256, batches=4, **m2),
        Row("S3", f"{cnn}, Adam, CE", batch=32, batches=32, **s3),
        Row("S3b", f"{cnn}, Adam, CE", batch=128, batches=8, **s3),
        Row(
            "C1",
            "32x32x3: Conv 32, 64, 128, each BatchNorm, ReLU, pool; Dense 10, Adam, CE",
            batch=64,
            batches=8,
            **c1,
        ),
        Row("S0@1", "10-10-1, SGD, MSE", batch=1, batches=1000, **s0),
        Row("S1@1", "Dense(1) on 2 features, Adam, MSE", batch=1, batches=1000, **s1),
        Row("T1@1", "30-64-64-1, Adam, MSE", batch=1, batches=1000, **t1),
        Row("S4@1", "784-128-10, Adam, CE", batch=1, batches=1000, **s4),
        Row("M1@1", f"{mlp}, Adam, CE", batch=1, batches=250, **m1),
        Row("M2@1", "1024-4096-4096-1000, Adam, CE", batch=1, batches=16, **m2),
    ]
    return {row.name: row for row in rows}


ROWS = _rows()


def data(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """The rows of one epoch: x (float32) and y, (N, 1) float32 for mse, (N,) int64 for ce.

    The targets are a linear map of x with noise: learnable, and never learned to the end.
    """
    rng = np.random.default_rng(1)
    n, inputs = row.batch * row.batches, int(np.prod(row.inputs))
    x = rng.random((n, inputs), dtype=np.float32)
    signal = x @ rng.standard_normal((inputs, row.widths[-1]), dtype=np.float32)
    signal += 0.3 * rng.standard_normal(signal.shape, dtype=np.float32)
    if row.loss == "mse":
        return x, signal
    if row.image:  # what the sum of all pixels says would be the same for most rows
        signal -= signal.mean(axis=0)
    x = x.reshape(n, *row.inputs)
    return x, signal.argmax(axis=1).astype(np.int64)


def initial_weights(row: Row) -> list[np.ndarray]:
    """The trainable arrays in order: per convolution a kernel (3, 3, in, out), per hidden layer a
    kernel (in, out), and to each its bias, or gamma and beta where ``batchnorm``; then the last
    layer's kernel and bias.
    """
    rng = np.random.default_rng(2)
    last = len(row.widths) - 2
    weights: list[np.ndarray] = []
    channels = row.image[-1] if row.image else 0
    for filters, _ in row.convolutions:
        scale = np.float32((2 / (9 * channels)) ** 0.5)
        weights.append(scale * rng.standard_normal((3, 3, channels, filters), dtype=np.float32))
        if row.batchnorm:
            weights.append(np.ones(filters, np.float32))
        weights.append(np.zeros(filters, np.float32))
        channels = filters
    for k, (i, o) in enumerate(zip(row.widths, row.widths[1:], strict=False)):
        scale = np.float32((2 / (i + o)) ** 0.5)
        weights.append(scale * rng.standard_normal((i, o), dtype=np.float32))
        if row.batchnorm and k < last:
            weights.append(np.ones(o, np.float32))
        weights.append(np.zeros(o, np.float32))
    return weights
