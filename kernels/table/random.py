"""Dropout and noise, by counter-based random numbers."""

from __future__ import annotations

from fastdl.kernels.table.vocabulary import choice, declare, flag, in_, integer, number, out

_RANDOM = (
    integer("stream", 0, doc="tells apart the layers of one model"),
    integer("step", 0, doc="tells apart the steps of one run"),
    integer("seed", 0),
)

declare(
    "dropout_forward",
    "Zeroes each element with probability ``rate`` and multiplies the rest by 1/(1 - rate). "
    "Element i draws word i % 4 of Philox4x32-10 (Salmon et al. 2011) with key ``seed`` and "
    "counter (i // 4 as two words, stream, step), and is kept where the word is at least "
    "rate*2**32: so a mask depends on nothing else.",
    out("out", "B"),
    in_("x", "B"),
    number("rate", None, 0.0, 1.0, open_high=True),
    *_RANDOM,
    backward=("dropout_backward",),
    elementwise=True,
    inplace=True,
)
declare(
    "dropout_backward",
    "grad_x = grad_out through the same mask, drawn again rather than stored.",
    out("grad_x", "B"),
    in_("grad_out", "B"),
    number("rate", None, 0.0, 1.0, open_high=True),
    *_RANDOM,
    elementwise=True,
    inplace=True,
)
declare(
    "gaussian_noise_forward",
    "out = x + stddev*normal: Box & Muller (1958) on the upper 24 bits of the words that dropout "
    "would draw, which float32 holds exactly. Each two words make two numbers, with u = "
    "(first + 1)/2**24 and t = second/2**24: sqrt(-2*log(u)) times cos(2*pi*t) and sin(2*pi*t).",
    out("out", "B"),
    in_("x", "B"),
    number("stddev", None, 0.0),
    *_RANDOM,
    passes=("x",),
    elementwise=True,
    inplace=True,
)
declare(
    "augment",
    "Each image moved at random, sampled bilinearly. Image b draws the eight words of the Philox "
    "counters 2b and 2b + 1 that dropout would draw, u_k = (w_k >> 8)/2**23 - 1. It is mirrored "
    "where bits 0 (horizontal) and 1 (vertical) of w_0 say so, turned by rotation*u_3 of a full "
    "turn, made 1 + zoom*u_4 times as large, both about its centre, and moved by height_shift*u_1 "
    "and width_shift*u_2 of its size. Beyond the edges it is mirrored, goes on, or is 0.",
    out("out", "B H W C"),
    in_("x", "B H W C"),
    flag("horizontal"),
    flag("vertical"),
    number("height_shift", 0.0, 0.0, 1.0),
    number("width_shift", 0.0, 0.0, 1.0),
    number("rotation", 0.0, 0.0, 1.0),
    number("zoom", 0.0, 0.0, 1.0, open_high=True),
    choice("fill", ("reflect", "nearest", "constant"), "reflect"),
    *_RANDOM,
)
