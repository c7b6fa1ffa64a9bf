"""Loops over time in one launch: what their steps would have made one by one."""

import numpy as np
import pytest
from emulator import ORDERS, Emulator
from sameness import assert_same, fitted, made, on_both

from fastdl.gpu import device, loops
from fastdl.layers import GRU, LSTM, Dense, Masking, SimpleRNN

RNG = np.random.default_rng(0)
SEQUENCES = RNG.standard_normal((23, 5, 3)).astype(np.float32)
SEQUENCES[4, 2] = 0
TARGETS = RNG.standard_normal((23, 2))

LAYERS = {
    "LSTM": lambda: [LSTM(37, return_sequences=True), LSTM(5, go_backwards=True)],
    "GRU": lambda: [GRU(37, return_sequences=True), GRU(5)],
    "masks": lambda: [Masking(0.0), LSTM(5, activation="relu"), Dense(3)],
}


@pytest.mark.parametrize("blocks", [128, 7, 4, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_a_loop_is_one_launch(name, blocks, emulated, monkeypatch):
    monkeypatch.setattr(loops, "_BLOCKS", blocks)
    for order in ORDERS:
        device.use(Emulator(order))
        # batches of several rows for a block, and a short last one
        work = on_both(lambda m: fitted(m, SEQUENCES, TARGETS, 13), lambda: made(LAYERS[name]))
        assert_same(work)
        assert "loop" in device.driver().launched
        assert not any("step" in kernel for kernel in device.driver().launched)


def launches(layers):
    model = made(layers).to("gpu")
    device.driver().launched.clear()
    model.predict(SEQUENCES, verbose=0)
    return set(device.driver().launched)


def test_other_loops_are_launched_op_by_op(emulated, monkeypatch):
    assert "loop" not in launches(lambda: [SimpleRNN(4)])
    assert "loop" not in launches(lambda: [LSTM(182)])  # the weights are too large
    monkeypatch.setattr(loops, "_BLOCKS", 2)
    assert "loop" not in launches(lambda: [LSTM(4)])  # the rows are too many
