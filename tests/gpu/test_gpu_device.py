"""What a device alone can show: longer trainings, graphs beside plain launches, no leak."""

import numpy as np
import pytest

import fastdl
from fastdl.gpu import device

peers = pytest.importorskip("bench.peers.fastdl_fit", reason="wants the benchmarks beside it")
rows_of_benchmarks = pytest.importorskip("bench.peers.rows")


@pytest.fixture(autouse=True)
def on_device():
    before = device.use(None)
    try:
        device.driver()
    except (ImportError, RuntimeError) as error:
        device.use(before)
        pytest.skip(str(error))
    yield
    device.use(before)


def trained(name, backend, steps=50):
    """The losses and weights after some steps of a row of the benchmarks."""
    row = rows_of_benchmarks.ROWS[name]
    x, y = rows_of_benchmarks.data(row)
    fastdl.set_seed(0)
    peer = peers.FastdlFit(row, rows_of_benchmarks.initial_weights(row), x, y, 2)
    model = peer.model.to(backend)
    model.seed = 7
    rows = row.batch * min(row.batches, steps)
    given = {"batch_size": row.batch, "epochs": max(steps // row.batches, 1), "verbose": 0}
    history = model.fit(x[:rows], y[:rows], **given).history["loss"]
    return history, model.get_weights()


@pytest.mark.parametrize("name", ["S4", "M1", "S3", "R1"])
def test_fifty_steps_are_the_cpu_s(name):
    (here, weights), (there, others) = (trained(name, backend) for backend in ("cpu", "gpu"))
    np.testing.assert_allclose(there, here, rtol=2e-3)
    for a, b in zip(weights, others, strict=True):
        assert np.linalg.norm(b - a) <= 2e-2 * np.linalg.norm(a) + 1e-3


def test_graphs_do_what_plain_launches_do(monkeypatch):
    first = trained("M1", "gpu")[1]
    monkeypatch.setattr(device.CupyDriver, "record", lambda self, launches, stream: launches)
    second = trained("M1", "gpu")[1]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def test_ten_thousand_steps_leak_nothing():
    pool = device.driver().xp.get_default_memory_pool()
    used = []
    x, y = np.ones((64, 20), np.float32), np.zeros(64, int)
    model = fastdl.Sequential([fastdl.layers.Dense(32, "relu"), fastdl.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.to("gpu")
    for _ in range(5):
        model.fit(x, y, batch_size=8, epochs=250, verbose=0)
        model.evaluate(x, y)
        used.append(pool.used_bytes())
    assert used[-1] == used[1]
