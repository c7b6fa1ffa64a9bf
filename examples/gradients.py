"""Gradients that vanish and gradients that explode in a deep network, shown and cured.

The length of each layer's gradient is read off one step of plain gradient descent with learning
rate 1: what the weights have changed by is the gradient. In float64, as float32 would round away
changes below a hundred-millionth of a weight.
"""

import argparse

import numpy as np

import fastdl
from fastdl.initializers import GlorotUniform, HeNormal, RandomNormal
from fastdl.layers import Dense, LayerNormalization
from fastdl.optimizers import SGD


def network(depth, activation, initializer, normalised=False, **clipping):
    """A deep network of equal layers."""
    fastdl.set_seed(0)
    layers = []
    for _ in range(depth):
        layers.append(Dense(32, activation=activation, kernel_initializer=initializer))
        if normalised:
            layers.append(LayerNormalization())
    model = fastdl.Sequential([*layers, Dense(1)])
    model.compile(SGD(1.0, **clipping), "mean_squared_error")
    return model


def gradient_lengths(model, x, y):
    """The length of the gradient of each layer's kernel."""
    model.build(x.shape)
    kernels = [layer.kernel for layer in model.layers if isinstance(layer, Dense)]
    before = [kernel.numpy() for kernel in kernels]
    model.train_on_batch(x, y)
    return [float(np.linalg.norm(b - k.numpy())) for b, k in zip(before, kernels, strict=True)]


def main(depth=20, verbose=True):
    """Returns the lengths of the gradients by network."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 32))
    y = x[:, :1] * x[:, 1:2]
    before = fastdl.floatx()
    fastdl.set_floatx("float64")
    try:
        found = measure(depth, x, y)
    finally:
        fastdl.set_floatx(before)
    if verbose:
        print(f"{'network':22}{'first layer':>13}{'middle':>11}{'last':>11}")
        for name, lengths in found.items():
            first, middle, last = lengths[0], lengths[len(lengths) // 2], lengths[-1]
            print(f"{name:22}{first:13.2e}{middle:11.2e}{last:11.2e}")
    return found


def measure(depth, x, y):
    """The lengths of the gradients by network."""
    networks = {
        "sigmoid": network(depth, "sigmoid", GlorotUniform()),
        "relu, small weights": network(depth, "relu", RandomNormal(stddev=0.05)),
        "relu, He's weights": network(depth, "relu", HeNormal()),
        "sigmoid, normalised": network(depth, "sigmoid", GlorotUniform(), normalised=True),
        "relu, large weights": network(depth, "relu", RandomNormal(stddev=0.7)),
        "the same, clipped": network(depth, "relu", RandomNormal(stddev=0.7), global_clipnorm=1.0),
    }
    return {name: gradient_lengths(model, x, y) for name, model in networks.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=20)
    main(parser.parse_args().depth)
