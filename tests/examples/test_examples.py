"""Every example runs, and shows what it says."""

import importlib.util
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


def test_overfitting_is_there_and_every_remedy_helps(example, tmp_path):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    picture = tmp_path / "curves.png" if importlib.util.find_spec("matplotlib") else None
    found = example("overfitting").main(picture=picture, verbose=False)
    assert picture is None or picture.read_bytes().startswith(b"\x89PNG")
    gaps = {name: others - own for name, (own, others, *_) in found.items()}
    own, others, accuracy, _ = found["none"]
    assert others > 10 * own and accuracy > 0.9
    assert all(gap < gaps["none"] for name, gap in gaps.items() if name != "none"), gaps


def test_gradients_vanish_explode_and_are_cured(example):
    found = example("gradients").main(verbose=False)
    assert found["sigmoid"][0] < 1e-6 * found["sigmoid"][-1]
    assert 0 < found["relu, small weights"][0] < 1e-6
    for cured in ("relu, He's weights", "sigmoid, normalised"):
        assert found[cured][0] > 1e-3 * found[cured][-1]
    assert found["relu, large weights"][0] > 1e3
    assert np.linalg.norm(found["the same, clipped"]) <= 1.001


def test_rate_and_batch_size_trade_off(example):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    accuracy = example("rate_and_batch").main(epochs=3, sizes=(8, 256), verbose=False)
    assert accuracy.shape == (4, 2)
    assert accuracy[1, 0] > accuracy[1, 1] + 0.1  # a low rate needs many updates
    assert accuracy[2, 1] > accuracy[0, 1] + 0.1


def test_searches_find_better_than_the_worst(example):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    found = example("search").main(epochs=2, folds=2, count=3, verbose=False)
    assert len(found["grid"]) == 6 and len(found["random"]) == 3
    for candidates in found.values():
        scores = [score for _, score in candidates]
        assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1]
    assert found["grid"][0][0]["units"] > 8


def test_gan_makes_every_digit(example, tmp_path):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    pytest.importorskip("matplotlib", reason="the samples are written by matplotlib")
    picture = tmp_path / "samples.png"
    sure, classes, samples = example("gan").main(
        epochs=25, width=128, rate=1e-3, picture=picture, verbose=False
    )
    assert samples.shape == (1000, 64) and samples.min() >= 0 and samples.max() <= 1
    assert sure > 0.6 and classes.min() >= 0.05
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_lstm_reads_digits_row_by_row(example):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    history, accuracy = example("lstm_digits").main(epochs=10, verbose=0)
    assert len(history.history["loss"]) == 10
    assert accuracy > 0.87  # 0.89 to 0.93 by the seed


def test_a_convlstm_reads_digits_in_strips(example):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    history, accuracy = example("recurrent_cnn_digits").main(epochs=10, verbose=0)
    assert len(history.history["loss"]) == 10
    assert accuracy > 0.9


def test_peers_are_timed_on_the_same_network(example, capsys):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    rows = np.random.default_rng(0).random((100, 28, 28, 1), dtype=np.float32)
    labels = np.arange(100) % 10
    a3, peers = example("a3_cnn_digits"), example("_peers")
    peers.report(123.4, rows, labels, a3.torch_network)
    line = capsys.readouterr().out
    assert line.startswith("a step of 32 rows: fastdl 123 us, PyTorch ") and "Keras" not in line
    import torch

    theirs = sum(p.numel() for p in a3.torch_network(torch.nn).parameters())
    ours = a3.network(fastdl)
    ours.build((None, 28, 28, 1))
    assert theirs == ours.count_params()
    step = peers.torch_step(
        example("adding_problem").torch_network,
        rows[:, :, :2, 0].copy(),
        rows[:, 0, :1, 0],
        steps=3,
    )
    assert step > 0


@pytest.mark.parametrize("name", ["a3_cnn_digits", "lstm_digits", "recurrent_cnn_digits"])
def test_digits_that_are_not_there_are_named(example, tmp_path, name):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        example(name).main(str(tmp_path), epochs=1, verbose=0)


def test_the_adding_problem_is_learned(example):
    error = example("adding_problem").main(times=30, rows=4000, goal=0.02, verbose=False)
    assert error < 0.02  # the mean gives 0.167
