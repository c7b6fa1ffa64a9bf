"""The safetensors file format in plain NumPy: named arrays and a dict of strings in one file.

The format: 8 bytes, the header's length as a little-endian integer; the header, a JSON object
``{"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {...}}``;
the arrays' bytes, little-endian, in C order, without holes. Nothing in it can run code.

A file may come from anywhere, so the reader believes nothing: each number is checked against the
file's real size before anything is allocated, and the arrays are read straight into place. Beyond
the format, the writer keeps a SHA-256 of header and data in the metadata, which other readers
ignore and ours verifies.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl._files import replacing

__all__ = ["CHECKSUM_KEY", "MAX_HEADER", "load", "load_metadata", "save"]

#: The longest header that is read or written, in bytes (the format's own limit).
MAX_HEADER = 100_000_000

#: The metadata entry that holds the checksum.
CHECKSUM_KEY = "sha256"

_METADATA = "__metadata__"

_DTYPES = {
    "BOOL": "?", "U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
    "BF16": "<u2",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items() if name != "BF16"}

# A header is made of these alone: strings, lists of up to 64 whole numbers, braces, commas, colons.
# Checked before the JSON parser runs, so that a hostile header cannot make it build large objects.
_TOKEN = re.compile(
    r'"(?:[^"\\]++|\\.)*+"|\[\s*(?:\d{1,19}\s*(?:,\s*\d{1,19}\s*){0,63})?\]|[{}:,]|[ \t\r\n]++'
)


class _Entry(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Header(NamedTuple):
    entries: dict[str, _Entry]  # in the header's order
    metadata: dict[str, str]  # without the checksum
    checksum: str | None

    def fingerprint(self) -> bytes:
        """Return what the checksum covers of the header: all it says, in one canonical form."""
        facts = [sorted(self.metadata.items()), sorted(self.entries.items())]
        return json.dumps(facts, separators=(",", ":")).encode("ascii")


def save(
    path: str | os.PathLike[str],
    tensors: Mapping[str, ArrayLike],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named arrays to a safetensors file, atomically and with a checksum.

    Parameters
    ----------
    path : path
        The file. The old one stays whole until the new one is on the disk.
    tensors : mapping of str to array
        bool, (u)int8 to (u)int64, float16 to float64 or complex64, of any shape and layout.
    metadata : mapping of str to str, optional
        Kept in the header. The key ``"sha256"`` is the checksum's.

    Raises
    ------
    TypeError
        If an array is of another type, or a name or metadata is no string.
    ValueError
        If a name is reserved or the header grows beyond 100 MB.
    OSError
        If the file cannot be written; it names ``path``, and the old file is as it was.

    Examples
    --------
    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> save(path, {"kernel": np.eye(2)}, {"made_by": "me"})
    >>> load(path)
    ({'kernel': array([[1., 0.],
           [0., 1.]])}, {'made_by': 'me'})
    """
    arrays = {name: _checked_array(name, array) for name, array in tensors.items()}
    plain = _checked_metadata(metadata or {})
    # Large elements first, as the reference writer does: then each array is aligned in the file.
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    offset, placed = 0, {}
    for name in order:
        array = arrays[name]
        dtype = _NAMES[array.dtype.newbyteorder("<")]
        placed[name] = _Entry(dtype, array.shape, offset, offset + array.nbytes)
        offset += array.nbytes
    facts = _Header({name: placed[name] for name in arrays}, plain, None)
    digest = _sha256(facts.fingerprint())
    blank = _header_bytes(facts, digest.hexdigest())
    with replacing(path) as file:
        file.write(blank)
        for name in order:
            data = _little_endian_bytes(arrays[name])
            digest.update(data)
            file.write(data)
        file.seek(0)  # the checksum is known only now; its length was known before
        file.write(_header_bytes(facts, digest.hexdigest()))


def load(
    path: str | os.PathLike[str], *, require_checksum: bool = False
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read a safetensors file into memory, checking all of it.

    Parameters
    ----------
    path : path
        A regular file.
    require_checksum : bool, default False
        Refuse a file without checksum (another program's). One that is there is always verified.

    Returns
    -------
    tensors : dict of str to ndarray
        New arrays in native byte order, in the header's order. bfloat16, which NumPy has not,
        becomes float32 (exactly).
    metadata : dict of str to str
        Without the checksum.

    Raises
    ------
    ValueError
        If the file is not a whole and valid safetensors file; it names the path and the fault.
    OSError
        If it cannot be read.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb", buffering=0) as file:
            header = _read_header(file)
            if require_checksum and header.checksum is None:
                raise ValueError("the checksum is missing")
            digest = _sha256(header.fingerprint())
            tensors: dict[str, NDArray[Any]] = {}
            for name, entry in sorted(header.entries.items(), key=lambda item: item[1][2:]):
                tensors[name] = _read_tensor(file, name, entry, digest)
        if header.checksum is not None and header.checksum != digest.hexdigest():
            raise ValueError("the checksum differs: the file is damaged")
    except ValueError as error:
        raise ValueError(f"{path}: not a valid safetensors file: {error}") from None
    return {name: tensors[name] for name in header.entries}, header.metadata


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the metadata of a safetensors file, reading (and checking) the header alone.

    Raises
    ------
    ValueError, OSError
        As `load`; the data and the checksum are not looked at.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb", buffering=0) as file:
            return _read_header(file).metadata
    except ValueError as error:
        raise ValueError(f"{path}: not a valid safetensors file: {error}") from None


def _checked_array(name: str, array: ArrayLike) -> NDArray[Any]:
    if not isinstance(name, str):
        raise TypeError(f"the name of a tensor is a string, not {name!r}")
    if name == _METADATA:
        raise ValueError(f"{_METADATA!r} is reserved and cannot be the name of a tensor")
    result = np.asarray(array)
    if result.dtype.newbyteorder("<") not in _NAMES:
        raise TypeError(f"tensor {name!r}: the safetensors format has no type {result.dtype}")
    return result


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata maps strings to strings, not {key!r} to {value!r}")
    if CHECKSUM_KEY in metadata:
        raise ValueError(f"the metadata key {CHECKSUM_KEY!r} is reserved for the checksum")
    return dict(metadata)


def _little_endian_bytes(array: NDArray[Any]) -> memoryview:
    """Return the array's bytes as stored; a copy only where its layout or byte order differs."""
    stored = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    return stored.reshape(-1).view(np.uint8).data


def _header_bytes(header: _Header, checksum: str) -> bytes:
    """Return length and header as stored, padded so that the data starts at a multiple of 8."""
    content: dict[str, Any] = {_METADATA: {**header.metadata, CHECKSUM_KEY: checksum}}
    for name, (dtype, shape, begin, end) in header.entries.items():
        content[name] = {"dtype": dtype, "shape": shape, "data_offsets": (begin, end)}
    try:
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"a name or metadata is not valid Unicode text: {error}") from None
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(f"the header would have {len(text)} bytes; at most {MAX_HEADER} may be")
    return len(text).to_bytes(8, "little") + text


def _read_header(file: io.FileIO) -> _Header:
    """Read and check the header; its claims agree with the file's real size afterwards."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    if status.st_size < 8:
        raise ValueError(f"it ends after {status.st_size} bytes")
    prefix = bytearray(8)
    _read_into(file, memoryview(prefix))
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER or length > status.st_size - 8:
        raise ValueError(
            f"its header claims {length} bytes; the file has {status.st_size}, "
            f"and at most {MAX_HEADER} may be"
        )
    raw = bytearray(length)
    _read_into(file, memoryview(raw))
    entries, metadata = _parse_header(raw)
    _check_offsets(entries, status.st_size - 8 - length)
    checksum = metadata.pop(CHECKSUM_KEY, None)
    return _Header(entries, metadata, checksum)


def _parse_header(raw: bytearray) -> tuple[dict[str, _Entry], dict[str, str]]:
    """Return entries and metadata of a header, each of the right form."""
    if not raw.startswith(b"{"):
        raise ValueError("its header is not a JSON object")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("its header is not UTF-8 text") from None
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise ValueError(f"its header is malformed at character {position}")
        position = token.end()
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is malformed: {error}") from None
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    metadata = content.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata does not map strings to strings")
    entries = {name: _entry(name, fields) for name, fields in content.items()}
    return entries, metadata


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict; refuse a key that stands twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in its header")
    for key in result:
        if not key.isascii() and any("\ud800" <= letter <= "\udfff" for letter in key):
            raise ValueError("a key of its header is not valid Unicode text")
    return result


def _entry(name: str, fields: Any) -> _Entry:
    """Return a tensor's entry; type, shape and offsets agree with one another."""
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} has not just dtype, shape and data_offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ValueError(f"tensor {name!r} is of type {dtype!r}, which is not supported")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise ValueError(f"tensor {name!r} has a malformed shape or malformed offsets")
    # Lengths of 0 count as 1 here: the product of the others must be addressable all the same.
    size = largest = np.dtype(_DTYPES[dtype]).itemsize
    for n in shape:
        size, largest = size * n, largest * max(n, 1)
        if largest >= 2**63:
            raise ValueError(f"tensor {name!r} has a shape beyond 64 bits: {shape}")
    begin, end = offsets
    if end - begin != size:
        raise ValueError(
            f"tensor {name!r} needs {size} bytes for {dtype} {shape}, but has {end - begin}"
        )
    return _Entry(dtype, tuple(shape), begin, end)


def _check_offsets(entries: Mapping[str, _Entry], size: int) -> None:
    """Check that the tensors tile the data: no overlap, no hole, nothing missing or left over."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1][2:]):
        if entry.begin != position:
            fault = "overlaps another" if entry.begin < position else "leaves a hole before it"
            raise ValueError(f"tensor {name!r} {fault} at byte {entry.begin} of the data")
        position = entry.end
    if position != size:
        raise ValueError(f"its tensors need {position} bytes of data, but the file has {size}")


def _sha256(data: bytes) -> Any:
    import hashlib  # here, because importing fastdl must be quick, and this loads OpenSSL

    return hashlib.sha256(data)


def _read_tensor(file: io.FileIO, name: str, entry: _Entry, digest: Any) -> NDArray[Any]:
    """Read the next tensor straight into a new array."""
    if entry.dtype == "BF16":
        return _read_bfloat16(file, entry, digest)
    array = np.empty(entry.shape, _DTYPES[entry.dtype])
    data = array.reshape(-1).view(np.uint8)
    _read_into(file, data.data)
    digest.update(data)
    if entry.dtype == "BOOL" and data.size and data.max() > 1:
        raise ValueError(f"tensor {name!r} is of type BOOL but has bytes other than 0 and 1")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _read_bfloat16(file: io.FileIO, entry: _Entry, digest: Any) -> NDArray[Any]:
    """Read bfloat16 numbers as the upper halves of float32 numbers, a stretch at a time."""
    array = np.empty(entry.shape, np.float32)
    bits = array.reshape(-1).view(np.uint32)
    for start in range(0, bits.size, 1 << 18):
        part = bits[start : start + (1 << 18)]
        halves = np.empty(part.size, "<u2")
        _read_into(file, halves.view(np.uint8).data)
        digest.update(halves)
        np.left_shift(halves, 16, out=part, dtype=np.uint32)
    return array


def _read_into(file: io.FileIO, buffer: memoryview) -> None:
    """Fill ``buffer`` from the file."""
    filled = 0
    while filled < len(buffer):
        count = file.readinto(buffer[filled:])
        if not count:
            raise ValueError("it ends too early")
        filled += count
