"""The safetensors reader and writer: round trips, damage of every kind, crashes, full disks."""

import contextlib
import errno
import importlib.util
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

from fastdl import _safetensors as st

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8"]


def samples(dtype):
    """Arrays of a type: 0-d, empty, one element, odd shapes."""
    rng = np.random.default_rng(0)
    for shape in [(), (0,), (3, 0, 2), (1,), (7,), (2, 3), (3, 1, 5)]:
        bits = rng.integers(0, 2 if dtype == "?" else 256, (*shape, np.dtype(dtype).itemsize))
        yield bits.astype("u1").view(dtype).reshape(shape)


def equal(a, b):
    """Whether type, shape and bytes are equal (NaN included)."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.safetensors"


@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip(path, dtype):
    tensors = {f"t{i}": a for i, a in enumerate(samples(dtype))}
    st.save(path, tensors, {"k": "v", "é": '"\\\n'})
    loaded, metadata = st.load(path, require_checksum=True)
    assert metadata == st.load_metadata(path) == {"k": "v", "é": '"\\\n'}
    assert b"sha256" in path.read_bytes()
    assert list(loaded) == list(tensors)
    for name, array in tensors.items():
        assert equal(loaded[name], array), name
        assert loaded[name].flags.writeable and loaded[name].flags.owndata


def test_layouts_and_byte_orders(path):
    a = np.arange(24, dtype="f4").reshape(4, 6)
    views = {
        "strided": a[::2, ::-3],
        "fortran": np.asfortranarray(a),
        "broadcast": np.broadcast_to(a[0], (3, 6)),
        "swapped": a.astype(">f4"),
        "misaligned": np.frombuffer(b"x" + a.tobytes(), "f4", offset=1).reshape(4, 6),
        "list": [1, 2],
    }
    st.save(path, views)
    for name, array in st.load(path)[0].items():
        np.testing.assert_array_equal(array, views[name])
        assert array.dtype.isnative


def test_data_is_aligned_and_the_file_is_deterministic(path):
    tensors = {"b": np.ones(3, "u1"), "a": np.ones(3, "f8"), "c": np.ones(3, "f4")}
    st.save(path, tensors)
    first = path.read_bytes()
    st.save(path, tensors)
    assert path.read_bytes() == first
    length = int.from_bytes(first[:8], "little")
    header = json.loads(first[8 : 8 + length])
    for name, array in tensors.items():
        assert (8 + length + header[name]["data_offsets"][0]) % array.itemsize == 0


def test_nothing_to_save(path):
    st.save(path, {})
    assert st.load(path) == ({}, {})


def test_bfloat16_becomes_float32(path):
    values = np.array([0.0, -1.5, 3.0e38, np.inf, np.nan, 2**-130], "f4")
    values = (values.view("u4") & 0xFFFF0000).view("f4")
    halves = (np.tile(values, 50_000).view("u4") >> 16).astype("<u2")
    write(path, {"x": entry("BF16", [halves.size], 0, halves.nbytes)}, halves.tobytes())
    assert equal(st.load(path)[0]["x"], np.tile(values, 50_000))


@pytest.mark.parametrize(
    ("tensors", "metadata", "error", "says"),
    [
        ({"x": np.array(["a"])}, {}, TypeError, "'x'.*<U1"),
        ({"x": np.array([object()])}, {}, TypeError, "object"),
        ({"x": np.zeros(2, "c16")}, {}, TypeError, "complex128"),
        ({"x": np.zeros(2, "M8[s]")}, {}, TypeError, "datetime64"),
        ({1: np.zeros(2)}, {}, TypeError, "string"),
        ({"__metadata__": np.zeros(2)}, {}, ValueError, "reserved"),
        ({"\ud800": np.zeros(2)}, {}, ValueError, "Unicode"),
        ({}, {"a": 1}, TypeError, "strings to strings"),
        ({}, {"sha256": "0"}, ValueError, "reserved"),
    ],
)
def test_what_cannot_be_saved_leaves_the_old_file(path, tensors, metadata, error, says):
    path.write_bytes(b"old")
    with pytest.raises(error, match=says):
        st.save(path, tensors, metadata)
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == [path.name]


# --- damaged and hostile files


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def write(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.fixture
def small(path):
    st.save(path, {"w": np.arange(3, dtype="f4"), "n": np.array(5)}, {"made_by": "test"})
    return path.read_bytes()


def refused(path):
    """Whether loading gives the one clean error, naming the file."""
    try:
        st.load(path)
    except ValueError as error:
        return str(path) in str(error)
    return False


def test_every_truncation(path, small):
    for length in range(len(small)):
        path.write_bytes(small[:length])
        assert refused(path), length
    path.write_bytes(small + b"\0")
    assert refused(path)


def test_every_bit_flipped(path, small):
    whole = st.load(path)
    data_start = 8 + int.from_bytes(small[:8], "little")
    survivors = set()
    for bit in range(8 * len(small)):
        damaged = bytearray(small)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        if not refused(path):
            tensors, metadata = st.load(path)
            assert bit // 8 < data_start
            # Only the checksum's own key may change: the rest then is as it was.
            extra = set(metadata) - set(whole[1])
            assert len(extra) == 1 and len(next(iter(extra))) == len(st.CHECKSUM_KEY)
            assert all(equal(tensors[k], v) for k, v in whole[0].items())
            with pytest.raises(ValueError, match="checksum is missing"):
                st.load(path, require_checksum=True)
            survivors.add(bit // 8)
    assert len(survivors) <= len(st.CHECKSUM_KEY)


F4 = entry("F32", [2], 0, 8)
HOSTILE = {
    "list": (b"[]", b"", "not a JSON object"),
    "space before": (b" {}", b"", "not a JSON object"),
    "empty header": (b"", b"", "not a JSON object"),
    "text after": (b"{}{}", b"", "malformed"),
    "not UTF-8": (b'{"\xff":{}}', b"", "UTF-8"),
    "surrogate": (b'{"\\ud800":{}}', b"", "Unicode"),
    "control character": (b'{"a\n":{}}', b"", "malformed"),
    "duplicate tensor": (
        b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},'
        b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"x",
        "twice",
    ),
    "duplicate field": (
        b'{"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}}',
        b"x",
        "twice",
    ),
    "float": (b'{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}', b"x", "malformed"),
    "negative": (b'{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}', b"x", "malformed"),
    "huge number": (b'{"a":{"dtype":"U8","shape":[' + b"9" * 9999 + b"]}}", b"", "malformed"),
    "null": (b'{"a":null}', b"", "malformed"),
    "65 axes": ({"a": entry("U8", [1] * 65, 0, 1)}, b"x", "malformed"),
    "deep lists": (b'{"a":' + b"[" * 100_000, b"", "malformed"),
    "deep objects": (b'{"a":' * 100_000, b"", "nested too deeply"),
    "metadata number": ({"__metadata__": {"a": [1]}}, b"", "strings to strings"),
    "metadata string": ({"__metadata__": "a"}, b"", "strings to strings"),
    "entry string": ({"a": "b"}, b"", "has not just"),
    "missing field": ({"a": {"dtype": "U8", "shape": [1]}}, b"x", "has not just"),
    "extra field": ({"a": {**F4, "more": [1]}}, b"x" * 8, "has not just"),
    "unknown type": ({"a": entry("F8_E4M3", [1], 0, 1)}, b"x", "not supported"),
    "type as list": ({"a": entry([1], [1], 0, 1)}, b"x", "not supported"),
    "three offsets": ({"a": {**F4, "data_offsets": [0, 8, 8]}}, b"x" * 8, "offsets"),
    "wrong size": ({"a": entry("F32", [3], 0, 8)}, b"x" * 8, "needs 12 bytes"),
    "reversed": ({"a": entry("U8", [0], 8, 0)}, b"x" * 8, "needs 0 bytes"),
    "overlap": ({"a": F4, "b": entry("F32", [2], 4, 12)}, b"x" * 12, "overlaps"),
    "same place": ({"a": F4, "b": F4}, b"x" * 8, "overlaps"),
    "hole": ({"a": F4, "b": entry("F32", [2], 12, 20)}, b"x" * 20, "hole"),
    "hole at start": ({"a": entry("F32", [2], 4, 12)}, b"x" * 12, "hole"),
    "beyond the file": ({"a": entry("U8", [10**12], 0, 10**12)}, b"x" * 8, "but the file has 8"),
    "left over": ({"a": F4}, b"x" * 9, "but the file has 9"),
    "overflow": ({"a": entry("F32", [2**62, 2**62], 0, 0)}, b"", "beyond 64 bits"),
    "overflow with 0": ({"a": entry("F32", [2**62, 2**62, 0], 0, 0)}, b"", "beyond 64 bits"),
    "wrapped to right": ({"a": entry("U8", [2**32, 2**32, 1], 0, 0)}, b"", "beyond 64 bits"),
    "bool of 2": ({"a": entry("BOOL", [2], 0, 2)}, b"\1\2", "other than 0 and 1"),
    "wrong checksum": ({"a": F4, "__metadata__": {"sha256": "0" * 64}}, b"x" * 8, "damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(path, name):
    header, data, says = HOSTILE[name]
    write(path, header, data)
    with pytest.raises(ValueError, match=says) as caught:
        st.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, st.MAX_HEADER + 1, 10_000])
def test_header_length_beyond_the_file(path, length):
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="claims"):
        st.load(path)


def test_no_regular_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        st.load(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        st.load(tmp_path)
    with pytest.raises(ValueError, match="regular"):
        st.load("/dev/null")


def peak(function):
    tracemalloc.start()
    try:
        with contextlib.suppress(ValueError):
            function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_at_most_twice_the_file(path):
    for dtype in ("f4", "?"):
        st.save(path, {f"t{i}": np.zeros(1_000_000, dtype) for i in range(3)})
        assert peak(lambda: st.load(path)) < 1.1 * os.path.getsize(path) + 100_000
    write(path, {"x": entry("BF16", [2_000_000], 0, 4_000_000)}, bytes(4_000_000))
    assert peak(lambda: st.load(path)) < 2.0 * os.path.getsize(path) + 2_000_000
    write(path, b'{"a":[' + b"[]," * 1_000_000)
    assert peak(lambda: st.load(path)) < 3 * os.path.getsize(path)


# --- files of the safetensors package, where it is installed


@pytest.mark.skipif(importlib.util.find_spec("safetensors") is None, reason="no safetensors")
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "c8"])
def test_parity_with_the_safetensors_package(path, dtype):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    tensors = {f"t{i}": a for i, a in enumerate(samples(dtype))}
    st.save(path, tensors, {"a": "b"})
    theirs = load_file(path)
    assert all(equal(theirs[name], array) for name, array in tensors.items())
    with safe_open(path, "numpy") as file:
        assert file.metadata()["a"] == "b"
    save_file({name: np.ascontiguousarray(a) for name, a in tensors.items()}, path, {"a": "b"})
    ours, metadata = st.load(path)
    assert metadata == {"a": "b"}
    assert all(ours[name].tobytes() == array.tobytes() for name, array in tensors.items())


# --- crashes and full disks


def test_mode_and_links_are_kept(tmp_path, path):
    path.write_bytes(b"old")
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path.name)
    st.save(link, {"a": np.ones(2)})
    assert link.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert "a" in st.load(path)[0]


def test_a_new_file_follows_the_umask(path):
    old = os.umask(0o027)
    try:
        st.save(path, {})
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("target", "error"),
    [("missing/x", FileNotFoundError), (".", IsADirectoryError), ("/dev/null", OSError)],
)
def test_targets_that_cannot_be(tmp_path, target, error):
    target = os.path.join(tmp_path, target)
    with pytest.raises(error, match="cannot write the file") as caught:
        st.save(target, {"a": np.ones(2)})
    assert caught.value.filename == target and os.listdir(tmp_path) == []
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_read_only_folder(tmp_path, path):
    if os.geteuid() == 0:
        pytest.skip("the superuser may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="cannot write the file"):
        st.save(path, {})


def test_disk_full_100_times(path):
    """A limit on file sizes stands in for the end of the disk, at 100 places of the file."""
    st.save(path, {"old": np.arange(5)})
    old, new = path.read_bytes(), {"new": np.arange(4000), "more": np.ones(1000, "f4")}
    whole = path.parent / "whole"
    st.save(whole, new)
    size = whole.stat().st_size
    whole.unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in range(0, size, size // 99):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(OSError, match="cannot write the file") as caught:
                st.save(path, new)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caught.value.filename == str(path)
        assert path.read_bytes() == old and os.listdir(path.parent) == [path.name]


def test_a_really_full_disk(tmp_path):
    """The same on a file system of 64 KB, where this user may mount one."""
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        pytest.skip("mounting a file system needs the superuser of Linux")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted here")
    try:
        path = tmp_path / "file"
        st.save(path, {"a": np.ones(2000)})
        for _ in range(3):
            with pytest.raises(OSError, match="No space left") as caught:
                st.save(path, {"b": np.ones(7000)})
            assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)
            assert os.listdir(tmp_path) == ["file"] and "a" in st.load(path)[0]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_an_interrupted_save_leaves_nothing(path, monkeypatch):
    st.save(path, {"old": np.arange(5)})

    def interrupt(fd):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        st.save(path, {"new": np.arange(5)})
    assert os.listdir(path.parent) == [path.name] and "old" in st.load(path)[0]


WRITER = """
import sys, numpy as np
from fastdl import _safetensors as st
print("ready", flush=True)
k = 0
while True:
    k += 1
    st.save(sys.argv[1], {"k": np.full(50_000, k), "n": np.arange(k % 7)})
"""


def test_kill_9_while_writing(path):
    """A writer killed at random times: what is there is always one whole file."""
    rng = np.random.default_rng(int(os.environ.get("FASTDL_TEST_SEED", "0")))
    for _ in range(int(os.environ.get("FASTDL_TEST_KILLS", "6"))):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0, 0.05))
            writer.send_signal(signal.SIGKILL)
        if path.exists():
            tensors = st.load(path, require_checksum=True)[0]
            assert len(set(tensors["k"])) == 1 and len(tensors["n"]) == tensors["k"][0] % 7
    assert path.exists()
