"""Optimizers' updates, and the norms that clip gradients."""

from __future__ import annotations

from fastdl.kernels.table.vocabulary import (
    Argument,
    Option,
    choice,
    declare,
    flag,
    in_,
    inout,
    integer,
    number,
    out,
)

# All in place. The gradient is taken as g = (grad + l1*sign(param) + 2*l2*param)*grad_scale,
# clipped to [-clipvalue, clipvalue] where clipvalue is not 0.

_CONVENTION = choice("convention", ("keras", "torch"), "keras", doc="whose formula")


def _update(name: str, doc: str, learning_rate: float, *parts: Argument | Option) -> None:
    declare(
        name,
        doc,
        inout("param", "N"),
        in_("grad", "N"),
        *(p for p in parts if isinstance(p, Argument)),
        in_("grad_scale", "1", optional=True, doc="multiplies the gradient; see clip_scale"),
        number("learning_rate", learning_rate, 0.0),
        *(p for p in parts if isinstance(p, Option)),
        number("clipvalue", 0.0, 0.0),
        number("l1", 0.0, 0.0),
        number("l2", 0.0, 0.0),
        elementwise=True,
    )


_STEP = integer("step", 1, 1, doc="1 for the first update")
_ADAM = (
    number("beta_1", 0.9, 0.0, 1.0, open_high=True),
    number("beta_2", 0.999, 0.0, 1.0, open_high=True),
    number("epsilon", 1e-7, 0.0),
)

_update(
    "sgd_update",
    "Keras: v = momentum*v - lr*g; w += v (Nesterov: w += momentum*v - lr*g). "
    "PyTorch: v = momentum*v + g, w -= lr*v (Nesterov: w -= lr*(g + momentum*v)). "
    "Without momentum: w -= lr*g.",
    0.01,
    inout("velocity", "N", optional=True, needed_by="momentum", doc="needed where momentum > 0"),
    number("momentum", 0.0, 0.0),
    flag("nesterov"),
    number("weight_decay", 0.0, 0.0, doc="decoupled: w -= lr*weight_decay*w first"),
    _CONVENTION,
)
_update(
    "rmsprop_update",
    "s = rho*s + (1 - rho)*g**2; centered: a = rho*a + (1 - rho)*g and d = s - a**2, else d = s. "
    "Keras: u = lr*g/sqrt(d + epsilon); v = momentum*v + u; w -= v. "
    "PyTorch: u = g/(sqrt(d) + epsilon); v = momentum*v + u; w -= lr*v (Tieleman & Hinton 2012).",
    1e-3,
    inout("square", "N", doc="s"),
    inout("average", "N", optional=True, needed_by="centered", doc="a, needed where centered"),
    inout("velocity", "N", optional=True, needed_by="momentum", doc="v, where momentum > 0"),
    number("rho", 0.9, 0.0, 1.0),
    number("momentum", 0.0, 0.0),
    number("epsilon", 1e-7, 0.0),
    flag("centered"),
    number("weight_decay", 0.0, 0.0, doc="decoupled: w -= lr*weight_decay*w first"),
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
    inout("m", "N"),
    inout("v", "N"),
    inout("v_max", "N", optional=True, doc="given: amsgrad"),
    _STEP,
    *_ADAM,
    number("weight_decay", 0.0, 0.0),
    _CONVENTION,
)
_update(
    "adagrad_update",
    "s = s + g**2. Keras: w -= lr*g/sqrt(s + epsilon). PyTorch: w -= lr*g/(sqrt(s) + epsilon) "
    "(Duchi, Hazan & Singer 2011).",
    1e-3,
    inout("square", "N", doc="s; Keras starts it at 0.1"),
    number("epsilon", 1e-7, 0.0),
    number("weight_decay", 0.0, 0.0, doc="decoupled: w -= lr*weight_decay*w first"),
    _CONVENTION,
)
declare("squared_norm", "out = before + sum((grad + l1*sign(param) + 2*l2*param)**2), summed in "
    "float64 in a fixed order; without param just grad.",
    out("out", "1", dtype="float64"), in_("grad", "N"), in_("param", "N", optional=True),
    in_("before", "1", dtype="float64", optional=True, doc="the parts of a gradient so far"),
    number("l1", 0.0, 0.0), number("l2", 0.0, 0.0))  # fmt: skip
declare("clip_scale",
    "scale = min(1, clipnorm/sqrt(sum(squares))): what brings a gradient whose parts "
    "have these squared norms down to clipnorm.",
    out("scale", "1"), in_("squares", "K", dtype="float64"),
    number("clipnorm", None, 0.0, open_low=True))  # fmt: skip
declare("accumulate_squares",
    "total[0] += sum(values**2), summed in float64 in a fixed order; total[1] += 1: for the norms "
    "of weights and gradients over many steps.",
    inout("total", "2", dtype="float64"), in_("values", "N"))  # fmt: skip
