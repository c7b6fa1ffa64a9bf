"""Every operation, declared once.

An entry says what an op is called, which arrays and options it takes, and which ops compute its
gradients. From this table come the validation of every call, the functions of ``fastdl.kernels``,
the rules by which a graph is differentiated and fused, the type stubs, the bad-input tests and the
reference page. A kernel (CPU: a ``.pyx`` file here; GPU: ``cuda/``) adds only the arithmetic.

How to read an entry
--------------------
Axes are letters, and the same letter is the same length in all arguments of an op. ``B`` comes
first where it stands and is special: it stands for one *or more* leading axes taken together, and
its length may change from call to call of the same program (the last batch is shorter). So
``"B C"`` takes ``(32, 10)`` with B = 32 and ``(32, 28, 28, 16)`` with B = 25088; plain ``"B"``
takes an array of any shape. ``"1"`` and ``"2"`` are lengths; ``"C+D"`` is a sum of two. An output
whose letters no input has must be given by the caller.

Types: ``real`` is float32 or float64, the same one throughout a call; ``label`` is int64;
``float64`` is always that.

Gradients go by names. A backward op reads arguments named as in the forward op and ``grad_out``,
the gradient of its output ``out``, and writes ``grad_x``, the gradient of the input ``x``. Every
gradient *overwrites* its output; where a tensor is used twice, the graph adds the two. An input
that no backward op names has no gradient. An input named in ``passes`` simply takes over the
output's gradient.

An op marked ``elementwise`` can also run as a *tail*: on a stretch of elements that a product (an
op marked ``runs_tails``) has just finished, while they are in the cache. One marked ``inplace`` may
write ``out`` over ``x``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

__all__ = ["ACTIVATIONS", "DYNAMIC_OPTIONS", "OPS", "Argument", "Op", "Option"]

#: Options that change from step to step: a running program keeps them in its context.
DYNAMIC_OPTIONS = ("learning_rate", "step", "seed")


@dataclass(frozen=True)
class Argument:
    """One array of an op: its role (``in``, ``out``, ``inout``), axes and type."""

    name: str
    role: str
    axes: tuple[str, ...]
    dtype: str = "real"
    optional: bool = False
    below: str = ""  # labels: whole numbers from 0 to this letter's length - 1
    needed_by: str = ""  # optional ones: the option that needs it unless it is 0 or False
    doc: str = ""

    @cached_property
    def batched(self) -> bool:
        return self.axes[0] == "B"

    @cached_property
    def own_axes(self) -> tuple[str, ...]:
        """The axes behind those that B stands for."""
        return self.axes[1:] if self.batched else self.axes


@dataclass(frozen=True)
class Option:
    """One scalar of an op. ``choices`` are passed to the kernel by their index."""

    name: str
    kind: str  # "float", "int", "bool" or "choice"
    default: float | int | bool | str | None  # None: must be given
    low: float | None = None
    high: float | None = None
    open_low: bool = False  # the lower bound itself is not allowed
    open_high: bool = False
    choices: tuple[str, ...] = ()
    doc: str = ""


@dataclass(frozen=True)
class Op:
    """An operation: what may be called, what is checked, how it is differentiated."""

    name: str
    doc: str
    arguments: tuple[Argument, ...]
    options: tuple[Option, ...] = ()
    backward: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()
    elementwise: bool = False
    inplace: bool = False
    runs_tails: bool = False
    #: an option naming an activation that is applied to the output as a tail
    tail: Option | None = None
    letters: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        letters: list[str] = []
        for argument in self.arguments:
            for axis in argument.axes:
                if axis.isalpha() and axis not in letters and axis != "B":
                    letters.append(axis)
        object.__setattr__(self, "letters", tuple(letters))

    @cached_property
    def outputs(self) -> tuple[Argument, ...]:
        return tuple(a for a in self.arguments if a.role == "out")

    @cached_property
    def inputs(self) -> tuple[Argument, ...]:
        return tuple(a for a in self.arguments if a.role != "out")

    @cached_property
    def option_names(self) -> frozenset[str]:
        return frozenset(o.name for o in self.options)

    @cached_property
    def updates(self) -> tuple[str, ...]:
        """The names of the arguments that are changed in place."""
        return tuple(a.name for a in self.arguments if a.role == "inout")


OPS: dict[str, Op] = {}


def _op(name: str, doc: str, *parts: Argument | Option, **properties) -> None:
    OPS[name] = Op(
        name,
        doc,
        tuple(p for p in parts if isinstance(p, Argument)),
        tuple(p for p in parts if isinstance(p, Option)),
        **properties,
    )


def _argument(role: str):
    def make(name, axes, *, dtype="real", optional=False, below="", needed_by="", doc=""):
        return Argument(name, role, tuple(axes.split()), dtype, optional, below, needed_by, doc)

    return make


_in, _out, _inout = _argument("in"), _argument("out"), _argument("inout")


def _number(name, default=None, low=None, high=None, *, open_low=False, open_high=False, doc=""):
    return Option(name, "float", default, low, high, open_low, open_high, doc=doc)


def _integer(name, default=None, low=0, high=None, *, doc=""):
    return Option(name, "int", default, low, high, doc=doc)


def _flag(name, default=False, *, doc=""):
    return Option(name, "bool", default, doc=doc)


def _choice(name, choices, default, *, doc=""):
    return Option(name, "choice", default, choices=tuple(choices), doc=doc)


# --- activations --------------------------------------------------------------------------------

#: name: (formula, what its backward op reads beside ``grad_out``, its own option)
_ELEMENTWISE_ACTIVATIONS = {
    "relu": ("max(x, 0)", "out", None),
    "leaky_relu": ("x if x > 0 else alpha*x", "x", _number("alpha", 0.3)),
    "elu": ("x if x > 0 else alpha*(exp(x) - 1)", "x", _number("alpha", 1.0)),
    "selu": ("1.0507*(x if x > 0 else 1.67326*(exp(x) - 1)) (Klambauer et al. 2017)", "out", None),
    "gelu": ("x*(1 + erf(x/sqrt(2)))/2 (Hendrycks & Gimpel 2016)", "x", None),
    "gelu_tanh": ("x*(1 + tanh(sqrt(2/pi)*(x + 0.044715*x**3)))/2", "x", None),
    "sigmoid": ("1/(1 + exp(-x))", "out", None),
    "tanh": ("tanh(x)", "out", None),
    "softplus": ("log(1 + exp(x))", "x", None),
    "silu": ("x/(1 + exp(-x))", "x", None),
}

#: The names that ``activation=`` takes.
ACTIVATIONS = ("linear", *_ELEMENTWISE_ACTIVATIONS, "softmax")

for _name, (_formula, _saved, _option) in _ELEMENTWISE_ACTIVATIONS.items():
    _options = (_option,) if _option else ()
    _op(
        f"{_name}_forward",
        f"out = {_formula}, for each element.",
        _out("out", "B"),
        _in("x", "B"),
        *_options,
        backward=(f"{_name}_backward",),
        elementwise=True,
        inplace=True,
    )
    _op(
        f"{_name}_backward",
        f"Gradient of ``{_name}_forward`` from its {'output' if _saved == 'out' else 'input'}.",
        _out("grad_x", "B"),
        _in("grad_out", "B"),
        _in(_saved, "B"),
        *_options,
        elementwise=True,
        inplace=True,
    )

_op(
    "softmax_forward",
    "out = exp(x - max(x)) / sum(exp(x - max(x))), over the last axis.",
    _out("out", "B C"),
    _in("x", "B C"),
    backward=("softmax_backward",),
    inplace=True,
)
_op(
    "softmax_backward",
    "grad_x = out*(grad_out - sum(grad_out*out)), over the last axis.",
    _out("grad_x", "B C"),
    _in("grad_out", "B C"),
    _in("out", "B C"),
    inplace=True,
)

# --- products -----------------------------------------------------------------------------------

_op(
    "matmul_nn",
    "out = a @ b.",
    _out("out", "M N"),
    _in("a", "M K"),
    _in("b", "K N"),
    runs_tails=True,
)
_op(
    "matmul_tn",
    "out = a.T @ b.",
    _out("out", "M N"),
    _in("a", "K M"),
    _in("b", "K N"),
    runs_tails=True,
)
_op(
    "matmul_nt",
    "out = a @ b.T.",
    _out("out", "M N"),
    _in("a", "M K"),
    _in("b", "N K"),
    runs_tails=True,
)
_op(
    "dense_forward",
    "out = activation(x @ weight + bias).",
    _out("out", "B O"),
    _in("x", "B I"),
    _in("weight", "I O"),
    _in("bias", "O", optional=True),
    backward=("dense_backward_input", "dense_backward_weight", "dense_backward_bias"),
    tail=_choice("activation", ACTIVATIONS, "linear", doc="applied to each finished tile"),
    runs_tails=True,
)
_op(
    "dense_backward_input",
    "grad_x = grad_out @ weight.T.",
    _out("grad_x", "B I"),
    _in("grad_out", "B O"),
    _in("weight", "I O"),
    runs_tails=True,
)
_op(
    "dense_backward_weight",
    "grad_weight = x.T @ grad_out.",
    _out("grad_weight", "I O"),
    _in("x", "B I"),
    _in("grad_out", "B O"),
    runs_tails=True,
)
_op(
    "dense_backward_bias",
    "grad_bias = sum of grad_out over B.",
    _out("grad_bias", "O"),
    _in("grad_out", "B O"),
)

# --- elementwise arithmetic, shapes ---------------------------------------------------------------

_op("add", "out = a + b.", _out("out", "B"), _in("a", "B"), _in("b", "B"),
    passes=("a", "b"), elementwise=True, inplace=True)  # fmt: skip
_op("multiply", "out = a * b.", _out("out", "B"), _in("a", "B"), _in("b", "B"),
    backward=("multiply_backward",), elementwise=True, inplace=True)  # fmt: skip
_op("multiply_backward", "grad_a = grad_out * b, grad_b = grad_out * a.",
    _out("grad_a", "B"), _out("grad_b", "B"),
    _in("grad_out", "B"), _in("a", "B"), _in("b", "B"))  # fmt: skip
_op("scale", "out = factor * x.", _out("out", "B"), _in("x", "B"), _number("factor", 1.0),
    backward=("scale_backward",), elementwise=True, inplace=True)  # fmt: skip
_op("scale_backward", "grad_x = factor * grad_out.", _out("grad_x", "B"), _in("grad_out", "B"),
    _number("factor", 1.0), elementwise=True, inplace=True)  # fmt: skip
_op("concatenate", "out = [a | b], side by side along the last axis.",
    _out("out", "B C+D"), _in("a", "B C"), _in("b", "B D"),
    backward=("concatenate_backward",))  # fmt: skip
_op("concatenate_backward", "grad_a and grad_b: the two parts of grad_out.",
    _out("grad_a", "B C"), _out("grad_b", "B D"), _in("grad_out", "B C+D"))  # fmt: skip

# --- normalisation ------------------------------------------------------------------------------

_EPSILON = _number("epsilon", 1e-3, 0.0)

_op(
    "batchnorm_statistics",
    "Mean and biased variance of each column, by block means and squared deviations merged in "
    "a fixed order (Chan, Golub & LeVeque 1979).",
    _out("mean", "C"),
    _out("variance", "C"),
    _in("x", "B C"),
)
_op(
    "batchnorm_forward",
    "out = gamma*(x - mean)/sqrt(variance + epsilon) + beta, where mean and variance are those "
    "of this batch, and its gradient accounts for that (Ioffe & Szegedy 2015).",
    _out("out", "B C"),
    _in("x", "B C"),
    _in("mean", "C"),
    _in("variance", "C"),
    _in("gamma", "C", optional=True),
    _in("beta", "C", optional=True),
    _EPSILON,
    backward=("batchnorm_backward",),
)
_op(
    "batchnorm_backward",
    "Gradients of batchnorm_forward, through the statistics.",
    _out("grad_x", "B C"),
    _out("grad_gamma", "C"),
    _out("grad_beta", "C"),
    _in("grad_out", "B C"),
    _in("x", "B C"),
    _in("mean", "C"),
    _in("variance", "C"),
    _in("gamma", "C", optional=True),
    _EPSILON,
)
_op(
    "batchnorm_inference",
    "out = gamma*(x - mean)/sqrt(variance + epsilon) + beta with given statistics.",
    _out("out", "B C"),
    _in("x", "B C"),
    _in("mean", "C"),
    _in("variance", "C"),
    _in("gamma", "C", optional=True),
    _in("beta", "C", optional=True),
    _EPSILON,
    backward=("batchnorm_inference_backward",),
)
_op(
    "batchnorm_inference_backward",
    "Gradients of batchnorm_inference; mean and variance are constants.",
    _out("grad_x", "B C"),
    _out("grad_gamma", "C"),
    _out("grad_beta", "C"),
    _in("grad_out", "B C"),
    _in("x", "B C"),
    _in("mean", "C"),
    _in("variance", "C"),
    _in("gamma", "C", optional=True),
    _EPSILON,
)
_op(
    "batchnorm_update",
    "running = momentum*running + (1 - momentum)*batch, for mean and variance; ``unbiased`` "
    "takes B/(B - 1) times the variance, as PyTorch does.",
    _inout("running_mean", "C"),
    _inout("running_variance", "C"),
    _in("mean", "C"),
    _in("variance", "C"),
    _in("x", "B C", doc="only its number of rows is used"),
    _number("momentum", 0.99, 0.0, 1.0),
    _flag("unbiased"),
)
_op(
    "layernorm_forward",
    "out = gamma*(x - mean)*rstd + beta, with mean and rstd = 1/sqrt(variance + epsilon) of "
    "each row (Ba, Kiros & Hinton 2016).",
    _out("out", "B C"),
    _out("mean", "B"),
    _out("rstd", "B"),
    _in("x", "B C"),
    _in("gamma", "C", optional=True),
    _in("beta", "C", optional=True),
    _EPSILON,
    backward=("layernorm_backward",),
)
_op(
    "layernorm_backward",
    "Gradients of layernorm_forward.",
    _out("grad_x", "B C"),
    _out("grad_gamma", "C"),
    _out("grad_beta", "C"),
    _in("grad_out", "B C"),
    _in("x", "B C"),
    _in("mean", "B"),
    _in("rstd", "B"),
    _in("gamma", "C", optional=True),
)

# --- random -------------------------------------------------------------------------------------

_RANDOM = (
    _integer("stream", 0, doc="tells apart the layers of one model"),
    _integer("step", 0, doc="tells apart the steps of one run"),
    _integer("seed", 0),
)

_op(
    "dropout_forward",
    "Zeroes each element with probability ``rate`` and multiplies the rest by 1/(1 - rate). "
    "Element i draws word i % 4 of Philox4x32-10 (Salmon et al. 2011) with key ``seed`` and "
    "counter (i // 4 as two words, stream, step), and is kept where the word is at least "
    "rate*2**32: so a mask depends on nothing else.",
    _out("out", "B"),
    _in("x", "B"),
    _number("rate", None, 0.0, 1.0, open_high=True),
    *_RANDOM,
    backward=("dropout_backward",),
    elementwise=True,
    inplace=True,
)
_op(
    "dropout_backward",
    "grad_x = grad_out through the same mask, drawn again rather than stored.",
    _out("grad_x", "B"),
    _in("grad_out", "B"),
    _number("rate", None, 0.0, 1.0, open_high=True),
    *_RANDOM,
    elementwise=True,
    inplace=True,
)
_op(
    "gaussian_noise_forward",
    "out = x + stddev*normal: Box & Muller (1958) on the upper 24 bits of the words that dropout "
    "would draw, which float32 holds exactly. Each two words make two numbers, with u = "
    "(first + 1)/2**24 and t = second/2**24: sqrt(-2*log(u)) times cos(2*pi*t) and sin(2*pi*t).",
    _out("out", "B"),
    _in("x", "B"),
    _number("stddev", None, 0.0),
    *_RANDOM,
    passes=("x",),
    elementwise=True,
    inplace=True,
)

# --- losses and metrics ---------------------------------------------------------------------------
# ``loss`` is one number a row, its mean over the outputs. ``grad_pred`` is the gradient of
# scale * mean(loss * sample_weight), the mean taken over the rows.


def _loss(name: str, doc: str, target: Argument, *options: Option) -> None:
    _op(
        name,
        doc,
        _out("loss", "B"),
        _out("grad_pred", "B C", optional=True),
        _in("pred", "B C"),
        target,
        _in("sample_weight", "B", optional=True),
        *options,
        _number("scale", 1.0),
    )


_LOGITS = _flag("from_logits", doc="pred holds the inputs of the softmax or sigmoid")
_SMOOTHING = _number("label_smoothing", 0.0, 0.0, 1.0)
_TARGET = _in("target", "B C")

_loss("mean_squared_error", "loss = mean((pred - target)**2).", _TARGET)
_loss("mean_absolute_error", "loss = mean(|pred - target|); the gradient at 0 is 0.", _TARGET)
_loss(
    "huber",
    "loss = mean(d**2/2 where |d| <= delta, delta*|d| - delta**2/2 elsewhere), d = pred - target "
    "(Huber 1964).",
    _TARGET,
    _number("delta", 1.0, 0.0, open_low=True),
)
_loss(
    "binary_crossentropy",
    "loss = mean(-t*log(p) - (1 - t)*log(1 - p)); p = pred clipped to [1e-7, 1 - 1e-7], or "
    "sigmoid(pred) computed stably from logits; smoothing: t = t*(1 - s) + s/2.",
    _TARGET,
    _LOGITS,
    _SMOOTHING,
)
_loss(
    "categorical_crossentropy",
    "loss = -sum(t*log(p)); p = pred/sum(pred) clipped to [1e-7, 1 - 1e-7], or softmax(pred) "
    "computed stably from logits; smoothing: t = t*(1 - s) + s/C.",
    _TARGET,
    _LOGITS,
    _SMOOTHING,
)
_loss(
    "sparse_categorical_crossentropy",
    "categorical_crossentropy with whole-number labels in 0 ... C - 1.",
    _in("labels", "B", dtype="label", below="C"),
    _LOGITS,
    _SMOOTHING,
)

_op("categorical_accuracy", "out = 1 where argmax(pred) == argmax(target), else 0, for each row.",
    _out("out", "B"), _in("pred", "B C"), _TARGET)  # fmt: skip
_op("sparse_categorical_accuracy", "out = 1 where argmax(pred) == labels, else 0, for each row.",
    _out("out", "B"), _in("pred", "B C"), _in("labels", "B", dtype="label", below="C"))  # fmt: skip
_op("binary_accuracy", "out = share of a row's outputs where (pred > threshold) == target.",
    _out("out", "B"), _in("pred", "B C"), _TARGET, _number("threshold", 0.5))  # fmt: skip
_op("accumulate", "total[0] += sum(values*sample_weight), total[1] += B.",
    _inout("total", "2", dtype="float64"), _in("values", "B"),
    _in("sample_weight", "B", optional=True))  # fmt: skip
_op("penalty", "total[0] += B*(l1*sum(|param|) + l2*sum(param**2)), B being the rows of values.",
    _inout("total", "2", dtype="float64"), _in("param", "N"), _in("values", "B"),
    _number("l1", 0.0, 0.0), _number("l2", 0.0, 0.0))  # fmt: skip

# --- updates ------------------------------------------------------------------------------------
# All in place. The gradient is taken as g = (grad + l1*sign(param) + 2*l2*param)*grad_scale,
# clipped to [-clipvalue, clipvalue] where clipvalue is not 0.

_CONVENTION = _choice("convention", ("keras", "torch"), "keras", doc="whose formula")


def _update(name: str, doc: str, learning_rate: float, *parts: Argument | Option) -> None:
    _op(
        name,
        doc,
        _inout("param", "N"),
        _in("grad", "N"),
        *(p for p in parts if isinstance(p, Argument)),
        _in("grad_scale", "1", optional=True, doc="multiplies the gradient; see clip_scale"),
        _number("learning_rate", learning_rate, 0.0),
        *(p for p in parts if isinstance(p, Option)),
        _number("clipvalue", 0.0, 0.0),
        _number("l1", 0.0, 0.0),
        _number("l2", 0.0, 0.0),
        elementwise=True,
    )


_STEP = _integer("step", 1, 1, doc="1 for the first update")
_ADAM = (
    _number("beta_1", 0.9, 0.0, 1.0, open_high=True),
    _number("beta_2", 0.999, 0.0, 1.0, open_high=True),
    _number("epsilon", 1e-7, 0.0),
)

_update(
    "sgd_update",
    "Keras: v = momentum*v - lr*g; w += v (Nesterov: w += momentum*v - lr*g). "
    "PyTorch: v = momentum*v + g, w -= lr*v (Nesterov: w -= lr*(g + momentum*v)). "
    "Without momentum: w -= lr*g.",
    0.01,
    _inout("velocity", "N", optional=True, needed_by="momentum", doc="needed where momentum > 0"),
    _number("momentum", 0.0, 0.0),
    _flag("nesterov"),
    _number("weight_decay", 0.0, 0.0, doc="decoupled: w -= lr*weight_decay*w first"),
    _CONVENTION,
)
_update(
    "rmsprop_update",
    "s = rho*s + (1 - rho)*g**2; centered: a = rho*a + (1 - rho)*g and d = s - a**2, else d = s. "
    "Keras: u = lr*g/sqrt(d + epsilon); v = momentum*v + u; w -= v. "
    "PyTorch: u = g/(sqrt(d) + epsilon); v = momentum*v + u; w -= lr*v (Tieleman & Hinton 2012).",
    1e-3,
    _inout("square", "N", doc="s"),
    _inout("average", "N", optional=True, needed_by="centered", doc="a, needed where centered"),
    _inout("velocity", "N", optional=True, needed_by="momentum", doc="v, where momentum > 0"),
    _number("rho", 0.9, 0.0, 1.0),
    _number("momentum", 0.0, 0.0),
    _number("epsilon", 1e-7, 0.0),
    _flag("centered"),
    _number("weight_decay", 0.0, 0.0, doc="decoupled: w -= lr*weight_decay*w first"),
    _CONVENTION,
)
_update(
    "adam_update",
    "m = beta_1*m + (1 - beta_1)*g; v = beta_2*v + (1 - beta_2)*g**2; amsgrad: v is replaced by "
    "its running maximum below the root. "
    "Keras: w -= lr*sqrt(1 - beta_2**step)/(1 - beta_1**step) * m/(sqrt(v) + epsilon). "
    "PyTorch: w -= lr/(1 - beta_1**step) * m/(sqrt(v/(1 - beta_2**step)) + epsilon) "
    "(Kingma & Ba 2015). weight_decay is decoupled, as in AdamW (Loshchilov & Hutter 2019): "
    "w -= lr*weight_decay*w first.",
    1e-3,
    _inout("m", "N"),
    _inout("v", "N"),
    _inout("v_max", "N", optional=True, doc="given: amsgrad"),
    _STEP,
    *_ADAM,
    _number("weight_decay", 0.0, 0.0),
    _CONVENTION,
)
_update(
    "adagrad_update",
    "s = s + g**2. Keras: w -= lr*g/sqrt(s + epsilon). PyTorch: w -= lr*g/(sqrt(s) + epsilon) "
    "(Duchi, Hazan & Singer 2011).",
    1e-3,
    _inout("square", "N", doc="s; Keras starts it at 0.1"),
    _number("epsilon", 1e-7, 0.0),
    _number("weight_decay", 0.0, 0.0, doc="decoupled: w -= lr*weight_decay*w first"),
    _CONVENTION,
)
_op("squared_norm", "out = before + sum((grad + l1*sign(param) + 2*l2*param)**2), summed in "
    "float64 in a fixed order; without param just grad.",
    _out("out", "1", dtype="float64"), _in("grad", "N"), _in("param", "N", optional=True),
    _in("before", "1", dtype="float64", optional=True, doc="the parts of a gradient so far"),
    _number("l1", 0.0, 0.0), _number("l2", 0.0, 0.0))  # fmt: skip
_op("clip_scale", "scale = min(1, clipnorm/sqrt(sum(squares))): what brings a gradient whose parts "
    "have these squared norms down to clipnorm.",
    _out("scale", "1"), _in("squares", "K", dtype="float64"),
    _number("clipnorm", None, 0.0, open_low=True))  # fmt: skip
