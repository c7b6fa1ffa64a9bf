"""Recurrent layers on values and tapes, where the steps run one by one."""

import numpy as np
import pytest
from recurrent_cells import CELLS

import fastdl
from fastdl import Sequential, layers, ops
from fastdl.layers import GRU, LSTM, Dense

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
