"""NumPy's functions on tensors: the ops of the same meaning, recorded on the tape."""

import numpy as np
import pytest

import fastdl
from fastdl import Tensor, ops
from fastdl._ufuncs import _OPS

A = np.array([[0.5, 2.0, 3.0], [1.5, 0.25, 4.0]], np.float32)
B = np.array([[1.0, 2.0, 0.5], [0.5, 3.0, 2.0]], np.float32)


@pytest.mark.parametrize("name", sorted(_OPS))
def test_function_is_the_op(name):
    ufunc = getattr(np, name)
    arrays = (A, B.T.copy()) if name == "matmul" else (A, B)[: ufunc.nin]
    for given in (tuple(map(Tensor, arrays)), (Tensor(arrays[0]), *arrays[1:])):
        out = ufunc(*given)
        assert isinstance(out, Tensor)
        np.testing.assert_allclose(out.numpy(), ufunc(*arrays), rtol=1e-6)


@pytest.mark.parametrize("operate", [np.add, np.subtract, np.multiply, np.divide], ids=str)
def test_array_on_the_left_gives_a_tensor(operate):
    for left in (A, A[0], np.float64(2.0), np.float32(2.0), 2):
        out = operate(left, Tensor(B))
        assert isinstance(out, Tensor)
        np.testing.assert_allclose(out.numpy(), operate(left, B), rtol=1e-6)
    assert isinstance(A + Tensor(B), Tensor)
    assert isinstance(np.float32(2.0) * Tensor(B), Tensor)


@pytest.mark.parametrize(
    "reduce", [np.sum, np.mean, np.max, np.min, np.amax, np.amin, np.var, np.std],
    ids=lambda f: f.__name__,
)  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"axis": 1}, {"axis": 0, "keepdims": True}], ids=str)
def test_reductions(reduce, options):
    out = reduce(Tensor(A), **options)
    assert isinstance(out, Tensor)
    np.testing.assert_allclose(out.numpy(), reduce(A, **options), rtol=1e-6)


def test_reduction_of_a_ufunc_is_over_the_first_axis():
    np.testing.assert_allclose(np.add.reduce(Tensor(A)).numpy(), A.sum(axis=0), rtol=1e-6)


FUNCTIONS = {
    "broadcast_to": lambda x: np.broadcast_to(x, (4, 2, 3)),
    "clip": lambda x: np.clip(x, 1.0, 3.0),
    "concatenate": lambda x: np.concatenate([x, B]),
    "expand_dims": lambda x: np.expand_dims(x, 1),
    "reshape": lambda x: np.reshape(x, -1),
    "split": lambda x: np.split(x, 3, axis=1)[1],
    "squeeze": lambda x: np.squeeze(np.reshape(x, (2, 1, 3))),
    "stack": lambda x: np.stack([x, B]),
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "transpose": lambda x: np.transpose(x),
    "where": lambda x: np.where(A > 1, x, B),
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_functions_that_are_no_ufuncs_are_recorded(name):
    x = Tensor(A)
    with fastdl.GradientTape() as tape:
        tape.watch(x)
        out = FUNCTIONS[name](x)
        total = np.sum(out * out)
    assert isinstance(out, Tensor)
    np.testing.assert_allclose(out.numpy(), FUNCTIONS[name](A), rtol=1e-6)
    assert tape.gradient(total, x) is not None


def test_functions_without_an_op_see_the_values():
    x = Tensor(A)
    assert np.argmax(x) == A.argmax() and np.allclose([x, x], [A, A])
    assert np.shape(x) == (2, 3) and np.shape(fastdl.Input((4,))) == (None, 4)
    assert np.ndim(fastdl.Input((4,))) == 2
    with pytest.raises(TypeError, match=r"np\.mean of a tensor: .*'dtype'"):
        np.mean(x, dtype=np.float64)


def test_they_are_recorded():
    x = Tensor([1.0, 2.0])
    with fastdl.GradientTape() as tape:
        tape.watch(x)
        y = np.sum(np.exp(x) * np.array([1.0, 2.0]))
    want = np.exp([1.0, 2.0]) * [1.0, 2.0]
    np.testing.assert_allclose(tape.gradient(y, x).numpy(), want, rtol=1e-6)


def test_they_are_traced():
    step = fastdl.compiled_step(lambda x: np.sum(np.sqrt(x)))
    np.testing.assert_allclose(float(step(A)), np.sqrt(A).sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: np.arctan(x), r"np\.arctan of a tensor"),
        (lambda x: np.add(x, x, out=A.copy()), r"np\.add with out"),
        (lambda x: np.add.accumulate(x), r"np\.add\.accumulate"),
        (lambda x: np.multiply.reduce(x), r"np\.multiply\.reduce"),
    ],
    ids=["no op", "out", "accumulate", "no reduction"],
)
def test_what_no_op_computes_is_refused(call, words):
    with pytest.raises(TypeError, match=words):
        call(Tensor(A))
    assert ops.exp(Tensor(A)).shape == A.shape
