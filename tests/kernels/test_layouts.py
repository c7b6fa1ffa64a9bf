"""Arrays of every layout: the result is that of contiguous copies, and nothing else is touched."""

import numpy as np
import pytest
from cases import NAMES, Case, call, dtype_of, needs_outputs, shape_of, small_case
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from fastdl.kernels.table import OPS

POISON = 77


# Each makes an array of such a layout, and returns with it the memory that it lies in. What is not
# writable may hold other values than x.


def _within(x, slices):
    base = np.full([2 * n + 3 for n in x.shape], POISON, x.dtype)
    view = base[(..., *(slices(n) for n in x.shape))]
    view[...] = x
    return view, base


def strided(x):
    return _within(x, lambda n: slice(1, 1 + 2 * n, 2))


def inner(x):
    return _within(x, lambda n: slice(2, 2 + n))


def negative(x):
    backwards = (..., *[slice(None, None, -1)] * x.ndim)
    base = x[backwards].copy()
    return base[backwards], base


def fortran(x):
    base = np.array(x, order="F")
    return base, base


def misaligned(x):
    base = np.full(x.nbytes + 1, POISON, np.uint8)
    view = base[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view, base


def byte_swapped(x):
    base = x.astype(x.dtype.newbyteorder())
    return base, base


class _Subclass(np.ndarray):
    pass


def subclass(x):
    base = x.copy().view(_Subclass)
    return base, base


def broadcast(x):
    base = x[:1].copy() if x.ndim else x.copy()
    return np.broadcast_to(base, x.shape), base


def read_only(x):
    base = x.copy()
    base.flags.writeable = False
    return base, base


WRITABLE = (strided, inner, negative, fortran, misaligned, byte_swapped, subclass)
LAYOUTS = (*WRITABLE, broadcast, read_only)


def assert_same_bits(got, wanted, what):
    assert got.keys() == wanted.keys()
    for key, value in wanted.items():
        same = np.asarray(got[key]).astype(value.dtype).tobytes() == value.tobytes()
        assert same, f"{what}: {key} is {got[key]}, not {value}"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_inputs(name, layout):
    for dtype in (np.float32, np.float64):
        case = small_case(name, dtype)
        for argument in OPS[name].inputs:
            if argument.role == "in":
                view, base = layout(case.inputs[argument.name])
                before = base.tobytes()
                copy = np.array(view, dtype_of(argument, dtype), order="C")
                plain = {**case.arguments(), argument.name: copy}
                wanted = call(case, plain, **case.outputs())
                got = call(case, {**case.arguments(), argument.name: view}, **case.outputs())
                assert_same_bits(got, wanted, f"{case}, {argument.name} {layout.__name__}")
                assert base.tobytes() == before, f"{case}: {argument.name} was changed"


@pytest.mark.parametrize("layout", WRITABLE)
@pytest.mark.parametrize("name", NAMES)
def test_written_arrays(name, layout):
    """Outputs and in-out arguments are written where they lie, and not beside."""
    for dtype in (np.float32, np.float64):
        case = small_case(name, dtype)
        wanted = call(case, **case.outputs())
        for argument in OPS[name].arguments:
            if argument.role == "in":
                continue
            arguments, outputs = case.arguments(), case.outputs()
            holder = outputs if argument.role == "out" else arguments
            view, base = layout(holder[argument.name])
            before, values = base.tobytes(), view.copy()
            holder[argument.name] = view
            got = call(case, arguments, **outputs)
            assert got[argument.name] is view
            assert_same_bits(got, wanted, f"{case}, {argument.name} {layout.__name__}")
            view[...] = values
            assert base.tobytes() == before, f"{case}: written beside {argument.name}"


@pytest.mark.parametrize("name", NAMES)
def test_other_types_are_converted(name):
    """float16, whole numbers, booleans and lists become float32; any float64 makes it float64."""
    op = OPS[name]
    if any(a.role == "inout" and a.dtype == "real" for a in op.arguments):
        pytest.skip("in-out arguments say the type")
    reals = [a.name for a in op.inputs if a.dtype == "real"]
    if not reals:
        pytest.skip("no argument whose type may vary")
    case = small_case(name, np.float64)
    for convert in (np.float16, np.int32, np.uint8, np.bool_, np.float32, np.float64):
        with np.errstate(invalid="ignore"):
            arguments = {
                k: v.astype(convert) if k in reals else v for k, v in case.arguments().items()
            }
        lists = {k: v.tolist() if k in reals else v for k, v in arguments.items()}
        for inputs, dtype in (
            (arguments, np.float64 if convert is np.float64 else np.float32),
            (lists, np.float64 if np.asarray(0, convert).dtype.kind == "f" else np.float32),
        ):
            plain = {k: v.astype(dtype) if k in reals else v for k, v in arguments.items()}
            typed = Case(op, dtype, plain, case.options, case.lengths)
            wanted = call(typed, **typed.outputs())
            outputs = typed.outputs() if needs_outputs(op) else {}
            got = call(typed, {**case.arguments(), **inputs}, **outputs)
            assert_same_bits(got, wanted, f"{name} from {convert}")


# --- overlaps -----------------------------------------------------------------------------------


def _pairs():
    """Every written real argument with every real input, for every op."""
    for name in NAMES:
        real = [a for a in OPS[name].arguments if a.dtype == "real"]
        for target in real:
            for source in real:
                if target.role != "in" and source.role == "in":
                    yield name, target, source


def _view(memory, start, shape, steps):
    """A strided view into the memory; steps are >= 1 of the next inner axis' extent, or < 0."""
    strides, extent = [], 1
    for n, step in zip(shape[::-1], steps[::-1], strict=False):
        strides.insert(0, extent * step)
        extent *= max(1, n * abs(step))
    lowest = sum(s * (n - 1) for s, n in zip(strides, shape, strict=True) if s < 0 and n)
    highest = sum(s * (n - 1) for s, n in zip(strides, shape, strict=True) if s > 0 and n)
    first = start - lowest
    assume(first + highest < memory.size)
    return as_strided(memory[first:], shape, [s * memory.itemsize for s in strides])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_overlapping_arrays_are_as_if_copied(data):
    """Or refused with nothing changed."""
    name, target, source = data.draw(st.sampled_from(PAIRS))
    case = small_case(name, data.draw(st.sampled_from([np.float32, np.float64])))
    memory = 0.1 + 0.8 * np.random.default_rng(0).random(4000).astype(case.dtype)
    views = {}
    for argument in (target, source):
        shape = shape_of(argument, case.lengths)
        steps = data.draw(st.lists(st.sampled_from([1, 1, 1, 2, -1]), min_size=5, max_size=5))
        views[argument.name] = _view(memory, data.draw(st.integers(0, 40)), shape, steps)
    inputs = {k: views[k] if k in views and k != target.name else v
              for k, v in case.arguments().items()}  # fmt: skip
    if target.role == "inout":
        inputs[target.name] = views[target.name]
    apart = {k: None if v is None else v.copy() for k, v in inputs.items()}
    wanted = call(case, apart, **case.outputs())
    outputs = case.outputs()
    if target.role == "out":
        outputs[target.name] = views[target.name]
    before = memory.tobytes()
    try:
        got = call(case, inputs, **outputs)
    except ValueError:
        assert memory.tobytes() == before
    else:
        assert_same_bits(got, wanted, f"{case}: {target.name} over {source.name}")


PAIRS = list(_pairs())


@pytest.mark.parametrize("name", [n for n in NAMES if OPS[n].inplace])
def test_in_place(name):
    """An op that the table calls inplace may write over any of its inputs of that shape."""
    case = small_case(name)
    op = OPS[name]
    wanted = call(case, **case.outputs())
    pairs = [
        (out, x)
        for out in op.outputs
        for x in op.inputs
        if len(op.outputs) == 1 or out.axes == x.axes
    ]
    for out, x in pairs:
        arguments = case.arguments()
        got = call(case, arguments, **{out.name: arguments[x.name]})
        assert got[out.name] is arguments[x.name]
        assert_same_bits(got, wanted, f"{case}: {out.name} over {x.name}")
