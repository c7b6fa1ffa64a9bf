"""Losses and accuracies where they are special: extreme logits, clipping, labels, ties and NaN.

That they equal the oracle in ordinary cases is tested in test_against_oracle.py.
"""

import numpy as np
import oracle
import pytest

from fastdl import kernels

WIDTHS = (1, 2, 10, 15, 16, 17, 33, 100)

#: op, options, what pred holds, what target holds
LOSSES = [
    ("mean_squared_error", {}, "any", "any"),
    ("mean_absolute_error", {}, "any", "any"),
    ("huber", {"delta": 0.7}, "any", "any"),
    ("binary_crossentropy", {}, "share", "share"),
    ("binary_crossentropy", {"from_logits": True, "label_smoothing": 0.2}, "any", "share"),
    ("categorical_crossentropy", {"label_smoothing": 0.2}, "share", "share"),
    ("categorical_crossentropy", {"from_logits": True}, "any", "share"),
    ("sparse_categorical_crossentropy", {}, "share", "label"),
    ("sparse_categorical_crossentropy", {"from_logits": True}, "any", "label"),
    ("sparse_categorical_crossentropy",
     {"from_logits": True, "label_smoothing": 0.2}, "any", "label"),
]  # fmt: skip
every_loss = pytest.mark.parametrize(("op", "options", "pred", "target"), LOSSES)


def make(kind, rows, width, seed):
    rng = np.random.default_rng(seed)
    if kind == "label":
        return rng.integers(0, width, rows)
    return rng.normal(size=(rows, width)) if kind == "any" else rng.uniform(0.1, 0.9, (rows, width))


@every_loss
@pytest.mark.parametrize("width", [1, 3, 17])
def test_gradient_is_the_slope_of_the_weighted_mean(op, options, pred, target, width):
    x, t = make(pred, 4, width, 0), make(target, 4, width, 1)
    weight = np.array([0.5, 0.0, 2.0, 1.0])
    call = getattr(kernels, op)
    grad = call(x, t, weight, scale=3.0, **options)[1]
    for at in np.ndindex(*x.shape):
        around = []
        for change in (1e-6, -1e-6):
            moved = x.copy()
            moved[at] += change
            around.append(3.0 * (call(moved, t, **options)[0] * weight).mean())
        slope = (around[0] - around[1]) / 2e-6
        assert grad[at] == pytest.approx(slope, abs=1e-7, rel=1e-5), at


@every_loss
def test_nan_reaches_the_loss_and_gradient_of_its_row_alone(isa, op, options, pred, target):
    for width in WIDTHS:
        for at in range(width):
            x = make(pred, 3, width, 0).astype("f4")
            t = make(target, 3, width, 1)
            t = t if target == "label" else t.astype("f4")
            x[1, at] = np.nan
            loss, grad = getattr(kernels, op)(x, t, **options)
            np.testing.assert_array_equal(np.isnan(loss), [False, True, False])
            assert np.isnan(grad[1, at])
            assert np.isfinite(grad[[0, 2]]).all()


@every_loss
def test_rows_do_not_depend_on_their_neighbours(isa, op, options, pred, target):
    """Narrow rows are read and written beyond their ends: nothing of that may show."""
    for width in WIDTHS:
        x, t = make(pred, 35, width, 2), make(target, 35, width, 3)
        weight = np.random.default_rng(4).uniform(size=35)
        loss, grad = getattr(kernels, op)(x, t, weight, **options)
        only = getattr(kernels, op)(x, t, weight, grad_pred=False, **options)
        np.testing.assert_array_equal(only[0] if isinstance(only, tuple) else only, loss)
        for row in (0, 1, 17, 33, 34):
            here = slice(row, row + 1)
            alone = getattr(kernels, op)(x[here], t[here], weight[here], scale=1 / 35, **options)
            np.testing.assert_array_equal(alone[0], loss[here])
            np.testing.assert_allclose(alone[1], grad[here], rtol=1e-14)


@every_loss
def test_no_rows(op, options, pred, target):
    loss, grad = getattr(kernels, op)(make(pred, 0, 5, 0), make(target, 0, 5, 0), **options)
    assert loss.shape == (0,)
    assert grad.shape == (0, 5)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_extreme_logits(isa, dtype):
    big = 1e4
    logits = np.array([[big, -big, 0], [-big, big, 0], [0, -np.inf, 0], [np.inf, 0, 0]], dtype)
    loss, grad = kernels.sparse_categorical_crossentropy(logits, np.zeros(4, int), from_logits=True)
    np.testing.assert_allclose(loss, [0.0, 2 * big, np.log(2.0), np.nan], rtol=1e-6)
    np.testing.assert_allclose(grad[:3] * 4, [[0, 0, 0], [-1, 1, 0], [-0.5, 0, 0.5]], atol=1e-6)
    hot = np.eye(3, dtype=dtype)[np.zeros(4, int)]
    dense, _ = kernels.categorical_crossentropy(logits, hot, from_logits=True)
    np.testing.assert_array_equal(dense, loss)

    x = np.array([[big], [-big], [big], [-big]], dtype)
    t = np.array([[1], [0], [0], [1]], dtype)
    loss, grad = kernels.binary_crossentropy(x, t, from_logits=True)
    np.testing.assert_allclose(loss, [0, 0, big, big], rtol=1e-6)
    np.testing.assert_allclose(grad[:, 0] * 4, [0, 0, 1, -1], rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e4, 1e30])
def test_equal_logits_share_alike(isa, value):
    for width in WIDTHS:
        x = np.full((2, width), value, "f4")
        loss, grad = kernels.sparse_categorical_crossentropy(x, [0, width - 1], from_logits=True)
        np.testing.assert_allclose(loss, np.log(width), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(grad[0, 1:] * 2, 1 / width, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_clipped_probabilities_have_no_gradient(isa, dtype):
    x = np.array([[1.0, 0.0]], dtype)
    loss, grad = kernels.categorical_crossentropy(x, np.array([[0.0, 1.0]], dtype))
    np.testing.assert_allclose(loss, -np.log(1e-7), rtol=1e-6)
    np.testing.assert_array_equal(grad, [[0.0, 0.0]])
    loss, grad = kernels.binary_crossentropy(x, np.array([[0.0, 0.0]], dtype))
    np.testing.assert_allclose(loss, -np.log(1e-7) / 2, rtol=1e-6)
    np.testing.assert_array_equal(grad, [[0.0, 0.0]])


def test_parity_with_pytorch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x = np.random.default_rng(5).normal(size=(20, 11)).astype("f4") * 4
    labels, target = make("label", 20, 11, 6), make("any", 20, 11, 7).astype("f4")
    pairs = [
        (lambda p: functional.cross_entropy(p, torch.tensor(labels), label_smoothing=0.1),
         lambda: kernels.sparse_categorical_crossentropy(
             x, labels, from_logits=True, label_smoothing=0.1)),
        (lambda p: functional.huber_loss(p, torch.tensor(target)),
         lambda: kernels.huber(x, target)),
        (lambda p: functional.l1_loss(p, torch.tensor(target)),
         lambda: kernels.mean_absolute_error(x, target)),
        (lambda p: functional.binary_cross_entropy_with_logits(p, torch.tensor(target)),
         lambda: kernels.binary_crossentropy(x, target, from_logits=True)),
    ]  # fmt: skip
    for theirs, ours in pairs:
        p = torch.tensor(x, requires_grad=True)
        expected = theirs(p)
        expected.backward()
        loss, grad = ours()
        assert loss.mean() == pytest.approx(expected.item(), rel=1e-5)
        np.testing.assert_allclose(grad, p.grad.numpy(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_accuracy_finds_the_first_largest_as_numpy_does(isa, dtype):
    rng = np.random.default_rng(8)
    for width in (1, 2, 3, 10, 31, 32, 33, 64, 100, 1000):
        x = rng.integers(0, 4, (60, width)).astype(dtype)  # many ties
        x[:20][rng.uniform(size=(20, width)) < 0.1] = np.nan
        x[20:30] = -np.inf
        labels = rng.integers(0, width, 60)
        labels[::2] = x.argmax(-1)[::2]
        expected = (x.argmax(-1) == labels).astype(dtype)
        np.testing.assert_array_equal(kernels.sparse_categorical_accuracy(x, labels), expected)
        other = rng.integers(0, 3, (60, width)).astype(dtype)
        np.testing.assert_array_equal(
            kernels.categorical_accuracy(x, other), oracle.categorical_accuracy(x, other)
        )


def test_binary_accuracy_is_a_share_and_nan_is_below_every_threshold(isa):
    x = np.array([[0.5, 0.6, np.nan], [0.9, 0.1, 0.2]], "f4")
    t = np.array([[0, 1, 0], [0, 1, 1]], "f4")
    np.testing.assert_array_equal(kernels.binary_accuracy(x, t), [1.0, 0.0])
    np.testing.assert_array_equal(kernels.binary_accuracy(x[:, :1], t[:, :1]), [1.0, 0.0])


def test_totals_are_float64():
    total = np.zeros(2)
    values = np.full(100_001, 0.1, "f4")
    kernels.accumulate(total, values)
    kernels.accumulate(total, values, np.zeros_like(values))
    np.testing.assert_allclose(total, [100_001 * float(np.float32(0.1)), 200_002], rtol=1e-13)
