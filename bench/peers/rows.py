"""What is measured: the networks, their batches, their data and initial weights.

A row is one training step: forward, loss, backward, update. Everything about it is made from its
seed, so each process builds the same data and the same weights by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = [
    "BATCHNORM_EPSILON", "BATCHNORM_MOMENTUM", "HEADS", "HIDDEN", "LAYERNORM_EPSILON", "ROWS",
    "Row", "data", "initial_weights",
]  # fmt: skip

BATCHNORM_MOMENTUM = 0.99
BATCHNORM_EPSILON = 1e-3
HEADS, HIDDEN, LAYERNORM_EPSILON = 4, 128, 1e-3  # of blocks of attention


@dataclass(frozen=True)
class Row:
    """One training step.

    ``widths`` are the network's, input and output included. Hidden layers are ReLU, or, where
    ``batchnorm``, Dense without bias, BatchNorm, ReLU, Dropout. ``loss`` is ``"mse"`` (one linear
    output) or ``"ce"`` (softmax with cross-entropy on whole-number labels).
    Where the rows of x have the shape ``image``, something comes before them, and the widths are
    those of what follows, what it makes of a row first:
    ``convolutions`` of 3x3: (filters, whether 2x2 maxima are taken). They have ReLU, or, where
    ``batchnorm``, no bias and BatchNorm, ReLU. Their images are flattened.
    ``recurrent``: (``"lstm"``, ``"gru"`` or ``"convlstm"``, units) over the first axis, of which
    the last output goes on; a ConvLSTM is of 3x3 with padding ``"same"``.
    ``blocks``, so many, on (places, width): attention of HEADS heads without biases (a key's has
    no gradient) and two dense layers, HIDDEN wide and back, each added to its input with layer
    normalization behind it. The mean over the places goes on.
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
    recurrent: tuple[str, int] | tuple[()] = ()
    blocks: int = 0
    dropout: float = 0.0
    learning_rate: float = 1e-3
    verified: int = 12  # steps of the comparison
    tolerance: float = 1e-2  # of the weights after them, see verify.py

    @property
    def inputs(self) -> tuple[int, ...]:
        """The shape of one row of x."""
        return self.image or self.widths[:1]

    @property
    def flops(self) -> int:
        """Of the products alone: forward, weight gradients, input gradients but the first's."""
        products = []
        if self.recurrent:
            times, units = self.image[0], self.recurrent[1]
            each = int(np.prod(self.image[1:-1])) * (9 if self.recurrent[0] == "convlstm" else 1)
            gates = (3 if self.recurrent[0] == "gru" else 4) * units
            products += [times * each * i * gates for i in (self.image[-1], units)]
        for _ in range(self.blocks):
            places, width = self.image
            products += [3 * places * width * width, 2 * places * places * width]
            products += [places * width * (width + 2 * HIDDEN)]
        if self.convolutions:
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
        "tolerance": 1.5e-2,
    }
    lines = {"widths": (128, 10), "image": (28, 28)}
    frames = {"widths": (4096, 10), "image": (8, 16, 16, 1), "recurrent": ("convlstm", 16)}
    blocks = {"widths": (64, 10), "image": (64, 64), "blocks": 2}
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
        Row(
            "R1",
            "LSTM(128) over 28x28, Dense 10, Adam, CE",
            batch=32,
            batches=32,
            recurrent=("lstm", 128),
            **lines,
        ),
        Row(
            "G1",
            "GRU(128) over 28x28, Dense 10, Adam, CE",
            batch=32,
            batches=32,
            recurrent=("gru", 128),
            **lines,
        ),
        Row(
            "L1",
            "ConvLSTM2D(16, 3x3) over 8 frames of 16x16x1, Dense 10, Adam, CE",
            batch=16,
            batches=16,
            **frames,
        ),
        Row(
            "B2",
            "64 places of width 64: 2 blocks of attention (4 heads) and Dense 128, 64; mean, "
            "Dense 10, Adam, CE",
            batch=32,
            batches=16,
            **blocks,
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
    layer's kernel and bias. Before them a recurrent layer's kernel, recurrent kernel and bias with
    the gates of Keras; per block the kernels of query, key, value and output, gamma, beta, the two
    dense layers' and again gamma, beta.
    """
    rng = np.random.default_rng(2)
    last = len(row.widths) - 2
    weights: list[np.ndarray] = []

    def normal(shape: tuple[int, ...], fans: int) -> np.ndarray:
        return np.float32((2 / fans) ** 0.5) * rng.standard_normal(shape, dtype=np.float32)

    channels = row.image[-1] if row.image else 0
    for filters, _ in row.convolutions:
        weights.append(normal((3, 3, channels, filters), 9 * channels))
        if row.batchnorm:
            weights.append(np.ones(filters, np.float32))
        weights.append(np.zeros(filters, np.float32))
        channels = filters
    if row.recurrent:
        kind, units = row.recurrent
        window = (3, 3) if kind == "convlstm" else ()
        gates = 3 * units if kind == "gru" else 4 * units
        for i in (channels, units):
            weights.append(normal((*window, i, gates), 9 ** len(window[:1]) * (i + units)))
        bias = np.zeros((2, gates) if kind == "gru" else gates, np.float32)
        if kind != "gru":
            bias[units : 2 * units] = 1  # of the forget gate
        weights.append(bias)
    for _ in range(row.blocks):
        weights += [normal((channels, channels), 2 * channels) for _ in "qkvo"]
        norm = [np.ones(channels, np.float32), np.zeros(channels, np.float32)]
        weights += [a.copy() for a in norm]
        for shape in ((channels, HIDDEN), (HIDDEN, channels)):
            weights += [normal(shape, sum(shape)), np.zeros(shape[1], np.float32)]
        weights += norm
    for k, (i, o) in enumerate(zip(row.widths, row.widths[1:], strict=False)):
        weights.append(normal((i, o), i + o))
        if row.batchnorm and k < last:
            weights.append(np.ones(o, np.float32))
        weights.append(np.zeros(o, np.float32))
    return weights
