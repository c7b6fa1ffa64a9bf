"""Loops over time in programs: what is in them, threads and short batches."""

import numpy as np
import pytest
from recurrent_cells import CELLS

import fastdl
from fastdl import Layer, Sequential, layers, ops, programs
from fastdl.graph import prune
from fastdl.kernels import runner
from fastdl.layers import GRU, LSTM, RNN, Dense, SimpleRNN
from fastdl.programs import training_program
from fastdl.repeat import Repeat
from fastdl.tensor import Tensor
from fastdl.trace import Trace


@pytest.mark.parametrize("name", CELLS)
def test_programs_do_not_grow_with_the_time(name):
    programs = []
    for times in (10, 10_000):
        model = Sequential([CELLS[name](), Dense(2)])
        model.build((None, times, 3))
        model.compile("adam", "mse")
        programs.append(training_program(model, 1).lowered.ops)
    assert programs[0] == programs[1]
    assert sum(step[0] == "repeat" for step in programs[0]) == 2


def test_what_needs_no_state_is_one_op_over_all_time_steps():
    model = Sequential([LSTM(4), Dense(2)])
    model.build((None, 6, 3))
    model.compile("adam", "mse")
    loops = [s[1:] for s in training_program(model, 2).lowered.ops if s[0] == "repeat"]
    assert loops == [
        ["dense_forward", "add", "lstm_step_forward"],
        ["lstm_step_backward", "dense_backward_input"],
    ]


def test_groups_of_rows_take_products_in_and_find_weights_transposed():
    """Where a batch makes several groups and the steps are many; not what others read as well."""
    model = Sequential([LSTM(4), Dense(2)])
    model.build((None, 8, 3))
    model.compile("adam", "mse")
    lowered = training_program(model, 32).lowered
    loops = [s[1:] for s in lowered.ops if s[0] == "repeat"]
    assert loops == [
        ["dense_forward", "dense_forward", "add", "lstm_step_forward"],
        ["lstm_step_backward", "dense_forward"],
    ]
    assert sum(step == ["transpose_forward"] for step in lowered.ops) == 1
    for backend in ("cpu", "gpu"):
        x = fastdl.Input((8, 3))
        first = Dense(4)(x)
        outputs = [LSTM(1)(first), GRU(1)(first)]
        shared = fastdl.Model(x, outputs)
        with Trace(training=False) as trace:
            outputs = shared.call_flat([Tensor((None, 8, 3))], training=False)
        nodes = programs.prepared_for(trace.nodes, outputs, 32, backend)
        inner = [[n.name for n in node.body] for node in nodes if isinstance(node, Repeat)]
        assert [body.count("dense_forward") for body in inner] == [1 + (backend == "cpu")] * 2
        assert [n.name for n in nodes].count("dense_forward") == (1 if backend == "cpu" else 3)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN", "user's"])
def test_what_loops_take_in_changes_no_results(name, float64, monkeypatch):
    rng = np.random.default_rng(41)
    x, y = rng.normal(size=(37, 9, 3)), rng.normal(size=(37, 2))

    def trained():
        fastdl.set_seed(5)
        first = CELLS[name](return_sequences=True)
        if name != "user's":  # whose class is not known by its name
            first = layers.Bidirectional(first)
        model = Sequential([first, CELLS[name](), Dense(2)])
        model.compile(fastdl.optimizers.SGD(0.1), "mse")
        model.fit(x, y, batch_size=34, epochs=3, shuffle=False, verbose=0)
        return [*model.get_weights(), model.predict(x, batch_size=37)]

    changed = trained()
    monkeypatch.setattr(programs, "prepared_for", lambda nodes, keep, *_: prune(nodes, keep))
    for one, other in zip(changed, trained(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_a_compiled_step_that_grows_has_loops_for_its_rows(float64):
    rng = np.random.default_rng(43)
    model = Sequential([GRU(4), Dense(2)])
    model.build((None, 9, 3))

    @fastdl.compiled_step
    def gradient(x):
        with fastdl.GradientTape() as tape:
            loss = ops.sum(ops.square(model(x)))
        return tape.gradient(loss, model.trainable_weights)

    for rows in (3, 40, 90):
        x = rng.normal(size=(rows, 9, 3))
        with fastdl.GradientTape() as tape:
            loss = ops.sum(ops.square(model(x)))
        wanted = tape.gradient(loss, model.trainable_weights)
        for one, other in zip(gradient(x), wanted, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("kind", "gates", "held"), [("LSTM", 4, 1), ("GRU", 3, 2)])
def test_sequences_of_gates_take_over_each_others_memory(kind, gates, held):
    """The input's product gives its memory to the gates, and they to their gradient."""
    model = Sequential([getattr(layers, kind)(32), Dense(2)])
    model.build((None, 50, 3))
    model.compile("adam", "mse")
    lowered = training_program(model, 8).lowered
    sequence = 8 * 50 * 32 * 4
    others = 3 if kind == "LSTM" else 1  # of outputs, carries, squashed carries
    assert lowered.arena_bytes < 1.1 * (held * gates + others) * sequence


def test_what_is_read_again_keeps_its_memory(float64):
    """A loop's inputs that its own later ops, or the gradient, still need."""

    class Scaled(Layer):
        state_size = 4

        def call(self, x, states):
            state = ops.tanh(ops.add(states[0], x))
            return ops.multiply(ops.sigmoid(x), state) + x, [state]

    model = Sequential([Dense(4, "tanh"), RNN(Scaled(), return_sequences=True), Dense(2)])
    model.build((None, 5, 3))
    model.compile("sgd", "mse")
    rng = np.random.default_rng(31)
    assert fastdl.gradient_check(model, rng.normal(size=(3, 5, 3)), rng.normal(size=(3, 5, 2))) <= 1
    x = rng.normal(size=(3, 5, 3))
    np.testing.assert_allclose(model.predict(x), model(x).numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "user's"])
def test_any_number_of_threads_trains_the_same_bits(name):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(22, 7, 3)), rng.integers(0, 3, 22)
    results = []
    try:
        for threads in (1, 2, 3, 7):
            runner.set_num_threads(threads)
            runner.force_threads(threads > 1)
            fastdl.set_seed(5)
            model = Sequential([CELLS[name](return_sequences=True), SimpleRNN(4), Dense(3)])
            model.compile("adam", fastdl.losses.SparseCategoricalCrossentropy(True))
            model.fit(x, y, batch_size=8, epochs=2, verbose=0)  # the last batch has 6 rows
            results.append([w.tobytes() for w in model.get_weights()])
    finally:
        runner.force_threads(False)
        runner.set_num_threads(None)
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "ConvLSTM2D"])
def test_groups_of_rows_go_through_a_loop_by_themselves(kind, float64):
    """A batch so long that it is cut: the same bits for any threads, and what short ones give."""
    rng = np.random.default_rng(23)
    images = kind == "ConvLSTM2D"
    x = rng.normal(size=(39, 3, 8, 8, 2) if images else (39, 3, 5))
    y = rng.normal(size=(39, 2))

    def trained(batch, threads):
        runner.set_num_threads(threads)
        runner.force_threads(threads > 1)
        fastdl.set_seed(5)
        first = layers.ConvLSTM2D(8, 3) if images else getattr(layers, kind)(96)
        model = Sequential([first, layers.Flatten(), Dense(2)])
        model.compile(fastdl.optimizers.SGD(0.1), "mse")
        model.fit(x, y, batch_size=39, epochs=2, verbose=0)
        return model.predict(x, batch_size=batch), model.get_weights()

    try:
        results = [trained(39, threads) for threads in (1, 2, 3, 7)]
        for out, weights in results[1:]:
            assert out.tobytes() == results[0][0].tobytes()
            assert [w.tobytes() for w in weights] == [w.tobytes() for w in results[0][1]]
        np.testing.assert_allclose(trained(5, 1)[0], results[0][0], rtol=1e-10)
    finally:
        runner.force_threads(False)
        runner.set_num_threads(None)


def test_a_short_batch_gives_what_it_gives_alone(float64):
    rng = np.random.default_rng(6)
    x = rng.normal(size=(11, 6, 3))
    model = Sequential([LSTM(4, return_sequences=True), GRU(3)])
    whole = model.predict(x, batch_size=8)
    np.testing.assert_allclose(whole[8:], model.predict(x[8:]), rtol=1e-12)
    np.testing.assert_allclose(whole[:1], model.predict(x[:1]), rtol=1e-12)
