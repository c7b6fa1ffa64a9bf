"""Every op of ``kernels/table/`` in naive float64 NumPy: what the kernels have to compute.

The files are the table's families. A function has its op's name, takes the op's inputs and options
by the table's names, and returns its outputs, and the new values of its in-out arguments, in the
table's order. Axes that the table calls B may be several: the functions work on the last axis, or
on all elements. Nothing here is fast; it is to be read beside the table and seen to be right.
"""

from oracle.activations import *  # noqa: F403
from oracle.arithmetic import *  # noqa: F403
from oracle.attention import *  # noqa: F403
from oracle.convolutions import *  # noqa: F403
from oracle.lengthening import *  # noqa: F403
from oracle.losses import *  # noqa: F403
from oracle.metrics import *  # noqa: F403
from oracle.norms import *  # noqa: F403
from oracle.pooling import *  # noqa: F403
from oracle.products import *  # noqa: F403
from oracle.random import *  # noqa: F403
from oracle.recurrence import *  # noqa: F403
from oracle.tensors import *  # noqa: F403
from oracle.updates import *  # noqa: F403
