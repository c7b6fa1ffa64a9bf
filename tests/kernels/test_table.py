"""The op table itself: names that are referred to exist, and every op is complete."""

import inspect
from pathlib import Path

import oracle
import pytest
from cases import NAMES

from fastdl import kernels
from fastdl.kernels import describe
from fastdl.kernels.table import ACTIVATIONS, OPS


def test_every_op_has_a_kernel():
    assert set(OPS) == set(NAMES)


def test_every_op_has_an_oracle_and_no_oracle_is_left_over():
    functions = {
        name for name, value in vars(oracle).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }  # fmt: skip
    assert functions - {"philox"} == set(OPS)


@pytest.mark.parametrize("name", OPS)
def test_oracle_takes_the_names_and_defaults_of_the_table(name):
    op, parameters = OPS[name], inspect.signature(getattr(oracle, name)).parameters
    options = [*op.options, *([op.tail] if op.tail else [])]
    wanted = [a.name for a in op.inputs] + [o.name for o in options]
    assert [p for p in parameters if p not in ("columns", "lengths")] == wanted
    for option in options:
        default = parameters[option.name].default
        assert default == (inspect.Parameter.empty if option.default is None else option.default)


@pytest.mark.parametrize("name", OPS)
def test_is_well_formed(name):
    op = OPS[name]
    assert op.name == name
    assert op.doc.endswith((".", ")")), "a doc is sentences"
    names = [a.name for a in op.arguments] + [o.name for o in op.options]
    assert len(names) == len(set(names))
    assert op.arguments and (op.outputs or any(a.role == "inout" for a in op.arguments))
    for argument in op.arguments:
        assert argument.role in ("in", "out", "inout")
        assert argument.dtype in ("real", "label", "float64")
        for place, axis in enumerate(argument.axes):
            parts = axis.split("+")
            assert all(p.isdigit() or (len(p) == 1 and p.isupper()) for p in parts)
            assert "B" not in parts or (place == 0 and axis == "B"), "B comes first, and once"
        if argument.below:
            assert argument.dtype == "label" and argument.below in op.letters
        if argument.needed_by:
            assert argument.optional and argument.needed_by in {o.name for o in op.options}
    for option in op.options:
        assert option.kind in ("float", "int", "bool", "choice")
        assert (option.kind == "choice") == bool(option.choices)
        assert option.default is None or option.kind != "choice" or option.default in option.choices
        if isinstance(option.default, (int, float)) and option.low is not None:
            assert option.low <= option.default
        if isinstance(option.default, (int, float)) and option.high is not None:
            assert option.default <= option.high
    assert not op.inplace or any(a.axes == op.outputs[0].axes for a in op.inputs)


@pytest.mark.parametrize("name", [n for n in OPS if OPS[n].backward or OPS[n].passes])
def test_gradients_go_by_names(name):
    op = OPS[name]
    inputs = {a.name: a for a in op.inputs}
    known = {a.name: a for a in op.arguments}
    covered = list(op.passes)
    gradients = {f"grad_{a.name}": a for a in op.outputs}
    for backward in (OPS[b] for b in op.backward):
        renamed = {}  # grad_out's letters may be other ones than those of out
        for argument in backward.inputs:
            if argument.name in gradients:
                result = gradients[argument.name]
                axes, named = argument.own_axes, result.own_axes
                renamed |= dict(zip(axes, named[len(named) - len(axes) :], strict=True))
                assert argument.axes == result.axes or argument.batched
            else:
                assert argument.name in known, f"{backward.name} reads what {name} does not have"
                assert argument.axes == known[argument.name].axes
                assert argument.dtype == known[argument.name].dtype
                if known[argument.name].role != "out":
                    assert argument.optional == known[argument.name].optional
        for argument in backward.outputs:
            assert argument.name.startswith("grad_")
            source = argument.name.removeprefix("grad_")
            assert tuple(renamed.get(x, x) for x in argument.axes) == inputs[source].axes
            covered.append(source)
        for option in backward.options:
            assert option in op.options, f"{backward.name} takes an option that {name} does not"
    assert len(covered) == len(set(covered)), "one gradient, one op"
    for passed in op.passes:
        assert inputs[passed].axes == known["out"].axes


def test_every_backward_op_has_a_forward_op():
    used = {b for op in OPS.values() for b in op.backward}
    assert used <= set(OPS)
    assert {name for name in OPS if "backward" in name} == used


def test_activations():
    for name in ACTIVATIONS:
        assert name == "linear" or f"{name}_forward" in OPS
        assert name == "linear" or f"{name}_backward" in OPS


@pytest.mark.parametrize("name", NAMES)
def test_every_op_is_a_documented_function(name):
    op, function = OPS[name], getattr(kernels, name)
    assert name in kernels.__all__
    for argument in op.arguments:
        assert argument.name in function.__doc__
    assert set(inspect.signature(function).parameters) == {a.name for a in op.arguments} | {
        o.name for o in [*op.options, *([op.tail] if op.tail else [])]
    }


def test_type_stub_says_what_the_table_says():
    stub = Path(kernels.__file__).with_name("__init__.pyi").read_text()
    assert stub == describe.stub(), "python -m fastdl.kernels.describe > kernels/__init__.pyi"
