"""Two attention blocks beside the others: ``python -m bench.attention``.

The network: 64 places of width 64, two blocks (4 heads, layer norm behind each half, a feed-forward
layer of 128), the mean over the places, Dense 10; softmax with cross-entropy, Adam, batch 32. Each
library trains from the same weights on the same rows in a process of its own; the processes take
turns. Before it is timed, each must have the losses of the first steps of PyTorch's in float64.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

PLACES, WIDTH, HEADS, HIDDEN, CLASSES, BATCH, BLOCKS = 64, 64, 4, 128, 10, 32, 2
STEPS, VERIFIED, TOLERANCE, EPSILON = 10, 4, 2e-3, 1e-3
LIBRARIES = {"fastdl": "fastdl", "torch": "torch", "jax": "jax", "keras": "tensorflow"}


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((STEPS * BATCH, PLACES, WIDTH), dtype=np.float32)
    return x, x[:, :8, :CLASSES].sum(1).argmax(1).astype(np.int64)


def weights() -> list[np.ndarray]:
    """In order: of each block the query's, key's, value's and output's kernel and bias, gamma and
    beta, the two dense layers', gamma and beta; the last layer's."""
    rng = np.random.default_rng(1)

    def dense(i: int, o: int) -> list[np.ndarray]:
        scale = np.float32((2 / (i + o)) ** 0.5)
        return [scale * rng.standard_normal((i, o), dtype=np.float32), np.zeros(o, np.float32)]

    norm = [np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)]
    arrays: list[np.ndarray] = []
    for _ in range(BLOCKS):
        for _ in range(4):
            arrays += dense(WIDTH, WIDTH)
        arrays += [*norm, *dense(WIDTH, HIDDEN), *dense(HIDDEN, WIDTH), *norm]
    return arrays + dense(WIDTH, CLASSES)


# --- each library: a function that trains over all steps and returns their mean loss -------------


def fastdl_epoch(threads: int):
    import fastdl
    from fastdl import Input, Model, layers, ops, optimizers

    fastdl.set_num_threads(threads)
    x = h = Input((PLACES, WIDTH))
    for _ in range(BLOCKS):
        attended = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(h)
        h = layers.LayerNormalization(epsilon=EPSILON)(layers.Add()([h, attended]))
        hidden = layers.Dense(WIDTH)(layers.Dense(HIDDEN, activation="relu")(h))
        h = layers.LayerNormalization(epsilon=EPSILON)(layers.Add()([h, hidden]))
    model = Model(x, layers.Dense(CLASSES, activation="softmax")(ops.mean(h, 1)))
    model.compile(optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    for weight, value in zip(model.weights, weights(), strict=True):
        weight.assign(value)
    rows, labels = data()

    def epoch(steps: int) -> float:
        n = steps * BATCH
        arguments = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
        return model.fit(rows[:n], labels[:n], **arguments).history["loss"][0]

    return epoch


def torch_epoch(threads: int, dtype: str = "float32"):
    import torch
    from torch.nn import functional as F

    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    kind = getattr(torch, dtype)
    arrays = [torch.tensor(w, dtype=kind, requires_grad=True) for w in weights()]
    # As Linear keeps them: products with the transpose.
    arrays = [a.detach().T.contiguous().requires_grad_() if a.ndim == 2 else a for a in arrays]
    optimizer = torch.optim.Adam(arrays, 1e-3, eps=1e-7, fused=True)
    rows, labels = data()
    batches = [
        (torch.tensor(rows[i : i + BATCH], dtype=kind), torch.tensor(labels[i : i + BATCH]))
        for i in range(0, len(rows), BATCH)
    ]

    def heads(h):
        return h.view(BATCH, PLACES, HEADS, WIDTH // HEADS).transpose(1, 2)

    def network(h):
        given = iter(arrays)
        for _ in range(BLOCKS):
            q, k, v = (heads(F.linear(h, next(given), next(given))) for _ in range(3))
            out = F.scaled_dot_product_attention(q, k, v)
            out = F.linear(out.transpose(1, 2).reshape(h.shape), next(given), next(given))
            h = F.layer_norm(h + out, (WIDTH,), next(given), next(given), EPSILON)
            out = F.relu(F.linear(h, next(given), next(given)))
            out = F.linear(out, next(given), next(given))
            h = F.layer_norm(h + out, (WIDTH,), next(given), next(given), EPSILON)
        return F.linear(h.mean(1), next(given), next(given))

    def epoch(steps: int) -> float:
        losses = []
        for x, y in batches[:steps]:
            optimizer.zero_grad()
            loss = F.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).mean().item()

    return epoch


def jax_epoch(threads: int):
    import jax
    import jax.numpy as jnp

    def norm(h, gamma, beta):
        centered = h - h.mean(-1, keepdims=True)
        return gamma * centered * jax.lax.rsqrt(centered.var(-1, keepdims=True) + EPSILON) + beta

    def loss_of(arrays, x, y):
        given, h = iter(arrays), x
        for _ in range(BLOCKS):
            q, k, v = (
                (h @ next(given) + next(given)).reshape(BATCH, PLACES, HEADS, -1) for _ in range(3)
            )
            out = jax.nn.dot_product_attention(q, k, v).reshape(h.shape)
            h = norm(h + out @ next(given) + next(given), next(given), next(given))
            out = jax.nn.relu(h @ next(given) + next(given))
            h = norm(h + out @ next(given) + next(given), next(given), next(given))
        log_p = jax.nn.log_softmax(h.mean(1) @ next(given) + next(given))
        return -jnp.take_along_axis(log_p, y[:, None], 1).mean()

    def step(state, x, y):
        w, m, v, t = state
        loss, grads = jax.value_and_grad(loss_of)(w, x, y)
        t = t + 1
        m = [0.9 * a + 0.1 * g for a, g in zip(m, grads, strict=True)]
        v = [0.999 * a + 0.001 * g * g for a, g in zip(v, grads, strict=True)]
        rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        w = [a - rate * b / (jnp.sqrt(c) + 1e-7) for a, b, c in zip(w, m, v, strict=True)]
        return (w, m, v, t), loss

    jitted = jax.jit(step, donate_argnums=0)
    w = [jnp.array(a) for a in weights()]
    state = [(w, [jnp.zeros_like(a) for a in w], [jnp.zeros_like(a) for a in w], jnp.zeros(()))]
    rows, labels = data()
    batches = [
        (jnp.array(rows[i : i + BATCH]), jnp.array(labels[i : i + BATCH]))
        for i in range(0, len(rows), BATCH)
    ]

    def epoch(steps: int) -> float:
        losses = []
        for x, y in batches[:steps]:
            state[0], loss = jitted(state[0], x, y)
            losses.append(loss)
        return float(jnp.stack(losses).mean())

    return epoch


def keras_epoch(threads: int):
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf
    from keras import layers

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    x = h = layers.Input((PLACES, WIDTH))
    for _ in range(BLOCKS):
        attended = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(h, h)
        h = layers.LayerNormalization(epsilon=EPSILON)(layers.Add()([h, attended]))
        hidden = layers.Dense(WIDTH)(layers.Dense(HIDDEN, activation="relu")(h))
        h = layers.LayerNormalization(epsilon=EPSILON)(layers.Add()([h, hidden]))
    model = keras.Model(x, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(h)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    for variable, value in zip(model.trainable_variables, weights(), strict=True):
        variable.assign(value.reshape(variable.shape))
    rows, labels = data()

    def epoch(steps: int) -> float:
        n = steps * BATCH
        arguments = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
        return model.fit(rows[:n], labels[:n], **arguments).history["loss"][0]

    return epoch


EPOCHS = {
    "fastdl": fastdl_epoch, "torch": torch_epoch, "jax": jax_epoch, "keras": keras_epoch,
}  # fmt: skip


def work(library: str, threads: int, seconds: float) -> dict[str, float]:
    """In a process of its own: the loss of the first steps, and microseconds a step."""
    epoch = EPOCHS[library](threads)
    loss = epoch(VERIFIED)
    epoch(STEPS)
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        epoch(STEPS)
        times.append((time.perf_counter() - start) / STEPS * 1e6)
    return {"loss": loss, "median": statistics.median(times), "best": min(times)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.attention", description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3, help="processes of each library")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each process")
    parser.add_argument("--libraries", nargs="*", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--worker", choices=EPOCHS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(work(given.worker, given.threads, given.seconds)))
        return
    libraries = [n for n in given.libraries if importlib.util.find_spec(LIBRARIES[n])]
    wanted = torch_epoch(given.threads, "float64")(VERIFIED) if "torch" in libraries else None
    found: dict[str, list[dict[str, float]]] = {name: [] for name in libraries}
    environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
    if given.threads == 1:
        environment["XLA_FLAGS"] = (
            "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        )
    command = [sys.executable, "-m", "bench.attention", "--threads", str(given.threads),
               "--seconds", str(given.seconds), "--worker"]  # fmt: skip
    for _ in range(given.rounds):
        for name in libraries:
            made = subprocess.run(
                [*command, name], env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            result = json.loads(made.stdout.splitlines()[-1])
            if wanted is not None and abs(result["loss"] - wanted) > TOLERANCE * abs(wanted):
                raise SystemExit(f"{name}: loss {result['loss']}, float64 says {wanted}")
            found[name].append(result)
    print(f"{given.threads} threads, microseconds a step: median over processes, best")
    for name, results in found.items():
        median = statistics.median(r["median"] for r in results)
        print(f"{name:8} {median:9.0f} {min(r['best'] for r in results):9.0f}")


if __name__ == "__main__":
    main()
