"""What cuDNN is asked for, with NumPy in its place; and what its frontend says to that."""

import sys
from types import SimpleNamespace

import cases
import numpy as np
import pytest
from sameness import assert_same, fitted, made, on_both
from test_gpu_blas import memory
from test_gpu_convolution import SHAPES, drawn

from fastdl import gpu as ops
from fastdl import kernels
from fastdl.gpu import cudnn, device
from fastdl.layers import Conv2D, Conv2DTranspose, Flatten


class Tensor:
    def __init__(self, dim=None, stride=None, data_type=None, name=""):
        self.dim, self.stride, self.data_type, self.output = dim, stride, data_type, False

    def set_output(self, output):
        self.output = output
        return self

    def set_data_type(self, data_type):
        self.data_type = data_type
        return self

    def set_dim(self, dim):
        self.dim = dim
        return self

    def set_stride(self, stride):
        self.stride = stride
        return self

    def at(self, address):
        """The array, as (count, channels, rows, columns). Of strides cuDNN looks at the nearest."""
        count, channels, rows, columns = self.dim
        assert self.stride == [rows * columns * channels, 1, columns * channels, channels]
        flat = memory(address, int(np.prod(self.dim)), self.data_type)
        return flat.reshape(count, rows, columns, channels).transpose(0, 3, 1, 2)


class NotSupported(Exception):
    pass


class Graph:
    """The frontend's graph of one convolution, over the host's memory."""

    def __init__(self, frontend, **types):
        self.frontend, self.types = frontend, types
        self.steps = []

    def tensor(self, **given):
        return Tensor(**given)

    def _convolution(self, kind, first, second, **geometry):
        self.kind, self.given, self.out, self.geometry = kind, (first, second), Tensor(), geometry
        return self.out

    def conv_fprop(self, image, weight, **geometry):
        return self._convolution("fprop", image, weight, **geometry)

    def conv_dgrad(self, loss, filter, **geometry):
        return self._convolution("dgrad", loss, filter, **geometry)

    def conv_wgrad(self, image, loss, **geometry):
        return self._convolution("wgrad", image, loss, **geometry)

    def deselect_numeric_notes(self, notes):
        self.refused = notes
        self.steps.append("deselect")

    def __getattr__(self, step):
        return lambda *given: self.steps.append(step)

    def check_support(self):
        self.steps.append("check_support")
        if self.kind in self.frontend.missing:
            raise NotSupported

    def get_workspace_size(self):
        return 100

    def execute(self, places, workspace, handle):
        assert self.steps == [
            "validate", "build_operation_graph", "create_execution_plans", "deselect",
            "check_support", "build_plans",
        ]  # fmt: skip
        assert handle == "handle" and self.frontend.stream == 0 and self.out.output
        memory(workspace, 100, np.uint8)[...] = 255
        self.frontend.executed.append(self.kind)
        first, second = (tensor.at(places[tensor]) for tensor in self.given)
        out = self.out.at(places[self.out])
        out[...] = 0
        larger, smaller, weight = {
            "fprop": (first, out, second), "dgrad": (out, first, second),
            "wgrad": (first, second, out),
        }[self.kind]  # fmt: skip
        top, left = self.geometry["pre_padding"]
        bottom, right = self.geometry["post_padding"]
        (up, across), (down, right_by) = self.geometry["stride"], self.geometry["dilation"]
        padded = np.pad(larger, ((0, 0), (0, 0), (top, bottom), (left, right)))
        (O, I, R, S), (P, Q) = weight.shape, smaller.shape[2:]  # noqa: E741
        groups = larger.shape[1] // I
        for g in range(groups):
            c, o = slice(g * I, (g + 1) * I), slice(g * O // groups, (g + 1) * O // groups)
            for r in range(R):
                for s in range(S):
                    y, x = r * down, s * right_by
                    taken = padded[:, c, y : y + P * up : up, x : x + Q * across : across]
                    taken = taken[:, :, :P, :Q]
                    if self.kind == "fprop":
                        out[:, o] += np.einsum("bipq,oi->bopq", taken, weight[o, :, r, s])
                    elif self.kind == "wgrad":
                        out[o, :, r, s] += np.einsum("bipq,bopq->oi", taken, smaller[:, o])
                    else:
                        taken += np.einsum("bopq,oi->bipq", smaller[:, o], weight[o, :, r, s])
        if self.kind == "dgrad":
            H, W = larger.shape[2:]
            out[...] = padded[:, :, top : top + H, left : left + W]


class Frontend:
    """The module ``cudnn``."""

    data_type = SimpleNamespace(FLOAT=np.float32, DOUBLE=np.float64)
    numerical_note = SimpleNamespace(NONDETERMINISTIC=1, DOWN_CONVERT_INPUTS=2, TENSOR_CORE=3)
    heur_mode = SimpleNamespace(A="a", FALLBACK="b")
    cudnnGraphNotSupportedError = NotSupported

    def __init__(self, missing=()):
        self.missing, self.executed, self.graphs = missing, [], []

    def create_handle(self):
        return "handle"

    def set_stream(self, handle, stream):
        self.stream = stream

    def pygraph(self, **types):
        assert types["handle"] == "handle"
        self.graphs.append(Graph(self, **types))
        return self.graphs[-1]


@pytest.fixture
def frontend(emulated, monkeypatch):
    made = Frontend()
    monkeypatch.setattr(emulated, "cudnn", cudnn.Cudnn(emulated, made, False))
    return made


def calls(module, shape, options, dtype):
    """All six of a geometry: whole numbers, exact sums."""
    (H, W, C, O, R, S) = shape  # noqa: E741
    generator = np.random.default_rng(0)
    x = drawn(generator, (3, H, W, C), dtype)
    weight = drawn(generator, (R, S, C // options.get("groups", 1), O), dtype)
    bias, other = drawn(generator, O, dtype), drawn(generator, C, dtype)
    out = module.conv2d_forward(x, weight, bias, activation="relu", **options)
    grad = drawn(generator, out.shape, dtype)
    like = {"grad_x": np.empty_like(x)}
    return [
        out,
        module.conv2d_backward_input(grad, weight, **like, **options),
        module.conv2d_backward_weight(x, grad, grad_weight=np.empty_like(weight), **options),
        module.conv2d_transpose_forward(grad, weight, other, out=np.empty_like(x), **options),
        module.conv2d_transpose_backward_input(x, weight, **options),
        module.conv2d_transpose_backward_weight(
            grad, x, grad_weight=np.empty_like(weight), **options
        ),
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
def test_convolutions(frontend, shape, dtype):
    for _ in range(2):
        for got, wanted in zip(
            calls(ops, *shape, dtype), calls(kernels, *shape, dtype), strict=True
        ):
            np.testing.assert_array_equal(got, wanted)
    assert frontend.executed == ["fprop", "dgrad", "wgrad", "dgrad", "fprop", "wgrad"] * 2
    assert len(frontend.graphs) == 3
    assert {graph.types["compute_data_type"] for graph in frontend.graphs} == {dtype}
    assert all(graph.refused == [1, 2, 3] for graph in frontend.graphs)


def test_what_cudnn_cannot_our_kernels_make(emulated, frontend):
    few = SHAPES[4]  # groups of few channels
    cropped = (7, 7, 4, 5, 2, 2), {"stride_height": 2, "bottom": -1}
    frontend.missing = "wgrad"
    for shape in (few, cropped, SHAPES[0]):
        pairs = zip(*(calls(m, *shape, np.float32) for m in (ops, kernels)), strict=True)
        for got, wanted in pairs:
            np.testing.assert_array_equal(got, wanted)
    assert frontend.executed == ["fprop", "dgrad", "dgrad", "fprop"]
    assert [graph.kind for graph in frontend.graphs] == ["fprop", "dgrad", "wgrad"]
    empty = ops.conv2d_forward(np.ones((0, 4, 4, 3)), np.ones((2, 2, 3, 5)))
    assert empty.shape == (0, 3, 3, 5)


def test_a_fit(frontend):
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((10, 6, 6, 2)), generator.standard_normal((10, 2))

    def layers():
        return [Conv2D(3, 3, activation="relu"), Conv2DTranspose(2, 2), Flatten()]

    assert_same(on_both(lambda m: fitted(m, x, y, 4), lambda: made(layers)))
    assert {"fprop", "dgrad", "wgrad"} == set(frontend.executed)


@pytest.mark.parametrize("on", ["gpu"], indirect=True)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_on_a_device(on, dtype, monkeypatch):
    pytest.importorskip("cudnn")
    monkeypatch.setenv("FASTDL_GPU_CONVOLUTIONS", "cudnn")
    driver = device.driver()
    monkeypatch.setattr(driver, "cudnn", cudnn.from_environment(driver))
    for shape in SHAPES[:4]:
        pairs = zip(*(calls(m, *shape, dtype) for m in (cases.kernels, kernels)), strict=True)
        for got, wanted in pairs:
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    assert len(driver.cudnn._plans) == 3 * len(SHAPES[:4]) and all(driver.cudnn._plans.values())


def test_the_environment_says_which(emulated, monkeypatch):
    monkeypatch.delenv("FASTDL_GPU_CONVOLUTIONS", raising=False)
    monkeypatch.setitem(sys.modules, "cudnn", None)
    assert cudnn.from_environment(emulated) is None
    found = Frontend()
    found.backend_version = lambda: 91100
    monkeypatch.setitem(sys.modules, "cudnn", found)
    assert isinstance(cudnn.from_environment(emulated), cudnn.Cudnn)
    monkeypatch.setenv("FASTDL_GPU_CONVOLUTIONS", "own")
    assert cudnn.from_environment(emulated) is None
    monkeypatch.setenv("FASTDL_GPU_CONVOLUTIONS", "fast")
    with pytest.raises(ValueError, match="must be 'own' or 'cudnn', got 'fast'"):
        cudnn.from_environment(emulated)
    monkeypatch.setenv("FASTDL_GPU_CONVOLUTIONS", "cudnn")
    monkeypatch.setitem(sys.modules, "cudnn", None)
    with pytest.raises(ImportError, match=r"FASTDL_GPU_CONVOLUTIONS needs cudnn.*cudnn12"):
        cudnn.from_environment(emulated)
    monkeypatch.setitem(sys.modules, "cudnn", found)

    def missing():
        raise RuntimeError("no such symbol")

    found.backend_version = missing
    with pytest.raises(ImportError, match=r"needs the library cuDNN \(no such symbol\)"):
        cudnn.from_environment(emulated)
    monkeypatch.delenv("FASTDL_GPU_CONVOLUTIONS")
    assert cudnn.from_environment(emulated) is None  # installed, but the library is not
    found.backend_version = lambda: 91100
    assert cudnn.from_environment(emulated)._refused == [1, 2, 3]
    for shorter in ("tf32", "bf16"):
        monkeypatch.setenv("FASTDL_GPU_PRODUCTS", shorter)
        assert cudnn.from_environment(emulated)._refused == [1, 2]
