"""Prediction from Python, 784-128-10: one row, where the call is the cost, and a thousand."""

from __future__ import annotations

import numpy as np
import pytest

from bench.peers.rows import ROWS, data, initial_weights

ROW = ROWS["S4"]


@pytest.mark.parametrize("rows", [1, 1000])
@pytest.mark.parametrize("library", ["fastdl", "torch"])
def test_predict(benchmark, library, rows, request):
    x = data(ROW)[0][:rows]
    weights = initial_weights(ROW)
    if library == "fastdl":
        request.getfixturevalue("cpu_models")
        from bench.peers.fastdl_fit import FastdlFit

        model = FastdlFit(ROW, weights, *data(ROW), threads=1).model

        def run():
            return model.predict(x, verbose=0)

        got = run()
    else:
        torch = request.getfixturevalue("torch")
        network = torch.nn.Sequential(
            torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10),
            torch.nn.Softmax(dim=1),
        )  # fmt: skip
        for parameter, value in zip(network.parameters(), weights, strict=True):
            parameter.data = torch.tensor(value.T.copy())
        network.eval()
        inputs = torch.tensor(x)

        def run():
            with torch.inference_mode():
                return network(inputs)

        got = run().numpy()
    hidden = np.maximum(x.astype(np.float64) @ weights[0] + weights[1], 0)
    odds = np.exp(hidden @ weights[2] + weights[3])
    np.testing.assert_allclose(got, odds / odds.sum(axis=1, keepdims=True), atol=1e-5)
    benchmark.group = f"predict, {rows} row{'s' * (rows > 1)}, 784-128-10"
    benchmark(run)
