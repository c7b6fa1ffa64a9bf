"""Holds a wheel against what it may contain: python check_wheel.py WHEEL."""

import sys
import zipfile
from pathlib import Path

MEGABYTE = 1 << 20
ENDINGS = {".py", ".pyi", ".pxd", ".h", ".cu", ".cuh", ".so", ".typed"}
NEEDED = {"runner.pxd", "dispatch.pxd", "op.h", "simd/bodies.h", "__init__.pyi", "cuda/common.cuh"}

wheel = Path(sys.argv[1])
with zipfile.ZipFile(wheel) as file:
    sizes = {i.filename: i.file_size for i in file.infolist() if ".dist-info/" not in i.filename}
    libraries = {name: file.read(name) for name in sizes if name.endswith(".so")}

junk = [n for n in sizes if Path(n).suffix not in ENDINGS or not n.startswith("fastdl/")]
missing = [name for name in sorted(NEEDED) if f"fastdl/kernels/{name}" not in sizes]
holders = [name for name, content in libraries.items() if b"fastdl_baseline_f32" in content]
packed, installed = wheel.stat().st_size / MEGABYTE, sum(sizes.values()) / MEGABYTE

print(f"{wheel.name}: {packed:.2f} MB, {installed:.2f} MB installed, {len(libraries)} extensions")
assert not junk, f"files that do not belong into it: {junk}"
assert not missing, f"files that cimport needs: {missing}"
assert len(holders) <= 1, f"C bodies in more than one extension: {holders}"
assert packed <= 3, "a wheel has at most 3 MB"
assert installed <= 10, "fastdl takes at most 10 MB beyond NumPy"
