"""Many updates in one call: the ops of one optimizer's step over the weights of a model.

The ops are prepared once; a call only says where this step's gradients are.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from fastdl.kernels.call cimport Function, allocate
from fastdl.kernels.runner cimport Context, Op, Stage, run_staged
from fastdl.kernels.values cimport Value

cnp.import_array()


cdef class Updates:
    """A list of ops with places for gradients.

    Parameters
    ----------
    steps : list of (name, arrays, options)
        As for a Program: an array or None for each argument of the op.
    weights : list of Value
        What is updated.
    places : list of list of (int, int)
        For each weight the op and its argument that stand for the gradient.
    """

    cdef Op *ops
    cdef Stage *stages
    cdef int count
    cdef list weights, places, keep
    cdef bint busy

    def __cinit__(self, list steps not None, list weights not None, list places not None):
        cdef int i, phases = 0
        cdef size_t bytes
        cdef Function function
        cdef Context unused
        from fastdl import kernels
        self.count = len(steps)
        self.weights, self.places, self.keep = weights, places, []
        self.ops = <Op *> calloc(self.count + 1, sizeof(Op))
        if self.ops == NULL:
            raise MemoryError("Updates: no memory for the ops")
        for i, (name, arrays, options) in enumerate(steps):
            function = getattr(kernels, name)
            self.ops[i] = function.blank
            for k, option in enumerate(function.op.options):
                if option.name in options:
                    function.set_option(&self.ops[i], &unused, k, options[option.name])
            if not function.set_arrays(&self.ops[i], arrays, False):
                raise ValueError(f"Updates: {name}: arrays do not fit")
            self.keep.append(arrays)
            phases += function.kernel.phases
            if function.kernel.workspace != NULL:
                bytes = function.kernel.workspace(&self.ops[i], self.ops[i].fixed_rows)
                if bytes:
                    self.ops[i].workspace = allocate(bytes)
        self.stages = <Stage *> calloc(phases + 1, sizeof(Stage))
        if self.stages == NULL:
            raise MemoryError("Updates: no memory for the stages")

    def __dealloc__(self):
        if self.ops != NULL:
            for i in range(self.count):
                free(self.ops[i].workspace)
        free(self.ops)
        free(self.stages)

    def run(self, list gradients not None, int64_t step, double learning_rate) -> bool:
        """Updates all weights.

        Returns
        -------
        bool
            False, and nothing has been done, where a weight has moved to another place of memory
            or a gradient is not as the weight is: contiguous, of its shape and type.

        Raises
        ------
        RuntimeError
            If another thread is running these updates.
        """
        cdef Context context
        cdef Value value, weight
        cdef cnp.ndarray array
        cdef int i, at, argument
        if self.busy:
            raise RuntimeError("apply_gradients: the optimizer is in use by another thread")
        if len(gradients) != len(self.weights):
            return False
        for i in range(len(gradients)):
            if not isinstance(gradients[i], Value):
                return False
            value, weight = gradients[i], self.weights[i]
            array = value.array
            if (array is None or cnp.PyArray_TYPE(array) != cnp.PyArray_TYPE(weight.array)
                    or not cnp.PyArray_IS_C_CONTIGUOUS(array)
                    or not cnp.PyArray_ISALIGNED(array)
                    or not cnp.PyArray_SAMESHAPE(array, weight.array)):
                return False
            for place in <list> self.places[i]:
                at, argument = place
                if argument < 0:
                    if self.ops[at].arguments[-1 - argument] != cnp.PyArray_BYTES(weight.array):
                        return False
                else:
                    self.ops[at].arguments[argument] = cnp.PyArray_BYTES(array)
        memset(&context, 0, sizeof(context))
        context.rows, context.step, context.learning_rate = 1, step, learning_rate
        self.busy = True
        with nogil:
            run_staged(self.ops, self.count, &context, self.stages)
        self.busy = False
        for i in range(len(gradients)):
            (<Value> self.weights[i]).version += 1
        return True
