"""Calls of every op, made from the op table: sizes, options, inputs that suit them, tolerances.

A new op is found by itself. It needs a line here only where standard normal numbers are no sensible
input for it, or where the default tolerance does not fit. One with a geometry needs its sizes and
options in `geometries.py`.
"""

from __future__ import annotations

import inspect
import math
import zlib
from dataclasses import dataclass

import numpy as np
import oracle
from geometries import GEOMETRIES

from fastdl import kernels
from fastdl.kernels.runner import registered_ops
from fastdl.kernels.table import OPS, Op, Option

DTYPES = (np.float32, np.float64)

#: Ops whose mean and variance are those of their x, as gradients go through them.
NORMALISED_BY_BATCH = (
    "batchnorm_forward", "batchnorm_backward",
    "batchnorm_max_pool_forward", "batchnorm_max_pool_backward",
)  # fmt: skip

#: Ops with a kernel; that none is missing is a test of its own.
NAMES = tuple(name for name in OPS if name in registered_ops())

#: Around every vector length, around a piece of the streaming ops (4096), and more than two pieces.
LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 4095, 4096, 4097, 9001)

#: (B, letters in the order of the op): degenerate, odd, vector +- 1, several axes, several pieces.
EXTENTS = (
    ((0,), (3, 5, 4)),
    ((1,), (1, 1, 1)),
    ((3,), (0, 2, 2)),
    ((2,), (5, 0, 3)),
    ((4,), (3, 2, 0)),
    ((1,), (33, 17, 9)),
    ((9,), (1, 31, 65)),
    ((7,), (17, 15, 16)),
    ((2, 3, 5), (9, 33, 18)),
    ((65,), (64, 7, 129)),
    ((131,), (10, 100, 61)),
    ((600,), (37, 70, 300)),
)


#: Of ops on images, whose three lengths multiply.
MOST_PIXELS = 100_000


@dataclass(frozen=True)
class Case:
    """One call of an op: contiguous inputs of one float type, and options."""

    op: Op
    dtype: type
    inputs: dict[str, np.ndarray | None]
    options: dict[str, object]
    lengths: dict[str, object]

    def __str__(self) -> str:
        given = {k: v.shape for k, v in self.inputs.items() if v is not None}
        return f"{self.op.name}({given}, {self.options}) in {np.dtype(self.dtype).name}"

    def arguments(self) -> dict[str, np.ndarray | None]:
        """Fresh copies of the inputs, for a call that may write to them."""
        return {k: None if v is None else v.copy() for k, v in self.inputs.items()}

    def outputs(self) -> dict[str, np.ndarray]:
        """Outputs full of NaN, so that what a kernel leaves unwritten shows."""
        return {
            a.name: np.full(shape_of(a, self.lengths), np.nan, dtype_of(a, self.dtype))
            for a in self.op.outputs
        }

    def expected(self) -> dict[str, np.ndarray]:
        """What the oracle says: outputs and new values of in-out arguments, in float64."""
        inputs = {
            k: v.astype(np.float64) if v is not None and v.dtype.kind == "f" else v
            for k, v in self.inputs.items()
        }
        return expected(self.op, inputs, self.options, self.lengths)


def dtype_of(argument, dtype):
    return {"real": dtype, "label": np.int64, "float64": np.float64}[argument.dtype]


def shape_of(argument, lengths) -> tuple[int, ...]:
    shape: tuple[int, ...] = ()
    for axis in argument.axes:
        shape += lengths["B"] if axis == "B" else (axis_length(axis, lengths),)
    return shape


def axis_length(axis: str, lengths) -> int:
    """The length of one axis, which may be a letter, a sum of letters, or a number."""
    return sum(int(part) if part.isdigit() else lengths[part] for part in axis.split("+"))


def expected(op: Op, inputs, options, lengths) -> dict[str, np.ndarray]:
    """The oracle's answer by name. Raises AttributeError for an op that it does not have."""
    function = getattr(oracle, op.name)
    known = {"columns": lengths.get("C"), "lengths": lengths}
    extra = {k: v for k, v in known.items() if k in inspect.signature(function).parameters}
    with np.errstate(all="ignore"):
        results = function(**inputs, **options, **extra)
    written = [a.name for a in op.arguments if a.role != "in"]
    results = results if isinstance(results, tuple) else (results,)
    return {k: v for k, v in zip(written, results, strict=True) if v is not None}


# --- sizes and options --------------------------------------------------------------------------


def extents(op: Op):
    """All lengths to try an op with, by letter; B's is a tuple."""
    if op.name in GEOMETRIES:
        yield from (complete(op, *extent) for extent in GEOMETRIES[op.name].extents)
        return
    if any("B" in a.axes for a in op.arguments):
        if not op.letters:
            yield from ({"B": (n,)} for n in LENGTHS)
            yield from ({"B": shape} for shape in ((), (2, 3, 5)))
            return
    elif len(op.letters) == 1:
        yield from ({"B": (), op.letters[0]: n} for n in LENGTHS)
        return
    images = any(len(a.own_axes) > 2 for a in op.arguments)
    for rows, lengths in EXTENTS:
        if not images or math.prod((*rows, *lengths)) <= MOST_PIXELS:
            yield complete(op, rows, lengths)


def complete(op: Op, rows, lengths) -> dict[str, object]:
    """Lengths by letter from lengths in the order of the letters."""
    if op.name in GEOMETRIES:
        return GEOMETRIES[op.name].complete(rows, lengths)
    known = dict(zip(op.letters, (*lengths, *lengths[::-1]), strict=False))
    if any(len(a.own_axes) > 2 for a in op.arguments):  # all of them together would be too many
        known = {letter: min(n, 20) for letter, n in known.items()}
    if op.geometry is not None:  # all follow from the first
        known = {op.letters[0]: lengths[0]}
        op.derive(known, op.defaults)
    return {"B": rows, **known}


def derived(op: Op, lengths, options) -> dict[str, object]:
    """The lengths, those of channels rounded up to whole groups, and what follows from them."""
    if op.name not in GEOMETRIES:
        return lengths
    known = {letter: n for letter, n in lengths.items() if letter != "B"}
    groups = options.get("groups", 1)
    known.update({k: -(-known[k] // groups) * groups for k in ("C", "O") if k in known})
    op.derive(known, op.defaults | options)
    return {"B": lengths["B"], **known}


def other_values(option: Option) -> list:
    """Allowed values of an option beside its default."""
    if option.kind == "bool":
        return [not option.default]
    if option.kind == "choice":
        return [c for c in option.choices if c != option.default]
    if option.kind == "int" and option.default is None:
        return [3]
    if option.kind == "int":
        return [option.default + 3, 2**40 + 5] if option.high is None else [option.high]
    low = -math.inf if option.low is None else option.low
    high = math.inf if option.high is None else option.high
    return [next(v for v in (0.3, 0.7, 1.5) if low < v < high and v != option.default)]


#: Options that the cases of an op have, where they cannot be anything.
_OPTIONS = {
    "clip_forward": {"low": -0.8, "high": 0.7},
    "clip_backward": {"low": -0.8, "high": 0.7},
}


def required(op: Op) -> dict[str, object]:
    """The options without a default, given."""
    if op.name in GEOMETRIES:
        return dict(GEOMETRIES[op.name].options)
    values = {o.name: other_values(o)[0] for o in op.options if o.default is None}
    return values | _OPTIONS.get(op.name, {})


def variants(op: Op):
    """Pairs of options and whether the optional arguments are given."""
    base = required(op)
    optional = any(a.optional for a in op.inputs)
    yield base, True
    if op.name in GEOMETRIES:
        for changes in GEOMETRIES[op.name].others:
            for given in (True, False)[: 1 + optional]:
                yield {**base, **changes}, given
        return
    if optional:
        yield base, False
    together: dict[str, object] = {}
    for option in op.options:
        for value in other_values(option):
            options = {**base, option.name: value}
            yield options, True
            if optional and option.name not in {a.needed_by for a in op.inputs}:
                yield options, False
        together[option.name] = other_values(option)[-1]
    if len(op.options) > 1:
        yield {**base, **together}, True


# --- inputs -------------------------------------------------------------------------------------

_POSITIVE = {"variance", "running_variance", "square", "v", "v_max", "squares", "rstd"}
_CROSS_ENTROPIES = {
    f"{loss}{suffix}" for suffix in ("", "_backward")
    for loss in (
        "binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy",
    )
}  # fmt: skip


def _draw(op: Op, argument, shape, lengths, options, generator):
    """Random numbers that suit an argument."""
    name = argument.name
    if argument.dtype == "label":
        return generator.integers(0, max(lengths[argument.below or "C"], 1), shape)
    if name in ("condition", "mask", "key_mask"):
        return generator.integers(0, 2, shape)
    power = op.name.startswith("power") or options.get("function") == "power"
    if name in _POSITIVE or op.name.startswith(("log_", "sqrt_")) or (power and name != "grad_out"):
        return 0.1 + generator.random(shape)
    if op.name == "row_mask":
        return generator.integers(0, 2, shape) * generator.standard_normal(shape)
    if name in ("sample_weight", "grad_scale"):
        return 2 * generator.random(shape)
    if op.name in _CROSS_ENTROPIES and name == "pred" and not options.get("from_logits"):
        return generator.uniform(0.02, 0.98, shape)
    if op.name.startswith("binary_crossentropy") and name == "target":
        return generator.random(shape)
    if op.name.startswith("categorical_crossentropy") and name == "target":
        return oracle.softmax_forward(generator.standard_normal(shape))
    if op.name == "binary_accuracy" and name == "target":
        return generator.integers(0, 2, shape).astype(float)
    return 1.5 * generator.standard_normal(shape)


def forward_of(op: Op) -> Op | None:
    """The op whose gradient this one computes."""
    return next((f for f in OPS.values() if op.name in f.backward), None)


def draw_inputs(op: Op, lengths, options, optional=True, seed=0) -> dict[str, np.ndarray | None]:
    """Inputs in float64. Saved results that a backward op reads are the forward op's own."""
    lengths = derived(op, lengths, options)
    generator = np.random.default_rng(zlib.crc32(repr((op.name, lengths, seed)).encode()))
    inputs: dict[str, np.ndarray | None] = {}
    for argument in op.inputs:
        given = optional or not argument.optional
        shape = shape_of(argument, lengths)
        inputs[argument.name] = (
            np.asarray(_draw(op, argument, shape, lengths, options, generator)) if given else None
        )
    return consistent(op, inputs, lengths, options)


def consistent(op: Op, inputs, lengths, options):
    """The same inputs, those that are a function of others replaced by it."""
    inputs = dict(inputs)
    if op.name in NORMALISED_BY_BATCH:
        inputs["mean"], inputs["variance"] = oracle.batchnorm_statistics(inputs["x"])
    if inputs.get("average") is not None:
        inputs["square"] = inputs["square"] + inputs["average"] ** 2
    forward = forward_of(op)
    saved = {a.name for a in forward.outputs} & inputs.keys() if forward else set()
    if saved:
        known = draw_inputs(forward, lengths, options)
        known.update({k: v for k, v in inputs.items() if k in known})
        results = expected(forward, known, options_of(forward, options), lengths)
        inputs.update({k: results[k] for k in saved})
    return inputs


def options_of(op: Op, options) -> dict[str, object]:
    """Those of another op's options that this op has too."""
    return {o.name: options[o.name] for o in op.options if o.name in options}


def make_case(op: Op, lengths, options, dtype, optional=True, seed=0) -> Case:
    lengths = derived(op, lengths, options)
    inputs = draw_inputs(op, lengths, options, optional, seed)
    typed = {
        a.name: None if inputs[a.name] is None else inputs[a.name].astype(dtype_of(a, dtype))
        for a in op.inputs
    }
    return Case(op, dtype, typed, options, lengths)


def defined(op: Op, lengths) -> bool:
    """Whether the op means something at this size: there is no argmax of nothing, and no label."""
    below = {a.below or "C" for a in op.inputs if a.dtype == "label"}
    if any(word in op.name for word in ("accuracy", "confusion", "argmax")):
        below.add("C")
    return all(lengths.get(letter) != 0 for letter in below)


def cases(name: str, dtype, most: float = math.inf):
    """All cases of an op whose largest array has at most so many elements."""
    op = OPS[name]
    for lengths in extents(op):
        if defined(op, lengths):
            for options, optional in variants(op):
                known = derived(op, lengths, options)
                if all(math.prod(shape_of(a, known)) <= most for a in op.arguments):
                    yield make_case(op, lengths, options, dtype, optional)


def small_case(name: str, dtype=np.float32, rows=(3, 2), lengths=(5, 4, 6), **options) -> Case:
    """One ordinary case of an op, with all optional arguments."""
    op = OPS[name]
    if op.name in GEOMETRIES:  # of which the array has more axes
        rows, lengths = (2,), (4, 5, 3)
    return make_case(op, complete(op, rows, lengths), {**required(op), **options}, dtype)


def call(case: Case, arguments=None, **outputs):
    """Calls the kernel: a dictionary of the outputs and in-out arguments after the call."""
    arguments = case.arguments() if arguments is None else arguments
    results = getattr(kernels, case.op.name)(**arguments, **case.options, **outputs)
    names = [a.name for a in case.op.outputs if outputs.get(a.name) is not False]
    results = (results,) if len(names) == 1 else results or ()
    written = dict(zip(names, results, strict=True))
    for argument in case.op.arguments:
        if argument.role == "inout" and arguments[argument.name] is not None:
            written[argument.name] = arguments[argument.name]
    return {k: v for k, v in written.items() if v is not None}


def needs_outputs(op: Op) -> bool:
    """Whether outputs have to be given, because the inputs do not say their shapes."""
    known = {axis for a in op.inputs for axis in a.axes}
    if op.name in GEOMETRIES:
        lengths = {k: n for k, n in small_case(op.name).lengths.items() if k in known - {"B"}}
        known |= derived(op, {"B": (), **lengths}, required(op)).keys()
    return not all(
        axis in known or axis.isdigit() or "+" in axis for a in op.outputs for axis in a.axes
    )


# --- tolerances ---------------------------------------------------------------------------------

#: Exact, or one rounding of each operation: 4 ulp of each element.
_STRICT = {
    "relu_forward", "relu_backward", "leaky_relu_forward", "leaky_relu_backward",
    "sigmoid_forward", "tanh_forward", "add", "multiply", "multiply_backward", "scale",
    "scale_backward", "concatenate", "concatenate_backward", "dropout_forward",
    "dropout_backward", "categorical_accuracy", "sparse_categorical_accuracy", "fill", "assign",
    "to_time_major_forward", "to_time_major_backward", "from_time_major_forward",
    "from_time_major_backward", "choose_rows_forward",
    "choose_rows_backward", "row_mask", "split_forward", "split_backward",
    "max_pool_forward",
    "exp_forward", "log_forward", "sqrt_forward", "square_forward", "abs_forward", "sign",
    "clip_forward", "clip_backward", "where_forward", "where_backward", "max_forward",
    "min_forward", "broadcast_forward", "broadcast_rows_forward", "transpose_forward",
    "transpose_backward", "slice_forward", "slice_backward", "take_forward", "one_hot",
    "pad_forward", "pad_backward",
    "top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy",
}  # fmt: skip


def _sum_bound(terms: int) -> int:
    """Of a sum of so many terms, in units of epsilon times the sum of their magnitudes: roundings
    are of either sign, and a sum is made in vectors, so they grow no faster than this."""
    return max(1, math.ceil(math.log2(terms + 1)))


def _product_bound(case: Case, name: str):
    """4 ceil(log2 K) eps sum |a b|, K being the terms of one sum."""
    output = next(a for a in case.op.outputs if a.name == name)
    summed = {axis for a in case.op.inputs for axis in a.axes} - set(output.axes)
    terms = math.prod(
        math.prod(case.lengths[axis]) if axis == "B" else case.lengths[axis] for axis in summed
    )
    inputs = {k: None if v is None else np.abs(v, dtype=float) for k, v in case.inputs.items()}
    options = {k: v for k, v in case.options.items() if k != "activation"}
    total = expected(case.op, inputs, options, case.lengths)[name]
    return 4 * _sum_bound(terms) * total


def _attention_bound(case: Case, name: str, value):
    """What roundings add up to, step by step.

    A score is a sum over D, scaled; the largest one or lse is taken from it. Its exponential is
    off, relatively, by what all that is off absolutely, and by 3 for exp. Sums of weights, and of
    weights times rows, add their own; a gradient of a score is a weight times a difference of two
    sums over V.
    """
    given = {k: v for k, v in case.inputs.items() if v is not None}
    size = {k: np.abs(v, dtype=float) for k, v in given.items()}
    scale, kept = abs(case.options.get("scale", 1.0)), 1 - case.options.get("rate", 0.0)
    D, T, S, V = (case.lengths[axis] for axis in "DTSV")
    products = scale * np.einsum("...thd,...shd->...hts", size["q"], size["k"])
    if S == 0 or T == 0:
        return 4 * np.abs(value)
    exact = oracle.attention._attention_scores(  # the options' defaults are those of the oracle
        *(given[k].astype(float) for k in "qk"), given.get("mask"), given.get("key_mask"),
        case.options.get("scale", 1.0), case.options.get("causal", False),
    )  # fmt: skip
    if "lse" in given:
        log_sum = np.swapaxes(given["lse"].astype(float), -1, -2)[..., None]
    else:
        top = exact.max(-1, keepdims=True)
        top = np.where(np.isneginf(top), 0.0, top)
        with np.errstate(divide="ignore"):
            log_sum = np.log(np.exp(exact - top).sum(-1, keepdims=True)) + top
    log_sum = np.where(np.isneginf(log_sum), np.inf, log_sum)
    weights = np.exp(exact - log_sum)
    level = np.where(np.isfinite(log_sum), np.abs(log_sum), 0.0)
    off = (_sum_bound(D) + 2) * products.max(-1, keepdims=True) + 2 * level + 3
    if name == "lse":
        return np.swapaxes((off + level)[..., 0], -1, -2) + _sum_bound(S)
    if name == "out":
        off = 2 * off + 2 * _sum_bound(S)
        return np.einsum("...hts,...shv->...thv", off * weights, size["v"]) / kept
    if name == "grad_v":
        off = off + _sum_bound(T)
        return np.einsum("...hts,...thv->...shv", off * weights, size["grad_out"]) / kept
    rise = np.einsum("...thv,...shv->...hts", size["grad_out"], size["v"]) / kept
    rise = rise + np.einsum("...thv,...thv->...ht", size["grad_out"], size["out"])[..., None]
    slopes = (
        (off + _sum_bound(V) + _sum_bound(S if name == "grad_q" else T)) * scale * weights * rise
    )
    if name == "grad_q":
        return np.einsum("...hts,...shd->...thd", slopes, size["k"])
    return np.einsum("...hts,...thd->...shd", slopes, size["q"])


def _norm_bound(case: Case, name: str, value):
    """Figures of the numeric bounds, which are for float32, in units of its epsilon."""
    ulps = 5.0 if "batchnorm" in case.op.name else 4.2
    if name in ("grad_gamma", "grad_beta"):
        rows = math.prod((*case.lengths["B"], *(case.lengths.get(axis, 1) for axis in "PQ")))
        return 8 * math.ceil(math.log2(rows + 2)) * math.sqrt(rows + 1)
    size = np.abs(value).max(initial=1.0)
    if name == "grad_x":  # a difference of three parts, each of the size of grad_out*gamma*rstd
        given = {k: np.abs(v).max(initial=0.0) for k, v in case.inputs.items() if v is not None}
        if "variance" in given:
            least = case.inputs["variance"].min(initial=1.0)
            given["rstd"] = 1 / math.sqrt(least + case.options.get("epsilon", 1e-3))
        size = max(size, given["grad_out"] * given.get("gamma", 1.0) * given["rstd"])
    return ulps * size


def tolerance(case: Case, name: str, value: np.ndarray):
    """How far an output may be from the oracle's value."""
    epsilon = np.finfo(case.dtype).eps
    if case.op.name == "conv2d_statistics_forward" and name != "out":
        out = np.abs(case.expected()["out"])
        off = (_product_bound(case, "out") + 8 * out).max(initial=0.0)
        bound = off if name == "mean" else 4 * off * (1 + out.max(initial=0.0))
    elif case.op.name.startswith(("matmul", "dense", "conv", "batch_matmul")):
        bound = _product_bound(case, name) + 4 * np.abs(value)
    elif case.op.name.startswith("attention"):
        bound = _attention_bound(case, name, value)
    elif "norm_" in case.op.name and case.op.name != "squared_norm":
        bound = _norm_bound(case, name, value)
    elif case.op.name == "batch_mean":
        weight = case.inputs["sample_weight"]
        terms = np.abs(case.inputs["values"] * np.float64(1 if weight is None else weight))
        bound = 8 * terms.sum() / max(terms.size, 1) + 4 * np.abs(value)
    elif case.op.name == "augment":  # places are rounded too, relative to the image's size
        sizes = 16 * (case.lengths["H"] + case.lengths["W"])
        bound = sizes * np.abs(case.inputs["x"]).max(initial=0.0)
    elif case.op.name in _STRICT:
        bound = 4 * np.abs(value)
    else:
        least = 1.0 if name == "loss" else 0.0  # the logarithm of a number near 1
        bound = 8 * (np.abs(value) + np.abs(value).max(initial=least, where=np.isfinite(value)))
        if case.op.elementwise and case.op.outputs:  # x*(1 - ...), grad_out*(1 - ...)
            bound = bound + 4 * np.abs(case.inputs[case.op.inputs[0].name])
    return epsilon * bound + np.finfo(case.dtype).tiny


def assert_close(case: Case, got: dict, wanted: dict) -> None:
    """Every result within its tolerance, NaN where NaN is wanted, of the right shape and type."""
    assert got.keys() == wanted.keys(), f"{case}: returned {list(got)}, not {list(wanted)}"
    for name, value in wanted.items():
        argument = next(a for a in case.op.arguments if a.name == name)
        assert got[name].dtype == dtype_of(argument, case.dtype), f"{case}: dtype of {name}"
        assert got[name].shape == value.shape, f"{case}: shape of {name}"
        with np.errstate(invalid="ignore"):
            near = np.abs(got[name] - value) <= tolerance(case, name, value)
        same = (got[name] == value) | (np.isnan(got[name]) & np.isnan(value)) | near
        if not same.all():
            at = tuple(int(i) for i in np.argwhere(~same)[0])
            raise AssertionError(
                f"{case}: {name}{list(at)} is {got[name][at]!r}, not {value[at]!r} "
                f"({(~same).sum()} of {same.size} are wrong)"
            )
