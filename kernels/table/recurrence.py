"""Steps of recurrent cells, and sequences in the order of time.

A sequence ``(B, T, F)`` in the order of time has all rows of the first time step first: memory
that a loop over time walks through in whole blocks, whatever the number of rows. Its shape is that
of the ordinary sequence, as ops that work row by row do not care for the order.
"""

from __future__ import annotations

from fastdl.kernels.table.vocabulary import choice, declare, flag, in_, inout, number, out

#: The activations whose gradient follows from their value alone, as a cell's saved gates need.
GATE_ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh")

_REVERSE = flag("reverse", doc="whether the last time step comes first")
_TO = (
    "out.reshape(T, B, F) = x.transpose(1, 0, 2): the sequence in the order of time, or against it."
)
_FROM = "out = x.reshape(T, B, F).transpose(1, 0, 2): the inverse of ``to_time_major``."

for _name, _doc in (("to_time_major", _TO), ("from_time_major", _FROM)):
    declare(
        f"{_name}_forward",
        _doc,
        out("out", "B T F"),
        in_("x", "B T F"),
        _REVERSE,
        backward=(f"{_name}_backward",),
    )
    declare(
        f"{_name}_backward",
        f"Gradient of ``{_name}_forward``: grad_out back in its old order.",
        out("grad_x", "B T F"),
        in_("grad_out", "B T F"),
        _REVERSE,
    )

declare(
    "fill",
    "out = value, in each element.",
    out("out", "B"),
    number("value", 0.0),
)
declare(
    "assign",
    "target = x, in place.",
    inout("target", "B"),
    in_("x", "B"),
)

# --- masks ----------------------------------------------------------------------------------------

declare(
    "row_mask",
    "out = 1 for the rows in which any element is not value, else 0.",
    out("out", "B"),
    in_("x", "B F"),
    number("value", 0.0),
)
declare(
    "choose_rows_forward",
    "out = x in the rows whose mask is not 0, and other (or 0) in the rest.",
    out("out", "B F"),
    in_("x", "B F"),
    in_("other", "B F", optional=True),
    in_("mask", "B"),
    backward=("choose_rows_backward",),
)
declare(
    "choose_rows_backward",
    "grad_x = grad_out in the rows whose mask is not 0, else 0; grad_other the other way round.",
    out("grad_x", "B F"),
    out("grad_other", "B F", optional=True),
    in_("grad_out", "B F"),
    in_("mask", "B"),
)

# --- cells ----------------------------------------------------------------------------------------

_OPTIONS = (
    choice("activation", GATE_ACTIVATIONS, "tanh"),
    choice("recurrent_activation", GATE_ACTIVATIONS, "sigmoid"),
)


def _gates(count: int):
    """A row of gates is ``count`` times as long as one of units."""

    def geometry(lengths, options):
        if "U" in lengths:
            return {"G": count * lengths["U"]}
        if lengths.get("G", 0) % count:
            raise ValueError(f"axis G must be a multiple of {count}, got {lengths['G']}")
        return {"U": lengths["G"] // count} if "G" in lengths else {}

    return geometry


declare(
    "lstm_step_forward",
    "One step of an LSTM (Hochreiter & Schmidhuber 1997; with forget gates, Gers et al. 2000). x, "
    "the sum of the input's and the state's products, has the gates i | f | c | o side by side: "
    "carry_out = f*carry + i*c, with c the activated third, and out = o*activation(carry_out). "
    "gates and squashed = activation(carry_out) are for the gradient.",
    out("out", "B U"),
    out("carry_out", "B U"),
    out("gates", "B G", optional=True),
    out("squashed", "B U", optional=True),
    in_("x", "B G"),
    in_("carry", "B U"),
    *_OPTIONS,
    backward=("lstm_step_backward",),
    geometry=_gates(4),
    inplace=True,
)
declare(
    "lstm_step_backward",
    "Gradient of ``lstm_step_forward``, from those of its two results; one of them may be missing.",
    out("grad_carry", "B U"),
    out("grad_x", "B G"),
    in_("grad_out", "B U", optional=True),
    in_("grad_carry_out", "B U", optional=True),
    in_("gates", "B G"),
    in_("squashed", "B U"),
    in_("carry", "B U"),
    *_OPTIONS,
    geometry=_gates(4),
    inplace=True,
)
declare(
    "gru_step_forward",
    "One step of a GRU whose reset gate comes after the product (Cho et al. 2014; this variant as "
    "in cuDNN). x and recurrent, the input's and the state's products, have the gates z | r | h "
    "side by side: h = activation(x + r*recurrent) in the last third, and "
    "out = z*state + (1 - z)*h. gates are for the gradient.",
    out("out", "B U"),
    out("gates", "B G", optional=True),
    in_("x", "B G"),
    in_("recurrent", "B G"),
    in_("state", "B U"),
    *_OPTIONS,
    backward=("gru_step_backward",),
    geometry=_gates(3),
    inplace=True,
)
declare(
    "gru_step_backward",
    "Gradient of ``gru_step_forward``.",
    out("grad_state", "B U"),
    out("grad_x", "B G"),
    out("grad_recurrent", "B G"),
    in_("grad_out", "B U"),
    in_("gates", "B G"),
    in_("recurrent", "B G"),
    in_("state", "B U"),
    *_OPTIONS,
    geometry=_gates(3),
    inplace=True,
)
