"""Rows that lie as a program would copy them are read where they are, to the same bits."""

import numpy as np
import pytest

import fastdl
from fastdl.kernels import runner
from fastdl.layers import LSTM, Activation, Conv2D, Dense, Dropout, Embedding, Flatten, Input

ROWS, BATCH = 37, 8  # the last batch is a short one

NETWORKS = {
    "dense": ((12,), [Dense(8, "relu"), Dense(1)]),
    "one column": ((2,), [Dense(1)]),
    "wide": ((64,), [Dense(256, "relu"), Dropout(0.3), Dense(1)]),
    "written first": ((12,), [Activation("relu"), Activation("tanh"), Dense(1)]),
    "image": ((6, 6, 1), [Conv2D(3, 3, activation="relu"), Flatten(), Dense(1)]),
    "sequence": ((5, 3), [LSTM(4), Dense(1)]),
}


def apart(array):
    """The same rows, further from each other: they have to be copied."""
    wide = np.full((len(array), 2, *array.shape[1:]), 7, array.dtype)
    wide[:, 0] = array
    return wide[:, 0]


def data(shape, rows=ROWS):
    rng = np.random.default_rng(rows)
    return (rng.normal(size=(rows, *size)).astype(np.float32) for size in (shape, (1,), ()))


def trained(shape, layers, x, y, weight=None, *, threads=1, check=None, epochs=2):
    fastdl.set_seed(5)
    layers = [type(one).from_config(one.get_config()) for one in layers]
    model = fastdl.Sequential([Input(shape), *layers])
    model.compile("adam", "mean_squared_error", ["mean_absolute_error"])
    runner.force_threads(threads > 1)
    fastdl.set_num_threads(threads)
    try:
        history = model.fit(
            x, y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, sample_weight=weight,
            validation_data=check,
        )  # fmt: skip
    finally:
        runner.force_threads(False)
        fastdl.set_num_threads(None)
    return model, [*model.get_weights(), *map(np.array, history.history.values())]


def same(first, second):
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_rows_in_place_give_the_bits_of_copied_ones(name, threads):
    shape, layers = NETWORKS[name]
    x, y, weight = data(shape)
    before = x.copy(), y.copy(), weight.copy()
    check = x[:20], y[:20]
    _, there = trained(shape, layers, x, y, weight, threads=threads, check=check)
    _, copied = trained(
        shape, layers, apart(x), apart(y), apart(weight), check=tuple(map(apart, check))
    )
    assert same(there, copied)
    assert same((x, y, weight), before)


@pytest.mark.parametrize("kind", [np.float64, np.int16, np.uint8])
def test_rows_of_another_type_are_cast(kind):
    shape, layers = NETWORKS["dense"]
    x, y, _ = data(shape)
    x = (100 * abs(x)).astype(kind)
    _, cast = trained(shape, layers, x, y.astype(np.float64))
    assert same(cast, trained(shape, layers, x.astype(np.float32), y)[1])


def test_whole_numbers_are_read_in_place():
    x = np.random.default_rng(0).integers(0, 9, (ROWS, 5))
    y = next(data((1,)))
    layers = [Embedding(9, 3), Flatten(), Dense(1)]
    assert same(trained((5,), layers, x, y)[1], trained((5,), layers, apart(x), y)[1])


def test_rows_that_change_between_fits_are_read_anew():
    shape, layers = NETWORKS["dense"]
    x, y, _ = data(shape)
    model, _ = trained(shape, layers, x, y)
    x *= 2
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    other, _ = trained(shape, layers, apart(x / 2), y)
    other.fit(apart(x), y, batch_size=BATCH, shuffle=False, verbose=0)
    assert same(model.get_weights(), other.get_weights())


def test_shuffled_fits_and_predictions_between_fits_in_order():
    shape, layers = NETWORKS["dense"]
    x, y, _ = data(shape)
    results = []
    for rows in (x, apart(x)):
        model, _ = trained(shape, layers, rows, y)
        for shuffle in (True, False, True):
            model.fit(rows, y, batch_size=BATCH, shuffle=shuffle, verbose=0)
            results.append([model.predict(rows), model.predict(rows[3:4]), *model.get_weights()])
        model.train_on_batch(rows[:5], y[:5])
        results.append(model.get_weights())
    for there, copied in zip(results[:4], results[4:], strict=True):
        assert same(there, copied)


def test_rows_that_are_the_weights_themselves_are_copied():
    y = next(data((1,), 200))  # its update runs on parts of the gradient, which read all rows
    results = []
    for copy in (False, True):
        fastdl.set_seed(1)
        model = fastdl.Sequential([Input((200,)), Dense(200), Dense(1)])
        model.compile("sgd", "mean_squared_error")
        rows = model.trainable_weights[0].value
        model.fit(apart(rows) if copy else rows, y, batch_size=200, shuffle=False, verbose=0)
        results.append(model.get_weights())
    assert same(*results)


def test_rows_are_copied_where_an_op_writes_to_them():
    Program = fastdl.kernels.program.Program
    x = np.arange(27, dtype=np.float32).reshape(9, 3) - 9
    buffer, result = np.zeros((4, 3), np.float32), np.empty((9, 3), np.float32)
    step = ("relu_forward", [buffer, buffer], {}, 3, False)
    program = Program(4, [step], [buffer], [buffer], np.zeros(0))
    program.bind([x], [result])
    program.run(4)
    assert x[0, 0] == -9 and result.tobytes() == np.maximum(x, 0).tobytes()


def test_a_buffer_stays_as_it_is_where_its_rows_are_read_in_place():
    Program = fastdl.kernels.program.Program
    x = np.arange(27, dtype=np.float32).reshape(9, 3) - 9
    for rows, copied in ((x, False), (apart(x), True), (x.astype(np.float64), True)):
        buffer, out = np.zeros((4, 3), np.float32), np.zeros((4, 3), np.float32)
        result = np.empty((9, 3), np.float32)
        program = Program(
            4, [("relu_forward", [out, buffer], {}, 3, False)], [buffer], [out], np.zeros(0)
        )
        program.bind([rows], [result])
        program.run(4)
        assert result.tobytes() == np.maximum(x, 0).tobytes()
        assert buffer.any() == copied
