"""The command line: ``fastdl train | predict | info | bench``, also ``python -m fastdl``.

A mistake of the user (a wrong path, a damaged file, a bad number) is one line on standard error and
exit code 2; Ctrl-C is exit code 130.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["main"]

_DESCRIPTION = """\
Train neural networks from NumPy arrays at the speed of the machine.

  fastdl train                        train on scikit-learn's digits, save digits.fastdl
  fastdl train --data mnist/          the same on MNIST-format files
  fastdl predict digits.fastdl x.npy  print the class of each row
  fastdl info                         instruction set, threads, compiler, backends
  fastdl info digits.fastdl           the layers of a saved model
  fastdl bench                        time per training step on this machine
"""

_EPILOG = "fastdl COMMAND --help says more about each."

_TRAIN = """\
Train a classifier of handwritten digits: one hidden relu layer, softmax, Adam, cross-entropy.

Without --data it uses the 1,797 digits of scikit-learn (pip install 'fastdl[demo]'). A --data
folder holds MNIST-format files: train-images-idx3-ubyte and train-labels-idx1-ubyte, the same with
t10k, each plain or .gz. Where only one of the two sets is there, its last fifth is for testing.
Images are scaled to 0 ... 1.
"""

_PREDICT = """\
Print the most likely class of each row, one per line, by a model that fastdl saved.

INPUT is a .npy file, the first axis being rows, or a folder of MNIST-format files, of which the
test set is taken (then the accuracy goes to standard error). uint8 is divided by 255, as in
training; any other type is taken as it is.
"""


def _whole(low: int) -> Any:
    """Return a type for argparse: a whole number of at least ``low``."""

    def whole(text: str) -> int:
        number = int(text)
        if number < low:
            raise argparse.ArgumentTypeError(f"must be at least {low}, not {text}")
        return number

    return whole


def _positive(text: str) -> float:
    number = float(text)
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0 and finite, not {text}")
    return number


def _parser() -> argparse.ArgumentParser:
    def command(name: str, run: Any, **texts: Any) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, formatter_class=argparse.RawDescriptionHelpFormatter, **texts
        )
        sub.set_defaults(run=run)
        return sub

    def machine(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--threads", type=_whole(1), metavar="N", help="threads (default: automatic)"
        )
        sub.add_argument(
            "--backend", choices=("cpu", "gpu"), help="where to compute (default: cpu)"
        )

    parser = argparse.ArgumentParser(
        prog="fastdl",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    train = command("train", _train, help="train a classifier of digits", description=_TRAIN)
    train.add_argument("--data", metavar="FOLDER", help="MNIST-format files to train on")
    for option, kind, default, text in (
        ("--epochs", _whole(1), 15, "passes over the training data"),
        ("--batch-size", _whole(1), 32, "rows of a training step"),
        ("--hidden", _whole(1), 128, "units of the hidden layer"),
        ("--learning-rate", _positive, 0.001, "Adam's step size"),
        ("--seed", _whole(0), 0, "of first weights, shuffling and the split of the digits"),
    ):
        train.add_argument(
            option, type=kind, default=default, metavar="N", help=f"{text} (default: {default})"
        )
    train.add_argument(
        "--output",
        metavar="FILE",
        default="digits.fastdl",
        help="where to save the model (default: digits.fastdl)",
    )
    machine(train)

    predict = command("predict", _predict, help="classify with a saved model", description=_PREDICT)
    predict.add_argument("model", metavar="MODEL", help="a file that fastdl saved")
    predict.add_argument("input", metavar="INPUT", help=".npy file or folder of IDX files")
    predict.add_argument(
        "--output", metavar="FILE", help="also save the outputs (probabilities) as .npy"
    )
    machine(predict)

    info = command(
        "info",
        _info,
        help="show this installation, or a saved model",
        description="Show what runs here, or the layers of a saved model.",
    )
    info.add_argument("model", metavar="MODEL", nargs="?", help="a file that fastdl saved")

    bench = command(
        "bench",
        _bench,
        help="time training steps",
        description="Print the time of a training step of a few networks and their share of the\n"
        "machine's peak, after comparing their results with NumPy's (a few seconds).\n"
        "Other libraries beside it: python -m bench.peers in a checkout of fastdl.",
    )
    bench.add_argument(
        "--seconds",
        type=_positive,
        metavar="S",
        default=0.5,
        help="how long for each (default: 0.5)",
    )
    bench.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    bench.add_argument(
        "--plot", metavar="FILE", help="also draw them, as .png, .svg or .pdf (fastdl[plot])"
    )
    machine(bench)
    return parser


def _set_machine(args: argparse.Namespace) -> None:
    """Follow --threads and --backend."""
    import fastdl

    if args.backend is not None:
        fastdl.set_backend(args.backend)
    if args.threads is not None:
        fastdl.set_num_threads(args.threads)


def _as_rows(x: NDArray[Any], shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """Return images as float32 rows between 0 and 1, flat unless the model wants a ``shape``."""
    if x.dtype == np.uint8:
        x = np.multiply(x, np.float32(1 / 255), dtype=np.float32)
    if shape is not None and x.shape[1:] != shape and np.prod(x.shape[1:]) == np.prod(shape):
        x = x.reshape(len(x), *shape)
    return x


def _train(args: argparse.Namespace) -> None:
    import fastdl
    from fastdl import datasets
    from fastdl.kernels import dispatch
    from fastdl.layers import Dense
    from fastdl.progress import format_seconds

    folder = os.path.dirname(os.path.abspath(args.output))
    if not os.path.isdir(folder):  # before the training, not after it
        raise FileNotFoundError(f"{folder}: no such folder for --output")
    if args.data is None:
        train, test = datasets.load_digits(seed=args.seed)
        source = "scikit-learn's digits"
    else:
        train, test = datasets.load_idx(args.data)
        source = args.data
    (x, y), (x_test, y_test) = train, test
    if not len(x) or not len(x_test):
        raise ValueError(f"{source}: too few images to train and to test")
    x, x_test = (_as_rows(part).reshape(len(part), -1) for part in (x, x_test))
    classes = max(10, int(max(y.max(), y_test.max())) + 1)

    _set_machine(args)
    fastdl.set_seed(args.seed)
    print(f"data: {source}, {len(x)} rows to train, {len(x_test)} to test")
    print(f"network: {x.shape[1]}-{args.hidden}-{classes}, batches of {args.batch_size}")
    print(
        f"instruction set: {dispatch.isa()}, threads: {fastdl.get_num_threads()}, "
        f"backend: {fastdl.get_backend()}",
        flush=True,
    )
    model = fastdl.Sequential(
        [Dense(args.hidden, activation="relu"), Dense(classes, activation="softmax")]
    )
    model.compile(
        optimizer=fastdl.optimizers.Adam(learning_rate=args.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    history = model.fit(
        x, y, batch_size=args.batch_size, epochs=args.epochs, validation_data=(x_test, y_test)
    )
    elapsed = time.perf_counter() - start
    steps = -(-len(x) // args.batch_size) * args.epochs
    model.save(args.output)
    print(
        f"validation accuracy {history.history['val_accuracy'][-1]:.2%} after {args.epochs} "
        f"epochs in {format_seconds(elapsed)} ({format_seconds(elapsed / steps)} a step, "
        "validation included)"
    )
    print(f"saved {args.output}")


def _read_input(path: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return rows, and their labels where there are some."""
    from fastdl import datasets

    if os.path.isdir(path):
        return datasets.load_idx(path)[1]
    try:
        # Mapped, so that the file's real size bounds what its header may claim.
        x = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a valid .npy file: {error}") from None
    if not isinstance(x, np.ndarray) or x.ndim < 2 or x.dtype.kind not in "buif":
        raise ValueError(f"{path}: not one array of numbers with rows")
    return x, None


def _predict(args: argparse.Namespace) -> None:
    import fastdl
    from fastdl._files import replacing

    _set_machine(args)
    model = fastdl.load_model(args.model)
    x, y = _read_input(args.input)
    wanted = getattr(model, "input_shape", None)
    shape = tuple(wanted[1:]) if isinstance(wanted, tuple) and None not in wanted[1:] else None
    output = np.asarray(model.predict(_as_rows(x, shape), verbose=0))
    labels = output.reshape(len(output), -1).argmax(axis=1)
    if args.output is not None:
        with replacing(args.output) as file:
            np.save(file, output, allow_pickle=False)
    sys.stdout.write("".join(f"{label}\n" for label in labels))
    sys.stdout.flush()
    if y is not None:
        print(f"accuracy {np.mean(labels == y):.2%} of {len(y)} rows", file=sys.stderr)


def _info(args: argparse.Namespace) -> None:
    import fastdl

    if args.model is None:
        fastdl.show_config()
    else:
        fastdl.load_model(args.model).summary()


def _bench(args: argparse.Namespace) -> None:
    from fastdl import _bench as benchmark

    _set_machine(args)
    _info(argparse.Namespace(model=None))
    print()
    benchmark.run(args.seconds, args.json, args.plot)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those after the program's name; by default the process's.

    Returns
    -------
    int
        0; 2 for a mistake of the user, told in one line on standard error; 130 for Ctrl-C.
    """
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.version:
        import fastdl

        print(f"fastdl {fastdl.__version__}")
        return 0
    if not hasattr(args, "run"):
        parser.print_help()
        return 0
    try:
        args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (as in `fastdl predict ... | head`): no more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, ImportError, MemoryError) as error:
        print(f"fastdl: {_one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _one_line(error: BaseException) -> str:
    """Return an error's text on one line, without the number of an operating-system error."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
