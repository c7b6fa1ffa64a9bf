# cython: auto_pickle=False
"""Values, what has to be known of an op to call it on them, and the log of such calls.

A Value is a tensor: an array, or symbolic, without one. While a Log is open, calls on values that it
follows are written down in it (eager.pyx makes the calls, and walks a log backwards for gradients).
An op's Plan is what both directions need to know of its table entry, worked out once.
"""

cimport numpy as cnp
from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastdl.kernels.call cimport OUT, Function
from fastdl.kernels.runner cimport MAX_ARGUMENTS, MAX_OPTIONS, Context, Op, Option, bring_home

from fastdl.kernels.table import OPS

cnp.import_array()


cdef extern from *:
    """
    #ifdef _MSC_VER
    #define PER_THREAD __declspec(thread)
    #else
    #define PER_THREAD __thread
    #endif
    static PER_THREAD PyObject *open_log = NULL;   /* borrowed: its tape holds it */
    static PER_THREAD int tracing = 0;
    static PyObject *new_object(PyObject *type, PyObject *arguments) {
        return ((PyTypeObject *)type)->tp_new((PyTypeObject *)type, arguments, NULL);
    }
    """
    PyObject *open_log
    int tracing
    object new_object(object type, object arguments)


cdef int64_t last_mark = 0
cdef dict plans = {}
cdef object tensor_type = None


def set_tensor_type(type tensors not None) -> None:
    """What the layer above brings: the class of values that are made here."""
    global tensor_type
    tensor_type = tensors


def set_tracing(bint on) -> bool:
    """Whether calls on weights alone are symbolic in this thread; returns what was set before."""
    global tracing
    before = tracing
    tracing = on
    return before != 0


def is_tracing() -> bool:
    """Whether calls on weights alone are symbolic in this thread."""
    return tracing != 0


cdef bint is_traced() noexcept:
    return tracing != 0


# --- values --------------------------------------------------------------------------------------

cdef class Value:
    """What a tensor is to the kernels.

    Attributes
    ----------
    shape : tuple
    dtype : {"real", "label", "float64"}
        As in the op table.
    """

    @property
    def shape(self):
        if self._shape is None:
            self._shape = (<object> self.array).shape
        return self._shape

    @shape.setter
    def shape(self, tuple shape not None):
        self._shape = shape

    @property
    def dtype(self):
        if self._dtype is None:
            self._dtype = "label" if cnp.PyArray_TYPE(self.array) == cnp.NPY_INT64 else "real"
        return self._dtype

    @dtype.setter
    def dtype(self, str dtype not None):
        self._dtype = dtype

    @property
    def _value(self):
        if self.weight:
            bring_home()
        return self.array

    @_value.setter
    def _value(self, cnp.ndarray array):
        self.array = array

    @property
    def is_eager(self) -> bool:
        """Whether it has a value and is no weight."""
        return self.array is not None and not self.weight

    def __float__(self):
        cdef cnp.ndarray array = self._value
        if array is not None and cnp.PyArray_SIZE(array) == 1:
            if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT:
                return <double> (<float *> cnp.PyArray_DATA(array))[0]
            if cnp.PyArray_TYPE(array) == cnp.NPY_DOUBLE:
                return (<double *> cnp.PyArray_DATA(array))[0]
        return float(self._single())

    def become_weight(self) -> None:
        """From now on it is symbolic wherever others are."""
        self.weight = True

    def note_change(self) -> None:
        """What was computed from the value before cannot be differentiated any more."""
        self.version += 1


cdef Value make(cnp.ndarray array):
    cdef Value value = <Value> new_object(tensor_type, ())
    value.array = array
    return value


def wrap(cnp.ndarray array not None):
    """A tensor with this array as its value."""
    return make(array)


# --- what an op needs ----------------------------------------------------------------------------

cdef class Step:
    """One backward op of an op: where its arguments come from and where its results go."""

    def __cinit__(self, op, str name not None):
        cdef int i
        self.plan = plan_of(name)
        names = [a.name for a in op.arguments]
        options = [o.name for o in op.options]
        outputs = {a.name for a in op.outputs}
        self.targets = 0
        for i, argument in enumerate(self.plan.function.op.arguments):
            self.from_gradient[i] = self.from_argument[i] = self.to_argument[i] = -1
            bare = argument.name.removeprefix("grad_")
            if argument.role == "out":
                if bare in names:
                    self.to_argument[i] = names.index(bare)
                    self.targets |= 1 << self.to_argument[i]
            elif argument.name.startswith("grad_") and bare in outputs:
                self.from_gradient[i] = names.index(bare)
            elif argument.name in names:
                self.from_argument[i] = names.index(argument.name)
        for i, option in enumerate(self.plan.function.op.options):
            self.option[i] = options.index(option.name) if option.name in options else -1


cdef class Plan:
    """What eager calls and their gradients need to know of an op."""

    def __cinit__(self, Function function not None):
        cdef int i
        self.function = function
        op = function.op
        names = [a.name for a in op.arguments]
        self.passes = 0
        for name in op.passes:
            self.passes |= 1 << <int> names.index(name)
        self.squashes = op.name in ("softmax_forward", "sigmoid_forward")
        self.random = any(o.name == "seed" for o in op.options)
        self.steps = [Step(op, name) for name in op.backward]
        self.differentiable = self.passes
        for step in self.steps:
            self.differentiable |= (<Step> step).targets
        self.opaque = not self.differentiable and op.name.endswith("_backward")
        if self.opaque:
            for i in range(function.inputs):
                self.differentiable |= 1 << function.input[i]


cdef Plan plan_of(str name):
    found = plans.get(name)
    if found is None:
        from fastdl import kernels
        if name not in OPS:
            raise KeyError(name)
        found = plans[name] = Plan(getattr(kernels, name))
    return <Plan> found


# --- the log -------------------------------------------------------------------------------------

cdef class Entry:
    """One call that was written down. ``pullback`` stands for calls that are no op of the table."""


cdef class Log:
    """The calls on followed values, in order, from when a tape is opened until it is closed.

    Tapes that are open at the same time share one log.

    Parameters
    ----------
    weights : bool
        Whether trainable weights are followed without being named.
    """

    def __cinit__(self, bint weights):
        global last_mark
        last_mark += 1
        self.mark = last_mark
        self.entries = []
        self.weights = weights

    def __len__(self):
        return len(self.entries)

    def open(self) -> None:
        """This thread's calls are written down here."""
        global open_log
        self.before = open_log
        open_log = <PyObject *> self

    def close(self) -> None:
        global open_log
        open_log = self.before

    def pause(self, bint on) -> bool:
        """Whether nothing is written down meanwhile; returns what was set before."""
        before = self.paused
        self.paused = on
        return before

    def follow_weights(self) -> None:
        """From now on trainable weights are followed without being named."""
        self.weights = True

    def follow(self, Value value not None) -> None:
        """What is computed from this value is written down."""
        value.mark = self.mark

    def follows(self, Value value not None) -> bool:
        """Whether what is computed from this value is written down."""
        return follows(self, value)


def current_log():
    """The log that this thread writes to, or None."""
    return None if open_log == NULL else <object> open_log


cdef Log listening():
    """The log that wants to know of calls made now, or None."""
    if open_log == NULL or (<Log> open_log).paused:
        return None
    return <Log> open_log


cdef int write_down(
    Log log, Plan plan, list values, const Op *op, const Context *context
) except -1:
    """Adds the call, if something followed goes into it where a gradient can flow."""
    cdef int i
    cdef bint wanted = False
    cdef Value value
    cdef Entry entry
    for i in range(plan.function.arguments):
        if plan.differentiable & (1 << i) and values[i] is not None:
            if follows(log, <Value> values[i]):
                wanted = True
                break
    if not wanted:
        return 0
    entry = Entry.__new__(Entry)
    entry.plan = plan
    entry.values = values
    memcpy(entry.options, op.options, sizeof(Option) * MAX_OPTIONS)
    entry.seed, entry.step = context.seed, context.step
    for i in range(plan.function.arguments):
        if values[i] is not None:
            value = <Value> values[i]
            entry.versions[i] = value.version
            if plan.function.argument[i].role == OUT:
                value.mark = log.mark
    log.entries.append(entry)
    return 0


def write_pullback(list inputs not None, list outputs not None, pullback not None) -> None:
    """Writes down a calculation that is no op of the table.

    Parameters
    ----------
    inputs, outputs : list of Value
    pullback : callable
        Takes the gradients of the outputs (None where there is none), gives those of the inputs.
    """
    cdef Log log = listening()
    cdef Entry entry
    cdef int i
    if log is None or len(inputs) + len(outputs) > MAX_ARGUMENTS:
        if log is not None:
            raise ValueError(f"at most {MAX_ARGUMENTS} tensors in all can be written down")
        return
    for value in inputs:
        if follows(log, <Value> value):
            break
    else:
        return
    entry = Entry.__new__(Entry)
    entry.values = inputs + outputs
    entry.step = len(inputs)
    entry.pullback = pullback
    for i, value in enumerate(entry.values):
        entry.versions[i] = (<Value> value).version
        if i >= len(inputs):
            (<Value> value).mark = log.mark
    log.entries.append(entry)
