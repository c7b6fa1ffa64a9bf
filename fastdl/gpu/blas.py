"""Products by cuBLASLt, through nvmath-python's bindings, where these are installed.

``FASTDL_GPU_PRODUCTS`` in the environment may be "own" for our kernels, "cublaslt", which makes it
an error if the bindings are missing, or "tf32" or "bf16" for products of float32 that are made of
shorter numbers. Unlike CuPy's own products these may be captured in a graph: the workspace is the
call's.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np

from fastdl import _optional
from fastdl.gpu.core import Call

__all__ = ["Blas", "from_environment"]

#: What products of float32 are computed in: numbers of cublasComputeType_t.
_KINDS = {"cublaslt": 68, "bf16": 75, "tf32": 77}

_COMPUTE_64F, _R_32F, _R_64F, _TRANSPOSED = 70, 0, 1, 1

_WORKSPACE = 1 << 25

_BINDINGS = "nvmath.bindings.cublasLt"


def from_environment(driver: Any) -> Blas | None:
    """What makes the products; None: our own kernels.

    Raises
    ------
    ValueError
        If ``FASTDL_GPU_PRODUCTS`` is no known kind.
    ImportError
        If it is one that needs nvmath-python, and that is not installed.
    """
    kind = os.environ.get("FASTDL_GPU_PRODUCTS")
    if kind not in (None, "own", *_KINDS):
        names = ", ".join(map(repr, ("own", *_KINDS)))
        raise ValueError(f"FASTDL_GPU_PRODUCTS must be one of {names}, got {kind!r}")
    if kind == "own" or (kind is None and _optional.optional(_BINDINGS) is None):
        return None
    bindings = _optional.require(_BINDINGS, "nvmath", "FASTDL_GPU_PRODUCTS")
    return Blas(driver, bindings, kind or "cublaslt")


class Blas:
    """Products of arrays that lie row by row.

    cuBLASLt has columns one behind the other, so it sees each array transposed, and is asked for
    the transposed product: b.T times a.T.
    """

    def __init__(self, driver: Any, bindings: Any, kind: str) -> None:
        self.driver, self.lt, self.compute = driver, bindings, _KINDS[kind]
        self.handle = bindings.create()
        self.one: dict[int, np.ndarray] = {4: np.ones(1, np.float32), 8: np.ones(1)}
        self.zero: dict[int, np.ndarray] = {4: np.zeros(1, np.float32), 8: np.zeros(1)}
        self._plans: dict[Any, tuple[Any, ...]] = {}
        self._lock = threading.Lock()

    def product(
        self,
        call: Call,
        form: str,
        out: Any,
        a: Any,
        b: Any,
        bias: Any,
        sizes: tuple[int, ...],
        items: int,
    ) -> None:
        """out = a times b + bias; see `fastdl.gpu.products.product`."""
        key = form, out.dtype.itemsize, bias is not None, sizes, items
        place, size = self.driver.address, out.dtype.itemsize
        workspace = call.workspace("blas", _WORKSPACE, np.uint8)
        with self._lock:  # a plan is told where the bias lies
            plan = self._plans.get(key)
            if plan is None:
                plan = self._plans[key] = self._plan(*key)
            description, of_a, of_b, of_out, found = plan
            if bias is not None:
                self._set(description, "BIAS_POINTER", np.uint64(place(bias)))
            self.lt.matmul(
                self.handle, description, self.one[size].ctypes.data, place(b), of_b, place(a),
                of_a, self.zero[size].ctypes.data, place(out), of_out, place(out), of_out,
                found.ptr, place(workspace), _WORKSPACE, self.driver.current_stream(),
            )  # fmt: skip

    def _plan(
        self, form: str, itemsize: int, biased: bool, sizes: tuple[int, ...], items: int
    ) -> tuple[Any, ...]:
        lt, (M, N, K) = self.lt, sizes
        real = _R_32F if itemsize == 4 else _R_64F
        description = lt.matmul_desc_create(self.compute if itemsize == 4 else _COMPUTE_64F, real)
        if form == "nt":
            self._set(description, "TRANSA", np.int32(_TRANSPOSED))
        if form == "tn":
            self._set(description, "TRANSB", np.int32(_TRANSPOSED))
        if biased:
            self._set(description, "EPILOGUE", np.uint32(lt.Epilogue.BIAS))
        of_a = self._layout(real, *((M, K) if form == "tn" else (K, M)), items)
        of_b = self._layout(real, *((K, N) if form == "nt" else (N, K)), items)
        of_out = self._layout(real, N, M, items)
        preference = lt.matmul_preference_create()
        room = np.array(_WORKSPACE, np.uint64)
        attribute = lt.MatmulPreferenceAttribute.MAX_WORKSPACE_BYTES
        lt.matmul_preference_set_attribute(preference, attribute, room.ctypes.data, room.nbytes)
        found, count = lt.MatmulHeuristicResult(1), np.zeros(1, np.int32)
        lt.matmul_algo_get_heuristic(
            *(self.handle, description, of_b, of_a, of_out, of_out, preference, 1),
            *(found.ptr, count.ctypes.data),
        )
        lt.matmul_preference_destroy(preference)
        if not count[0]:
            raise RuntimeError(f"cuBLASLt has no product of {M} x {K} times {K} x {N}")
        return description, of_a, of_b, of_out, found

    def _set(self, description: int, name: str, value: Any) -> None:
        held = np.array(value)
        attribute = getattr(self.lt.MatmulDescAttribute, name)
        self.lt.matmul_desc_set_attribute(description, attribute, held.ctypes.data, held.nbytes)

    def _layout(self, real: int, rows: int, columns: int, items: int) -> int:
        """Of ``items`` matrices of columns one behind the other."""
        layout = self.lt.matrix_layout_create(real, rows, columns, rows)
        if items > 1:
            names = self.lt.MatrixLayoutAttribute
            for name, value in (
                (names.BATCH_COUNT, np.array(items, np.int32)),
                (names.STRIDED_BATCH_OFFSET, np.array(rows * columns, np.int64)),
            ):
                self.lt.matrix_layout_set_attribute(layout, name, value.ctypes.data, value.nbytes)
        return int(layout)
