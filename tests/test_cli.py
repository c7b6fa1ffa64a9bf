"""The command line: runs in a process of its own, mistakes by `main` in this one."""

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fastdl.__main__ import main

MNIST = os.environ.get("FASTDL_TEST_MNIST", "")


def fastdl(*arguments, cwd=None, **environment):
    """Run ``python -m fastdl`` and return the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "fastdl", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path()} | environment,
    )


@pytest.fixture
def here(capsys):
    """Run the command line in this process, for the same kind of result."""

    def run(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run


def path():
    """Make the process import what this process imports."""
    import fastdl as package

    return os.pathsep.join([str(Path(package.__file__).parent.parent), *sys.path])


def refused(process, *says):
    """Check for the one clear line and exit code 2."""
    assert process.returncode == 2, process
    assert process.stdout == "" and "Traceback" not in process.stderr
    assert len(process.stderr.splitlines()) == 1 and process.stderr.startswith("fastdl: ")
    for text in says:
        assert str(text) in process.stderr


def idx(array):
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.astype("u1").tobytes())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of 500 easy images: class k has a bright row k."""
    folder = tmp_path_factory.mktemp("idx")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 500)
    images = rng.integers(0, 60, (500, 10, 6))
    images[np.arange(500), labels] += 180
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(idx(images))
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A model trained on them, and what the command said."""
    model = tmp_path_factory.mktemp("model") / "m.fastdl"
    process = fastdl("train", "--data", data, "--epochs", 30, "--hidden", 16, "--output", model)
    assert process.returncode == 0, process.stderr
    return model, process.stdout


def test_train_says_what_it_does(trained, data):
    out = trained[1]
    for text in (str(data), "400 rows", "100 to test", "60-16-10", "instruction set: "):
        assert text in out
    epochs = [line for line in out.splitlines() if line.startswith("Epoch ")]
    assert len(epochs) == 30 and all("/step - " in line for line in epochs)
    assert "val_accuracy: " in epochs[-1]
    assert float(out.split("validation accuracy ")[1].split("%")[0]) >= 95
    assert f"saved {trained[0]}" in out


def test_train_is_seeded_whatever_the_threads(data, tmp_path):
    for name, seed, threads in (("a", 1, 1), ("b", 1, 3), ("c", 2, 1)):
        options = ["--epochs", 1, "--seed", seed, "--threads", threads, "--output", name]
        process = fastdl("train", "--data", data, *options, cwd=tmp_path)
        assert process.returncode == 0, process.stderr
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b and a != c


def test_train_on_the_embedded_digits(tmp_path):
    pytest.importorskip("sklearn")
    process = fastdl("train", "--epochs", 5, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "digits.fastdl").exists()
    assert float(process.stdout.split("validation accuracy ")[1].split("%")[0]) >= 90


@pytest.mark.skipif(not MNIST, reason="FASTDL_TEST_MNIST names no folder of MNIST files")
def test_train_on_mnist(tmp_path):
    process = fastdl("train", "--data", MNIST, "--epochs", 5, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert float(process.stdout.split("validation accuracy ")[1].split("%")[0]) >= 94


def test_predict_a_folder(trained, data, tmp_path):
    process = fastdl("predict", trained[0], data, "--output", tmp_path / "p.npy")
    assert process.returncode == 0, process.stderr
    classes = np.array(process.stdout.split(), dtype=int)
    output = np.load(tmp_path / "p.npy")
    assert output.shape == (100, 10) and np.array_equal(output.argmax(axis=1), classes)
    accuracy = float(process.stderr.split("accuracy ")[1].split("%")[0])
    assert accuracy == float(trained[1].split("validation accuracy ")[1].split("%")[0])


def test_predict_an_array(trained, data, tmp_path):
    from fastdl.datasets import load_idx

    x = load_idx(data)[1][0]
    np.save(tmp_path / "images.npy", x)
    np.save(tmp_path / "rows.npy", x.reshape(100, -1).astype("f8") / 255)
    folder = fastdl("predict", trained[0], data).stdout
    assert len(folder.splitlines()) == 100
    assert fastdl("predict", trained[0], tmp_path / "images.npy").stdout == folder
    assert fastdl("predict", trained[0], tmp_path / "rows.npy").stdout == folder


def test_predict_into_a_closed_pipe(trained, data):
    with subprocess.Popen(
        [sys.executable, "-m", "fastdl", "predict", str(trained[0]), str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path()},
    ) as process:
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_info(trained):
    process = fastdl("info")
    assert process.returncode == 0 and "instruction set" in process.stdout.lower()
    process = fastdl("info", trained[0])
    assert process.returncode == 0 and "1,146" in process.stdout.replace("1146", "1,146")


def test_bench(tmp_path):
    file = tmp_path / "bench.json"
    process = fastdl("bench", "--seconds", 0.01, "--threads", 1, "--json", file)
    assert process.returncode == 0, process.stderr
    assert "784-128-10" in process.stdout and "of peak" in process.stdout
    figures = json.loads(file.read_text())
    for row in figures["rows"]:
        assert row["error"] < 1e-3 and 0 < row["share_of_peak"] < 1.5
        assert str(row["batch"]) in process.stdout


def test_bench_compares_with_numpy(monkeypatch):
    from fastdl import Model, _bench

    assert _bench.check((2, 8, 2), 4) < 1e-4
    right = Model.predict
    monkeypatch.setattr(Model, "predict", lambda *arguments: 1.01 * right(*arguments))
    with pytest.raises(ArithmeticError, match="differ"):
        _bench.check((2, 8, 2), 4)


def test_bench_draws(tmp_path):
    pytest.importorskip("matplotlib")
    from fastdl import _bench

    row = {"widths": (2, 8, 2), "batch": 4, "step_seconds": 1e-6, "flops_per_second": 1e9}
    _bench.draw({"rows": [row], "fma_flops": 1e11}, tmp_path / "bench.svg")
    assert "<svg" in (tmp_path / "bench.svg").read_text()


@pytest.mark.parametrize("command", [[], ["train"], ["predict"], ["info"], ["bench"]])
def test_help(here, command):
    process = here(*command, "--help")
    assert process.returncode == 0 and process.stdout.startswith("usage: fastdl")
    assert max(map(len, process.stdout.splitlines())) <= 100


def test_nothing_and_version():
    assert fastdl().stdout == fastdl("--help").stdout
    assert fastdl("--version").stdout.startswith("fastdl ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--epochs", "0"],
        ["train", "--batch-size", "x"],
        ["train", "--learning-rate", "-1"],
        ["train", "--threads", "0"],
        ["train", "--backend", "tpu"],
        ["trian"],
        ["predict"],
    ],
)
def test_bad_options(here, arguments):
    process = here(*arguments)
    assert process.returncode == 2 and "usage: " in process.stderr
    assert "Traceback" not in process.stderr


def test_wrong_paths(here, trained, data, tmp_path):
    missing = tmp_path / "missing"
    refused(here("train", "--data", missing), missing, "no such folder")
    refused(here("train", "--data", tmp_path), tmp_path, "no MNIST-format files")
    refused(here("train", "--data", data, "--output", missing / "m"), missing)
    refused(here("predict", missing, data), missing, "No such file")
    refused(here("predict", trained[0], missing), missing, "No such file")
    refused(here("info", missing), missing, "No such file")
    refused(here("info", tmp_path), tmp_path, "directory")


def test_damaged_files(here, trained, data, tmp_path):
    whole = trained[0].read_bytes()
    broken = tmp_path / "broken"
    for content in (b"", whole[:100], whole[:-1], whole[:-1] + b"\xff", os.urandom(500)):
        broken.write_bytes(content)
        refused(here("info", broken), broken)
    refused(here("predict", trained[0], broken), broken, ".npy")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    refused(here("predict", trained[0], tmp_path / "objects.npy"), "objects.npy")
    np.save(tmp_path / "wide.npy", np.zeros((3, 7)))
    refused(here("predict", trained[0], tmp_path / "wide.npy"), "7")
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        (tmp_path / name).write_bytes((data / name).read_bytes()[:-9])
    refused(here("train", "--data", tmp_path), "t10k-images", "gzip")


def test_a_missing_extra(tmp_path):
    (tmp_path / "sklearn.py").write_text("raise ImportError('none', name='sklearn')\n")
    process = fastdl("train", cwd=tmp_path)
    refused(process, "pip install 'fastdl[demo]'")


def test_control_c(data, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "fastdl", "train", "--data", data, "--epochs", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path()},
    )
    with process:
        while b"Epoch 3/" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        error = process.communicate(timeout=20)[1]
    assert process.returncode == 130 and error.split() == [b"interrupted"]
    assert time.monotonic() - start < 5
    assert os.listdir(tmp_path) == []
