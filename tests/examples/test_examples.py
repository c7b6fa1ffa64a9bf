"""Every example runs, and shows what it says."""

import importlib
import pathlib
import sys

import numpy as np
import pytest

import fastdl

FOLDER = pathlib.Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no examples beside the tests")


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in [p.stem for p in FOLDER.glob("*.py")]:
        sys.modules.pop(name, None)


def test_a0_loop_and_fit_are_the_float64_reference(example):
    losses, fitted, weights, (x, y) = example("a0_regression_loop").main(verbose=False)
    w1, b1, w2, b2 = (w.astype(np.float64) for w in weights)
    want = []
    for _ in range(100):
        h = x @ w1 + b1
        a = np.maximum(h, 0)
        error = a @ w2 + b2 - y
        want.append(np.mean(error**2))
        g = 2 * error / len(x)
        gh = (g @ w2.T) * (h > 0)
        w1, b1 = w1 - 0.01 * x.T @ gh, b1 - 0.01 * gh.sum(0)
        w2, b2 = w2 - 0.01 * a.T @ g, b2 - 0.01 * g.sum(0)
    np.testing.assert_allclose(losses, want, rtol=1e-5)
    np.testing.assert_allclose(losses, fitted, rtol=1e-7)  # the tape's loss is a float32


def test_a1_learns_the_four_points(example):
    _, losses, predictions = example("a1_four_points").main(verbose=False)
    assert len(losses) == 1000 and losses[-1] < losses[0]
    assert predictions.shape == (4, 1)


def test_a2_finds_the_line_and_refuses_the_wrong_shape(example):
    weight, bias, message = example("a2_gradient_descent").main(verbose=False)
    assert weight[0, 0] == pytest.approx(3, abs=0.1) and bias[0] == pytest.approx(0, abs=0.1)
    assert "sgd_update" in message and "(100,)" in message


def test_a3_learns_digits(example):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    history, accuracy = example("a3_cnn_digits").main(epochs=3, verbose=0)
    assert len(history.history["loss"]) == 3
    assert accuracy > 0.95


def test_a3_says_which_files_it_misses(example, tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        example("a3_cnn_digits").main(str(tmp_path), epochs=1, verbose=0)


def test_a4_learns_digits(example):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    history, accuracy = example("a4_mlp_digits").main(epochs=10, verbose=0)
    assert len(history.history["loss"]) == 10
    assert accuracy > 0.93


def test_a5_learns_digits_and_follows_pytorch(example):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    module = example("a5_module_loop")
    _, accuracy = module.main(epochs=6, verbose=False)
    assert accuracy > 0.93
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    (x, y), _ = example("_digits").load()
    fastdl.set_seed(1)
    ours = module.Net()
    ours.build((None, 64))
    net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    pairs = ((ours.first, net[0]), (ours.second, net[2]))
    with torch.no_grad():
        for layer, linear in pairs:
            linear.weight.copy_(torch.from_numpy(layer.kernel.numpy().T))
            linear.bias.copy_(torch.from_numpy(layer.bias.numpy()))
    batches = [
        (x[rows], y[rows].astype(np.int64))
        for rows in (np.arange(32 * step, 32 * step + 32) % len(x) for step in range(50))
    ]
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    wanted = []
    for images, labels in batches:
        optimizer.zero_grad()
        out = net(torch.from_numpy(images))
        loss = torch.nn.functional.cross_entropy(out, torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        wanted.append(loss.item())
    losses = module.train(ours, fastdl.optimizers.Adam(1e-3, convention="torch"), batches)
    np.testing.assert_allclose(losses, wanted, rtol=1e-4)
    for layer, linear in pairs:
        np.testing.assert_allclose(
            layer.kernel.numpy(), linear.weight.detach().numpy().T, atol=1e-5
        )
        np.testing.assert_allclose(layer.bias.numpy(), linear.bias.detach().numpy(), atol=1e-5)
