"""y = 3x + noise by gradient descent, written by hand on the kernels.

The gradient of the mean squared error by the weight is 2/n * x.T @ (x @ w - y): with the input in
it, and the mean. Leave the input out, as is easily done in NumPy, and the "gradient" has shape
(100, 1); NumPy broadcasts it into the weight without a word, while the kernels refuse it and name
both shapes.
"""

import argparse

import numpy as np

from fastdl import kernels


def main(iterations=1000, verbose=True):
    """Returns the weight, the bias, and the message for the wrong shape."""
    rng = np.random.default_rng(0)
    x = rng.random((100, 1))
    y = 3 * x + rng.normal(scale=0.1, size=(100, 1))
    weight, bias = np.zeros((1, 1)), np.zeros(1)

    for _ in range(iterations):
        prediction = kernels.dense_forward(x, weight, bias)
        _, gradient = kernels.mean_squared_error(prediction, y)
        kernels.sgd_update(
            weight.reshape(-1), kernels.dense_backward_weight(x, gradient).reshape(-1),
            learning_rate=0.1,
        )  # fmt: skip
        kernels.sgd_update(bias, kernels.dense_backward_bias(gradient), learning_rate=0.1)

    try:
        kernels.sgd_update(weight.reshape(-1), gradient.reshape(-1), learning_rate=0.1)
        message = ""
    except ValueError as error:
        message = str(error)
    if verbose:
        print(f"y = {weight[0, 0]:.3f} x + {bias[0]:.3f}")
        print(f"without the input in the gradient: {message}")
    return weight, bias, message


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=1000)
    main(parser.parse_args().iterations)
