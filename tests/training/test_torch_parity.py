"""The weights after some steps are PyTorch's, under convention="torch"."""

import numpy as np
import pytest

import fastdl
from fastdl.layers import Dense

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

OPTIMIZERS = {
    "sgd": (
        lambda: fastdl.optimizers.SGD(0.1, convention="torch"),
        lambda p: torch.optim.SGD(p, 0.1),
    ),
    "sgd momentum nesterov decay": (
        lambda: fastdl.optimizers.SGD(
            0.05, momentum=0.9, nesterov=True, weight_decay=0.01, convention="torch"
        ),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    ),
    "rmsprop": (
        lambda: fastdl.optimizers.RMSprop(0.003, convention="torch"),
        lambda p: torch.optim.RMSprop(p, 0.003),
    ),
    "rmsprop centered momentum": (
        lambda: fastdl.optimizers.RMSprop(0.001, momentum=0.5, centered=True, convention="torch"),
        lambda p: torch.optim.RMSprop(p, 0.001, momentum=0.5, centered=True),
    ),
    "adam": (
        lambda: fastdl.optimizers.Adam(convention="torch"),
        lambda p: torch.optim.Adam(p),
    ),
    "adam amsgrad decay": (
        lambda: fastdl.optimizers.Adam(amsgrad=True, weight_decay=0.1, convention="torch"),
        lambda p: torch.optim.Adam(p, amsgrad=True, weight_decay=0.1),
    ),
    "adamw": (
        lambda: fastdl.optimizers.AdamW(convention="torch"),
        lambda p: torch.optim.AdamW(p),
    ),
    "adagrad": (
        lambda: fastdl.optimizers.Adagrad(0.05, convention="torch"),
        lambda p: torch.optim.Adagrad(p, 0.05),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_of_an_mlp(name):
    ours, theirs = OPTIMIZERS[name]
    fastdl.set_seed(0)  # centered RMSprop divides by what may nearly be 0
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20 * 16, 30)).astype(np.float32)
    y = rng.integers(0, 5, len(x))
    model = fastdl.Sequential([Dense(24, "relu", input_shape=(30,)), Dense(16, "tanh"), Dense(5)])
    loss = fastdl.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(ours(), loss)
    nn = torch.nn
    net = nn.Sequential(
        nn.Linear(30, 24), nn.ReLU(), nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 5)
    )
    linear = [m for m in net if isinstance(m, nn.Linear)]
    with torch.no_grad():
        for layer, module in zip(model.layers, linear, strict=True):
            module.weight.copy_(torch.from_numpy(layer.kernel.numpy().T))
            module.bias.copy_(torch.from_numpy(layer.bias.numpy()))
    optimizer = theirs(net.parameters())
    losses = []
    for start in range(0, len(x), 16):
        optimizer.zero_grad()
        out = nn.functional.cross_entropy(
            net(torch.from_numpy(x[start : start + 16])), torch.from_numpy(y[start : start + 16])
        )
        out.backward()
        optimizer.step()
        losses.append(out.item())
    history = model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    assert history.history["loss"][0] == pytest.approx(np.mean(losses), rel=1e-5)
    for layer, module in zip(model.layers, linear, strict=True):
        np.testing.assert_allclose(
            layer.kernel.numpy(), module.weight.detach().numpy().T, atol=1e-5
        )
        np.testing.assert_allclose(layer.bias.numpy(), module.bias.detach().numpy(), atol=1e-5)


def test_batchnorm_and_layernorm():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(64, 12)).astype(np.float32)
    y = rng.normal(size=(64, 3)).astype(np.float32)
    layers = fastdl.layers
    model = fastdl.Sequential(
        [
            Dense(10, use_bias=False, input_shape=(12,)),  # a bias before BatchNorm has no gradient
            layers.BatchNormalization(convention="torch"),
            layers.ReLU(),
            layers.LayerNormalization(convention="torch"),
            Dense(3),
        ]
    )
    model.compile(fastdl.optimizers.Adam(convention="torch"), "mean_squared_error")
    nn = torch.nn
    net = nn.Sequential(
        nn.Linear(12, 10, bias=False),
        nn.BatchNorm1d(10),
        nn.ReLU(),
        nn.LayerNorm(10),
        nn.Linear(10, 3),
    )
    with torch.no_grad():
        for layer, module in ((model.layers[0], net[0]), (model.layers[4], net[4])):
            module.weight.copy_(torch.from_numpy(layer.kernel.numpy().T))
        net[4].bias.copy_(torch.from_numpy(model.layers[4].bias.numpy()))
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(20):
        for start in (0, 32):
            optimizer.zero_grad()
            out = nn.functional.mse_loss(
                net(torch.from_numpy(x[start : start + 32])),
                torch.from_numpy(y[start : start + 32]),
            )
            out.backward()
            optimizer.step()
    model.fit(x, y, batch_size=32, epochs=20, shuffle=False, verbose=0)
    norm = model.layers[1]
    np.testing.assert_allclose(norm.moving_mean.numpy(), net[1].running_mean.numpy(), atol=2e-5)
    np.testing.assert_allclose(norm.moving_variance.numpy(), net[1].running_var.numpy(), atol=1e-4)
    net.eval()
    with torch.no_grad():
        want = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(model.predict(x), want, atol=1e-4)
