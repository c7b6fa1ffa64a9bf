"""Eager calls of ops on values, and their gradients.

`call` runs an op of the table on values and, while a Log is open and one of them is followed, writes
the call down. `gradients` walks a log backwards and runs the backward ops of the table, exactly those
that a graph would have been given, so an eager step and a program give the same bits.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from fastdl.kernels.call cimport IN, INOUT, OUT, REAL, SEED, STEP, Function
from fastdl.kernels.runner cimport MAX_ARGUMENTS, Context, Op, bring_home
from fastdl.kernels.values cimport (
    Entry, Log, Plan, Step, Value, follows, is_traced, listening, make, plan_of, write_down,
)

from fastdl.kernels import door
from fastdl.kernels.table import OPS

cnp.import_array()


cdef int64_t last_walk = 0
cdef object call_symbolic = None
cdef object draw = None
cdef tuple nothing = ()


def set_hooks(symbolic not None, random not None) -> None:
    """What the layer above brings: how an op is called on symbolic tensors, and where ops get their
    random numbers from: a function without arguments gives (seed, step)."""
    global call_symbolic, draw
    call_symbolic, draw = symbolic, random


# --- calling -------------------------------------------------------------------------------------

cdef list run(Plan plan, list values, int skipped, Op *op, Context *context, Log log):
    """Runs an op on values (one entry an argument); fills in and returns them with the outputs.

    ``skipped`` has a bit for each output that is not wanted.
    """
    cdef Function function = plan.function
    cdef list arrays = [None] * function.arguments
    cdef Op ops[2]
    cdef int i
    cdef Value value
    cdef cnp.ndarray array
    for i in range(function.arguments):
        if function.argument[i].role == OUT:
            if skipped & (1 << i):
                arrays[i] = False
            elif values[i] is not None:  # where its shape does not follow from the inputs
                arrays[i] = (<Value> values[i]).array
            continue
        if values[i] is None:
            continue
        if (<Value> values[i]).weight:
            bring_home()
        array = (<Value> values[i]).array
        if (not function.argument[i].batched and function.argument[i].axes == 1
                and cnp.PyArray_NDIM(array) != 1 and function.op.arguments[i].axes == ("N",)):
            array = cnp.PyArray_Ravel(array, cnp.NPY_CORDER)  # updates take weights flat
        arrays[i] = array
        if function.argument[i].role == INOUT:
            (<Value> values[i]).version += 1
    ops[0] = op[0]
    check_types(function, arrays)
    function.run(ops, context, arrays, None)
    for i in range(function.arguments):
        if function.argument[i].role == OUT and not skipped & (1 << i):
            value = <Value> values[i]
            if value is None:
                values[i] = value = make(<cnp.ndarray> arrays[i])
                if plan.squashes:
                    value.logits = function.op.name, values[1]
    if log is not None:
        write_down(log, plan, values, op, context)
    return values


cdef int check_types(Function function, list arrays) except -1:
    """Refuses float types that differ: converting one on each call would be slow, and silent."""
    cdef int i, own, type = 0, first = 0
    for i in range(function.arguments):
        if arrays[i] is None or arrays[i] is False or function.argument[i].type != REAL:
            continue
        own = cnp.PyArray_TYPE(<cnp.ndarray> arrays[i])
        if own != cnp.NPY_FLOAT and own != cnp.NPY_DOUBLE:
            continue
        if type == 0:
            type, first = own, i
        elif type != own:
            names = [function.op.arguments[k].name for k in (first, i)]
            raise TypeError(
                f"{function.op.name}: argument {names[0]!r} is {arrays[first].dtype} and argument "
                f"{names[1]!r} {arrays[i].dtype}; fastdl.constant(x, dtype) makes one of the other")
    return 0


cdef int set_random(Plan plan, Context *context, bint seed_given, bint step_given) except -1:
    if not (seed_given and step_given):
        seed, step = draw()
        if not seed_given:
            context.seed = seed
        if not step_given:
            context.step = step
    return 0


cdef class Caller:
    """An op as a function of tensors.

    Eager tensors and arrays are computed at once; where one is symbolic, so is the result.
    """

    cdef dict __dict__
    cdef Plan plan
    cdef readonly str op_name

    def __init__(self, str op_name not None, str name not None):
        self.op_name = op_name
        self.__name__ = self.__qualname__ = name
        self.__module__ = "fastdl.ops"
        self.__doc__ = OPS[op_name].doc

    def __repr__(self):
        return f"<function fastdl.ops.{self.__name__}>"

    def __reduce__(self):
        return Caller, (self.op_name, self.__name__)

    def __call__(self, *tensors, **arguments):
        cdef int i
        if self.plan is None:
            self.plan = plan_of(self.op_name)
        if tensors:
            function = self.plan.function
            if len(tensors) > function.inputs:
                raise TypeError(
                    f"{self.__name__}: takes at most {function.inputs} tensors, got {len(tensors)}")
            for i in range(len(tensors)):
                name = function.op.arguments[function.input[i]].name
                if name in arguments:
                    raise TypeError(f"{self.__name__}: argument {name!r} was given twice")
                arguments[name] = tensors[i]
        values = call(self.plan, nothing, arguments)
        return outputs_of(self.plan, values)


def apply(str name not None, without=nothing, /, **arguments):
    """Calls an op of the table on tensors.

    Parameters
    ----------
    name : str
        The op.
    without : names of optional outputs that are not wanted
    **arguments
        The inputs and options by the table's names; optional inputs may be None.

    Returns
    -------
    Tensor, tuple of Tensor, or None
        The outputs in the table's order: with values where all tensors have some, or symbolic.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, an input is missing or unknown, or an input is no tensor.
    """
    cdef Plan plan = plan_of(name)
    return outputs_of(plan, call(plan, without, arguments))


def apply_eagerly(str name not None, without=nothing, /, **arguments):
    """`apply`, giving the outputs by name; None where the call is symbolic."""
    cdef Plan plan = plan_of(name)
    cdef int i
    values = call(plan, without, arguments, False)
    if values is None:
        return None
    return {
        plan.function.op.arguments[i].name: values[i] for i in range(plan.function.arguments)
        if plan.function.argument[i].role == OUT and values[i] is not None}


cdef object outputs_of(Plan plan, object values):
    """The outputs as `apply` returns them."""
    cdef int i, count = 0, last = 0
    if not isinstance(values, list):
        return values  # of a symbolic call
    for i in range(plan.function.arguments):
        if plan.function.argument[i].role == OUT and (<list> values)[i] is not None:
            count += 1
            last = i
    if count == 0:
        return None
    if count == 1:
        return (<list> values)[last]
    return tuple([
        (<list> values)[i] for i in range(plan.function.arguments)
        if plan.function.argument[i].role == OUT and (<list> values)[i] is not None])


cdef object call(Plan plan, object without, dict arguments, bint symbolic_too=True):
    """The values of all arguments after an eager call; else what the symbolic call returned."""
    cdef Function function = plan.function
    cdef list values = [None] * function.arguments
    cdef Op op
    cdef Context context
    cdef int slot, skipped = 0, given = 0, i
    cdef bint symbolic = is_traced(), loose = False
    cdef Value value
    op = function.blank
    context = function.blank_context
    for name, argument in arguments.items():
        found = function.slots.get(name)
        if found is None:
            raise TypeError(f"{function.op.name}: no argument {name!r}")
        slot = found
        if slot >= MAX_ARGUMENTS:
            given |= 1 << (slot - MAX_ARGUMENTS)
            if not symbolic:
                function.set_option(&op, &context, slot - MAX_ARGUMENTS, argument)
        elif argument is None:
            continue
        elif isinstance(argument, Value):
            value = <Value> argument
            if value.array is None:
                symbolic = True
            values[slot] = value
        else:
            loose = True
            values[slot] = argument
    if symbolic:
        return call_symbolic(function.op.name, without, arguments) if symbolic_too else None
    if loose:
        take_arrays(function, values)
    for i in range(function.arguments):
        if (values[i] is None and function.argument[i].role != OUT
                and not function.argument[i].optional):
            raise TypeError(
                f"{function.op.name}: argument {function.op.arguments[i].name!r} is missing")
    if function.needed_options & ~given:
        for i in range(function.options):
            if function.needed_options & ~given & (1 << i):
                raise TypeError(door.bad_option(function.op, i, None))
    for name in without:
        skipped |= 1 << <int> function.slots[name]
    if plan.random:
        set_random(plan, &context, is_given(function, given, SEED), is_given(function, given, STEP))
    return run(plan, values, skipped, &op, &context, listening())


cdef bint is_given(Function function, int given, int target) noexcept:
    cdef int i
    for i in range(function.options):
        if function.option[i].target == target and given & (1 << i):
            return True
    return False


cdef int take_arrays(Function function, list values) except -1:
    """Makes values of arrays, lists and numbers among the inputs, of the float type of the others."""
    cdef int i
    cdef object real = None
    for i in range(function.arguments):
        if isinstance(values[i], Value) and function.argument[i].type == REAL:
            own = (<Value> values[i]).array.dtype
            if own.kind == "f":
                real = own
                break
    for i in range(function.arguments):
        if values[i] is not None and not isinstance(values[i], Value):
            argument = function.op.arguments[i]
            if function.argument[i].role != IN:
                raise TypeError(
                    f"{function.op.name}: argument {argument.name!r} must be a Tensor, got "
                    f"{type(values[i]).__name__}")
            array = door.as_array(function.op, argument, values[i], door.NUMPY)
            if function.argument[i].type == REAL and real is not None:
                array = array.astype(real, copy=False)
            values[i] = make(array)
    return 0


# --- gradients -----------------------------------------------------------------------------------

def gradients(
    Log log not None, Py_ssize_t first, Py_ssize_t last, list hidden not None,
    list targets not None, list seeds not None, list sources not None,
):
    """The gradients of the sum of targets by the sources.

    Parameters
    ----------
    log : Log
    first, last : int
        The entries that are walked.
    hidden : list of (int, int)
        Ranges of entries that are not.
    targets : list of Value
    seeds : list of Value or None
        The gradient of each target; None: ones.
    sources : list of Value

    Returns
    -------
    list of Value or None
        None for those that no target depends on.

    Raises
    ------
    RuntimeError
        If a weight that is needed was changed after it was used, or a gradient's own gradient is
        not known.
    """
    global last_walk
    cdef int64_t walk
    cdef Py_ssize_t k
    cdef int *needed
    cdef Value value
    cdef dict found = {}
    cdef set kept
    last_walk += 1
    walk = last_walk
    for source in sources:
        value = <Value?> source
        if follows(log, value):
            value.walk = walk
    needed = <int *> calloc(last - first + 1, sizeof(int))
    if needed == NULL:
        raise MemoryError("no memory to walk the log")
    try:
        for k in range(first, last):
            if hidden and any([start <= k < end for start, end in hidden]):
                continue
            needed[k - first] = note_needed(<Entry> log.entries[k], walk)
        for target, seed in zip(targets, seeds):
            value = <Value?> target
            if value.walk == walk:
                if seed is None:
                    seed = make(np.ones(value.shape, value.array.dtype))
                contribute(found, value, <Value> seed)
        kept = set(sources)
        for k in range(last - 1, first - 1, -1):
            if needed[k - first]:
                walk_back(<Entry> log.entries[k], needed[k - first], found, kept)
    finally:
        free(needed)
    return [found.get(source) for source in sources]


cdef int note_needed(Entry entry, int64_t walk) except -1:
    """A bit for each input whose gradient is needed; the outputs are then needed too."""
    cdef int i, count, needed = 0, possible
    if entry.plan is None:
        count = entry.step
        possible = (1 << count) - 1
    else:
        count = entry.plan.function.arguments
        possible = entry.plan.differentiable
    for i in range(count):
        if possible & (1 << i) and entry.values[i] is not None:
            if (<Value> entry.values[i]).walk == walk:
                needed |= 1 << i
    if needed:
        for i in range(len(entry.values)):
            if entry.values[i] is None:
                continue
            if (i >= count if entry.plan is None else entry.plan.function.argument[i].role == OUT):
                (<Value> entry.values[i]).walk = walk
    return needed


cdef int contribute(dict found, Value value, Value gradient) except -1:
    """Adds up: the sum so far first, as a graph does."""
    cdef object before = found.get(value)
    if before is not None:
        gradient = apply("add", a=before, b=gradient)
    found[value] = gradient
    return 0


cdef object gradient_of(dict found, object value, set kept):
    """The gradient of an output; it is not needed again where nobody asked for it."""
    if value in kept:
        return found.get(value)
    return found.pop(value, None)


cdef int walk_back(Entry entry, int needed, dict found, set kept) except -1:
    cdef Plan plan = entry.plan
    cdef int i, count
    cdef list outputs = [None] * MAX_ARGUMENTS
    cdef bint any_output = False
    if plan is None:
        return pull_back(entry, needed, found, kept)
    count = plan.function.arguments
    for i in range(count):
        if plan.function.argument[i].role == OUT and entry.values[i] is not None:
            outputs[i] = gradient_of(found, entry.values[i], kept)
            if outputs[i] is not None:
                any_output = True
    if not any_output:
        return 0
    if plan.opaque:
        raise RuntimeError(
            f"gradient: {plan.function.op.name} is itself a gradient, and its own is not known: "
            f"second derivatives do not go through it")
    if plan.passes & needed:
        for i in range(count):
            if plan.function.argument[i].role == OUT and outputs[i] is not None:
                gradient = <Value> outputs[i]
        for i in range(count):
            if plan.passes & needed & (1 << i):
                contribute(found, <Value> entry.values[i], gradient)
    for step in plan.steps:
        if (<Step> step).targets & needed:
            step_back(<Step> step, entry, needed, outputs, found)
    return 0


cdef int step_back(Step step, Entry entry, int needed, list outputs, dict found) except -1:
    """Runs one backward op."""
    cdef Plan plan = step.plan
    cdef Function function = plan.function
    cdef list values = [None] * function.arguments
    cdef int i, at
    cdef Op op
    cdef Context context
    cdef Value source
    cdef cnp.ndarray like
    op = function.blank
    context = function.blank_context
    context.seed, context.step = entry.seed, entry.step
    for i in range(function.options):
        if step.option[i] >= 0:
            op.options[i] = entry.options[step.option[i]]
    for i in range(function.arguments):
        if step.from_gradient[i] >= 0:
            at = step.from_gradient[i]
            values[i] = outputs[at]
            if values[i] is None and not function.argument[i].optional:
                values[i] = make(np.zeros_like((<Value> entry.values[at]).array))
        elif step.from_argument[i] >= 0:
            at = step.from_argument[i]
            source = <Value> entry.values[at]
            values[i] = source
            if source is not None and source.version != entry.versions[at]:
                raise RuntimeError(
                    f"gradient: {source.name or 'a weight'} was changed after "
                    f"{entry.plan.function.op.name} used it; take all gradients before applying any")
        elif step.to_argument[i] >= 0:
            source = <Value> entry.values[step.to_argument[i]]
            if source is not None:  # its shape need not follow from the others'
                like = source.array
                values[i] = make(<cnp.ndarray> cnp.PyArray_EMPTY(
                    cnp.PyArray_NDIM(like), cnp.PyArray_DIMS(like), cnp.PyArray_TYPE(like), 0))
    run(plan, values, 0, &op, &context, listening())
    for i in range(function.arguments):
        at = step.to_argument[i]
        if at >= 0 and needed & (1 << at):
            contribute(found, <Value> entry.values[at], <Value> values[i])
    return 0


cdef int pull_back(Entry entry, int needed, dict found, set kept) except -1:
    cdef int i
    cdef list grads = [gradient_of(found, v, kept) for v in entry.values[entry.step:]]
    if all([g is None for g in grads]):
        return 0
    for i in range(len(entry.values)):
        if (<Value> entry.values[i]).version != entry.versions[i]:
            raise RuntimeError(
                f"gradient: {entry.values[i].name or 'a weight'} was changed after it was used; "
                f"take all gradients before applying any")
    results = entry.pullback(*grads)
    for i, gradient in enumerate(results):
        if needed & (1 << i) and gradient is not None:
            contribute(found, <Value> entry.values[i], <Value?> gradient)
    return 0
