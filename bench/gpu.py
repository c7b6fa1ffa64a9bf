"""Everything that wants a GPU, in one script of less than eight minutes.

    python -m bench.gpu                # tests, sanitizer, figures
    python -m bench.gpu --only figures # or tests, or sanitizer

It compiles the kernels on all cores, runs ``tests/gpu`` on the device, and then benchmarks: Adam
and BatchNorm beside the bandwidth of a copy, products beside cuBLAS, and training steps beside
PyTorch (eager with fused optimizers, and a captured CUDA graph of the whole step), also with
cuDNN's convolutions and cuBLASLt's products where those are installed. The networks' tests under
compute-sanitizer follow, and torch.compile, which takes the longest, in the time that is left.
Results are compared before anything is timed. A part that fails does not stop the others, and all
that is known is written to ``bench/results/`` after each of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import fastdl
from fastdl._optional import optional
from fastdl.gpu import blas, cudnn, device, sources

from . import results
from .peers.rows import ROWS, Row, data, initial_weights

SECONDS = 460.0
STEPS = ("S0", "S4", "T1", "M1", "S3", "R1")

#: The most that a step may take, as a share of PyTorch's captured graph.
GOALS = {"S0": 0.7, "S4": 0.7, "T1": 0.7, "M1": 0.9, "S3": 0.9, "R1": 1.0}

#: The steps that have work for these libraries.
WITH_LIBRARY = {"cuDNN": ("S3",), "cuBLASLt": ("S4", "M1", "R1")}

#: rows, depth, columns of M2's products
PRODUCTS = ((256, 1024, 4096), (256, 4096, 4096), (256, 4096, 1000))

_ROOT = Path(__file__).parent.parent


class Clock:
    """The time that is left."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self.end - time.monotonic()


# --- tests ----------------------------------------------------------------------------------------


def compile_kernels(driver: Any) -> str:
    """Compiles all kernels, of one core each; CuPy keeps them on disk for the tests' process."""
    units = [(family, bits) for bits in (32, 64) for family in sources.families()]
    begin = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda unit: driver.module(*unit).compile(), units))
    return f"{len(units)} files in {time.monotonic() - begin:.0f} s"


def run_tests(limit: float, prefix: tuple[str, ...] = (), which: str = "test_gpu_*.py") -> str:
    """Runs the tests on the device alone; returns the last line that they print."""
    files = sorted(map(str, (_ROOT / "tests" / "gpu").glob(which)))
    options = ["-q", "--maxfail=20", "--tb=short", "-p", "no:cacheprovider"]
    command = [*prefix, sys.executable, "-m", "pytest", *options, *files]
    environment = {**os.environ, "FASTDL_TESTS_ON_DEVICE_ONLY": "1"}
    try:
        done = subprocess.run(
            *(command,), cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=limit,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        print((output if isinstance(output, str) else output.decode(errors="replace"))[-4000:])
        return f"not done after {limit:.0f} s"
    lines = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
    if done.returncode:
        print("\n".join(lines[-150:]), flush=True)
    return f"{lines[-1]} (exit {done.returncode})"


def run_sanitizer(limit: float) -> str:
    """The networks' tests under compute-sanitizer."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return "compute-sanitizer is not installed"
    return run_tests(limit, (tool, "--error-exitcode", "9"), "test_gpu_networks.py")


# --- training steps -------------------------------------------------------------------------------


def fastdl_step(row: Row, x: np.ndarray, y: np.ndarray) -> Callable[[int], float]:
    """A function that trains so many epochs and returns the mean loss of the first."""
    from .peers.fastdl_fit import FastdlFit

    peer = FastdlFit(row, initial_weights(row), x, y, 1)
    peer.model.to("gpu")

    def train(epochs: int) -> float:
        given = {"batch_size": row.batch, "epochs": epochs, "shuffle": False, "verbose": 0}
        return float(peer.model.fit(x, y, **given).history["loss"][0])

    return train


def torch_step(row: Row, x: np.ndarray, y: np.ndarray, how: str) -> Callable[[int], float]:
    """The same of PyTorch. how: "eager", "compile" or "graph"."""
    import torch

    from .peers.torch_eager import TorchEager

    peer = TorchEager(row, initial_weights(row), x, y, 1)
    network = peer.network.cuda()
    trained = [p for p in network.parameters() if p.requires_grad]
    options = {"lr": row.learning_rate, "fused": True}
    if row.optimizer == "adam":
        optimizer: Any = torch.optim.Adam(trained, capturable=how == "graph", **options)
    else:
        optimizer = torch.optim.SGD(trained, **options)
    batches = [(a.cuda(), b.cuda()) for a, b in peer.data]
    forward = peer.network_and_loss
    if how == "compile":
        forward = torch.compile(forward)

    def step(a: Any, b: Any) -> Any:
        optimizer.zero_grad()
        loss = forward(a, b)
        loss.backward()
        optimizer.step()
        return loss.detach()

    if how == "graph":
        step = _captured(step, network, optimizer, batches[0])

    def train(epochs: int) -> float:
        first = None
        for _ in range(epochs):
            total = torch.zeros((), device="cuda")
            for a, b in batches:
                total += step(a, b)
            loss = total.item() / len(batches)
            first = loss if first is None else first
        assert first is not None
        return float(first)

    return train


def _captured(step: Callable, network: Any, optimizer: Any, batch: Any) -> Callable:
    """The step as a CUDA graph; weights and state are what they were before."""
    import copy

    import torch

    a, b = (t.clone() for t in batch)
    weights = copy.deepcopy(network.state_dict())
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(a, b)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(a, b)
    network.load_state_dict(weights)
    for state in optimizer.state.values():
        for value in state.values():
            if torch.is_tensor(value):
                value.zero_()

    def replay(x: Any, y: Any) -> Any:
        a.copy_(x)
        b.copy_(y)
        graph.replay()
        return loss

    return replay


def libraries(driver: Any) -> dict[str, tuple[str, Any]]:
    """What may stand in place of our kernels: the driver's attribute, and the library. From then
    on the driver has none of them."""
    driver.cudnn = driver.blas = None
    found: dict[str, tuple[str, Any]] = {}
    frontend, bindings = optional("cudnn"), optional("nvmath.bindings.cublasLt")
    try:
        if frontend is not None:
            found["cuDNN"] = "cudnn", cudnn.Cudnn(driver, frontend, False)
        if bindings is not None:
            found["cuBLASLt"] = "blas", blas.Blas(driver, bindings, "cublaslt")
    except Exception as error:  # installed, but not for this machine
        print(f"libraries: {error}", flush=True)
    return found


def with_library(
    make: Callable[[], Callable[[int], float]], attribute: str, library: Any
) -> Callable[[int], float]:
    """The step that is made and trained while a library is the driver's."""
    driver = device.driver()

    def use(function: Callable[..., Any], *given: Any) -> Any:
        before = getattr(driver, attribute)
        setattr(driver, attribute, library)
        try:
            return function(*given)
        finally:
            setattr(driver, attribute, before)

    train = use(make)
    return lambda epochs: use(train, epochs)


def time_steps(
    name: str, clock: Clock, torch_ways: tuple[str, ...] = ("eager", "graph")
) -> dict[str, Any]:
    """Microseconds of a step, of each way to train; and whether their losses agree."""
    row = ROWS[name]
    x, y = data(row)
    makers: dict[str, Callable[[], Callable[[int], float]]] = {
        "fastdl": lambda: fastdl_step(row, x, y)
    }
    for label, (attribute, library) in libraries(device.driver()).items():
        if name in WITH_LIBRARY[label]:
            makers[f"fastdl, {label}"] = lambda a=attribute, b=library: with_library(
                makers["fastdl"], a, b
            )
    try:
        import torch

        if torch.cuda.is_available():
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
            for how in torch_ways:
                makers[f"torch {how}"] = lambda how=how: torch_step(row, x, y, how)
    except ImportError:
        pass
    found: dict[str, Any] = {}
    losses: dict[str, float] = {}
    ways = {}
    for way, make in makers.items():
        try:
            train = make()
            losses[way] = train(1)
            train(1)
            ways[way] = train
        except Exception as error:
            found[way] = f"{type(error).__name__}: {error}"[:200]
    if row.dropout == 0 and losses:
        reference = next(iter(losses.values()))
        for way, loss in losses.items():
            if abs(loss - reference) > 2e-2 * abs(reference):
                found[f"{way} differs"] = [loss, reference]
    best: dict[str, float] = {}
    for _ in range(3):
        for way, train in ways.items():
            if clock.left < 5:
                break
            epochs = 1
            while True:
                begin = time.perf_counter()
                train(epochs)
                took = time.perf_counter() - begin
                if took > 0.4 or clock.left < 5:
                    break
                epochs *= 2 if took > 0.1 else 4
            best[way] = min(best.get(way, np.inf), 1e6 * took / epochs / row.batches)
    found.update({way: round(value, 2) for way, value in best.items()})
    if "fastdl" in best and "torch graph" in best:
        found["ratio to torch graph"] = round(best["fastdl"] / best["torch graph"], 3)
        found["goal"] = GOALS[name]
    return found


# --- single kernels -------------------------------------------------------------------------------


def seconds_of(call: Callable[[], Any], cupy: Any, repeats: int = 20) -> float:
    """The least time of several runs, each of some calls, on the device.

    It is kept busy with copies first, so that the calls wait there by the time they are timed, and
    not for Python.
    """
    call()
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    some = cupy.zeros(1 << 29, cupy.uint8)
    other = cupy.empty_like(some)
    times = []
    for _ in range(5):
        for _ in range(20):
            cupy.copyto(other, some)
        begin.record()
        for _ in range(repeats):
            call()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(begin, end) / 1e3 / repeats)
    return min(times)


def time_products(cupy: Any) -> dict[str, Any]:
    """TFLOP/s of our products and of cuBLAS's, and the share."""
    from fastdl import gpu

    driver, found = device.driver(), {}
    for M, K, N in PRODUCTS:
        for form, a_shape, b_shape in (
            ("nn", (M, K), (K, N)),
            ("tn", (K, M), (K, N)),
            ("nt", (M, K), (N, K)),
        ):
            a, b = (cupy.random.standard_normal(s, cupy.float32) for s in (a_shape, b_shape))
            out, function = cupy.empty((M, N), cupy.float32), getattr(gpu, f"matmul_{form}")
            ours = cupy.empty_like(out)
            times = []
            try:
                for driver.multiplies, target in ((True, out), (False, ours)):
                    times.append(
                        seconds_of(lambda f=function, t=target, x=a, y=b: f(x, y, out=t), cupy)
                    )
            finally:
                driver.multiplies = True
            cupy.testing.assert_allclose(ours, out, rtol=1e-3, atol=1e-2)
            rates = [2e-12 * M * N * K / t for t in times]
            found[f"{form} {M}x{K}x{N}"] = {
                "cuBLAS": round(rates[0], 2),
                "fastdl": round(rates[1], 2),
                "share": round(rates[1] / rates[0], 3),
            }
    return found


def time_bandwidth(cupy: Any) -> dict[str, Any]:
    """GB/s of a copy, of Adam on 100 million parameters, and of BatchNorm; and the shares."""
    from fastdl import gpu

    count = 100_000_000
    arrays = [cupy.full(count, 0.5, cupy.float32) for _ in range(4)]
    copy = seconds_of(lambda: cupy.copyto(arrays[0], arrays[1]), cupy, 5)
    rates = {"copy": 8e-9 * count / copy}
    adam = seconds_of(lambda: gpu.adam_update(*arrays, step=1, learning_rate=1e-3), cupy, 5)
    rates["adam, 100 M"] = 28e-9 * count / adam
    arrays.clear()
    rows, width = 256 * 56 * 56, 64
    x = cupy.random.standard_normal((rows, width), cupy.float32)
    out, gamma, beta = cupy.empty_like(x), *(cupy.ones(width, cupy.float32) for _ in range(2))

    def batchnorm() -> None:
        mean, variance = gpu.batchnorm_statistics(x)
        gpu.batchnorm_forward(x, mean, variance, gamma, beta, out=out)

    rates["batchnorm"] = 12e-9 * x.size / seconds_of(batchnorm, cupy, 5)
    found: dict[str, Any] = {name: round(rate, 1) for name, rate in rates.items()}
    found |= {f"{name}, share": round(rates[name] / rates["copy"], 3) for name in list(rates)[1:]}
    return found


# --- all of it ------------------------------------------------------------------------------------


def parts(cupy: Any, clock: Clock, only: str | None) -> dict[str, Callable[[], Any]]:
    """What there is to do, in order."""
    driver = device.driver()
    found: dict[str, Callable[[], Any]] = {}
    if only in (None, "tests"):
        found["kernels compiled"] = lambda: compile_kernels(driver)
        found["tests"] = lambda: run_tests(max(min(clock.left - 200, 150), 10))
    if only in (None, "figures"):
        found["bandwidth"] = lambda: time_bandwidth(cupy)
        found["products"] = lambda: time_products(cupy)
        found |= {name: lambda name=name: time_steps(name, clock) for name in STEPS}
    if only in (None, "sanitizer"):
        found["sanitizer"] = lambda: run_sanitizer(max(min(clock.left - 20, 120), 10))
    if only in (None, "figures"):
        found |= {
            f"{name} beside torch.compile": lambda name=name: time_steps(name, clock, ("compile",))
            for name in STEPS
        }
    return found


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = ["# On a GPU", "", "| | | |", "|---|---|---|"]
    for part, values in found.items():
        for name, value in values.items() if isinstance(values, dict) else [("", values)]:
            lines.append(f"| {part} | {name} | {value} |")
    lines += ["", "Steps in microseconds, products in TFLOP/s, bandwidth in GB/s; TF32 is off."]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--only", choices=("tests", "sanitizer", "figures"))
    parser.add_argument("--folder", type=Path, default=results.FOLDER)
    args = parser.parse_args(arguments)
    try:
        cupy = device.driver().xp
    except (ImportError, RuntimeError) as error:
        print(f"bench.gpu: {error}", file=sys.stderr)
        return 2
    clock = Clock(SECONDS)
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    found: dict[str, Any] = {"device": {"name": name, "CuPy": cupy.__version__}}
    for part, work in parts(cupy, clock, args.only).items():
        try:
            found[part] = work() if clock.left > 20 else "no time left"
        except Exception as error:
            found[part] = f"{type(error).__name__}: {error}"[:300]
        print(f"{part}: {found[part]}", flush=True)
        path = results.save("gpu", found, table(found), machine=name, folder=args.folder)
    fastdl.set_backend("cpu")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
