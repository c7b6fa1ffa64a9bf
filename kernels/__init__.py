"""The kernels as functions: one for each op of `table/`, on NumPy arrays.

Every function checks its arrays against the table, runs without the GIL on as many threads as the
work is worth, and returns its outputs. Inputs come first, options and outputs by keyword:

>>> import numpy as np
>>> from fastdl import kernels
>>> kernels.relu_forward(np.array([-1.0, 2.0]))
array([0., 2.])
"""

import os
import sys

# libgomp reads its settings when it is loaded, which the import below does: between two calls its
# threads are to spin for about a millisecond and then sleep, not for twenty: they would keep a core
# from everybody else. The environment is as before afterwards.
_spin = not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
if _spin:
    os.environ["GOMP_SPINCOUNT"] = "10000"

from fastdl.kernels import (
    activation,
    arithmetic,
    attention,
    augment,
    batchnorm_pool,
    convolution,
    dispatch,
    lengthening,
    loss,
    metric,
    moves,
    norm,
    pooling,
    product,
    random,
    recurrence,
    reductions,
    update,
)
from fastdl.kernels.call import Function
from fastdl.kernels.table import OPS

if _spin:
    del os.environ["GOMP_SPINCOUNT"]

del augment  # a module with the name of an op

__all__ = ["get_include", "matmul", *OPS]


def __getattr__(name):
    """The function of an op, made when it is first asked for."""
    if name not in OPS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = globals()[name] = Function(name)
    return function


def __dir__():
    return [*globals(), *OPS]


def get_include() -> str:
    """The folder of the C headers: for ``include_dirs`` of packages that cimport the kernels."""
    return os.path.dirname(__file__)


def matmul(a, b, transpose_a=False, transpose_b=False, out=None):
    """Matrix product ``op(a) @ op(b)``, where op transposes if asked.

    Parameters
    ----------
    a : array of float32 or float64, shape (M, K), or (K, M) with ``transpose_a``
    b : array of the same type, shape (K, N), or (N, K) with ``transpose_b``
    transpose_a, transpose_b : bool, default False
    out : array, shape (M, N), optional
        Where to write the product.

    Returns
    -------
    array, shape (M, N)

    Raises
    ------
    ValueError, TypeError
        If an array does not fit; nothing has been changed then.
    """
    for name, flag in (("transpose_a", transpose_a), ("transpose_b", transpose_b)):
        if not isinstance(flag, bool):
            raise TypeError(f"matmul: option {name!r} must be True or False, got {flag!r}")
    functions = sys.modules[__name__]
    if transpose_a and transpose_b:
        return functions.matmul_tn(a, _transposed(b), out=out)
    form = "matmul_" + ("t" if transpose_a else "n") + ("t" if transpose_b else "n")
    return getattr(functions, form)(a, b, out=out)


def _transposed(matrix):
    import numpy as np

    return np.asarray(matrix).T
