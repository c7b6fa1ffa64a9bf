"""Every op called wrongly in every way that the table allows to think of.

Each bad call must raise ValueError or TypeError with a message that names the op and, where one is
to blame, the argument; and no array may have changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from cases import NAMES, needs_outputs, other_values, small_case

from fastdl import kernels
from fastdl.kernels.table import OPS


@dataclass
class BadCall:
    """What is wrong, the call, and the name that the message has to mention (None: any)."""

    what: str
    args: tuple
    kwargs: dict
    culprit: str | None


def _no_numbers():
    """What is no array of real numbers."""
    return {
        "complex64": np.ones((3, 2), np.complex64),
        "complex128": np.ones((3, 2), np.complex128),
        "complex": 1j,
        "object": np.full((3, 2), None),
        "object of numbers": np.full((3, 2), 1.0, object),
        "str": "abc",
        "array of str": np.full((3, 2), "1.0"),
        "bytes": b"abc",
        "datetime": np.zeros((3, 2), "M8[s]"),
        "timedelta": np.zeros((3, 2), "m8[s]"),
        "record": np.zeros((3, 2), [("a", "f4")]),
        "ragged list": [[1.0, 2.0], [3.0]],
        "list of None": [None, None],
        "dict": {"a": 1.0},
        "set": {1.0},
        "function": len,
        "object()": object(),
    }


def _no_targets(good):
    """What cannot be written to as ``good`` can."""
    read_only = good.copy()
    read_only.flags.writeable = False
    wrong_types = ("f2", "i4", "i8", "u1", "?", "c8", "c16", "O", "U4", "S4", "M8[s]")
    with np.errstate(all="ignore"):
        cases = {f"array of {t}": np.ones(good.shape, t) for t in wrong_types}
    if good.size > 1:
        cases["elements that share memory"] = np.broadcast_to(good.ravel()[:1], good.shape)
        cases["elements that share memory"].flags.writeable = True
    return {
        **cases,
        "read-only": read_only,
        "list": good.tolist(),
        "tuple": tuple(good.ravel().tolist()),
        "number": 1.0,
        "str": "out",
        "True": True,
        "dict": {},
        "bytearray": bytearray(good.nbytes),
    }


def _wrong_shapes(op, argument, good):
    """Arrays that fit no more: where nothing else says an axis, any length of it is right."""
    others = [a for a in op.arguments if a.name != argument.name]
    shared = {letter for a in others for axis in a.axes for letter in axis.split("+")}
    lead = good.ndim - len(argument.axes) + 1 if argument.batched else 0
    for at in range(good.ndim):
        axis = "B" if at < lead else argument.axes[at - lead + (lead > 0)]
        if axis.isdigit() or "+" in axis or axis in shared:
            for change in (1, -1, 3):
                shape = list(good.shape)
                shape[at] = max(0, shape[at] + change)
                if shape[at] != good.shape[at]:
                    yield f"axis {at} of {shape[at]}", np.ones(shape, good.dtype)
    if not argument.batched or "B" in shared:
        yield "one axis more in front", np.ones((2, *good.shape), good.dtype)
        yield "one axis more behind", np.ones((*good.shape, 2), good.dtype)
        if good.ndim > 1:
            yield "all axes as one", np.ones(good.size, good.dtype)
        if good.ndim:
            yield "a single number", np.array(1.0, good.dtype)


def _bad_options(option, tail):
    values = {"complex": 1j, "list": [1.0], "dict": {}, "object": object(), "bytes": b"x"}
    if not tail:  # activation=None is linear, as in a layer
        values["None"] = None
    if option.kind == "choice":
        return {**values, "unknown": "nonsense", "number": 1, "empty": "", "upper case": "KERAS"}
    if option.kind == "bool":
        return {**values, "str": "True", "number": 2, "one": 1, "float": 0.0}
    values |= {"str": "0.5", "bool": True, "NaN": math.nan}
    if option.low is not None:
        values["below"] = option.low - (1 if option.kind == "int" else 0.25)
        values["far below"] = -(2**40)
        if option.open_low:
            values["at the open lower bound"] = option.low
    if option.high is not None:
        values["above"] = option.high + (1 if option.kind == "int" else 0.25)
        if option.open_high:
            values["at the open upper bound"] = option.high
    if option.kind == "int":
        values |= {"fraction": 1.5, "whole float": 2.0, "too large": 2**63, "infinite": math.inf}
    return values


def bad_calls(name):
    op, case = OPS[name], small_case(name)
    inputs, outputs = case.arguments(), case.outputs()

    def changed(what, culprit, **changes):
        everything = {**inputs, **case.options, **outputs, **changes}
        return BadCall(what, (), {k: v for k, v in everything.items() if v is not ...}, culprit)

    for argument in op.inputs:
        key, good = argument.name, inputs[argument.name]
        for what, value in _no_numbers().items():
            yield changed(f"{key} is {what}", key, **{key: value})
        if not argument.optional:
            yield changed(f"{key} is None", key, **{key: None})
            yield changed(f"{key} is missing", key, **{key: ...})
        if argument.role == "inout":
            for what, value in _no_targets(good).items():
                yield changed(f"{key} is {what}", key, **{key: value})
        for what, value in _wrong_shapes(op, argument, good):
            yield changed(f"{key} has {what}", None, **{key: value})
        if argument.needed_by:
            option = next(o for o in op.options if o.name == argument.needed_by)
            changes = {key: None, option.name: other_values(option)[0]}
            yield changed(f"{key} is None though {option.name} needs it", key, **changes)
        if argument.dtype == "label":
            for bad in (-1, case.lengths[argument.below], 2**40, math.nan, math.inf, 0.5):
                labels = good.astype(type(bad))
                labels.flat[-1] = bad
                yield changed(f"a label is {bad}", key, **{key: labels})

    for argument in op.outputs:
        key, good = argument.name, outputs[argument.name]
        for what, value in _no_targets(good).items():
            yield changed(f"{key} is {what}", key, **{key: value})
        if not argument.optional:
            yield changed(f"{key} is False", key, **{key: False})
        for what, value in _wrong_shapes(op, argument, good):
            yield changed(f"{key} has {what}", None, **{key: value})
    for one in op.arguments:
        for other in op.arguments:
            both = one.role != "in" and other.role != "in" and one.name < other.name
            if both and one.axes == other.axes and one.dtype == other.dtype:
                same = {**inputs, **outputs}[one.name]
                yield changed("the same array twice", None, **{one.name: same, other.name: same})
    written = [a for a in op.arguments if a.role != "in" and a.dtype == "real"]
    if len(written) > 1:
        key = written[-1].name
        other_type = {**inputs, **outputs}[key].astype(np.float64)
        yield changed("two float types to be written", None, **{key: other_type})

    for option in [*op.options, *([op.tail] if op.tail else [])]:
        for what, value in _bad_options(option, option == op.tail).items():
            yield changed(f"option is {what}", option.name, **{option.name: value})
        if option.default is None:
            yield changed("option is missing", option.name, **{option.name: ...})

    for unknown in ("X", "input", "axis", "dtype", "where", "casting", "outt", "n_threads", ""):
        yield changed(f"unknown keyword {unknown!r}", unknown, **{unknown: 1.0})
    positional = tuple(inputs.values())
    for extra in (None, 1.0, inputs):
        yield BadCall("too many arguments", (*positional, extra), dict(case.options), None)
    if op.inputs:
        twice = changed("", None).kwargs
        yield BadCall("an argument twice", positional[:1], twice, op.inputs[0].name)
        yield BadCall("no arguments", (), dict(case.options), None)
        yield BadCall("only outputs", (), {**case.options, **outputs}, None)
    if needs_outputs(op):
        yield changed("outputs that do not follow", None, **dict.fromkeys(outputs))


@pytest.mark.parametrize("name", NAMES)
def test_bad_calls_are_refused_by_name_and_change_nothing(name):
    function, count = getattr(kernels, name), 0
    for bad in bad_calls(name):
        count += 1
        what = f"{name}: {bad.what}"
        arrays = [v for v in (*bad.args, *bad.kwargs.values()) if isinstance(v, np.ndarray)]
        before = [a.tobytes() for a in arrays if a.dtype != object]
        try:
            function(*bad.args, **bad.kwargs)
        except (ValueError, TypeError) as error:
            message = str(error)
        except BaseException as error:
            raise AssertionError(f"{what} raises {type(error).__name__}: {error}") from error
        else:
            raise AssertionError(f"{what} is accepted")
        assert name in message, f"{what}: the message does not name the op: {message}"
        if bad.culprit is not None:
            assert repr(bad.culprit) in message, f"{what}: who is to blame? {message}"
        assert [a.tobytes() for a in arrays if a.dtype != object] == before, f"{what}: changed"
    assert count >= 40


def test_the_first_bad_label_is_named():
    if "sparse_categorical_accuracy" not in NAMES:
        pytest.skip("no op with labels")
    pred, labels = np.ones((6, 3), np.float32), np.array([0, 2, 1, 3, -1, 0])
    with pytest.raises(ValueError, match=r"'labels' must lie in 0 \.\.\. 2, but row 3 is 3"):
        kernels.sparse_categorical_accuracy(pred, labels)
