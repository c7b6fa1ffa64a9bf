"""How long a training step takes elsewhere: PyTorch and Keras, where they are installed."""

import contextlib
import os
import statistics
import time
import warnings

import fastdl


def torch_step(network, x, y, batch=32, steps=60):
    """Microseconds of a step of Adam in PyTorch: its median over batches of these rows.

    ``network(nn)`` makes the module; its loss is the cross-entropy of whole numbers, else the mean
    squared error.
    """
    import torch

    torch.set_num_threads(fastdl.get_num_threads())
    net = network(torch.nn)
    labels = y.dtype.kind in "iu"
    loss = torch.nn.CrossEntropyLoss() if labels else torch.nn.MSELoss()
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    x, y = torch.from_numpy(x), torch.from_numpy(y.astype("int64") if labels else y)
    times = []
    for step in range(10 + steps):
        first = step * batch % (len(x) - batch + 1)
        rows = slice(first, first + batch)
        began = time.perf_counter()
        optimizer.zero_grad()
        loss(net(x[rows]), y[rows]).backward()
        optimizer.step()
        times.append(time.perf_counter() - began)
    return 1e6 * statistics.median(times[10:])


def keras_step(network, x, y, batch=32, steps=60):
    """Microseconds of a step of Adam in Keras's ``fit``; ``network(keras)`` makes the model."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras

        model = network(keras)
        loss = "sparse_categorical_crossentropy" if y.dtype.kind in "iu" else "mse"
        model.compile("adam", loss)
        x, y = x[: steps * batch], y[: steps * batch]
        model.fit(x, y, batch_size=batch, verbose=0)
        began = time.perf_counter()
        model.fit(x, y, batch_size=batch, verbose=0)
        return 1e6 * (time.perf_counter() - began) / -(-len(x) // batch)


def report(ours, x, y, torch_network=None, network=None, batch=32):
    """Prints our time of a step, in microseconds, and that of those who are installed."""
    times = [f"fastdl {ours:.0f} us"]
    for name, step, theirs in (
        ("PyTorch", torch_step, torch_network), ("Keras", keras_step, network),
    ):  # fmt: skip
        with contextlib.suppress(ImportError):
            if theirs is not None:
                times.append(f"{name} {step(theirs, x, y, batch):.0f} us")
    print(f"a step of {batch} rows: {', '.join(times)}")
