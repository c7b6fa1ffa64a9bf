"""Sizes and options for the ops whose lengths follow from options: not any of them go together."""

from __future__ import annotations

from dataclasses import dataclass

from fastdl.kernels.table import OPS

__all__ = ["GEOMETRIES", "Geometry"]


@dataclass(frozen=True)
class Geometry:
    """What an op is tried with.

    Attributes
    ----------
    least : dict
        The letters whose lengths are free, in the order of the extents, each with the least length
        that goes with all of the options.
    options : dict
        Ordinary options.
    others : tuple of dict
        What to change about them, in turn.
    extents, large : tuple of (B, lengths)
        Sizes to try; sizes that are cut into several pieces.
    rest : tuple
        The last letters' lengths where only the first three are given.
    """

    least: dict[str, int]
    options: dict[str, object]
    others: tuple[dict[str, object], ...]
    extents: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    large: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    rest: tuple[int, ...] = ()

    def complete(self, rows, lengths) -> dict[str, object]:
        """The lengths by letter, at least the least."""
        given = zip(self.least.items(), (*lengths, *self.rest), strict=False)
        return {"B": rows, **{letter: max(low, n) for (letter, low), n in given}}


_CONVOLUTION = Geometry(
    least={"H": 2, "W": 3, "C": 0, "O": 0, "R": 1, "S": 1},
    options={},
    others=(
        {"top": 1, "bottom": 1, "left": 1, "right": 2},
        {"stride_height": 2, "stride_width": 3},
        {"dilation_height": 2, "top": 2, "right": 2, "left": 1},
        {"dilation_width": 2, "stride_width": 2, "left": 3, "right": 2, "bottom": 1, "top": 2},
        {"stride_height": 3, "dilation_height": 2, "top": 1, "bottom": 3, "right": 2},
        {"bottom": -1, "right": -1, "top": 2, "left": 3},
        {"groups": 2},
        {"groups": 3, "top": 1, "left": 1, "right": 1, "stride_width": 2},
        {"groups": 9, "top": 1, "left": 1, "stride_width": 2},  # of one channel each, mostly
    ),
    extents=(
        ((0,), (4, 5, 2, 3, 3, 2)),
        ((2,), (3, 4, 0, 3, 2, 1)),
        ((2,), (4, 3, 2, 0, 1, 2)),
        ((1,), (7, 7, 1, 1, 1, 1)),
        ((2, 2), (9, 8, 1, 33, 3, 3)),
        ((3,), (11, 7, 3, 17, 2, 3)),
        ((33,), (7, 9, 7, 9, 3, 2)),
        ((2,), (8, 10, 64, 47, 3, 3)),
        ((2,), (40, 13, 4, 8, 5, 3)),
        ((1,), (7, 530, 2, 5, 2, 4)),
    ),
    large=(
        ((40,), (26, 26, 3, 20, 3, 3)),
        ((3,), (30, 28, 33, 17, 3, 2)),
        ((97,), (5, 6, 8, 70, 2, 3)),
    ),
    rest=(3, 2, 3),
)

_BROADCAST = Geometry(
    least={"N": 0},
    options={"repeats": 3},
    others=({"repeats": 0}, {"repeats": 1}, {"repeats": 70}),
    extents=(((0,), (3,)), ((3,), (0,)), ((2, 3), (1,)), ((7,), (17,)), ((65,), (129,)),
             ((2,), (9001,))),
    large=(((9000,), (7,)), ((3,), (40000,))),
)  # fmt: skip

_SLICE = Geometry(
    least={"M": 9, "N": 0},
    options={"start": 1, "length": 2},
    others=(
        {"length": 0},
        {"stride": 3},
        {"start": 8, "length": 1},
        {"start": 7, "stride": -2, "length": 4},
        {"start": 0, "length": 9},
    ),
    extents=(((0,), (9, 3)), ((3,), (9, 0)), ((2, 3), (10, 1)), ((7,), (17, 17)), ((65,), (64, 33)),
             ((2,), (300, 129))),
    large=(((2300,), (20, 9)), ((30,), (130, 100))),
)  # fmt: skip

_PAD = Geometry(
    least={"M": 0, "N": 0},
    options={"before": 1, "after": 2},
    others=({}, {"before": 0}, {"before": 3, "after": 0}, {"before": 70, "after": 41}),
    extents=(((0,), (3, 3)), ((3,), (0, 2)), ((3,), (5, 0)), ((2, 3), (10, 1)), ((7,), (17, 17)),
             ((65,), (64, 33)), ((2,), (300, 129))),
    large=(((2300,), (20, 9)), ((30,), (130, 100))),
)  # fmt: skip

_INTERPOLATE = Geometry(
    least={"M": 0, "N": 0},
    options={"size": 2},
    others=({"size": 1}, {"size": 3}, {"size": 5}, {"size": 80}),
    extents=(((0,), (3, 3)), ((3,), (0, 2)), ((3,), (5, 0)), ((2,), (1, 3)), ((2, 3), (2, 1)),
             ((7,), (3, 17)), ((3,), (7, 33)), ((2,), (60, 129))),
    large=(((300,), (20, 9)), ((10,), (30, 100))),
)  # fmt: skip

_ONE_HOT = Geometry(
    least={},
    options={"classes": 5},
    others=({"classes": 1}, {"classes": 33}, {"classes": 5000}),
    extents=(((0,), ()), ((1,), ()), ((3, 5), ()), ((600,), ())),
    large=(((9000,), ()),),
)

_POOLING = Geometry(
    least={"H": 3, "W": 3, "C": 0},
    options={"pool_height": 2, "pool_width": 2, "stride_height": 2, "stride_width": 2},
    others=(
        {"padding": "same"},
        {"stride_height": 1, "stride_width": 1},
        {"pool_height": 3, "pool_width": 3, "padding": "same"},
        {"pool_height": 3, "pool_width": 1, "stride_width": 1},
        {"pool_height": 1, "pool_width": 3, "stride_height": 1, "stride_width": 3},
        {"stride_height": 4, "stride_width": 3},
        {"stride_width": 3, "padding": "same"},
        {"stride_height": 5, "stride_width": 5, "padding": "same"},
    ),
    extents=(
        ((0,), (4, 4, 3)),
        ((2,), (4, 6, 0)),
        ((1,), (3, 3, 1)),
        ((2,), (4, 5, 2)),
        ((3,), (7, 6, 3)),
        ((2, 2), (5, 4, 5)),
        ((1,), (6, 8, 7)),
        ((2,), (5, 7, 8)),
        ((1,), (6, 5, 9)),
        ((2,), (3, 4, 17)),
        ((1,), (5, 6, 33)),
        ((1,), (3, 700, 1)),
        ((1,), (4, 300, 3)),
        ((5,), (14, 14, 20)),
    ),
    large=(((40,), (26, 26, 3)), ((3,), (30, 28, 33)), ((3, 5), (3, 90, 16))),
)

#: By the name of the op.
GEOMETRIES = {
    **{name: _CONVOLUTION for name in OPS if name.startswith("conv2d_")},
    **dict.fromkeys(("broadcast_forward", "broadcast_backward"), _BROADCAST),
    **dict.fromkeys(("slice_forward", "slice_backward"), _SLICE),
    **dict.fromkeys(("pad_forward", "pad_backward"), _PAD),
    **dict.fromkeys(("interpolate_forward", "interpolate_backward"), _INTERPOLATE),
    "one_hot": _ONE_HOT,
    **{name: _POOLING for name in OPS if "_pool_" in name},
}
