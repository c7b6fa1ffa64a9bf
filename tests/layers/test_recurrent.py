"""Recurrent layers: against NumPy and PyTorch, gradients, both directions, saving."""

import numpy as np
import pytest
from recurrent_cells import CELLS, Minimal

import fastdl
from fastdl import Input, Layer, Model, Sequential, layers, ops
from fastdl.layers import GRU, LSTM, RNN, Dense
from fastdl.programs import compiled, training_program

torch = pytest.importorskip("torch")


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


def test_going_backwards_is_going_forwards_over_the_reverse(float64):
    x = np.random.default_rng(7).normal(size=(4, 6, 3))
    layer = LSTM(4, return_sequences=True)
    ahead = Sequential([layer]).predict(np.ascontiguousarray(x[:, ::-1]))
    back = RNN(layer.cell, return_sequences=True, go_backwards=True)
    np.testing.assert_allclose(Sequential([back]).predict(x), ahead, rtol=1e-12)


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


def test_a_cell_of_ones_own_in_both_directions(float64):
    both = layers.Bidirectional(RNN(Minimal(3)))
    out = both(np.ones((2, 4, 3)))
    assert type(both.backward_layer.cell) is Minimal and out.shape == (2, 6)


def test_a_cell_that_cannot_be_made_again_is_told_why():
    class Forgetful(Minimal):
        get_config = Layer.get_config

    with pytest.raises(TypeError, match=r"Forgetful: .* get_config\(\) that gives .*'units'"):
        layers.Bidirectional(RNN(Forgetful(3)))
