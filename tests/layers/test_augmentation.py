"""Random changes of images: what each layer does in training; it does nothing afterwards."""

import numpy as np
import pytest

import fastdl
from fastdl import kernels
from fastdl.layers import (
    Augmentation,
    Conv2D,
    Dense,
    Flatten,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
)  # fmt: skip

IMAGES = np.random.default_rng(0).random((40, 6, 5, 2))


def mirrored(images, which):
    return images[:, ::-1] if which == "vertical" else images[:, :, ::-1]


@pytest.mark.parametrize("which", ["horizontal", "vertical"])
def test_flips_are_exact_and_happen_by_chance(which):
    out = kernels.augment(IMAGES, **{which: True}, seed=3)
    same = (out == IMAGES).all(axis=(1, 2, 3))
    other = (out == mirrored(IMAGES, which)).all(axis=(1, 2, 3))
    assert (same ^ other).all() and 8 < same.sum() < 32


def test_numbers_that_are_not_finite_stay_in_their_place():
    images = IMAGES.copy()
    images[:, 2, 1, 0], images[:, 4, 3, 1] = np.nan, np.inf
    out = kernels.augment(images, horizontal=True, vertical=True, seed=3)
    for image, given in zip(out, images, strict=True):
        flips = (given, given[::-1], given[:, ::-1], given[::-1, ::-1])
        assert any(np.array_equal(image, flip, equal_nan=True) for flip in flips)
    moved = kernels.augment(images, width_shift=0.3, fill="nearest", seed=3)
    assert np.isfinite(moved[:, [0, 1, 3, 5]]).all() and np.isnan(moved[:, 2]).any()


def test_an_image_moves_by_a_share_of_its_size():
    ramp = np.broadcast_to(np.arange(100.0)[:, None, None], (1, 100, 3, 1)).repeat(50, 0)
    out = kernels.augment(ramp, height_shift=0.2, fill="nearest", seed=1)
    moved = 50 - out[:, 50, 1, 0]
    assert -20 <= moved.min() < -10 and 10 < moved.max() <= 20
    np.testing.assert_allclose(np.diff(out[:, 25:75, 1, 0]), 1, rtol=1e-9)


def test_a_turn_and_a_zoom_leave_the_centre():
    disc = np.zeros((1, 31, 31, 1))
    y, x = np.indices((31, 31)) - 15
    disc[0, :, :, 0] = np.exp(-(x**2 + y**2) / 40.0)
    turned = kernels.augment(disc.repeat(20, 0), rotation=0.5, fill="constant", seed=1)
    assert np.abs(turned - disc)[:, 5:26, 5:26].max() < 0.02  # round: turning changes nothing
    bar = disc * (np.abs(x) < 2)[None, :, :, None]
    assert np.abs(kernels.augment(bar, rotation=0.5, seed=2) - bar).max() > 0.2
    zoomed = kernels.augment(disc.repeat(20, 0), zoom=0.5, seed=1)
    np.testing.assert_allclose(zoomed[:, 15, 15], 1, rtol=1e-9)
    sizes = zoomed.sum(axis=(1, 2, 3)) / disc.sum()
    assert sizes.min() < 0.7 and sizes.max() > 1.3


def test_beyond_the_edges():
    one = np.arange(4.0).reshape(1, 1, 4, 1).repeat(30, 0)
    fills = {f: kernels.augment(one, width_shift=1.0, fill=f, seed=5) for f in
             ("reflect", "nearest", "constant")}  # fmt: skip
    assert fills["nearest"].min() >= 0 and (fills["nearest"][:, 0, :, 0] == 3).all(axis=1).any()
    assert (fills["constant"] == 0).sum() > (fills["nearest"] == 0).sum()
    assert np.abs(np.diff(fills["reflect"][:, 0, :, 0])).max() <= 1 + 1e-9  # no jump anywhere


@pytest.mark.parametrize(
    "layer",
    [RandomFlip(), RandomTranslation(0.2, 0.1), RandomRotation(0.1, "constant"), RandomZoom(0.2),
     Augmentation("horizontal", 0.1, 0.05, 0.1, 0.2, "nearest")],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_layers_work_in_training_alone_and_can_be_made_again(layer):
    fastdl.set_seed(1)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    model = fastdl.Sequential([again, Flatten(), Dense(1, kernel_initializer="ones")])
    model.compile(fastdl.optimizers.SGD(0.0), "mse")
    summed = IMAGES.sum(axis=(1, 2, 3))
    np.testing.assert_allclose(model.predict(IMAGES)[:, 0], summed, rtol=1e-5)
    assert model.evaluate(IMAGES, summed) < 1e-8
    loss = model.fit(IMAGES, summed, epochs=2, verbose=0).history["loss"]
    if isinstance(layer, RandomFlip):
        assert max(loss) < 1e-8  # the sum stays
    else:
        assert min(loss) > 1e-4 and loss[0] != loss[1]  # another draw for each step


def test_draws_do_not_depend_on_threads():
    weights = []
    for threads in (1, 3):
        fastdl.set_seed(2)
        before = fastdl.get_num_threads()
        fastdl.set_num_threads(threads)
        try:
            model = fastdl.Sequential(
                [Augmentation("horizontal", 0.1, 0.1, 0.1, 0.1), Conv2D(4, 3), Flatten(), Dense(1)]
            )
            model.compile("adam", "mse")
            model.fit(IMAGES, IMAGES.mean(axis=(1, 2, 3)), epochs=2, batch_size=16, verbose=0)
        finally:
            fastdl.set_num_threads(before)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomFlip("sideways"), "mode"),
        (lambda: RandomTranslation(2.0, 0.0), "height_factor"),
        (lambda: RandomRotation(0.1, "mirror"), "fill_mode"),
        (lambda: RandomZoom(1.0), "factor"),
        (lambda: Augmentation(flip=True), "flip"),
        (lambda: Augmentation(noise=-1), "noise"),
        (lambda: fastdl.Sequential([RandomFlip()]).build((None, 4)), "images"),
    ],
)
def test_what_cannot_be(make, words):
    with pytest.raises(ValueError, match=words):
        make()
