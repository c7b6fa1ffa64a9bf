"""`fastdl.ops` and the operators of tensors: NumPy's values, gradients as central differences."""

import numpy as np
import pytest

import fastdl
from fastdl import Input, Layer, Model, layers, ops

ROWS = np.random.default_rng(0).normal(size=(5, 3, 4))
VECTOR = np.random.default_rng(1).normal(size=4)
COLUMN = np.random.default_rng(2).normal(size=(3, 1))

#: The same expression in ops and in NumPy; x is (5, 3, 4), whose first axis is the batch.
EXPRESSIONS = {
    "numbers": (lambda x: 2 - (x + 1.5) * 3 / 2, lambda x: 2 - (x + 1.5) * 3 / 2),
    "number / tensor": (lambda x: 1 / (2 + x * x), lambda x: 1 / (2 + x * x)),
    "vector": (lambda x: (x - VECTOR) * VECTOR, lambda x: (x - VECTOR) * VECTOR),
    "array first": (lambda x: VECTOR / (x * x + 1), lambda x: VECTOR / (x * x + 1)),
    "column": (lambda x: COLUMN - x * COLUMN, lambda x: COLUMN - x * COLUMN),
    "both repeated": (lambda x: x[:, :, :1] * x[:, :1], lambda x: x[:, :, :1] * x[:, :1]),
    "rows and columns": (
        lambda x: (x - ops.mean(x, -1, keepdims=True)) / ops.std(x, 1, keepdims=True),
        lambda x: (x - x.mean(-1, keepdims=True)) / x.std(1, keepdims=True),
    ),
    "mean of the batch": (
        lambda x: x - ops.mean(x, 0, keepdims=True),
        lambda x: x - x.mean(0, keepdims=True),
    ),
    "sum of all": (lambda x: x * ops.sum(x), lambda x: x * x.sum()),
    "sum of two axes": (
        lambda x: x * ops.sum(x, (0, 2))[:, None],
        lambda x: x * x.sum((0, 2))[:, None],
    ),
    "variance": (lambda x: ops.var(x, (1, 2)), lambda x: x.var((1, 2))),
    "max": (lambda x: ops.max(x, (1, 2), keepdims=True), lambda x: x.max((1, 2), keepdims=True)),
    "min": (lambda x: ops.min(x, -1), lambda x: x.min(-1)),
    "powers": (
        lambda x: abs(x) ** 1.7 + x**2 + 2.0**x + (x * x) ** 0.5 + (x + 9) ** -1,
        lambda x: abs(x) ** 1.7 + x**2 + 2.0**x + (x * x) ** 0.5 + 1 / (x + 9),
    ),
    "power of tensors": (lambda x: (x * x) ** (1 + x * x), lambda x: (x * x) ** (1 + x * x)),
    "exp and log": (lambda x: ops.log(1 + ops.exp(x)), lambda x: np.log(1 + np.exp(x))),
    "maximum": (lambda x: ops.maximum(x, VECTOR), lambda x: np.maximum(x, VECTOR)),
    "minimum of a number": (lambda x: ops.minimum(x, 0.25), lambda x: np.minimum(x, 0.25)),
    "clip": (
        lambda x: ops.clip(x, -0.3, 0.4) + ops.clip(x, 0.1) + ops.clip(x, high=0.2),
        lambda x: np.clip(x, -0.3, 0.4) + np.clip(x, 0.1, None) + np.clip(x, None, 0.2),
    ),
    "where": (lambda x: ops.where(x > 0, x, VECTOR), lambda x: np.where(x > 0, x, VECTOR)),
    "where of numbers": (lambda x: ops.where(x <= 0, 0.5, x), lambda x: np.where(x <= 0, 0.5, x)),
    "where of the batch": (
        lambda x: x * ops.where(x[:, :1] < 0, VECTOR, COLUMN),
        lambda x: x * np.where(x[:, :1] < 0, VECTOR, COLUMN),
    ),
    "comparisons": (
        lambda x: x * (x > VECTOR) + x * (x <= 0) + x * ops.not_equal(x, x) + ops.equal(x, x),
        lambda x: x * (x > VECTOR) + x * (x <= 0) + x * 0 + 1,
    ),
    "slices": (lambda x: x[:, 1:, ::-2], lambda x: x[:, 1:, ::-2]),
    "index": (lambda x: x[..., 0] - x[:, 2, 1:2], lambda x: x[..., 0] - x[:, 2, 1:2]),
    "new axis": (lambda x: x[:, None, -1] + x, lambda x: x[:, None, -1] + x),
    "transpose": (lambda x: ops.transpose(x, (0, 2, 1)), lambda x: x.transpose(0, 2, 1)),
    "transpose of many": (
        lambda x: ops.transpose(ops.reshape(x, (None, 3, 2, 2, 1)), (0, 3, 1, 4, 2)),
        lambda x: x.reshape(-1, 3, 2, 2, 1).transpose(0, 3, 1, 4, 2),
    ),
    "products": (lambda x: x @ ops.swapaxes(x, 1, 2), lambda x: x @ x.swapaxes(1, 2)),
    "product with a matrix": (lambda x: x @ np.outer(VECTOR, VECTOR),
                              lambda x: x @ np.outer(VECTOR, VECTOR)),
    "product with a vector": (lambda x: x @ VECTOR, lambda x: x @ VECTOR),
    "matrix times batch": (lambda x: COLUMN.T @ x, lambda x: COLUMN.T @ x),
    "concatenate": (
        lambda x: ops.concatenate([x, x * 2, x[:, :1]], 1),
        lambda x: np.concatenate([x, x * 2, x[:, :1]], 1),
    ),
    "stack": (lambda x: ops.stack([x, x * 2, -x], -1), lambda x: np.stack([x, x * 2, -x], -1)),
    "split": (
        lambda x: ops.split(x, 2, -1)[1] * ops.split(x[..., :2], [1, 2], 1)[0],
        lambda x: np.split(x, 2, -1)[1] * np.split(x[..., :2], [1, 2], 1)[0],
    ),
    "squeeze": (lambda x: ops.squeeze(ops.expand_dims(x, 2)), lambda x: x),
}  # fmt: skip


class Expression(Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


@pytest.fixture(autouse=True)
def float64():
    fastdl.set_floatx("float64")
    fastdl.set_seed(0)
    yield
    fastdl.set_floatx("float32")


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_values_are_numpys(name):
    ours, theirs = EXPRESSIONS[name]
    x = Input((3, 4))
    model = Model(x, Expression(ours)(x))
    wanted = theirs(ROWS)
    got = model.predict(ROWS)
    assert got.shape == wanted.shape == (5, *model.output_shape[1:])
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_gradients(name):
    x = Input((3, 4))
    y = Expression(EXPRESSIONS[name][0])(layers.Dense(4, kernel_initializer="normal")(x))
    model = Model(x, layers.Dense(2)(layers.Flatten()(y)))
    model.compile("sgd", "mse")
    assert fastdl.gradient_check(model, ROWS, np.ones((5, 2)), samples=6) <= 1


def test_gradients_of_rows_taken_by_label():
    class Rows(Layer):
        def build(self, input_shape):
            self.table = self.add_weight("table", (6, 2, 2), "normal")

        def call(self, x):
            return ops.take(self.table, x) * ops.one_hot(x, 6)[..., 1:3, None]

    labels = np.array([[1, 5, 1], [0, 2, 1], [1, 1, 2], [2, 2, 3]])
    model = fastdl.Sequential([Rows(), layers.Flatten(), layers.Dense(2)])
    model.compile("sgd", "mse")
    assert fastdl.gradient_check(model, labels, np.ones((4, 2))) <= 1
    table = model.layers[0].table.value
    got = Model(x := Input((3,)), model.layers[0](x)).predict(labels)
    np.testing.assert_array_equal(got, table[labels] * np.eye(6)[labels][..., 1:3, None])


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: x + np.ones(3), r"shapes \(None, 3, 4\) and \(3,\) do not fit"),
        (lambda x: ops.sum(x, 3), "sum: axis 3 does not exist"),
        (lambda x: ops.sum(x, (1, -2)), "names an axis twice"),
        (lambda x: ops.max(x), "over the batch axis"),
        (lambda x: x @ x, "do not fit"),
        (lambda x: ops.transpose(x), "the batch axis"),
        (lambda x: ops.transpose(x, (0, 1, 1)), "each of the axes"),
        (lambda x: x[0], "the batch axis"),
        (lambda x: ops.concatenate([x, x], 0), "the batch axis"),
        (lambda x: ops.concatenate([x, x[:, 1:]], 2), "cannot join"),
        (lambda x: ops.stack([x, x], 0), "the batch axis"),
        (lambda x: ops.split(x, 3, 2), "not 3 equal parts"),
        (lambda x: ops.clip(x, 1, 0), "low must be at most high"),
        (lambda x: ops.squeeze(x, 1), "not of length 1"),
        (lambda x: ops.take(x, x), "without a batch"),
    ],
)
def test_what_does_not_fit_is_refused(function, error):
    with pytest.raises(ValueError, match=error):
        function(Input((3, 4)))


def test_wrong_types_and_places_are_refused():
    x = Input((3, 4))
    with pytest.raises(IndexError, match="index 3 is not within axis 1"):
        x[:, 3]
    with pytest.raises(IndexError, match="4 indices"):
        x[:, 0, 0, 0]
    with pytest.raises(TypeError, match="rows by labels"):
        x[:, [0, 1]]
    with pytest.raises(TypeError, match="whole numbers from an input"):
        ops.one_hot(x * 1.0, 3)
    with pytest.raises(TypeError, match="unsupported operand"):
        x + "1"
