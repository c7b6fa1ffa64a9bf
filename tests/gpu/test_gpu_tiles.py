"""How products are cut, and how the parts are added up."""

import numpy as np
import pytest
from emulator import ORDERS, Emulator

from fastdl import gpu
from fastdl.gpu import device, tiles
from fastdl.gpu.core import HOSTS, Call
from fastdl.kernels.table import OPS


def test_tiles_are_large_where_they_are_full_and_keep_the_gpu_busy():
    sizes = [(128, 128), (32, 32)]
    assert tiles.cut(sizes, 5000, 1000, 64, 1) == ((128, 128), 320, 1)
    assert tiles.cut(sizes, 300, 128, 10**6, 1) == ((128, 128), 3, 88)
    assert tiles.cut(sizes, 300, 128, 10**4, 1) == ((32, 32), 40, 6)
    assert tiles.cut(sizes, 50, 128, 10**6, 1)[0] == (32, 32)
    assert tiles.cut([(128, 32), (32, 32)], 10**5, 3, 10, 1) == ((128, 32), 782, 1)
    assert tiles.cut(sizes, 0, 7, 0, 1) == ((32, 32), 0, 1)


@pytest.mark.parametrize("most", [1 << 15, 0], ids=["last block", "merge"])
@pytest.mark.parametrize("order", ORDERS)
def test_parts_are_added_once(order, most, emulated, monkeypatch):
    monkeypatch.setattr(tiles, "MOST_ADDED", most)
    device.use(Emulator(order))
    generator = np.random.default_rng(0)
    x = generator.integers(-9, 10, (40, 900)).astype(np.float32)
    weight = generator.integers(-9, 10, (900, 50)).astype(np.float32)
    bias = np.arange(50, dtype=np.float32)
    for _ in range(2):
        out = gpu.dense_forward(x, weight, bias, activation="relu")
        np.testing.assert_array_equal(out, np.maximum(x @ weight + bias, 0))
    once = ["product_nn_32"] + ([] if most else ["merge"])
    assert device.driver().launched == 2 * once


def test_counters_are_left_as_they_were_found(emulated):
    a, b = np.ones((40, 900), np.float32), np.ones((900, 50), np.float32)
    arrays = {"out": np.empty((40, 50), np.float32), "a": a, "b": b}
    op, lengths = OPS["matmul_nn"], {"M": 40, "K": 900, "N": 50}
    call = Call(op, HOSTS[op.name], emulated, np.dtype("f4"), arrays, {}, lengths, None)
    for _ in range(3):
        arrays["out"].fill(np.nan)
        call.run()
        assert (arrays["out"] == 900).all()
        assert not call.scratch["counters"].any()
