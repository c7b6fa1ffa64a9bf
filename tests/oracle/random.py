"""Random numbers, dropout, noise, augmentation."""

from __future__ import annotations

import math

import numpy as np


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
