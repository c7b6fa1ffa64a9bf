"""An element's bits do not depend on where the span that holds it begins or ends.

That is what lets a product run elementwise ops on its tiles with the bits they have on their own.
"""

import numpy as np
import pytest
from cases import required

from fastdl import kernels
from fastdl.kernels.table import OPS

ELEMENTWISE = [
    name
    for name, op in OPS.items()
    if op.elementwise and all(a.axes == ("B",) for a in op.arguments) and "stream" not in
    [o.name for o in op.options]
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_stretch_of_an_array_gives_the_bits_of_the_whole(name, dtype, isa):
    op, function = OPS[name], getattr(kernels, name)
    rng = np.random.default_rng(len(name))
    size = 200
    arrays = [rng.normal(scale=2, size=size).astype(dtype) for _ in op.inputs]
    options = required(op)
    whole = function(*arrays, **options)
    for _ in range(60):
        start, stop = sorted(rng.integers(0, size + 1, 2))
        part = function(*(a[start:stop].copy() for a in arrays), **options)
        np.testing.assert_array_equal(
            part.view(np.uint8), whole[start:stop].view(np.uint8), err_msg=f"{start}:{stop}"
        )
