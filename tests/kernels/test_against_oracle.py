"""Every op, float type and instruction set against the float64 oracle, at many sizes."""

import numpy as np
import oracle
import pytest
from cases import (
    DTYPES,
    NAMES,
    Case,
    assert_close,
    call,
    cases,
    complete,
    make_case,
    needs_outputs,
    required,
    small_case,
    variants,
)  # fmt: skip

from fastdl import kernels
from fastdl.kernels.table import OPS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_matches_oracle(name, dtype, isa):
    for case in cases(name, dtype):
        assert_close(case, call(case, **case.outputs()), case.expected())


@pytest.mark.parametrize("name", [n for n in NAMES if not needs_outputs(OPS[n])])
def test_fresh_outputs_equal_given_ones(name):
    case = small_case(name)
    fresh, given = call(case), call(case, **case.outputs())
    assert fresh.keys() == given.keys()
    for key in fresh:
        np.testing.assert_array_equal(fresh[key], given[key])


@pytest.mark.parametrize("name", [n for n in NAMES if any(a.optional for a in OPS[n].outputs)])
def test_optional_outputs_can_be_left_out(name):
    case = small_case(name)
    every = call(case)
    for argument in OPS[name].outputs:
        if argument.optional:
            rest = call(case, **{argument.name: False})
            assert rest.keys() == every.keys() - {argument.name}
            for key, value in rest.items():
                np.testing.assert_array_equal(value, every[key])


def with_changes(case, name, position, value):
    """The case with one element of an argument replaced."""
    inputs = case.arguments()
    inputs[name].flat[position] = value
    return Case(case.op, case.dtype, inputs, case.options, case.lengths)


def assert_nan_as_in_oracle(case):
    got, wanted = call(case, **case.outputs()), case.expected()
    for key in wanted:
        same = np.isnan(got[key]) == np.isnan(wanted[key])
        assert same.all(), f"{case}: NaN in {key}: {got[key]}, wanted {wanted[key]}"


ELEMENTWISE = [n for n in NAMES if OPS[n].elementwise and OPS[n].outputs]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_nan_at_every_position(name, dtype, isa):
    """NaN gives NaN where the oracle says so, in every lane and tail, and nowhere else."""
    vector = 64 // np.dtype(dtype).itemsize
    for width in range(1, 2 * vector + 2):
        clean = make_case(OPS[name], {"B": (width,)}, small_case(name).options, dtype)
        for argument in clean.op.inputs:
            for position in range(width):
                assert_nan_as_in_oracle(with_changes(clean, argument.name, position, np.nan))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_nan_in_each_argument(name, dtype, isa):
    """Sums over rows, columns and the depth of a product let NaN through where they should."""
    for options in (required(OPS[name]), list(variants(OPS[name]))[-1][0]):
        clean = make_case(OPS[name], complete(OPS[name], (9,), (21, 17, 33)), options, dtype)
        for argument in clean.op.inputs:
            if argument.dtype == "real":
                size = clean.inputs[argument.name].size
                for position in {0, size // 2, size - 2, size - 1} - {-1}:
                    assert_nan_as_in_oracle(with_changes(clean, argument.name, position, np.nan))


UPDATES = [n for n in NAMES if n.endswith("_update") and OPS[n].letters == ("N",)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UPDATES)
def test_nan_in_updates(name, dtype, isa):
    vector = 64 // np.dtype(dtype).itemsize
    for width in (1, vector - 1, vector + 1, 2 * vector + 1):
        clean = make_case(OPS[name], {"B": (), "N": width}, {"clipvalue": 0.5}, dtype)
        for position in range(width):
            arguments = clean.arguments()
            arguments["grad"][position] = np.nan
            got = call(clean, arguments)
            wanted = np.arange(width) == position
            np.testing.assert_array_equal(np.isnan(got["param"]), wanted, str(clean))


SPECIAL = [n for n in ELEMENTWISE if "_forward" in n and "noise" not in n and "where" not in n]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name, dtype, isa):
    """Infinities, zeros, the edges of exp's range and of the type, in each lane."""
    limits = np.finfo(dtype)
    special = [0.0, 1e-30, 1e-10, 0.5, 5.0, 20.0, 88.0, 100.0, 709.0, 1e4, limits.max, np.inf]
    x = np.array([s * v for v in special for s in (1, -1)], dtype)
    case = make_case(OPS[name], {"B": x.shape}, small_case(name).options, dtype)
    for shift in range(3):
        case.inputs["x"][:] = np.roll(x, shift)
        got, wanted = call(case)["out"], case.expected()["out"]
        x = case.inputs["x"]
        with np.errstate(all="ignore"):
            wanted = wanted.astype(dtype)
            error = np.abs(got - wanted)
            # exp(x) may be flushed to 0 before it is multiplied by x
            near = error <= 8 * limits.eps * np.abs(wanted) + 8 * limits.tiny * (1 + np.abs(x))
        if name in CANCELLING:
            near |= error <= 8 * limits.eps
        # where the formula is inf*0 the limit is wanted, which is 0 for all of them
        limit = np.isnan(wanted) & np.isinf(x) & (got == 0)
        same = (got == wanted) | near | limit | (np.isnan(got) & np.isnan(x))
        if name in ("log_forward", "sqrt_forward"):
            same |= np.isnan(got) & (x < 0)
        assert same.all(), (x[~same], got[~same], wanted[~same])


#: Activations of which a small value is a difference of large ones: an absolute error is allowed.
CANCELLING = ("elu_forward", "selu_forward", "gelu_forward", "gelu_tanh_forward")


def test_products_of_whole_numbers_are_exact(isa):
    generator = np.random.default_rng(0)
    for name in [n for n in NAMES if n.startswith("matmul_")]:
        for dtype in DTYPES:
            case = small_case(name, dtype, lengths=(37, 53, 200))
            inputs = {
                k: generator.integers(-9, 10, v.shape).astype(dtype) for k, v in case.inputs.items()
            }
            wanted = getattr(oracle, name)(**{k: v.astype(float) for k, v in inputs.items()})
            np.testing.assert_array_equal(call(case, inputs)["out"], wanted)


@pytest.mark.skipif("matmul_nn" not in NAMES, reason="no kernel of the product")
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matmul(transpose_a, transpose_b):
    generator = np.random.default_rng(0)
    a, b = generator.integers(-9, 10, (7, 5)) * 1.0, generator.integers(-9, 10, (5, 3)) * 1.0
    given = a.T if transpose_a else a, b.T if transpose_b else b
    out = np.full((7, 3), np.nan)
    assert kernels.matmul(*given, transpose_a, transpose_b, out=out) is out
    np.testing.assert_array_equal(out, a @ b)
    np.testing.assert_array_equal(kernels.matmul(*given, transpose_a, transpose_b), a @ b)
    with pytest.raises(TypeError, match="matmul: option 'transpose_a'"):
        kernels.matmul(*given, transpose_a=1)
    with pytest.raises(ValueError, match="matmul"):
        kernels.matmul(a, b.T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if "seed" not in str(OPS[n].options)])
def test_an_element_does_not_depend_on_its_place(name, dtype, isa):
    """Any lane, any tail, any alignment: the same bits. Fused and unfused runs rest on this."""
    vector = 64 // np.dtype(dtype).itemsize
    case = make_case(OPS[name], {"B": (3 * vector,)}, required(OPS[name]), dtype)
    whole = call(case)
    for start in range(0, vector, 3):
        for width in range(1, 2 * vector, 2):
            part = {k: v[start : start + width] for k, v in case.inputs.items()}
            for key, value in call(case, part).items():
                wanted = whole[key][start : start + width]
                assert value.tobytes() == wanted.tobytes(), f"{case}: {key}, {width} from {start}"
