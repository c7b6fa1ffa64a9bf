"""Recurrent layers whose states go from batch to batch, and masks that hold states."""

import numpy as np
import pytest
from recurrent_cells import CELLS

import fastdl
from fastdl import Input, Model, Sequential, layers
from fastdl.layers import GRU, LSTM, RNN, Dense

torch = pytest.importorskip("torch")


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


@pytest.mark.parametrize("times", [4, 5])
def test_a_short_last_batch_gives_the_same_last_outputs(times):
    """Where a last state lies depends on a batch's rows, if the number of steps is odd."""
    x = np.random.default_rng(0).normal(size=(7, times, 3))
    model = Sequential([LSTM(4)])
    wanted = model.predict(x, batch_size=7)
    np.testing.assert_allclose(model.predict(x, batch_size=4), wanted, rtol=1e-5, atol=1e-6)
