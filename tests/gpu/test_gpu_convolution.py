"""Convolutions in each of the tiles, cut along the depth or not: whole numbers, exact sums."""

import cases
import numpy as np
import pytest

from fastdl import kernels
from fastdl.gpu import tiles

#: (H, W, C, O, R, S) and options; what comes out is larger than a tile, and no multiple of one.
SHAPES = (
    ((13, 12, 5, 37, 3, 3), {"top": 1, "left": 1, "right": 1}),
    ((12, 15, 70, 9, 2, 3), {"stride_height": 2, "stride_width": 3, "top": 2}),
    ((14, 9, 34, 66, 3, 2), {"groups": 2, "dilation_height": 2, "stride_width": 2, "bottom": 1}),
    ((6, 7, 33, 70, 2, 2), {"top": 1, "left": 1}),
    ((9, 11, 12, 24, 5, 5), {"groups": 6, "dilation_height": 2, "stride_height": 4, "top": 3}),
)


def drawn(generator, shape, dtype):
    return generator.integers(-4, 5, shape).astype(dtype)


@pytest.mark.parametrize("blocks", [1, 100_000], ids=["large", "parts"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_tile(shape, blocks, on, monkeypatch):
    monkeypatch.setattr(tiles, "BLOCKS", blocks)
    monkeypatch.setattr(tiles, "LEAST_DEPTH", 8)
    (H, W, C, filters, R, S), options = shape
    generator = np.random.default_rng(0)
    module = cases.kernels
    for dtype in (np.float32, np.float64):
        x = drawn(generator, (3, H, W, C), dtype)
        weight = drawn(generator, (R, S, C // options.get("groups", 1), filters), dtype)
        bias, other = drawn(generator, filters, dtype), drawn(generator, C, dtype)
        out = kernels.conv2d_forward(x, weight, bias, activation="relu", **options)
        got = module.conv2d_forward(x, weight, bias, activation="relu", **options)
        np.testing.assert_array_equal(got, out)
        grad = drawn(generator, out.shape, dtype)
        for target, name, given in (
            ("grad_x", "conv2d_backward_input", (grad, weight)),
            ("grad_weight", "conv2d_backward_weight", (x, grad)),
            ("out", "conv2d_transpose_forward", (grad, weight, other)),
            ("grad_x", "conv2d_transpose_backward_input", (x, weight)),
            ("grad_weight", "conv2d_transpose_backward_weight", (grad, x)),
        ):
            like = {"grad_weight": weight, "out": x, "grad_x": x}[target]
            if name == "conv2d_transpose_backward_input":
                like = out
            both = [
                getattr(m, name)(*given, **{target: np.full_like(like, np.nan)}, **options)
                for m in (module, kernels)
            ]
            np.testing.assert_array_equal(*both, err_msg=name)


def test_images_that_are_counted_in_more_bits_are_an_error(on):
    if on != "forward":
        pytest.skip("nothing is launched")
    x, weight = np.ones((1, 2, 2, 1)), np.ones((1, 1, 1, 1))
    with pytest.raises(ValueError, match="conv2d_forward: a padded side"):
        cases.kernels.conv2d_forward(x, weight, top=2**30, stride_height=2**31)
