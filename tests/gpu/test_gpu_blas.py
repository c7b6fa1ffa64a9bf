"""What cuBLASLt is asked for, with NumPy in its place."""

import ctypes
import sys
from types import SimpleNamespace

import cases
import numpy as np
import pytest

from fastdl import gpu as ops
from fastdl import kernels
from fastdl.gpu import blas, device


def memory(address, count, dtype):
    raw = (ctypes.c_char * (count * np.dtype(dtype).itemsize)).from_address(address)
    return np.frombuffer(raw, dtype)


class Lt:
    """The bindings' functions, over the host's memory."""

    MatmulDescAttribute = SimpleNamespace(TRANSA="a", TRANSB="b", EPILOGUE="e", BIAS_POINTER="p")
    MatrixLayoutAttribute = SimpleNamespace(BATCH_COUNT="count", STRIDED_BATCH_OFFSET="offset")
    MatmulPreferenceAttribute = SimpleNamespace(MAX_WORKSPACE_BYTES="room")
    Epilogue = SimpleNamespace(BIAS=4)

    def __init__(self):
        self.objects = [None]
        self.planned = 0

    def _new(self, **known):
        self.objects.append(known)
        return len(self.objects) - 1

    def create(self):
        return self._new()

    def MatmulHeuristicResult(self, count):
        return SimpleNamespace(ptr=77)

    def matmul_desc_create(self, compute, scale):
        return self._new(compute=compute, real=(np.float32, np.float64)[scale])

    def matrix_layout_create(self, real, rows, columns, ld):
        return self._new(rows=rows, columns=columns, ld=ld, count=1, offset=0)

    def matmul_preference_create(self):
        return self._new()

    def matmul_preference_destroy(self, preference):
        pass

    def set_attribute(self, target, name, address, size):
        self.objects[target][name] = int(memory(address, 1, f"i{size}")[0])

    matmul_desc_set_attribute = matrix_layout_set_attribute = set_attribute
    matmul_preference_set_attribute = set_attribute

    def matmul_algo_get_heuristic(self, *given):
        self.planned += 1
        memory(given[-1], 1, np.int32)[0] = 1

    def _matrix(self, address, layout, real, item, transposed=0):
        known = self.objects[layout]
        assert known["ld"] == known["rows"]
        at = address + item * known["offset"] * np.dtype(real).itemsize
        flat = memory(at, known["rows"] * known["columns"], real)
        matrix = flat.reshape(known["columns"], known["rows"]).T
        return matrix.T if transposed else matrix

    def matmul(self, handle, desc, alpha, a, of_a, b, of_b, beta, c, of_c, d, of_d, algo, *rest):
        known = self.objects[desc]
        real = known["real"]
        assert algo == 77 and memory(alpha, 1, real)[0] == 1 and memory(beta, 1, real)[0] == 0
        for item in range(self.objects[of_d]["count"]):
            left = self._matrix(a, of_a, real, item, known.get("a", 0))
            right = self._matrix(b, of_b, real, item, known.get("b", 0))
            out = self._matrix(d, of_d, real, item)
            out[...] = left @ right
            if known.get("e") == 4:
                out += memory(known["p"], len(out), real)[:, None]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products(emulated, dtype, monkeypatch):
    lt = Lt()
    monkeypatch.setattr(emulated, "blas", blas.Blas(emulated, lt, "tf32"))
    rng = np.random.default_rng(0)
    a, b, bias = (rng.standard_normal(s).astype(dtype) for s in ((5, 7), (7, 3), (3,)))
    close = 1e-12 if dtype == np.float64 else 1e-5
    for _ in range(2):
        np.testing.assert_allclose(ops.matmul_nn(a, b), a @ b, atol=close)
    assert lt.planned == 1
    np.testing.assert_allclose(ops.matmul_tn(a.T.copy(), b), a @ b, atol=close)
    np.testing.assert_allclose(ops.matmul_nt(a, b.T.copy()), a @ b, atol=close)
    wanted = a @ b + bias
    np.testing.assert_allclose(ops.dense_forward(a, b, bias), wanted, atol=close)
    wanted = np.maximum(wanted, 0)
    np.testing.assert_allclose(ops.dense_forward(a, b, bias, activation="relu"), wanted, atol=close)
    many = (
        rng.standard_normal((4, 5, 7)).astype(dtype),
        rng.standard_normal((4, 7, 3)).astype(dtype),
    )
    np.testing.assert_allclose(ops.batch_matmul_forward(*many), many[0] @ many[1], atol=close)
    computes = {known["compute"] for known in lt.objects if known and "compute" in known}
    assert computes == {77 if dtype == np.float32 else 70}


@pytest.mark.parametrize("on", ["gpu"], indirect=True)
@pytest.mark.parametrize("kind", ["cublaslt", "tf32", "bf16"])
def test_on_a_device(on, kind, monkeypatch):
    pytest.importorskip("nvmath")
    monkeypatch.setenv("FASTDL_GPU_PRODUCTS", kind)
    driver = device.driver()
    monkeypatch.setattr(driver, "blas", blas.from_environment(driver))
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        a, b, bias = (rng.standard_normal(s).astype(dtype) for s in ((64, 96), (96, 33), (33,)))
        close = {"cublaslt": 1e-4, "tf32": 1e-1, "bf16": 1.0}[kind]
        given = {"activation": "relu"}
        for name, arguments, options in (
            ("dense_forward", (a, b, bias), given),
            ("matmul_tn", (a.T.copy(), b), {}),
            ("matmul_nt", (a, b.T.copy()), {}),
            ("batch_matmul_forward", (np.stack([a, a]), np.stack([b, b])), {}),
        ):
            got, wanted = (
                getattr(module, name)(*arguments, **options) for module in (cases.kernels, kernels)
            )
            np.testing.assert_allclose(got, wanted, atol=close if dtype == np.float32 else 1e-10)


def test_the_environment_says_which(emulated, monkeypatch):
    monkeypatch.delenv("FASTDL_GPU_PRODUCTS", raising=False)
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublasLt", None)
    assert blas.from_environment(emulated) is None
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublasLt", Lt())
    assert blas.from_environment(emulated).compute == 68
    monkeypatch.setenv("FASTDL_GPU_PRODUCTS", "own")
    assert blas.from_environment(emulated) is None
    monkeypatch.setenv("FASTDL_GPU_PRODUCTS", "fast")
    with pytest.raises(ValueError, match="one of 'own', 'cublaslt', 'bf16', 'tf32', got 'fast'"):
        blas.from_environment(emulated)
    monkeypatch.setenv("FASTDL_GPU_PRODUCTS", "tf32")
    assert blas.from_environment(emulated).compute == 77
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublasLt", None)
    with pytest.raises(ImportError, match="FASTDL_GPU_PRODUCTS needs nvmath"):
        blas.from_environment(emulated)
