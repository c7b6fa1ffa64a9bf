"""Recurrent layers: against NumPy and PyTorch, gradients, masks, programs that do not grow."""

import numpy as np
import pytest

import fastdl
from fastdl import Input, Layer, Model, Sequential, layers, ops
from fastdl.kernels import runner
from fastdl.layers import GRU, LSTM, RNN, Dense, SimpleRNN
from fastdl.programs import compiled, training_program

torch = pytest.importorskip("torch")


@pytest.fixture
def float64():
    fastdl.set_floatx("float64")
    fastdl.set_seed(0)
    yield
    fastdl.set_floatx("float32")


class Minimal(Layer):
    """A user's cell: the state is mixed with the input's product, and the output is another."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = units

    def get_config(self):
        return {**super().get_config(), "units": self.units}

    def build(self, shape):
        self.kernel = self.add_weight("kernel", (shape[-1], self.units))
        self.recurrent = self.add_weight("recurrent", (self.units, self.units), "orthogonal")
        self.gain = self.add_weight("gain", (self.units,), "ones")
        self.shift = self.add_weight("shift", (self.units,), "normal")

    def call(self, x, states):
        product = ops.dense(states[0], self.recurrent) + ops.dense(x, self.kernel)
        state, _, _ = ops.layernorm(ops.tanh(product), self.gain, self.shift)
        return ops.sigmoid(state) * 2.0, [state]


CELLS = {
    "SimpleRNN": lambda **k: SimpleRNN(5, **k),
    "SimpleRNN relu": lambda **k: SimpleRNN(5, "relu", use_bias=False, **k),
    "LSTM": lambda **k: LSTM(5, **k),
    "LSTM others": lambda **k: LSTM(5, "linear", "tanh", use_bias=False, **k),
    "LSTM dropout": lambda **k: LSTM(5, dropout=0.3, recurrent_dropout=0.2, **k),
    "GRU": lambda **k: GRU(5, **k),
    "GRU before": lambda **k: GRU(5, reset_after=False, **k),
    "GRU others": lambda **k: GRU(5, "linear", "tanh", use_bias=False, **k),
    "GRU dropout": lambda **k: GRU(5, dropout=0.3, recurrent_dropout=0.2, **k),
    "user's": lambda **k: RNN(Minimal(5), **k),
}


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_gradients(name, sequences, float64):
    rng = np.random.default_rng(0)
    first = Dense(3, "tanh")  # so that the gradient by the input is checked too
    model = Sequential([first, CELLS[name](return_sequences=sequences), Dense(2)])
    model.build((None, 6, 4))
    model.compile("sgd", "mse")
    y = rng.normal(size=(3, *model.output_shape[1:]))
    assert fastdl.gradient_check(model, rng.normal(size=(3, 6, 4)), y) <= 1


def test_gradients_of_stacked_layers_with_states(float64):
    rng = np.random.default_rng(1)
    x, h, c = Input((5, 3)), Input((4,)), Input((4,))
    out, *states = LSTM(4, return_sequences=True, return_state=True)([x, h, c])
    out = GRU(3, go_backwards=True)(out)
    model = Model([x, h, c], Dense(2)(layers.Concatenate()([out, *states])))
    model.compile("sgd", "mse")
    data = [rng.normal(size=(3, *t.shape[1:])) for t in (x, h, c)]
    assert fastdl.gradient_check(model, data, rng.normal(size=(3, 2))) <= 1


def reordered(weight, order, count):
    """PyTorch's rows of gates from our columns."""
    parts = np.split(weight.T, count, axis=0)
    return np.concatenate([parts[i] for i in order])


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_training_equals_pytorch(kind, float64):
    """Gates: ours i f c o and z r h, theirs i f g o and r z n; they have two biases."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(6, 9, 3)), rng.normal(size=(6, 9, 2))
    ours = Sequential([getattr(layers, kind)(4, return_sequences=True), Dense(2)])
    ours.build((None, 9, 3))
    ours.compile(fastdl.optimizers.SGD(0.1), "mse")
    count, order = (4, range(4)) if kind == "LSTM" else (3, (1, 0, 2))
    kernel, recurrent, bias, out_kernel, out_bias = ours.get_weights()
    theirs = getattr(torch.nn, kind)(3, 4, batch_first=True, dtype=torch.float64)
    head = torch.nn.Linear(4, 2, dtype=torch.float64)
    biases = (bias, np.zeros_like(bias)) if kind == "LSTM" else bias
    with torch.no_grad():
        for name, value in (("weight_ih_l0", kernel), ("weight_hh_l0", recurrent)):
            getattr(theirs, name).copy_(torch.tensor(reordered(value, order, count)))
        for name, value in zip(("bias_ih_l0", "bias_hh_l0"), biases, strict=True):
            getattr(theirs, name).copy_(torch.tensor(reordered(value[None], order, count)[:, 0]))
        head.weight.copy_(torch.tensor(out_kernel.T))
        head.bias.copy_(torch.tensor(out_bias))
    theirs.bias_hh_l0.requires_grad_(kind == "GRU")
    parameters = [p for p in [*theirs.parameters(), *head.parameters()] if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, 0.1)
    for _ in range(5):
        loss = torch.nn.functional.mse_loss(head(theirs(torch.tensor(x))[0]), torch.tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert ours.train_on_batch(x, y) == pytest.approx(loss.item(), rel=1e-9)
    got = ours.get_weights()
    np.testing.assert_allclose(
        reordered(got[1], order, count), theirs.weight_hh_l0.detach(), atol=1e-12
    )
    np.testing.assert_allclose(
        reordered(got[0], order, count), theirs.weight_ih_l0.detach(), atol=1e-12
    )


class Unrolled(Layer):
    """The same by ops, one time step after the other."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def call(self, x):
        sizes = self.cell.state_size
        zeros = ops.dense(x[0], fastdl.Variable(np.zeros((3, 5))))
        states = [zeros] * (len(sizes) if isinstance(sizes, list) else 1)
        outputs = []
        for step in x:
            out, states = self.cell.call(step, states)
            outputs.append(out)
        return outputs


@pytest.mark.parametrize("name", [n for n in CELLS if "dropout" not in n])
def test_a_layer_equals_its_cell_unrolled(name, float64):
    times = 4
    layer = CELLS[name](return_sequences=True)
    layer.build((None, times, 3))
    inputs = [Input((3,)) for _ in range(times)]
    flat = Model(inputs, Unrolled(layer.cell)(inputs))
    x = np.random.default_rng(3).normal(size=(5, times, 3))
    wanted = np.stack(flat.predict([np.ascontiguousarray(x[:, t]) for t in range(times)]), axis=1)
    got = Sequential([layer]).predict(x)
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13)
    last = Sequential([RNN(layer.cell)]).predict(x)
    np.testing.assert_allclose(last, wanted[:, -1], rtol=1e-12, atol=1e-13)


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


def test_going_backwards_is_going_forwards_over_the_reverse(float64):
    x = np.random.default_rng(7).normal(size=(4, 6, 3))
    layer = LSTM(4, return_sequences=True)
    ahead = Sequential([layer]).predict(np.ascontiguousarray(x[:, ::-1]))
    back = RNN(layer.cell, return_sequences=True, go_backwards=True)
    np.testing.assert_allclose(Sequential([back]).predict(x), ahead, rtol=1e-12)


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU", "GRU before", "user's"])
def test_masked_steps_are_passed_over(name, float64):
    rng = np.random.default_rng(8)
    x = rng.normal(size=(4, 6, 3))
    lengths = [6, 4, 1, 3]
    for row, length in enumerate(lengths):
        x[row, length:] = -1.0
    layer = CELLS[name](return_sequences=True)
    masked = Sequential([layers.Masking(-1.0), layer])
    got = masked.predict(x)
    last = Sequential([layers.Masking(-1.0), RNN(layer.cell)]).predict(x)
    for row, length in enumerate(lengths):
        alone = RNN(layer.cell, return_sequences=True)
        wanted = Sequential([alone]).predict(x[row : row + 1, :length])[0]
        np.testing.assert_allclose(got[row, :length], wanted, rtol=1e-12)
        np.testing.assert_allclose(got[row, length:], wanted[-1:].repeat(6 - length, 0), rtol=1e-12)
        np.testing.assert_allclose(last[row], wanted[-1], rtol=1e-12)


@pytest.mark.parametrize("name", ["LSTM", "GRU before", "user's"])
def test_gradients_through_masks(name, float64):
    rng = np.random.default_rng(9)
    x, mask = Input((5, 3)), Input((5,))
    hidden = Dense(3, "tanh")(x)
    out = CELLS[name](return_sequences=True)(hidden, mask=mask)
    model = Model([x, mask], Dense(2)(GRU(4)(layers.Dropout(0.1)(out))))
    model.compile("sgd", "mse")
    keep = rng.integers(0, 2, (4, 5)).astype(float)
    data = [rng.normal(size=(4, 5, 3)), keep]
    assert fastdl.gradient_check(model, data, rng.normal(size=(4, 2))) <= 1


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [True, False])
def test_bidirectional(merge, sequences, float64):
    x = np.random.default_rng(10).normal(size=(4, 6, 3))
    both = layers.Bidirectional(LSTM(4, return_sequences=sequences), merge)
    inputs = Input((6, 3))
    got = Model(inputs, both(inputs)).predict(x)
    ahead = Sequential([both.layer]).predict(x)
    back = Sequential([both.backward_layer]).predict(x)
    back = back[:, ::-1] if sequences else back
    wanted = {
        "concat": np.concatenate([ahead, back], -1),
        "sum": ahead + back,
        "mul": ahead * back,
        "ave": (ahead + back) / 2,
        None: [ahead, back],
    }[merge]
    for a, b in zip(*(r if isinstance(r, list) else [r] for r in (got, wanted)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_gradients_of_both_directions_one_on_the_other(float64):
    rng = np.random.default_rng(11)
    model = Sequential(
        [
            layers.Bidirectional(LSTM(3, return_sequences=True)),
            layers.Bidirectional(GRU(2), "sum"),
            Dense(2),
        ]
    )
    model.build((None, 5, 3))
    model.compile("sgd", "mse")
    y = rng.normal(size=(4, 2))
    assert fastdl.gradient_check(model, rng.normal(size=(4, 5, 3)), y) <= 1


def test_one_layer_at_each_time_step(float64):
    """Row by row: one op over all time steps. Over the batch: repeated."""
    x = np.random.default_rng(12).normal(size=(4, 5, 6, 6, 2))
    conv = layers.Conv2D(3, 3, activation="relu")
    model = Sequential([layers.TimeDistributed(conv), layers.TimeDistributed(layers.Flatten())])
    got = model.predict(x)
    single = Sequential([conv, layers.Flatten()])
    for t in range(5):
        np.testing.assert_allclose(got[:, t], single.predict(x[:, t].copy()), rtol=1e-12)
    assert all(step[0] != "repeat" for step in compiled(model, "predict", 4).lowered.ops)
    norm = Sequential([layers.TimeDistributed(layers.BatchNormalization()), Dense(2)])
    norm.build((None, 3, 4))
    norm.compile("sgd", "mse")
    assert fastdl.gradient_check(norm, x[:, :3, 0, :4, 0], x[:, :3, 0, :2, 1]) <= 1


@pytest.mark.parametrize("options", [{}, {"padding": "same"}, {"strides": 2, "use_bias": False}])
def test_convlstm(options, float64):
    rng = np.random.default_rng(13)
    x = rng.normal(size=(2, 3, 6, 5, 2))
    layer = layers.ConvLSTM2D(2, (3, 2), return_sequences=True, **options)
    model = Sequential([layer, layers.Flatten(), Dense(2)])
    model.build((None, *x.shape[1:]))
    model.compile("sgd", "mse")
    assert fastdl.gradient_check(model, x, rng.normal(size=(2, 2))) <= 1
    assert sum(s[0] == "repeat" for s in training_program(model, 2).lowered.ops) == 2


STATEFUL = {
    **{n: m for n, m in CELLS.items() if "dropout" not in n and "others" not in n},
    "ConvLSTM2D": lambda **k: layers.ConvLSTM2D(2, 2, **k),
}


@pytest.mark.parametrize("name", STATEFUL)
def test_parts_of_a_sequence_give_what_the_whole_gives(name, float64):
    shape = (4, 5, 2) if name == "ConvLSTM2D" else (3,)
    x = np.random.default_rng(22).normal(size=(4, 12, *shape))
    whole = STATEFUL[name](return_sequences=True)
    wanted = Sequential([whole]).predict(x)
    layer = STATEFUL[name](return_sequences=True, stateful=True, batch_size=4)
    model = Sequential([layer])
    model.build((None, 3, *shape))
    model.set_weights([*(s.numpy() for s in layer.states), *whole.get_weights()])
    parts = np.split(x, 4, axis=1)
    for run in (lambda part: model.predict(part, batch_size=4), lambda part: model(part).numpy()):
        got = [run(part) for part in parts]
        np.testing.assert_allclose(np.concatenate(got, 1), wanted, rtol=1e-11, atol=1e-13)
        layer.reset_state()


def test_truncated_back_propagation_is_pytorchs(float64):
    """A stateful layer trained part by part; PyTorch's with its states detached between them."""
    rng = np.random.default_rng(23)
    x, y = rng.normal(size=(5, 20, 3)), rng.normal(size=(5, 20, 1))
    layer = LSTM(4, return_sequences=True, stateful=True, batch_size=5)
    model = Sequential([layer, Dense(1)])
    model.build((None, 4, 3))
    model.compile(fastdl.optimizers.SGD(0.1), "mse")
    net = torch.nn.LSTM(3, 4, batch_first=True, dtype=torch.float64)
    head = torch.nn.Linear(4, 1, dtype=torch.float64)
    cell, dense = layer.cell, model.layers[1]
    with torch.no_grad():
        net.weight_ih_l0.copy_(torch.from_numpy(cell.kernel.numpy().T))
        net.weight_hh_l0.copy_(torch.from_numpy(cell.recurrent_kernel.numpy().T))
        net.bias_ih_l0.copy_(torch.from_numpy(cell.bias.numpy()))
        net.bias_hh_l0.zero_()
        head.weight.copy_(torch.from_numpy(dense.kernel.numpy().T))
        head.bias.zero_()
    weights = [net.weight_ih_l0, net.weight_hh_l0, net.bias_ih_l0, *head.parameters()]
    optimizer, states = torch.optim.SGD(weights, 0.1), None
    for part in range(5):
        rows = slice(4 * part, 4 * part + 4)
        ours = model.train_on_batch(x[:, rows].copy(), y[:, rows].copy())
        out, states = net(torch.from_numpy(x[:, rows].copy()), states)
        loss = torch.nn.functional.mse_loss(head(out), torch.from_numpy(y[:, rows].copy()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        states = tuple(s.detach() for s in states)
        assert ours == pytest.approx(loss.item(), rel=1e-10)
    np.testing.assert_allclose(cell.kernel.numpy(), weights[0].detach().numpy().T, rtol=1e-9)
    np.testing.assert_allclose(layer.states[0].numpy(), states[0][0].numpy(), rtol=1e-9)
    # fit, a part after the other, and a compiled step do the same
    parts = [np.concatenate(np.split(a, 5, axis=1)) for a in (x, y)]
    start = model.get_weights()
    for loop in ("fit", "step"):
        model.set_weights(start)
        layer.reset_state()
        if loop == "fit":
            model.fit(*parts, batch_size=5, shuffle=False, verbose=0)
        else:

            @fastdl.compiled_step
            def step(x, y):
                with fastdl.GradientTape() as tape:
                    loss = fastdl.losses.MeanSquaredError()(y, model(x, training=True))
                variables = model.trainable_weights
                pairs = zip(tape.gradient(loss, variables), variables, strict=True)
                model.optimizer.apply_gradients(pairs)
                return loss

            for part in range(5):
                step(*(a[5 * part : 5 * part + 5] for a in parts))
            with pytest.raises(ValueError, match="all batches must have 5 rows, got 3"):
                step(*(a[:3] for a in parts))
        trained = model.get_weights()
        if loop == "fit":
            wanted = trained
    assert np.abs(wanted[0] - start[0]).max() > 1e-4
    for a, b in zip(wanted, trained, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def test_stateful_layers_refuse_other_batches(tmp_path):
    with pytest.raises(ValueError, match="stateful=True needs batch_size"):
        LSTM(3, stateful=True)
    with pytest.raises(RuntimeError, match="not stateful"):
        LSTM(3).reset_state()
    x = np.ones((8, 5, 2), np.float32)
    both = layers.Bidirectional(GRU(3, stateful=True, batch_size=4))
    model = Sequential([both, Dense(1)])
    model.compile("sgd", "mse")
    message = "all batches must have 4 rows, got {}"
    with pytest.raises(ValueError, match=message.format(8)):
        model.predict(x, batch_size=8)
    with pytest.raises(ValueError, match=message.format(3)):
        model.predict(x[:7], batch_size=4)
    with pytest.raises(ValueError, match=message.format(2)):
        model.fit(x[:6], x[:6, 0, :1], batch_size=4, verbose=0)
    with pytest.raises(ValueError, match=message.format(8)):
        model.evaluate(x, x[:, 0, :1])
    with pytest.raises(ValueError, match=message.format(3)):
        model.train_on_batch(x[:3], x[:3, 0, :1])
    with pytest.raises(ValueError, match=message.format(2)):
        model(x[:2])
    state = both.layer.states[0]
    model.fit(x, x[:, 0, :1], batch_size=4, validation_data=(x, x[:, 0, :1]), verbose=0)
    assert np.abs(both.layer.states[0].numpy()).max() > 0
    model.save(tmp_path / "model.fastdl")
    again = fastdl.load_model(tmp_path / "model.fastdl")
    assert again.layers[0].layer.states[0].numpy().tobytes() == state.numpy().tobytes()
    both.reset_state()
    assert (
        not both.layer.states[0].numpy().any() and not both.backward_layer.states[0].numpy().any()
    )


EAGER = {
    **{name: (make, (6, 3)) for name, make in CELLS.items()},
    "ConvLSTM2D": (lambda **k: layers.ConvLSTM2D(2, 3, **k), (4, 5, 6, 2)),
    "both ways": (lambda **k: layers.Bidirectional(GRU(3, **k)), (6, 3)),
    "each step": (lambda **k: layers.TimeDistributed(Dense(3, "tanh")), (6, 3)),
    "each step over the batch": (
        lambda **k: layers.TimeDistributed(layers.BatchNormalization()), (6, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", EAGER)
def test_on_eager_tensors_all_is_as_in_a_program(name, masked, float64):
    """Results and gradients, dropout's masks included: those of a step of training."""
    make, shape = EAGER[name]
    if masked and (len(shape) > 2 or "each" in name):
        pytest.skip("Masking is for sequences of features that a recurrent layer reads")
    rng = np.random.default_rng(21)
    x, y = rng.normal(size=(4, *shape)), rng.normal(size=(4, 2))
    x[1, 3:] = x[2, :2] = 0.0
    ahead = [layers.Masking()] if masked else []
    weights = []
    for loop in (False, True):
        fastdl.set_seed(3)
        model = Sequential([*ahead, make(return_sequences=True), layers.Flatten(), Dense(2)])
        model.build((None, *shape))
        model.compile(fastdl.optimizers.SGD(0.1), "mse")
        wanted = model.predict(x)
        np.testing.assert_allclose(model(x).numpy(), wanted, rtol=1e-12, atol=1e-14)
        before = model.get_weights()
        if loop:
            with fastdl.GradientTape() as tape:
                loss = fastdl.losses.MeanSquaredError()(y, model(x, training=True))
            gradients = tape.gradient(loss, model.trainable_weights)
            model.optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
        else:
            model.train_on_batch(x, y)
        weights.append([a - b for a, b in zip(model.get_weights(), before, strict=True)])
    for a, b in zip(*weights, strict=True):
        if "dropout" not in name:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13)


def test_dropout_on_eager_tensors_is_the_same_in_all_time_steps(float64):
    layer = LSTM(40, return_sequences=True, recurrent_dropout=0.5)
    layer.cell.build((None, 2))
    layer.cell.built = True
    layer.cell.recurrent_kernel.assign(np.concatenate([np.eye(40) * 50] * 4, 1))
    layer.cell.kernel.assign(np.full((2, 160), 3.0))
    out = layer(np.ones((1, 5, 2)), training=True).numpy()[0]
    assert out.shape == (5, 40) and len(np.unique(out[-1].round(9))) == 2


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU", "ConvLSTM2D"])
def test_loops_of_ones_own_train_what_compiled_steps_do(name, float64):
    shape = (5, 4, 3, 2) if name == "ConvLSTM2D" else (5, 3)
    x = np.random.default_rng(0).standard_normal((4, *shape))
    x[1, 3:] = 0
    options = {"dropout": 0.3, "recurrent_dropout": 0.4}
    own = [2, 3] if name == "ConvLSTM2D" else [2]

    def trained(wrap):
        fastdl.set_seed(3)
        parts = [] if name == "ConvLSTM2D" else [layers.Masking()]
        parts.append(getattr(layers, name)(*own, return_sequences=True, **options))
        if name != "ConvLSTM2D":
            parts.append(layers.Bidirectional(layers.GRU(2)))
        model = fastdl.Sequential([*parts, layers.Flatten(), layers.Dense(1)])
        optimizer = fastdl.optimizers.SGD(0.1)

        @wrap
        def step(x):
            with fastdl.GradientTape() as tape:
                y = model(x, training=True)
                loss = ops.mean(y * y)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return loss

        losses = [float(step(x)) for _ in range(3)]
        np.testing.assert_allclose(model(x).numpy(), model.predict(x, verbose=0), atol=1e-12)
        return losses

    np.testing.assert_allclose(
        trained(lambda step: step), trained(fastdl.compiled_step), rtol=1e-12
    )


def test_saving(tmp_path):
    x = np.random.default_rng(14).normal(size=(3, 6, 4)).astype(np.float32)
    model = Sequential(
        [
            layers.Masking(),
            layers.Bidirectional(GRU(3, dropout=0.1, return_sequences=True)),
            layers.TimeDistributed(Dense(4, "relu")),
            RNN(Minimal(5), return_sequences=True),
            LSTM(2),
        ]
    )
    wanted = model.predict(x)
    model.save(tmp_path / "model.fastdl")
    again = fastdl.load_model(tmp_path / "model.fastdl", {"Minimal": Minimal})
    assert again.predict(x).tobytes() == wanted.tobytes()


def test_wrong_cells_and_their_arguments_are_refused():
    x = Input((5, 3))
    with pytest.raises(ValueError, match="dropout must be >= 0"):
        GRU(3, dropout=1.0)
    with pytest.raises(ValueError, match="recurrent_activation"):
        LSTM(3, recurrent_activation="gelu")
    with pytest.raises(TypeError, match="state_size"):
        RNN(Dense(3))

    class Wrong(Minimal):
        def call(self, x, states):
            return x, [x]

    with pytest.raises(ValueError, match="states of shapes"):
        RNN(Wrong(4))(x)
    with pytest.raises(TypeError, match="recurrent layer"):
        layers.Bidirectional(Dense(3))
    with pytest.raises(ValueError, match="another repeat"):
        layers.TimeDistributed(LSTM(2))(Input((4, 5, 3)))


def test_convolution_and_pooling_at_each_time_step(float64):
    """What leaves out a convolution's leftovers for the pooling behind it knows of time steps."""
    rng = np.random.default_rng(30)
    model = Sequential(
        [
            layers.TimeDistributed(layers.Conv2D(3, 2, activation="relu")),
            layers.TimeDistributed(layers.MaxPooling2D(2)),
            layers.ConvLSTM2D(2, 2, padding="same"),
            layers.Flatten(),
            Dense(2),
        ]
    )
    x = rng.normal(size=(3, 4, 6, 8, 1))  # 5 x 7 pixels behind the convolution
    model.build((None, *x.shape[1:]))
    model.compile("sgd", "mse")
    assert fastdl.gradient_check(model, x, rng.normal(size=(3, 2))) <= 1
