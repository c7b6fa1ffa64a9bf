"""Scaled dot-product attention."""

from __future__ import annotations

from fastdl.kernels.table.vocabulary import declare, flag, in_, integer, number, out

_INPUTS = (
    in_("q", "B T H D"),
    in_("k", "B S H D"),
    in_("v", "B S H V"),
    in_("mask", "B T S", optional=True, doc="0 where a query may not look at a key"),
    in_("key_mask", "B S", optional=True, doc="0 where no query may look at a key"),
)
_OPTIONS = (
    number("scale", 1.0, doc="of the products of queries and keys; usually 1/sqrt(D)"),
    flag("causal", doc="query t looks at keys 0 ... t only"),
    number("rate", 0.0, 0.0, 1.0, open_high=True, doc="share of the weights that is dropped"),
    integer("stream", 0, doc="tells the uses of one seed in a step apart"),
    integer("step", 0),
    integer("seed", 0),
)

declare(
    "attention_forward",
    "out = dropout(softmax(scale * q @ k.T)) @ v for each head H, over the keys that no mask "
    "excludes; 0 where it excludes all. The scores are never stored: lse, the logarithm of the sum "
    "of their exponentials, is what the backward op makes them anew from (Dao et al. 2022).",
    out("out", "B T H V"),
    out("lse", "B T H"),
    *_INPUTS,
    *_OPTIONS,
    backward=("attention_backward",),
)
declare(
    "attention_backward",
    "Gradients of attention_forward.",
    out("grad_q", "B T H D"),
    out("grad_k", "B S H D"),
    out("grad_v", "B S H V"),
    in_("grad_out", "B T H V"),
    *_INPUTS,
    in_("out", "B T H V"),
    in_("lse", "B T H"),
    *_OPTIONS,
)
