"""How many units in the last place the activations are off, and that no lane is special.

References: float64 for float32; for float64 the extended `longdouble`, and for the normal
distribution, which that lacks, a power series in `decimal`.
"""

import decimal
import functools
import math

import numpy as np
import pytest

from fastdl import kernels
from fastdl.kernels.table import ACTIVATIONS, OPS

NAMES = ACTIVATIONS[1:-1]  # without linear and softmax
DTYPES = (np.float32, np.float64)
WIDEST = {np.float32: 16, np.float64: 8}  # lanes of the longest vector


def wider(dtype):
    if dtype is np.float32:
        return np.float64
    if np.finfo(np.longdouble).eps > 2.0**-60:
        pytest.skip("longdouble is no wider than float64 on this machine")
    return np.longdouble


def constant(text, real):
    """A decimal number in full precision: `real(1.0507...)` would go through float64."""
    return real(text)


def grid(dtype):
    """Numbers of every size and both signs, up to where exp overflows and some way beyond."""
    top = 100 if dtype is np.float32 else 760
    small = np.geomspace(1e-30, 50, 1500)
    x = np.concatenate([np.linspace(-top, top, 1501), np.linspace(-10, 10, 1501), small, -small])
    return x.astype(dtype)


@functools.cache
def normal_below(x):
    """P(X <= x) of the normal distribution, to some 30 digits."""
    with decimal.localcontext() as context:
        context.prec = 50
        a = abs(decimal.Decimal(x))
        pi = decimal.Decimal("3.1415926535897932384626433832795028841971693993751")
        density = (-a * a / 2).exp() / (2 * pi).sqrt()
        if a < 4:  # the power series of the middle
            term = total = a
            for k in range(3, 201, 2):
                term *= a * a / k
                total += term
            upper = decimal.Decimal("0.5") - density * total
        else:  # Laplace's continued fraction of the tail
            fraction = a
            for k in range(400, 0, -1):
                fraction = a + k / fraction
            upper = density / fraction
        return upper if x < 0 else 1 - upper


def normal_cumulative(x, real):
    if real is np.float64:
        return np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in x])
    return np.array([real(str(normal_below(float(np.clip(v, -100, 100))))) for v in x], dtype=real)


def exp(x):
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(x)


def references(real):
    scale = constant("1.0507009873554804934193349852946", real)
    alpha = constant("1.6732632423543772848170429916717", real)

    def elu(x):
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))

    def gelu_tanh(x):
        u = np.sqrt(2 / np.arctan2(real(0), real(-1))) * (x + constant("0.044715", real) * x**3)
        return x / (1 + exp(-2 * u))

    return {
        "elu": elu,
        "selu": lambda x: scale * np.where(x > 0, x, alpha * elu(x)),
        "gelu": lambda x: x * normal_cumulative(x, real),
        "gelu_tanh": gelu_tanh,
        "sigmoid": lambda x: 1 / (1 + exp(-x)),
        "tanh": np.tanh,
        "softplus": lambda x: np.maximum(x, 0) + np.log1p(exp(-np.abs(x))),
        "silu": lambda x: x / (1 + exp(-x)),
    }


def assert_within_ulp(actual, expected, bound):
    """At most `bound` units off; near the smallest normal number a result may be flushed to 0."""
    info = np.finfo(actual.dtype)
    near_zero = np.abs(expected) < 1024 * info.tiny
    with np.errstate(invalid="ignore", over="ignore"):
        infinite = np.abs(expected) > info.max
        unit = np.exp2(np.floor(np.log2(np.maximum(np.abs(expected), info.tiny)))) * info.eps
        error = np.abs(actual.astype(expected.dtype) - expected) / unit
    assert (actual[infinite] == expected[infinite].astype(actual.dtype)).all()
    assert (np.abs(actual[near_zero]) <= 1025 * info.tiny).all()
    excess = np.where(near_zero | infinite, 0, error - bound)
    worst = np.argmax(np.where(np.isnan(excess), np.inf, excess))
    assert excess[worst] <= 0, f"{error[worst]} ulp at element {worst}, {expected[worst]}"


# Measured on the grid, and rounded up.
BOUNDS = {"elu": 1.5, "selu": 2, "gelu": 4, "sigmoid": 2.5, "tanh": 3, "softplus": 2, "silu": 3}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BOUNDS)
def test_forward(isa, name, dtype):
    real = wider(dtype)
    x = grid(dtype)
    if name == "gelu" and dtype is np.float64:
        x = x[::31]
    expected = references(real)[name](x.astype(real))
    assert_within_ulp(getattr(kernels, f"{name}_forward")(x), expected, BOUNDS[name])


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_tanh(isa, dtype):
    """Far below 0 it is x*exp(-2|u|), where the rounding of u counts |2u| times."""
    real = wider(dtype)
    x = grid(dtype)
    x = x[np.abs(x) < 1e3]
    u = np.minimum(0.8 * np.abs(x + 0.044715 * x.astype(np.float64) ** 3), 1e3)
    bound = np.where(x > 0, 4, 4 + 5 * u)
    expected = references(real)["gelu_tanh"](x.astype(real))
    assert_within_ulp(kernels.gelu_tanh_forward(x), expected, bound)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_and_sigmoid_as_slopes(isa, dtype):
    real = wider(dtype)
    x = grid(dtype)
    ones = np.ones_like(x)
    wide = x.astype(real)
    expected = np.where(x > 0, 1, exp(np.minimum(wide, 0)))
    assert_within_ulp(kernels.elu_backward(ones, x, alpha=1.0), expected, 1.5)
    assert_within_ulp(kernels.softplus_backward(ones, x), 1 / (1 + exp(-wide)), 2.5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_slopes_that_change_sign(isa, dtype):
    """Beside its zero a slope is a difference: judged by the larger of its two terms."""
    real = wider(dtype)
    x = np.linspace(-20, 20, 401).astype(dtype)
    wide, ones = x.astype(real), np.ones_like(x)
    eps = np.finfo(dtype).eps
    rising = 1 / (1 + exp(-wide))
    for name, first, second in (
        ("silu", rising, wide * rising / (1 + exp(wide))),
        (
            "gelu",
            normal_cumulative(wide, real),
            wide * exp(-wide * wide / 2) / np.sqrt(2 * np.arctan2(real(0), real(-1))),
        ),
    ):
        slope = getattr(kernels, f"{name}_backward")(ones, x)
        error = np.abs(slope - (first + second))
        scale = np.maximum(np.abs(first), np.abs(second))
        assert (error <= 4 * eps * scale + 64 * np.finfo(dtype).tiny).all(), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_limits(isa, name, dtype):
    limit = {"elu": -1.0, "leaky_relu": -np.inf, "selu": -1.7580993408473768, "tanh": -1.0}
    x = np.array([np.inf, -np.inf, np.finfo(dtype).max, 0.0, -0.0], dtype)
    out = getattr(kernels, f"{name}_forward")(x)
    assert out[0] == (1 if name in ("sigmoid", "tanh") else np.inf)
    assert out[1] == dtype(limit.get(name, 0))
    assert np.isfinite(out[2]) or name == "selu"
    assert (out[3:] == {"sigmoid": 0.5, "softplus": dtype(np.log(2))}.get(name, 0)).all()
    saved = "out" if "out" in [a.name for a in OPS[f"{name}_backward"].inputs] else "x"
    slope = getattr(kernels, f"{name}_backward")(np.ones_like(x), out if saved == "out" else x)
    assert np.isfinite(slope).all()


def normal(size, dtype, seed=0):
    return np.random.default_rng(seed).normal(0, 3, size).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_nan_stays_in_its_lane(isa, name, dtype):
    forward = getattr(kernels, f"{name}_forward")
    for n in range(1, 2 * WIDEST[dtype] + 2):
        x = normal(n, dtype)
        clean = forward(x)
        for position in range(n):
            spoiled = x.copy()
            spoiled[position] = np.nan
            out = forward(spoiled)
            assert np.isnan(out[position])
            out[position] = clean[position]
            assert out.tobytes() == clean.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_stays_in_its_softmax_row(isa, dtype):
    for n in range(1, 2 * WIDEST[dtype] + 2):
        x = normal((3, n), dtype)
        clean = kernels.softmax_forward(x)
        for position in range(n):
            spoiled = x.copy()
            spoiled[1, position] = np.nan
            out = kernels.softmax_forward(spoiled)
            assert np.isnan(out[1]).all()
            assert (out[::2] == clean[::2]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_unaligned_spans_and_every_length(isa, name, dtype):
    """Neither the address nor the place in a span shows in a result."""
    forward = getattr(kernels, f"{name}_forward")
    x = normal(2 * WIDEST[dtype] + 2, dtype)
    whole = forward(x)
    for n in range(1, len(x)):
        for start in {0, 1, len(x) - n}:
            part = x[start : start + n]
            expected = whole[start : start + n]
            assert forward(part).tobytes() == expected.tobytes()
            room = np.empty(n + 1, dtype)
            assert forward(part, out=room[1:]).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(isa, dtype):
    real = wider(dtype)
    for n in (1, 10, 17, 1000, 100_000):
        x = 3 * normal((2, n), dtype)
        below_top = x.astype(real) - x.max(-1, keepdims=True)
        e = np.exp(below_top)
        expected = e / e.sum(-1, keepdims=True)
        error = np.abs(kernels.softmax_forward(x) - expected) / expected
        # The rounding of x - max(x) comes on top, multiplied by its size.
        assert (error <= (4 + np.abs(below_top) / 2) * np.finfo(dtype).eps).all()
    x = np.array([[-np.inf, 0, 0], [1e4, -1e4, -np.inf]], dtype)
    assert kernels.softmax_forward(x).tolist() == [[0, 0.5, 0.5], [1, 0, 0]]
    for x in ([-np.inf, -np.inf], [np.inf, 0]):
        assert np.isnan(kernels.softmax_forward(np.array([x], dtype))).all()
