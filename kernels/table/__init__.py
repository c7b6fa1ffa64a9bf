"""Every operation, declared once.

An entry says what an op is called, which arrays and options it takes, and which ops compute its
gradients. From this table come the validation of every call, the functions of ``fastdl.kernels``,
the rules by which a graph is differentiated and fused, the type stubs, the bad-input tests and the
reference page. A kernel (CPU: a ``.pyx`` file here; GPU: ``cuda/``) adds only the arithmetic.

How to read an entry
--------------------
Axes are letters, and the same letter is the same length in all arguments of an op. ``B`` comes
first where it stands and is special: it stands for one *or more* leading axes taken together, and
its length may change from call to call of the same program (the last batch is shorter). So
``"B C"`` takes ``(32, 10)`` with B = 32 and ``(32, 28, 28, 16)`` with B = 25088; plain ``"B"``
takes an array of any shape. No axes at all are a single number, an array of shape (). ``"1"`` and
``"2"`` are lengths; ``"C+D"`` is a sum of two. A letter
may also follow from others and the options: the op's ``geometry`` says how (the height of a
convolution's output). An output whose letters nothing says must be given by the caller.

Types: ``real`` is float32 or float64, the same one throughout a call; ``label`` is int64;
``float64`` is always that.

Gradients go by names. A backward op reads arguments named as in the forward op and ``grad_out``,
the gradient of its output ``out``, and writes ``grad_x``, the gradient of the input ``x``. Every
gradient *overwrites* its output; where a tensor is used twice, the graph adds the two. An input
that no backward op names has no gradient. An input named in ``passes`` simply takes over the
output's gradient.

An op marked ``elementwise`` can also run as a *tail*: on a stretch of elements that a product (an
op marked ``runs_tails``) has just finished, while they are in the cache. The output of one marked
``hands_on`` then need have no memory, where the tail is an update and nobody else reads it. One
marked ``inplace`` may write each output over any input of its shape.
"""

from fastdl.kernels.table import (  # noqa: F401  (importing a family declares its ops)
    activations,
    arithmetic,
    attention,
    convolutions,
    lengthening,
    losses,
    metrics,
    norms,
    pooling,
    products,
    random,
    recurrence,
    tensors,
    updates,
)
from fastdl.kernels.table.activations import ACTIVATIONS
from fastdl.kernels.table.vocabulary import DYNAMIC_OPTIONS, OPS, Argument, Op, Option

__all__ = ["ACTIVATIONS", "DYNAMIC_OPTIONS", "OPS", "Argument", "Op", "Option"]
