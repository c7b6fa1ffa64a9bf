"""Matrix products by our own kernels, or, of eager calls, by CuPy's (see products.cu)."""

from __future__ import annotations

from typing import Any

from fastdl.gpu.core import Call, Family
from fastdl.gpu.reductions import reduce
from fastdl.gpu.tiles import cut, room_for_parts

products = Family("products")

_SIDE = 16

#: op: (form, out, a, b)
_PRODUCTS = {
    "matmul_nn": ("nn", "out", "a", "b"),
    "matmul_tn": ("tn", "out", "a", "b"),
    "matmul_nt": ("nt", "out", "a", "b"),
    "dense_forward": ("nn", "out", "x", "weight"),
    "dense_backward_input": ("nt", "grad_x", "grad_out", "weight"),
    "dense_backward_weight": ("tn", "grad_weight", "x", "grad_out"),
    "batch_matmul_forward": ("nn", "out", "a", "b"),
    "batch_matmul_backward_a": ("nt", "grad_a", "grad_out", "b"),
    "batch_matmul_backward_b": ("tn", "grad_b", "a", "grad_out"),
}


def _tiles(itemsize: int) -> list[tuple[int, int]]:
    sides = (128, 64, 32) if itemsize == 4 else (64, 32)
    return [(side, side) for side in sides]


def product(
    call: Call, form: str, out: Any, a: Any, b: Any, bias: Any, sizes: Any, items: int = 1
) -> None:
    """out = activation(a times b + bias), the activation being the call's epilogue.

    ``sizes`` is (M, N, K); in the form "tn" a lies transposed, in "nt" b does. There may be several
    of them, ``items``, one behind the other in all three arrays.
    """
    M, N, K = sizes
    if call.driver.blas is not None and min(M, N, K, items) > 0:
        call.driver.blas.product(call, form, out, a, b, bias, sizes, items)
        if call.epilogue[0]:
            merge(call, out, out, None, items * M, N, 1)
        return
    if call.eager and call.driver.multiplies:
        left = a.reshape(items, K, M).swapaxes(1, 2) if form == "tn" else a.reshape(items, M, K)
        right = b.reshape(items, N, K).swapaxes(1, 2) if form == "nt" else b.reshape(items, K, N)
        call.driver.xp.matmul(left, right, out=out.reshape(items, M, N))
        if bias is not None or call.epilogue[0]:
            merge(call, out, out, bias, items * M, N, 1)
        return
    tile, count, parts = cut(_tiles(call.real.itemsize), M, N, K, items)
    layers, counters = room_for_parts(call, tile, count, parts, items * M * N)
    call.launch(
        f"products.product_{form}_{tile[0]}", (count, 1, parts), (_SIDE, _SIDE),
        out, layers, counters, a, b, bias, *call.epilogue, M, N, K, items, parts,
    )  # fmt: skip
    if layers is not None and counters is None:
        merge(call, out, layers, bias, items * M, N, parts)


def merge(call: Call, out: Any, layers: Any, bias: Any, M: int, N: int, parts: int) -> None:
    """out (M, N) = activation(the sum of the layers + bias)."""
    call.elements("products.merge", M * N, out, layers, bias, *call.epilogue, M, N, parts)


@products.host(*_PRODUCTS)
def _product(call: Call) -> None:
    form, *names = _PRODUCTS[call.op.name]
    out, a, b = (call[name] for name in names)
    axes = {x.name: x.axes for x in call.op.arguments}
    *before, M, N = (call.lengths[axis] for axis in axes[names[0]])
    K = call.lengths[axes[names[1]][-2 if form == "tn" else -1]]
    product(call, form, out, a, b, call.arrays.get("bias"), (M, N, K), *before)


@products.host("dense_backward_bias")
def _bias(call: Call) -> None:
    shape = 1, call.rows, call.lengths["O"]
    reduce(call, "sum", call["grad_bias"], (call["grad_out"],), shape)
