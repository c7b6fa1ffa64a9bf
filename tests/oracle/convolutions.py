"""Convolutions and their transposes."""

from __future__ import annotations

import math

import numpy as np

from oracle.activations import _activated
from oracle.norms import batchnorm_statistics


class _Taps:
    """Which pixels meet in a convolution: x[n, h, w] and out[n, p, q] at tap (r, s) where
    h = p*stride - top + r*dilation is a row of the image, and likewise for the columns.

    ``image`` is (H, W), or None for the least that gives ``output``, (P, Q).
    """

    def __init__(
        self, kernel, image, output, stride_height, stride_width, dilation_height, dilation_width,
        top, bottom, left, right, groups,
    ):  # fmt: skip
        self.kernel, self.groups = kernel, groups
        self._stride, self._dilation = (
            (stride_height, stride_width),
            (dilation_height, dilation_width),
        )
        self._before, after = (top, left), (bottom, right)
        beyond = [
            (k - 1) * d + 1 - b - a
            for k, d, b, a in zip(kernel, self._dilation, self._before, after, strict=True)
        ]
        if image is None:
            image = [(n - 1) * t + k for n, t, k in zip(output, self._stride, beyond, strict=True)]
        self.image = tuple(image)
        self.output = tuple(
            (n - k) // t + 1 for n, t, k in zip(image, self._stride, beyond, strict=True)
        )

    def __iter__(self):
        """(tap, the pixels of the image, the pixels of the output that they meet)."""
        for tap in np.ndindex(*self.kernel):
            image, output = zip(*(self._meeting(axis, tap[axis]) for axis in (0, 1)), strict=True)
            yield tap, np.ix_(*image), np.ix_(*output)

    def _meeting(self, axis, tap):
        output = np.arange(self.output[axis])
        image = output * self._stride[axis] - self._before[axis] + tap * self._dilation[axis]
        inside = (image >= 0) & (image < self.image[axis])
        return image[inside], output[inside]

    def divided(self, array):
        """The channels as (groups, channels of a group), all leading axes but two as one."""
        lead = array.shape[:-3]
        return array.reshape(
            math.prod(lead), *array.shape[-3:-1], self.groups, array.shape[-1] // self.groups
        )


def _correlate(x, weight, taps):
    lead, x, weight = x.shape[:-3], taps.divided(x), taps.divided(weight)
    out = np.zeros((len(x), *taps.output, taps.groups, weight.shape[-1]))
    for (r, s), image, output in taps:
        out[:, *output] += np.einsum("npqgi,igo->npqgo", x[:, *image], weight[r, s])
    return out.reshape(*lead, *taps.output, taps.groups * weight.shape[-1])


def _spread(grad_out, weight, taps):
    lead, grad_out, weight = grad_out.shape[:-3], taps.divided(grad_out), taps.divided(weight)
    grad = np.zeros((len(grad_out), *taps.image, taps.groups, weight.shape[2]))
    for (r, s), image, output in taps:
        grad[:, *image] += np.einsum("npqgo,igo->npqgi", grad_out[:, *output], weight[r, s])
    return grad.reshape(*lead, *taps.image, taps.groups * weight.shape[2])


def _correlate_weights(x, grad_out, taps):
    x, grad_out = taps.divided(x), taps.divided(grad_out)
    grad = np.zeros((*taps.kernel, x.shape[-1], *grad_out.shape[-2:]))
    for tap, image, output in taps:
        grad[tap] = np.einsum("npqgi,npqgo->igo", x[:, *image], grad_out[:, *output])
    return grad.reshape(*taps.kernel, x.shape[-1], taps.groups * grad_out.shape[-1])


def _image(lengths):
    return None if lengths is None else (lengths["H"], lengths["W"])


def conv2d_forward(
    x, weight, bias=None,
    stride_height=1, stride_width=1, dilation_height=1, dilation_width=1,
    top=0, bottom=0, left=0, right=0, groups=1, activation="linear",
):  # fmt: skip
    taps = _Taps(
        weight.shape[:2], x.shape[-3:-1], None, stride_height, stride_width, dilation_height,
        dilation_width, top, bottom, left, right, groups,
    )  # fmt: skip
    return _activated(_correlate(x, weight, taps) + (0.0 if bias is None else bias), activation)


def conv2d_statistics_forward(
    x, weight, bias=None,
    stride_height=1, stride_width=1, dilation_height=1, dilation_width=1,
    top=0, bottom=0, left=0, right=0, groups=1,
):  # fmt: skip
    out = conv2d_forward(
        x, weight, bias, stride_height, stride_width, dilation_height, dilation_width,
        top, bottom, left, right, groups,
    )  # fmt: skip
    return out, *batchnorm_statistics(out)


def conv2d_backward_input(
    grad_out, weight,
    stride_height=1, stride_width=1, dilation_height=1, dilation_width=1,
    top=0, bottom=0, left=0, right=0, groups=1, lengths=None,
):  # fmt: skip
    """``lengths``: by letter, which the kernel sees from the shape of ``grad_x``."""
    taps = _Taps(
        weight.shape[:2], _image(lengths), grad_out.shape[-3:-1], stride_height, stride_width,
        dilation_height, dilation_width, top, bottom, left, right, groups,
    )  # fmt: skip
    return _spread(grad_out, weight, taps)


def conv2d_backward_weight(
    x, grad_out,
    stride_height=1, stride_width=1, dilation_height=1, dilation_width=1,
    top=0, bottom=0, left=0, right=0, groups=1, lengths=None,
):  # fmt: skip
    """``lengths``: by letter, which the kernel sees from the shape of ``grad_weight``."""
    taps = _Taps(
        (lengths["R"], lengths["S"]), x.shape[-3:-1], None, stride_height, stride_width,
        dilation_height, dilation_width, top, bottom, left, right, groups,
    )  # fmt: skip
    return _correlate_weights(x, grad_out, taps)


def conv2d_transpose_forward(
    x, weight, bias=None,
    stride_height=1, stride_width=1, dilation_height=1, dilation_width=1,
    top=0, bottom=0, left=0, right=0, groups=1, lengths=None,
    activation="linear",
):  # fmt: skip
    taps = _Taps(
        weight.shape[:2], _image(lengths), x.shape[-3:-1], stride_height, stride_width,
        dilation_height, dilation_width, top, bottom, left, right, groups,
    )  # fmt: skip
    return _activated(_spread(x, weight, taps) + (0.0 if bias is None else bias), activation)


def conv2d_transpose_backward_input(
    grad_out, weight,
    stride_height=1, stride_width=1, dilation_height=1, dilation_width=1,
    top=0, bottom=0, left=0, right=0, groups=1,
):  # fmt: skip
    taps = _Taps(
        weight.shape[:2], grad_out.shape[-3:-1], None, stride_height, stride_width, dilation_height,
        dilation_width, top, bottom, left, right, groups,
    )  # fmt: skip
    return _correlate(grad_out, weight, taps)


def conv2d_transpose_backward_weight(
    x, grad_out,
    stride_height=1, stride_width=1, dilation_height=1, dilation_width=1,
    top=0, bottom=0, left=0, right=0, groups=1, lengths=None,
):  # fmt: skip
    taps = _Taps(
        (lengths["R"], lengths["S"]), grad_out.shape[-3:-1], None, stride_height, stride_width,
        dilation_height, dilation_width, top, bottom, left, right, groups,
    )  # fmt: skip
    return _correlate_weights(grad_out, x, taps)
