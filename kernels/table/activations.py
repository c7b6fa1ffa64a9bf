"""Activations, one element at a time, and softmax."""

from __future__ import annotations

from fastdl.kernels.table.vocabulary import declare, in_, number, out

#: name: (formula, what its backward op reads beside ``grad_out``, its own option)
_ELEMENTWISE_ACTIVATIONS = {
    "relu": ("max(x, 0)", "out", None),
    "leaky_relu": ("x if x > 0 else alpha*x", "x", number("alpha", 0.3)),
    "elu": ("x if x > 0 else alpha*(exp(x) - 1)", "x", number("alpha", 1.0)),
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
    declare(
        f"{_name}_forward",
        f"out = {_formula}, for each element.",
        out("out", "B"),
        in_("x", "B"),
        *_options,
        backward=(f"{_name}_backward",),
        elementwise=True,
        inplace=True,
    )
    declare(
        f"{_name}_backward",
        f"Gradient of ``{_name}_forward`` from its {'output' if _saved == 'out' else 'input'}.",
        out("grad_x", "B"),
        in_("grad_out", "B"),
        in_(_saved, "B"),
        *_options,
        elementwise=True,
        inplace=True,
    )

declare(
    "softmax_forward",
    "out = exp(x - max(x)) / sum(exp(x - max(x))), over the last axis.",
    out("out", "B C"),
    in_("x", "B C"),
    backward=("softmax_backward",),
    inplace=True,
)
declare(
    "softmax_backward",
    "grad_x = out*(grad_out - sum(grad_out*out)), over the last axis.",
    out("grad_x", "B C"),
    in_("grad_out", "B C"),
    in_("out", "B C"),
    inplace=True,
)
