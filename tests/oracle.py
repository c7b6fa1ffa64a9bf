"""Every op of ``kernels/table/`` in naive float64 NumPy: what the kernels have to compute.

A function has its op's name, takes the op's inputs and options by the table's names, and returns
its outputs, and the new values of its in-out arguments, in the table's order. Axes that the table
calls B may be several: the functions work on the last axis, or on all elements. Nothing here is
fast; it is to be read beside the table and seen to be right.
"""

from __future__ import annotations

import math

import numpy as np

_erf = np.vectorize(math.erf, otypes=[np.float64])

_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946
_GELU_TANH = math.sqrt(2 / math.pi)


def _rows(x):
    """All leading axes as one: (B..., C) as (B, C)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _mean(x, axis):
    """The mean, and 0 of nothing; summed in long double, since a plain sum loses digits."""
    return (x.sum(axis, dtype=np.longdouble) / max(x.shape[axis], 1)).astype(np.float64)


# --- activations --------------------------------------------------------------------------------


def relu_forward(x):
    return np.where(x < 0, 0.0, x)


def relu_backward(grad_out, out):
    return np.where(out <= 0, 0.0, grad_out)


def leaky_relu_forward(x, alpha=0.3):
    return np.where(x > 0, x, alpha * x)


def leaky_relu_backward(grad_out, x, alpha=0.3):
    return np.where(x > 0, grad_out, alpha * grad_out)


def elu_forward(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(x))


def elu_backward(grad_out, x, alpha=1.0):
    return np.where(x > 0, grad_out, grad_out * alpha * np.exp(x))


def selu_forward(x):
    return _SELU_SCALE * elu_forward(x, _SELU_ALPHA)


def selu_backward(grad_out, out):
    slope = np.where(out > 0, _SELU_SCALE, out + _SELU_SCALE * _SELU_ALPHA)
    return grad_out * slope


def gelu_forward(x):
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def gelu_backward(grad_out, x):
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return grad_out * ((1 + _erf(x / math.sqrt(2))) / 2 + x * density)


def gelu_tanh_forward(x):
    return x * (1 + np.tanh(_GELU_TANH * (x + 0.044715 * x**3))) / 2


def gelu_tanh_backward(grad_out, x):
    t = np.tanh(_GELU_TANH * (x + 0.044715 * x**3))
    slope = _GELU_TANH * (1 + 3 * 0.044715 * x**2)
    return grad_out * ((1 + t) / 2 + x * (1 - t**2) * slope / 2)


def sigmoid_forward(x):
    return np.where(x > 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(x) / (1 + np.exp(x)))


def sigmoid_backward(grad_out, out):
    return grad_out * out * (1 - out)


def tanh_forward(x):
    return np.tanh(x)


def tanh_backward(grad_out, out):
    return grad_out * (1 - out**2)


def softplus_forward(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softplus_backward(grad_out, x):
    return grad_out * sigmoid_forward(x)


def silu_forward(x):
    return x * sigmoid_forward(x)


def silu_backward(grad_out, x):
    s = sigmoid_forward(x)
    return grad_out * (s + x * s * (1 - s))


def softmax_forward(x):
    e = np.exp(x - x.max(-1, keepdims=True, initial=-np.inf))
    return e / e.sum(-1, keepdims=True)


def softmax_backward(grad_out, out):
    return out * (grad_out - (grad_out * out).sum(-1, keepdims=True))


# --- pooling ------------------------------------------------------------------------------------


def _windows(x_shape, out_shape, size, stride, padding):
    """Each window: (its place p, q; its rows and columns in x; the numbers of its places)."""
    height, width = x_shape[-3:-1]
    before = [0, 0]
    if padding == "same":
        lengths = zip(x_shape[-3:-1], out_shape[-3:-1], size, stride, strict=True)
        before = [max((n - 1) * step + k - length, 0) // 2 for length, n, k, step in lengths]
    for p in range(out_shape[-3]):
        for q in range(out_shape[-2]):
            rows = np.arange(size[0]) + p * stride[0] - before[0]
            columns = np.arange(size[1]) + q * stride[1] - before[1]
            places = np.arange(size[0] * size[1]).reshape(size)
            inside = np.ix_((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))
            place = places[inside]
            rows, columns = rows[inside[0].ravel()], columns[inside[1].ravel()]
            yield p, q, np.ix_(rows, columns), place


def _pooled_shape(shape, size, stride, padding):
    lengths = zip(shape[-3:-1], size, stride, strict=True)
    counts = [math.ceil(n / s) if padding == "same" else (n - k) // s + 1 for n, k, s in lengths]
    return (*shape[:-3], *counts, shape[-1])


def _pool_sizes(pool_height, pool_width, stride_height, stride_width, padding):
    return (pool_height, pool_width), (stride_height, stride_width), padding


def max_pool_forward(x, pool_height, pool_width, stride_height, stride_width, padding="valid"):
    sizes = _pool_sizes(pool_height, pool_width, stride_height, stride_width, padding)
    out = np.empty(_pooled_shape(x.shape, *sizes))
    index = np.empty(out.shape)
    for p, q, (rows, columns), place in _windows(x.shape, out.shape, *sizes):
        window = x[..., rows, columns, :].reshape(*x.shape[:-3], place.size, x.shape[-1])
        first = window.argmax(-2)  # the first NaN, where there is one
        out[..., p, q, :] = np.take_along_axis(window, first[..., None, :], -2)[..., 0, :]
        index[..., p, q, :] = place.ravel()[first]
    return out, index


def max_pool_backward(
    grad_out, index, pool_height, pool_width, stride_height, stride_width, padding="valid",
    *, lengths,
):  # fmt: skip
    sizes = _pool_sizes(pool_height, pool_width, stride_height, stride_width, padding)
    grad_x = np.zeros((*grad_out.shape[:-3], lengths["H"], lengths["W"], lengths["C"]))
    for p, q, (rows, columns), place in _windows(grad_x.shape, grad_out.shape, *sizes):
        taken = index[..., p, q, :][..., None, None, :] == place[..., None]
        grad_x[..., rows, columns, :] += np.where(
            taken, grad_out[..., p, q, :][..., None, None, :], 0.0
        )
    return grad_x


def average_pool_forward(x, pool_height, pool_width, stride_height, stride_width, padding="valid"):
    sizes = _pool_sizes(pool_height, pool_width, stride_height, stride_width, padding)
    out = np.empty(_pooled_shape(x.shape, *sizes))
    for p, q, (rows, columns), _ in _windows(x.shape, out.shape, *sizes):
        out[..., p, q, :] = x[..., rows, columns, :].mean((-3, -2))
    return out


def average_pool_backward(
    grad_out, pool_height, pool_width, stride_height, stride_width, padding="valid", *, lengths
):
    sizes = _pool_sizes(pool_height, pool_width, stride_height, stride_width, padding)
    grad_x = np.zeros((*grad_out.shape[:-3], lengths["H"], lengths["W"], lengths["C"]))
    for p, q, (rows, columns), place in _windows(grad_x.shape, grad_out.shape, *sizes):
        part = grad_out[..., p, q, :] / place.size
        grad_x[..., rows, columns, :] += part[..., None, None, :]
    return grad_x


# --- products -----------------------------------------------------------------------------------


def matmul_nn(a, b):
    return a @ b


def matmul_tn(a, b):
    return a.T @ b


def matmul_nt(a, b):
    return a @ b.T


def dense_forward(x, weight, bias=None, activation="linear"):
    out = x @ weight + (0.0 if bias is None else bias)
    return out if activation == "linear" else globals()[f"{activation}_forward"](out)


def dense_backward_input(grad_out, weight):
    return grad_out @ weight.T


def dense_backward_weight(x, grad_out):
    return _rows(x).T @ _rows(grad_out)


def dense_backward_bias(grad_out):
    return _rows(grad_out).sum(0)


# --- convolutions -------------------------------------------------------------------------------


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


def _activated(x, activation):
    return x if activation == "linear" else globals()[f"{activation}_forward"](x)


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


# --- elementwise arithmetic, shapes ---------------------------------------------------------------


def add(a, b):
    return a + b


def multiply(a, b):
    return a * b


def multiply_backward(grad_out, a, b):
    return grad_out * b, grad_out * a


def scale(x, factor=1.0):
    return factor * x


def scale_backward(grad_out, factor=1.0):
    return factor * grad_out


def concatenate(a, b):
    return np.concatenate([a, b], axis=-1)


def concatenate_backward(grad_out, columns):
    """``columns``: how many are a's, which the kernel sees from the shape of ``grad_a``."""
    return grad_out[..., :columns], grad_out[..., columns:]


# --- normalisation ------------------------------------------------------------------------------


def _affine(x, gamma, beta):
    return x * (1.0 if gamma is None else gamma) + (0.0 if beta is None else beta)


def batchnorm_statistics(x):
    x = _rows(x)
    mean = _mean(x, 0)
    return mean, _mean((x - mean) ** 2, 0)


def batchnorm_forward(x, mean, variance, gamma=None, beta=None, epsilon=1e-3):
    return _affine((x - mean) / np.sqrt(variance + epsilon), gamma, beta)


def batchnorm_backward(grad_out, x, mean, variance, gamma=None, epsilon=1e-3):
    g, normal = _rows(grad_out), _rows((x - mean) / np.sqrt(variance + epsilon))
    centered = g - _mean(g, 0) - normal * _mean(g * normal, 0)
    grad_x = centered / np.sqrt(variance + epsilon) * (1.0 if gamma is None else gamma)
    return grad_x.reshape(x.shape), (g * normal).sum(0), g.sum(0)


def batchnorm_inference(x, mean, variance, gamma=None, beta=None, epsilon=1e-3):
    return batchnorm_forward(x, mean, variance, gamma, beta, epsilon)


def batchnorm_inference_backward(grad_out, x, mean, variance, gamma=None, epsilon=1e-3):
    normal = (x - mean) / np.sqrt(variance + epsilon)
    grad_x = grad_out / np.sqrt(variance + epsilon) * (1.0 if gamma is None else gamma)
    return grad_x, _rows(grad_out * normal).sum(0), _rows(grad_out).sum(0)


def batchnorm_update(
    running_mean, running_variance, mean, variance, x, momentum=0.99, unbiased=False
):
    rows = len(_rows(x))
    factor = rows / max(rows - 1, 1) if unbiased else 1.0
    return (
        momentum * running_mean + (1 - momentum) * mean,
        momentum * running_variance + (1 - momentum) * factor * variance,
    )


def layernorm_forward(x, gamma=None, beta=None, epsilon=1e-3):
    mean = _mean(x, -1)
    rstd = 1 / np.sqrt(_mean((x - mean[..., None]) ** 2, -1) + epsilon)
    return _affine((x - mean[..., None]) * rstd[..., None], gamma, beta), mean, rstd


def layernorm_backward(grad_out, x, mean, rstd, gamma=None):
    normal = (x - mean[..., None]) * rstd[..., None]
    g = grad_out * (1.0 if gamma is None else gamma)
    centered = g - _mean(g, -1)[..., None] - normal * _mean(g * normal, -1)[..., None]
    grad_x = centered * rstd[..., None]
    return grad_x, _rows(grad_out * normal).sum(0), _rows(grad_out).sum(0)


# --- random -------------------------------------------------------------------------------------


def philox(counter, key):
    """Philox4x32-10 (Salmon et al. 2011): four words for each counter of four words."""
    c = [np.asarray(word, np.uint64) for word in counter]
    k = list(key)
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        first, second = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [
            (second >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]),
            second & low,
            (first >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]),
            first & low,
        ]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def _words(count, stream, step, seed):
    """(blocks, 4): element i's word is at (i // 4, i % 4)."""
    block = np.arange(-(-count // 4), dtype=np.uint64)
    counter = (
        block & np.uint64(0xFFFFFFFF),
        block >> np.uint64(32),
        np.full_like(block, stream & 0xFFFFFFFF),
        np.full_like(block, step & 0xFFFFFFFF),
    )
    return np.stack(philox(counter, (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF)), axis=-1)


def dropout_forward(x, rate, stream=0, step=0, seed=0):
    words = _words(x.size, stream, step, seed).ravel()[: x.size].reshape(x.shape)
    return np.where(words >= rate * 2.0**32, x / (1 - rate), 0.0)


def dropout_backward(grad_out, rate, stream=0, step=0, seed=0):
    return dropout_forward(grad_out, rate, stream, step, seed)


def gaussian_noise_forward(x, stddev, stream=0, step=0, seed=0):
    # Each two words make two numbers, from their upper 24 bits, which float32 holds too.
    words = _words(x.size, stream, step, seed).reshape(-1, 2) >> np.uint64(8)
    radius = np.sqrt(-2 * np.log((words[:, 0] + 1.0) / 2.0**24))
    angle = 2 * math.pi * words[:, 1] / 2.0**24
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return x + stddev * normal.ravel()[: x.size].reshape(x.shape)


def augment(
    x, horizontal=False, vertical=False, height_shift=0.0, width_shift=0.0, rotation=0.0, zoom=0.0,
    fill="reflect", stream=0, step=0, seed=0,
):  # fmt: skip
    H, W, C = x.shape[-3:]
    images = x.reshape(int(np.prod(x.shape[:-3])), H, W, C)
    words = _words(8 * len(images), stream, step, seed).reshape(len(images), 8)
    out = np.zeros_like(images)
    i, j = np.indices((H, W)) - np.reshape([(H - 1) / 2, (W - 1) / 2], (2, 1, 1))
    for image, w, result in zip(images, words, out, strict=True):
        if not image.size:
            continue
        u = (w >> np.uint64(8)) / 2.0**23 - 1
        turn, scale = 2 * np.pi * rotation * u[3], 1 / (1 + zoom * u[4])
        y = (
            scale
            * (np.cos(turn) * i - np.sin(turn) * j)
            * (-1 if vertical and int(w[0]) & 2 else 1)
        )
        z = (
            scale
            * (np.sin(turn) * i + np.cos(turn) * j)
            * (-1 if horizontal and int(w[0]) & 1 else 1)
        )
        y, z = y + (H - 1) / 2 - height_shift * H * u[1], z + (W - 1) / 2 - width_shift * W * u[2]
        for a in (0, 1):
            for b in (0, 1):
                top, left = np.floor(y).astype(int) + a, np.floor(z).astype(int) + b
                weight = (1 - abs(y - top)) * (1 - abs(z - left))
                if fill == "constant":
                    weight = weight * ((top >= 0) & (top < H) & (left >= 0) & (left < W))
                value = image[_within(top, H, fill), _within(left, W, fill)]
                result += np.where(weight[..., None] == 0, 0.0, weight[..., None] * value)
    return out.reshape(x.shape)


def _within(places, n, fill):
    """Places on an axis of n, beyond whose ends it is mirrored or goes on."""
    if fill != "reflect":
        return np.clip(places, 0, n - 1)
    places = places % (2 * n)
    return np.where(places < n, places, 2 * n - 1 - places)


# --- losses and metrics ---------------------------------------------------------------------------


def _loss(each, slope, sample_weight, factor):
    """From the loss of each output and its derivative: the row's means, and the gradient."""
    return _mean(each, -1), _grad_pred(slope / max(each.shape[-1], 1), sample_weight, factor)


def _grad_pred(slope, sample_weight, factor):
    """``slope``: derivatives of the rows' losses. The gradient is that of factor*mean(w*loss)."""
    weight = np.ones(slope.shape[:-1]) if sample_weight is None else sample_weight
    return slope * weight[..., None] * factor / max(weight.size, 1)


def mean_squared_error(pred, target, sample_weight=None, scale=1.0):
    d = pred - target
    return _loss(d**2, 2 * d, sample_weight, scale)


def mean_absolute_error(pred, target, sample_weight=None, scale=1.0):
    d = pred - target
    return _loss(np.abs(d), np.sign(d), sample_weight, scale)


def huber(pred, target, sample_weight=None, delta=1.0, scale=1.0):
    d = pred - target
    small = np.abs(d) <= delta
    each = np.where(small, d**2 / 2, delta * np.abs(d) - delta**2 / 2)
    return _loss(each, np.where(small, d, delta * np.sign(d)), sample_weight, scale)


def _clip(p):
    """p within the bounds that the cross-entropies keep it in, and where it was outside them."""
    return np.clip(p, 1e-7, 1 - 1e-7), (p < 1e-7) | (p > 1 - 1e-7)


def binary_crossentropy(
    pred, target, sample_weight=None, from_logits=False, label_smoothing=0.0, scale=1.0
):
    t = target * (1 - label_smoothing) + label_smoothing / 2
    if from_logits:  # -log(sigmoid(x)) = softplus(-x)
        each = t * softplus_forward(-pred) + (1 - t) * softplus_forward(pred)
        slope = sigmoid_forward(pred) - t
    else:
        p, outside = _clip(pred)
        each = -t * np.log(p) - (1 - t) * np.log1p(-p)
        slope = np.where(outside, 0.0, (p - t) / (p * (1 - p)))
    return _loss(each, slope, sample_weight, scale)


def categorical_crossentropy(
    pred, target, sample_weight=None, from_logits=False, label_smoothing=0.0, scale=1.0
):
    t = target * (1 - label_smoothing) + label_smoothing / max(pred.shape[-1], 1)
    if from_logits:
        shifted = pred - pred.max(-1, keepdims=True, initial=-np.inf)
        log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        slope = t.sum(-1, keepdims=True) * np.exp(log_p) - t
    else:
        total = pred.sum(-1, keepdims=True)
        p, outside = _clip(pred / total)
        log_p, t_inside = np.log(p), np.where(outside, 0.0, t)
        slope = (t_inside.sum(-1, keepdims=True) - t_inside / p) / total
    each = np.where(t == 0, 0.0, t * log_p)  # 0*log(0) is 0
    return -each.sum(-1), _grad_pred(slope, sample_weight, scale)


def sparse_categorical_crossentropy(
    pred, labels, sample_weight=None, from_logits=False, label_smoothing=0.0, scale=1.0
):
    target = np.eye(pred.shape[-1])[labels]
    return categorical_crossentropy(
        pred, target, sample_weight, from_logits, label_smoothing, scale
    )


def categorical_accuracy(pred, target):
    return (pred.argmax(-1) == target.argmax(-1)).astype(float)


def sparse_categorical_accuracy(pred, labels):
    return (pred.argmax(-1) == labels).astype(float)


def binary_accuracy(pred, target, threshold=0.5):
    return _mean(((pred > threshold) == target).astype(float), -1)


# Where each row's loss has a gradient of its own: it takes the place of the weight over the rows.


def mean_squared_error_backward(grad_loss, pred, target):
    return mean_squared_error(pred, target, grad_loss, scale=grad_loss.size)[1]


def mean_absolute_error_backward(grad_loss, pred, target):
    return mean_absolute_error(pred, target, grad_loss, scale=grad_loss.size)[1]


def huber_backward(grad_loss, pred, target, delta=1.0):
    return huber(pred, target, grad_loss, delta, grad_loss.size)[1]


def binary_crossentropy_backward(
    grad_loss, pred, target, from_logits=False, label_smoothing=0.0
):  # fmt: skip
    options = from_logits, label_smoothing, grad_loss.size
    return binary_crossentropy(pred, target, grad_loss, *options)[1]


def categorical_crossentropy_backward(
    grad_loss, pred, target, from_logits=False, label_smoothing=0.0
):  # fmt: skip
    options = from_logits, label_smoothing, grad_loss.size
    return categorical_crossentropy(pred, target, grad_loss, *options)[1]


def sparse_categorical_crossentropy_backward(
    grad_loss, pred, labels, from_logits=False, label_smoothing=0.0
):  # fmt: skip
    options = from_logits, label_smoothing, grad_loss.size
    return sparse_categorical_crossentropy(pred, labels, grad_loss, *options)[1]


def batch_mean(values, sample_weight=None):
    weighted = values if sample_weight is None else values * sample_weight
    return weighted.sum() / np.float64(values.size)


def batch_mean_backward(grad_out, values, sample_weight=None):
    weight = np.ones(values.shape) if sample_weight is None else sample_weight
    return grad_out / np.float64(values.size) * weight


def accumulate(total, values, sample_weight=None, by_weight=False):
    weights = np.ones_like(values) if sample_weight is None else sample_weight
    count = weights.sum() if by_weight else values.size
    return total + np.array([(values * weights).sum(), count])


def penalty(total, param, values, l1=0.0, l2=0.0):
    each = (l1 * np.abs(param).sum() if l1 else 0.0) + (l2 * (param**2).sum() if l2 else 0.0)
    return total + np.array([values.size * each, 0.0])


# --- metrics ------------------------------------------------------------------------------------


def top_k_categorical_accuracy(pred, target, k=5):
    return sparse_top_k_categorical_accuracy(pred, target.argmax(-1), k)


def sparse_top_k_categorical_accuracy(pred, labels, k=5):
    own = np.take_along_axis(pred, labels[..., None], -1)
    larger = (~(pred <= own)).sum(-1)
    return ((larger < k) & ~np.isnan(own[..., 0])).astype(float)


def cosine_similarity(pred, target):
    lengths = [np.sqrt((x**2).sum(-1)) for x in (pred, target)]
    tiny = (lengths[0] <= 1e-12) | (lengths[1] <= 1e-12)
    return np.where(tiny, 0.0, (pred * target).sum(-1) / lengths[0] / lengths[1])


def _samples(columns, sample_weight, *arrays):
    """The arrays with one leading axis, and the weights, 1 where there are none."""
    count = int(np.prod(arrays[0].shape[:-1]))
    flat = [a.reshape(count, columns) for a in arrays]
    weights = np.ones(count) if sample_weight is None else sample_weight.reshape(-1)
    return (*flat, weights)


def confusion_update(confusion, pred, labels, sample_weight=None):
    scores, weights = _samples(len(confusion), sample_weight, pred)
    confusion = confusion.copy()
    np.add.at(confusion, (labels.reshape(-1), scores.argmax(-1)), weights)
    return confusion


def categorical_confusion_update(confusion, pred, target, sample_weight=None):
    return confusion_update(confusion, pred, target.argmax(-1), sample_weight)


def threshold_counts_update(counts, pred, target, sample_weight=None, threshold=0.5):
    scores, truth, weights = _samples(counts.shape[1], sample_weight, pred, target)
    said, true = scores > threshold, truth > 0.5
    kinds = (said & true, said & ~true, ~said & true, ~said & ~true)
    return counts + np.array([np.where(kind, weights[:, None], 0).sum(0) for kind in kinds])


def sparse_threshold_counts_update(counts, pred, labels, sample_weight=None, threshold=0.5):
    target = np.eye(pred.shape[-1])[labels]
    return threshold_counts_update(counts, pred, target, sample_weight, threshold)


def argmax_counts_update(counts, pred, target, sample_weight=None):
    return sparse_argmax_counts_update(counts, pred, target.argmax(-1), sample_weight)


def sparse_argmax_counts_update(counts, pred, labels, sample_weight=None):
    classes = np.eye(pred.shape[-1])
    return threshold_counts_update(counts, classes[pred.argmax(-1)], classes[labels], sample_weight)


def r2_update(moments, pred, target, sample_weight=None):
    p, t, w = _samples(moments.shape[1], sample_weight, pred, target)
    shift = np.where(moments[1] == 0, t[0], moments[0]) if len(t) else moments[0]
    w = w[:, None] * np.ones_like(t)
    sums = [w, w * (t - shift), w * (t - shift) ** 2, w * (t - p) ** 2]
    return np.vstack(
        [shift, *(before + s.sum(0) for before, s in zip(moments[1:], sums, strict=True))]
    )


# --- updates ------------------------------------------------------------------------------------


def _penalised(grad, param, l1, l2):
    """A factor of 0 leaves the parameters out, also where they are NaN."""
    return grad + (l1 * np.sign(param) if l1 else 0.0) + (2 * l2 * param if l2 else 0.0)


def _gradient(param, grad, grad_scale, clipvalue, l1, l2):
    g = _penalised(grad, param, l1, l2)
    g = g if grad_scale is None else g * grad_scale
    return np.clip(g, -clipvalue, clipvalue) if clipvalue else g


def sgd_update(
    param, grad, velocity=None, grad_scale=None, learning_rate=0.01, momentum=0.0,
    nesterov=False, weight_decay=0.0, convention="keras", clipvalue=0.0, l1=0.0, l2=0.0,
):  # fmt: skip
    g = _gradient(param, grad, grad_scale, clipvalue, l1, l2)
    w = param - learning_rate * weight_decay * param
    if momentum == 0:
        return w - learning_rate * g, velocity
    if convention == "keras":
        v = momentum * velocity - learning_rate * g
        return w + (momentum * v - learning_rate * g if nesterov else v), v
    v = momentum * velocity + g
    return w - learning_rate * (g + momentum * v if nesterov else v), v


def rmsprop_update(
    param, grad, square, average=None, velocity=None, grad_scale=None, learning_rate=1e-3,
    rho=0.9, momentum=0.0, epsilon=1e-7, centered=False, weight_decay=0.0, convention="keras",
    clipvalue=0.0, l1=0.0, l2=0.0,
):  # fmt: skip
    g = _gradient(param, grad, grad_scale, clipvalue, l1, l2)
    w = param - learning_rate * weight_decay * param
    square = rho * square + (1 - rho) * g**2
    if centered:
        average = rho * average + (1 - rho) * g
    d = square - average**2 if centered else square
    if convention == "keras":
        step = learning_rate * g / np.sqrt(d + epsilon)
    else:
        step = g / (np.sqrt(d) + epsilon)
    if momentum:
        step = velocity = momentum * velocity + step
    return w - (step if convention == "keras" else learning_rate * step), square, average, velocity


def adam_update(
    param, grad, m, v, v_max=None, grad_scale=None, learning_rate=1e-3, step=1, beta_1=0.9,
    beta_2=0.999, epsilon=1e-7, weight_decay=0.0, convention="keras", clipvalue=0.0, l1=0.0,
    l2=0.0,
):  # fmt: skip
    g = _gradient(param, grad, grad_scale, clipvalue, l1, l2)
    w = param - learning_rate * weight_decay * param
    m = beta_1 * m + (1 - beta_1) * g
    v = beta_2 * v + (1 - beta_2) * g**2
    if v_max is not None:
        v_max = np.maximum(v_max, v)
    below = v if v_max is None else v_max
    first, second = 1 - beta_1**step, 1 - beta_2**step
    if convention == "keras":
        w = w - learning_rate * math.sqrt(second) / first * m / (np.sqrt(below) + epsilon)
    else:
        w = w - learning_rate / first * m / (np.sqrt(below / second) + epsilon)
    return w, m, v, v_max


def adagrad_update(
    param, grad, square, grad_scale=None, learning_rate=1e-3, epsilon=1e-7, weight_decay=0.0,
    convention="keras", clipvalue=0.0, l1=0.0, l2=0.0,
):  # fmt: skip
    g = _gradient(param, grad, grad_scale, clipvalue, l1, l2)
    w = param - learning_rate * weight_decay * param
    square = square + g**2
    below = np.sqrt(square + epsilon) if convention == "keras" else np.sqrt(square) + epsilon
    return w - learning_rate * g / below, square


def squared_norm(grad, param=None, before=None, l1=0.0, l2=0.0):
    g = grad if param is None else _penalised(grad, param, l1, l2)
    return np.array([(g**2).sum()]) + (0.0 if before is None else before)


def accumulate_squares(total, values):
    return total + np.array([(values**2).sum(), 1.0])


def clip_scale(squares, clipnorm):
    with np.errstate(divide="ignore"):
        return np.minimum(1.0, clipnorm / np.sqrt(squares.sum(keepdims=True)))


# --- tensors ------------------------------------------------------------------------------------


def exp_forward(x):
    return np.exp(x)


def exp_backward(grad_out, out):
    return grad_out * out


def log_forward(x):
    return np.log(x)


def log_backward(grad_out, x):
    return grad_out / x


def sqrt_forward(x):
    return np.sqrt(x)


def sqrt_backward(grad_out, out):
    return grad_out / (2 * out)


def square_forward(x):
    return x * x


def square_backward(grad_out, x):
    return 2 * grad_out * x


def abs_forward(x):
    return np.abs(x)


def abs_backward(grad_out, x):
    return grad_out * np.sign(x)


def sign(x):
    return np.sign(x)


def clip_forward(x, low, high):
    return np.clip(x, low, high)


def clip_backward(grad_out, x, low, high):
    return np.where((x < low) | (x > high), 0.0, grad_out)


def subtract(a, b):
    return a - b


def divide(a, b):
    return a / b


def power(a, b):
    return np.power(a, b)


def maximum(a, b):
    return np.maximum(a, b)


def minimum(a, b):
    return np.minimum(a, b)


def less(a, b):
    return (a < b).astype(float)


def less_equal(a, b):
    return (a <= b).astype(float)


def equal(a, b):
    return (a == b).astype(float)


def not_equal(a, b):
    return (a != b).astype(float)


def _add_backward(grad_out, a, b):
    return grad_out, grad_out


def subtract_backward(grad_out, a, b):
    return grad_out, -grad_out


def divide_backward(grad_out, a, b):
    return grad_out / b, -grad_out * a / b**2


def power_backward(grad_out, a, b):
    by_a = np.where(b == 0, 0.0, b * np.power(a, b - 1))
    by_b = np.where((a == 0) & (b >= 0), 0.0, np.power(a, b) * np.log(a))
    return grad_out * by_a, grad_out * by_b


def _share(first, both):
    return np.where(first, 1.0, np.where(both, 0.5, 0.0))


def maximum_backward(grad_out, a, b):
    return grad_out * _share(a > b, a == b), grad_out * _share(b > a, a == b)


def minimum_backward(grad_out, a, b):
    return grad_out * _share(a < b, a == b), grad_out * _share(b < a, a == b)


def where_forward(condition, a=None, b=None, a_value=0.0, b_value=0.0):
    return np.where(condition != 0, a_value if a is None else a, b_value if b is None else b)


def where_backward(grad_out, condition):
    return np.where(condition != 0, grad_out, 0.0), np.where(condition != 0, 0.0, grad_out)


_FUNCTIONS = {
    "add": add, "subtract": subtract, "multiply": multiply, "divide": divide, "power": power,
    "maximum": maximum, "minimum": minimum, "less": less, "less_equal": less_equal,
    "equal": equal, "not_equal": not_equal,
}  # fmt: skip

_GRADIENTS = {
    "add": _add_backward, "subtract": subtract_backward, "multiply": multiply_backward,
    "divide": divide_backward, "power": power_backward, "maximum": maximum_backward,
    "minimum": minimum_backward,
}  # fmt: skip


def _of_two(function, x, y, swapped):
    return _FUNCTIONS[function](y, x) if swapped else _FUNCTIONS[function](x, y)


def _gradients_of_two(function, grad_out, x, y, swapped):
    """The gradients of x and of y, in the shape of x."""
    y = np.broadcast_to(y, x.shape)
    if swapped:
        return _GRADIENTS[function](grad_out, y, x)[::-1]
    return _GRADIENTS[function](grad_out, x, y)


def scalar_forward(x, value, function="add", swapped=False):
    return _of_two(function, x, np.float64(value), swapped)


def scalar_backward(grad_out, x, value, function="add", swapped=False):
    return _gradients_of_two(function, grad_out, x, value, swapped)[0]


def scalar_compare(x, value, function="less", swapped=False):
    return _of_two(function, x, value, swapped)


def vector_forward(x, y, function="add", swapped=False):
    return _of_two(function, x, y, swapped)


def vector_backward(grad_out, x, y, function="add", swapped=False):
    grad_x, grad_y = _gradients_of_two(function, grad_out, x, y, swapped)
    return grad_x, _rows(grad_y).sum(0)


def vector_compare(x, y, function="less", swapped=False):
    return _of_two(function, x, y, swapped)


def middle_forward(x, y, function="add", swapped=False):
    return _of_two(function, x, y[..., None, :], swapped)


def middle_backward(grad_out, x, y, function="add", swapped=False):
    grad_x, grad_y = _gradients_of_two(function, grad_out, x, y[..., None, :], swapped)
    return grad_x, grad_y.sum(-2)


def middle_compare(x, y, function="less", swapped=False):
    return _of_two(function, x, y[..., None, :], swapped)


def sum_forward(x, mean=False):
    return x.sum(-2) / (max(x.shape[-2], 1) if mean else 1)


def sum_backward(grad_out, mean=False, lengths=None):
    repeats = lengths["M"]
    return np.repeat(grad_out[..., None, :], repeats, -2) / (max(repeats, 1) if mean else 1)


def sum_rows_forward(x, mean=False):
    return _rows(x).sum(0) / (max(len(_rows(x)), 1) if mean else 1)


def sum_rows_backward(grad_out, mean=False, lengths=None):
    rows = max(math.prod(lengths["B"]), 1)
    return np.broadcast_to(grad_out, (*lengths["B"], *grad_out.shape)) / (rows if mean else 1)


def max_forward(x):
    return np.max(x, -2, initial=-np.inf)


def min_forward(x):
    return np.min(x, -2, initial=np.inf)


def max_backward(grad_out, x, out):
    same = x == out[..., None, :]
    return np.where(same, (grad_out / np.maximum(same.sum(-2), 1))[..., None, :], 0.0)


def min_backward(grad_out, x, out):
    return max_backward(grad_out, x, out)


def broadcast_forward(x, repeats):
    return np.repeat(x[..., None, :], repeats, -2)


def broadcast_backward(grad_out, repeats):
    return grad_out.sum(-2)


def broadcast_rows_forward(x, like):
    return np.broadcast_to(x, (*like.shape[:-1], *x.shape))


def broadcast_rows_backward(grad_out):
    return _rows(grad_out).sum(0)


def transpose_forward(x):
    return np.swapaxes(x, -3, -2)


def transpose_backward(grad_out):
    return np.swapaxes(grad_out, -3, -2)


def slice_forward(x, start=0, stride=1, *, length):
    return x[..., start + stride * np.arange(length), :]


def slice_backward(grad_out, start=0, stride=1, *, length, lengths=None):
    grad_x = np.zeros((*lengths["B"], lengths["M"], lengths["N"]))
    grad_x[..., start + stride * np.arange(length), :] = grad_out
    return grad_x


def pad_forward(x, before=0, after=0):
    return np.pad(x, [(0, 0)] * (x.ndim - 2) + [(before, after), (0, 0)])


def pad_backward(grad_out, before=0, after=0):
    return grad_out[..., before : grad_out.shape[-2] - after, :]


def _parts_of_points(length, size):
    """(p, {m: weight}): what each new point p is made of."""
    for p in range(length * size):
        low, beyond = divmod(max(2 * p + 1 - size, 0), 2 * size)  # of the place, in whole numbers
        share = beyond / (2 * size) if low + 1 < length else 0.0
        yield p, {m: w for m, w in ((low, 1 - share), (low + 1, share)) if w}


def interpolate_forward(x, size):
    out = np.zeros((*x.shape[:-2], x.shape[-2] * size, x.shape[-1]))
    for p, parts in _parts_of_points(x.shape[-2], size):
        out[..., p, :] = sum(weight * x[..., m, :] for m, weight in parts.items())
    return out


def interpolate_backward(grad_out, size):
    length = grad_out.shape[-2] // size
    grad_x = np.zeros((*grad_out.shape[:-2], length, grad_out.shape[-1]))
    for p, parts in _parts_of_points(length, size):
        for m, weight in parts.items():
            grad_x[..., m, :] += weight * grad_out[..., p, :]
    return grad_x


def take_forward(labels, weight):
    return weight[labels]


def take_backward(grad_out, labels, lengths=None):
    grad_weight = np.zeros((lengths["V"], lengths["N"]))
    np.add.at(grad_weight, labels, grad_out)
    return grad_weight


def one_hot(labels, classes):
    return np.eye(classes)[labels]


def batch_matmul_forward(a, b):
    return a @ b


def batch_matmul_backward_a(grad_out, b):
    return grad_out @ np.swapaxes(b, -1, -2)


def batch_matmul_backward_b(grad_out, a):
    return np.swapaxes(a, -1, -2) @ grad_out


# --- attention ----------------------------------------------------------------------------------


def _attention_scores(q, k, mask, key_mask, scale, causal):
    """(B..., H, T, S)"""
    scores = scale * np.einsum("...thd,...shd->...hts", q, k)
    if mask is not None:
        scores = np.where(mask[..., None, :, :] == 0, -np.inf, scores)
    if key_mask is not None:
        scores = np.where(key_mask[..., None, None, :] == 0, -np.inf, scores)
    if causal:
        later = np.arange(k.shape[-3]) > np.arange(q.shape[-3])[:, None]
        scores = np.where(later, -np.inf, scores)
    return scores


def attention_forward(
    q, k, v, mask=None, key_mask=None, scale=1.0, causal=False, rate=0.0, stream=0, step=0, seed=0
):
    scores = _attention_scores(q, k, mask, key_mask, scale, causal)
    top = np.max(scores, -1, keepdims=True, initial=-np.inf)
    powers = np.exp(scores - np.where(np.isneginf(top), 0.0, top))
    total = powers.sum(-1, keepdims=True)
    weights = powers / np.where(total == 0, 1.0, total)
    lse = np.log(total) + top
    dropped = dropout_forward(weights, rate, stream, step, seed)
    out = np.einsum("...hts,...shv->...thv", dropped, v)
    return out, np.swapaxes(lse[..., 0], -1, -2)


def attention_backward(
    grad_out, q, k, v, mask=None, key_mask=None, out=None, lse=None, scale=1.0, causal=False,
    rate=0.0, stream=0, step=0, seed=0,
):  # fmt: skip
    random = rate, stream, step, seed
    scores = _attention_scores(q, k, mask, key_mask, scale, causal)
    log_sum = np.swapaxes(lse, -1, -2)[..., None]
    weights = np.exp(scores - np.where(np.isneginf(log_sum), np.inf, log_sum))
    dropped = dropout_forward(weights, *random)
    grad_v = np.einsum("...hts,...thv->...shv", dropped, grad_out)
    grad_dropped = np.einsum("...thv,...shv->...hts", grad_out, v)
    grad_weights = dropout_backward(grad_dropped, *random)
    mean = np.einsum("...thv,...thv->...ht", grad_out, out)[..., None]
    grad_scores = scale * weights * (grad_weights - mean)
    grad_q = np.einsum("...hts,...shd->...thd", grad_scores, k)
    grad_k = np.einsum("...hts,...thd->...shd", grad_scores, q)
    return grad_q, grad_k, grad_v


# --- recurrence -----------------------------------------------------------------------------------


def to_time_major_forward(x, reverse=False):
    sequences = x.reshape(-1, *x.shape[-2:]) if x.size else x.reshape(0, 1, 1)
    in_time = sequences.transpose(1, 0, 2)
    return (in_time[::-1] if reverse else in_time).reshape(x.shape)


def from_time_major_forward(x, reverse=False):
    if not x.size:
        return x
    in_time = x.reshape(x.shape[-2], -1, x.shape[-1])
    return (in_time[::-1] if reverse else in_time).transpose(1, 0, 2).reshape(x.shape)


def to_time_major_backward(grad_out, reverse=False):
    return from_time_major_forward(grad_out, reverse)


def from_time_major_backward(grad_out, reverse=False):
    return to_time_major_forward(grad_out, reverse)


def fill(lengths, value=0.0):
    return np.full(lengths["B"], value)


def assign(target, x):
    return x.copy()


def row_mask(x, value=0.0):
    return (x != value).any(axis=-1).astype(float)


def choose_rows_forward(x, other, mask):
    return np.where(mask[..., None] != 0, x, 0.0 if other is None else other)


def choose_rows_backward(grad_out, mask):
    kept = mask[..., None] != 0
    return np.where(kept, grad_out, 0.0), np.where(kept, 0.0, grad_out)


def split_forward(x, columns):
    return x[..., :columns].copy(), x[..., columns:].copy()


def split_backward(grad_a, grad_b):
    return np.concatenate([grad_a, grad_b], axis=-1)


_GATE = {
    "linear": (lambda x: x, lambda out: np.ones_like(out)),
    "relu": (relu_forward, lambda out: np.where(out <= 0, 0.0, 1.0)),
    "sigmoid": (sigmoid_forward, lambda out: out * (1 - out)),
    "tanh": (np.tanh, lambda out: 1 - out**2),
}


def lstm_step_forward(x, carry, activation="tanh", recurrent_activation="sigmoid"):
    outer, gate = _GATE[activation][0], _GATE[recurrent_activation][0]
    i, f, c, o = np.split(x, 4, axis=-1)
    i, f, c, o = gate(i), gate(f), outer(c), gate(o)
    carry_out = f * carry + i * c
    squashed = outer(carry_out)
    return o * squashed, carry_out, np.concatenate([i, f, c, o], axis=-1), squashed


def lstm_step_backward(
    grad_out, grad_carry_out, gates, squashed, carry, activation="tanh",
    recurrent_activation="sigmoid",
):  # fmt: skip
    outer, gate = _GATE[activation][1], _GATE[recurrent_activation][1]
    i, f, c, o = np.split(gates, 4, axis=-1)
    grad_out = np.zeros_like(carry) if grad_out is None else grad_out
    grad = grad_out * o * outer(squashed) + (0.0 if grad_carry_out is None else grad_carry_out)
    parts = [grad * c * gate(i), grad * carry * gate(f), grad * i * outer(c)]
    parts.append(grad_out * squashed * gate(o))
    return grad * f, np.concatenate(parts, axis=-1)


def gru_step_forward(x, recurrent, state, activation="tanh", recurrent_activation="sigmoid"):
    outer, gate = _GATE[activation][0], _GATE[recurrent_activation][0]
    x_z, x_r, x_h = np.split(x, 3, axis=-1)
    s_z, s_r, s_h = np.split(recurrent, 3, axis=-1)
    z, r = gate(x_z + s_z), gate(x_r + s_r)
    h = outer(x_h + r * s_h)
    return z * state + (1 - z) * h, np.concatenate([z, r, h], axis=-1)


def gru_step_backward(
    grad_out, gates, recurrent, state, activation="tanh", recurrent_activation="sigmoid"
):
    outer, gate = _GATE[activation][1], _GATE[recurrent_activation][1]
    z, r, h = np.split(gates, 3, axis=-1)
    s_h = np.split(recurrent, 3, axis=-1)[2]
    grad_h = grad_out * (1 - z) * outer(h)
    grad_r = grad_h * s_h * gate(r)
    grad_z = grad_out * (state - h) * gate(z)
    grad_x = np.concatenate([grad_z, grad_r, grad_h], axis=-1)
    return grad_out * z, grad_x, np.concatenate([grad_z, grad_r, grad_h * r], axis=-1)
