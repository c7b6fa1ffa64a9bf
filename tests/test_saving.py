"""Model files: dicts in, dicts out, and one clean error for everything else."""

import json
import math

import numpy as np
import pytest

from fastdl import _safetensors, saving

ARCHITECTURE = {"class_name": "Sequential", "config": {"layers": [{"units": 3, "name": "é"}]}}
STATE = {
    "step": 12,
    "random": 2**128 - 1,
    "best": math.inf,
    "rate": 0.1,
    "history": {"loss": [1.0, 0.5]},
    "none": None,
    "done": True,
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.fastdl"


def test_round_trip(path):
    tensors = {"dense/kernel": np.eye(3, dtype="f4"), "adam/m": np.zeros((3, 3))}
    saving.save_model(path, ARCHITECTURE, tensors, STATE)
    model = saving.read_model(path)
    assert model.architecture == ARCHITECTURE and model.state == STATE
    assert list(model.tensors) == list(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(model.tensors[name], array)
    assert list(saving.load_tensors(path)) == list(tensors)


def test_numpy_scalars_and_tuples_become_plain(path):
    state = {"a": np.float32(0.5), "b": np.int64(3), "c": np.True_, "d": (1, (2,)), "e": math.nan}
    saving.save_model(path, {}, {}, state)
    got = saving.read_model(path).state
    assert math.isnan(got.pop("e"))
    assert got == {"a": 0.5, "b": 3, "c": True, "d": [1, [2]]}
    assert type(got["c"]) is bool


def test_tensors_alone(path):
    saving.save_tensors(path, {"a": np.arange(3)})
    assert saving.load_tensors(path)["a"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="not a fastdl model"):
        saving.read_model(path)


deep: list = []
for _ in range(200):
    deep = [deep]


@pytest.mark.parametrize(
    ("state", "error", "says"),
    [
        ({"a": {1: 2}}, TypeError, r"state\['a'\] has the key 1"),
        ({"a": [0, {"b": {1, 2}}]}, TypeError, r"state\['a'\]\[1\]\['b'\] is a set"),
        ({"a": np.zeros(3)}, TypeError, "belong into the tensors"),
        ({"a": 1j}, TypeError, "complex"),
        ([1], TypeError, "must be a dict"),
        ({"a": deep}, ValueError, "deep"),
        ({"a": "x" * 17_000_000}, ValueError, "too large"),
    ],
)
def test_what_json_has_not(path, state, error, says):
    with pytest.raises(error, match=says):
        saving.save_model(path, {}, {}, state)
    assert not path.exists()


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"format": "pt"}, "not a fastdl model"),
        ({"format": "fastdl"}, "not a fastdl model"),
        ({"format_version": "2"}, "newer fastdl"),
        ({"format_version": "one"}, "not a number"),
        ({"architecture": "[1]"}, "architecture is not a JSON object"),
        ({"architecture": "{"}, "architecture is malformed"),
        ({"architecture": "[" * 100_000}, "architecture is malformed"),
        ({"state": "1" * 5000}, "state is malformed"),
        ({"state": " " * 16_000_001}, "state is too large"),
    ],
)
def test_hostile_metadata(path, metadata, says):
    if metadata.get("format"):
        whole = metadata
    else:
        whole = {"format": "fastdl", "format_version": "1", "architecture": "{}"} | metadata
    _safetensors.save(path, {}, whole)
    with pytest.raises(ValueError, match=says) as caught:
        saving.read_model(path)
    assert str(path) in str(caught.value)


def test_the_checksum_is_required(path):
    header = {"__metadata__": {"format": "fastdl", "format_version": "1", "architecture": "{}"}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(ValueError, match="checksum is missing"):
        saving.read_model(path)


def test_missing_file(path):
    with pytest.raises(FileNotFoundError, match=r"model\.fastdl"):
        saving.read_model(path)
