"""The door: an eager call of an op on NumPy arrays, checked against the table.

The table's entry becomes a few C structs. A call whose arrays are as the kernels want them (aligned,
C-contiguous, of one float type, of matching shapes) is checked in some tens of nanoseconds and run.
Any other call goes once through `door.prepare`, in Python, which converts what has a plain meaning
and words the error for what has not; then it is checked here again like any other.
"""

import numpy as np

cimport numpy as cnp
from libc.math cimport isnan
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memset
from posix.stdlib cimport posix_memalign

from fastdl.kernels.dispatch cimport bodies_of
from fastdl.kernels.runner cimport (
    MAX_ARGUMENTS, MAX_OPTIONS, MAX_SIZES, Context, Op, is_forced, kernel_of, run_once, total_cost,
)

from fastdl.kernels import door
from fastdl.kernels.table import DYNAMIC_OPTIONS, OPS

cnp.import_array()

# Work in nanoseconds that is not worth giving the GIL away and asking for it again.
cdef enum: SHORT_NANOSECONDS = 2000


cdef class Function:
    """One op as a Python function."""

    def __cinit__(self, str name not None):
        op = OPS[name]
        self.op = op
        self.inplace = op.inplace
        self.kernel = kernel_of(name)
        self.arguments = len(op.arguments)
        self.options = len(op.options)
        self.sizes = len(op.letters)
        if (self.arguments > MAX_ARGUMENTS or self.options > MAX_OPTIONS
                or self.sizes > MAX_SIZES):
            raise ImportError(f"op {name}: op.h has no room for it")
        self.slots = {}
        self.inputs = 0
        self.needed_options = 0
        for i, argument in enumerate(op.arguments):
            self.slots[argument.name] = i
            if argument.role != "out":
                self.input[self.inputs] = i
                self.inputs += 1
            spec_argument(&self.argument[i], argument, op.letters)
        self.results = sum(a.role == "out" for a in op.arguments)
        self.choices = []
        memset(&self.blank, 0, sizeof(Op))
        memset(&self.blank_context, 0, sizeof(Context))
        for i, option in enumerate(op.options):
            self.slots[option.name] = MAX_ARGUMENTS + i
            self.choices.append({c: k for k, c in enumerate(option.choices)} or None)
            spec_option(&self.option[i], option)
            if option.default is None:
                self.needed_options |= 1 << i
            else:
                self.set_option(&self.blank, &self.blank_context, i, option.default)
        names = [o.name for o in op.options]
        self.needs = [
            (i, names.index(a.needed_by)) for i, a in enumerate(op.arguments) if a.needed_by]
        self.__name__ = self.__qualname__ = name
        self.__module__ = "fastdl.kernels"

    # Made when somebody asks: for all ops at once this was a tenth of the time of importing fastdl.
    @property
    def __doc__(self):
        from fastdl.kernels import describe

        return describe.document(self.op)

    @property
    def __signature__(self):
        from fastdl.kernels import describe

        return describe.signature(self.op)

    def __repr__(self):
        return f"<op fastdl.kernels.{self.op.name}{self.__signature__}>"

    def __call__(self, *args, **kwargs):
        cdef Op ops[2]
        cdef Context context = self.blank_context
        cdef list arrays = [None] * self.arguments
        cdef object activation = None
        cdef int i, slot, given = 0
        ops[0] = self.blank
        if len(args) > self.inputs:
            raise TypeError(
                f"{self.op.name}: takes at most {self.inputs} positional arguments, "
                f"got {len(args)}")
        for i in range(len(args)):
            arrays[self.input[i]] = args[i]
        for name, value in kwargs.items():
            found = self.slots.get(name)
            if found is None:
                if self.op.tail is not None and name == self.op.tail.name:
                    activation = value
                    continue
                raise TypeError(door.unknown_argument(self.op, name))
            slot = found
            if slot >= MAX_ARGUMENTS:
                self.set_option(&ops[0], &context, slot - MAX_ARGUMENTS, value)
                given |= 1 << (slot - MAX_ARGUMENTS)
            elif arrays[slot] is not None:
                raise TypeError(f"{self.op.name}: argument {name!r} was given twice")
            else:
                arrays[slot] = value
        if self.needed_options & ~given:
            for i in range(self.options):
                if self.needed_options & ~given & (1 << i):
                    raise TypeError(door.bad_option(self.op, i, None))
        for needed, option in self.needs:
            if is_on(&ops[0], &self.option[option], option) and arrays[needed] is None:
                raise ValueError(door.needed_argument(self.op, needed))
        return self.run(ops, &context, arrays, activation)

    cdef object run(self, Op *ops, Context *context, list arrays, object activation):
        cdef int count = 1
        cdef Function tail = None
        cdef list copies = None
        cdef size_t[2] bytes = [0, 0]
        ops[1].workspace = NULL
        if activation is not None:
            tail = door.tail_function(self.op, activation)
        if not self.set_arrays(&ops[0], arrays, True):
            copies = door.prepare(self.op, arrays, self.options_of(&ops[0]))
            if not self.set_arrays(&ops[0], arrays, True):
                raise SystemError(f"{self.op.name}: arguments were not understood")  # a bug
        if tail is not None:
            ops[1] = tail.blank
            if not tail.set_arrays(&ops[1], [arrays[0], arrays[0]], False):
                raise SystemError(f"{self.op.name}: the activation was not understood")  # a bug
            if tail.op.elementwise:
                ops[0].tail = &ops[1]
            else:
                count = 2
        context.rows = 1
        try:
            bytes[0] = give_workspace(&ops[0])
            if count == 2:
                bytes[1] = give_workspace(&ops[1])
            if total_cost(ops, count, context) <= SHORT_NANOSECONDS and not is_forced():
                run_once(ops, count, context)
            else:
                with nogil:
                    run_once(ops, count, context)
        finally:
            keep_workspace(&ops[0], bytes[0])
            keep_workspace(&ops[1], bytes[1])
        if copies is not None:
            for i, original in copies:
                original[...] = arrays[i]
                arrays[i] = original
        if self.results == 0:
            return None
        if self.results == 1:
            return arrays[0]
        results = tuple([arrays[i] for i in range(self.results) if arrays[i] is not False])
        return results if len(results) > 1 else results[0]

    cdef int set_option(self, Op *op, Context *context, int i, object value) except -1:
        cdef double number
        cdef int64_t whole = 0
        cdef OptionSpec *spec = &self.option[i]
        if spec.kind == CHOICE:
            index = self.choices[i].get(value) if isinstance(value, str) else None
            if index is None:
                raise ValueError(door.bad_option(self.op, i, value))
            op.options[i].whole = index
            return 0
        if spec.kind == FLAG:
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(door.bad_option(self.op, i, value))
            op.options[i].whole = bool(value)
            return 0
        try:
            if isinstance(value, (bool, str)):
                raise TypeError
            if spec.kind == WHOLE:
                whole = value.__index__()
                number = <double> whole
            else:
                number = value
        except (TypeError, AttributeError):
            raise TypeError(door.bad_option(self.op, i, value)) from None
        except OverflowError:
            raise ValueError(door.bad_option(self.op, i, value)) from None
        if (isnan(number) or number < spec.low or number > spec.high
                or (spec.open_low and number == spec.low)
                or (spec.open_high and number == spec.high)):
            raise ValueError(door.bad_option(self.op, i, value))
        if spec.target == LEARNING_RATE:
            context.learning_rate = number
        elif spec.target == STEP:
            context.step = whole
        elif spec.target == SEED:
            context.seed = whole
        elif spec.kind == WHOLE:
            op.options[i].whole = whole
        else:
            op.options[i].number = number
        return 0

    cdef dict options_of(self, const Op *op):
        """The op's own options by name; dynamic ones are the context's."""
        cdef dict options = {}
        for i, option in enumerate(self.op.options):
            if self.option[i].target != STATIC:
                continue
            if self.option[i].kind == NUMBER:
                options[option.name] = op.options[i].number
            elif self.option[i].kind == CHOICE:
                options[option.name] = option.choices[op.options[i].whole]
            else:
                options[option.name] = op.options[i].whole
        return options

    cdef int derive(self, Op *op) except -1:
        """Fills in the sizes that follow from others and the options; an error if some do not fit."""
        cdef int i
        letters = self.op.letters
        lengths = {letters[i]: op.sizes[i] for i in range(self.sizes) if op.sizes[i] >= 0}
        self.op.derive(lengths, self.options_of(op))
        for i in range(self.sizes):
            op.sizes[i] = lengths.get(letters[i], -1)
        return 0

    cdef int set_arrays(self, Op *op, list arrays, bint check_labels) except -1:
        cdef int type = 0, lead = -1, i, k, axis
        cdef int64_t rows = 1
        cdef cnp.npy_intp *leading = NULL
        cdef cnp.npy_intp shape[32]
        cdef ArgumentSpec *spec
        cdef cnp.ndarray array
        for i in range(MAX_SIZES):
            op.sizes[i] = -1

        # Inputs first: they say the float type, the rows and the letters.
        for k in range(self.inputs):
            i = self.input[k]
            spec = &self.argument[i]
            value = arrays[i]
            if value is None:
                if spec.optional:
                    continue
                return 0
            if not cnp.PyArray_CheckExact(value):
                return 0
            if not take(op, spec, i, <cnp.ndarray> value, &type, &lead, &leading, &rows):
                return 0
        for i in range(self.arguments):
            spec = &self.argument[i]
            value = arrays[i]
            if spec.role != OUT or value is None:
                continue
            if value is False and spec.optional:
                continue
            if not cnp.PyArray_CheckExact(value):
                return 0
            if not take(op, spec, i, <cnp.ndarray> value, &type, &lead, &leading, &rows):
                return 0
        if self.op.geometry is not None:
            self.derive(op)
        if type == 0:
            type = cnp.NPY_FLOAT
        op.kernel = self.kernel
        op.bodies = bodies_of(type == cnp.NPY_DOUBLE)
        op.itemsize = 8 if type == cnp.NPY_DOUBLE else 4
        for i in range(self.arguments):
            spec = &self.argument[i]
            if spec.role != OUT or arrays[i] is not None:
                continue
            k = 0
            if spec.batched:
                if lead < 0:
                    return 0
                for k in range(lead):
                    shape[k] = leading[k]
                k = lead
            if k + spec.axes > 32:
                return 0
            for axis in range(spec.axes):
                shape[k + axis] = wanted(op, spec, axis)
                if shape[k + axis] < 0:
                    return 0
            array = cnp.PyArray_EMPTY(
                k + spec.axes, shape, type if spec.type == REAL else cnp.NPY_DOUBLE, 0)
            arrays[i] = array
            op.arguments[i] = <char *> cnp.PyArray_DATA(array)

        # An axis that is a sum could not be checked before both of its letters were known.
        for i in range(self.arguments):
            spec = &self.argument[i]
            if op.arguments[i] != NULL:
                array = <cnp.ndarray> arrays[i]
                for axis in range(spec.axes):
                    k = cnp.PyArray_NDIM(array) - spec.axes + axis
                    if spec.addend[axis] >= 0 and wanted(op, spec, axis) != array.shape[k]:
                        return 0

        op.rows_per_item = 0
        op.fixed_rows = rows if lead >= 0 else op.sizes[0]
        if check_labels and not labels_are_fine(self, op, rows):
            return 0
        return not self.overlaps(op, arrays)

    cdef bint overlaps(self, Op *op, list arrays):
        """Whether an array that is written shares memory with another one, other than in place."""
        cdef int i, k
        cdef char *a
        cdef char *b
        cdef int64_t na, nb
        for i in range(self.arguments):
            if self.argument[i].role == IN or op.arguments[i] == NULL:
                continue
            a = op.arguments[i]
            na = cnp.PyArray_NBYTES(<cnp.ndarray> arrays[i])
            for k in range(self.arguments):
                if k == i or op.arguments[k] == NULL:
                    continue
                b = op.arguments[k]
                nb = cnp.PyArray_NBYTES(<cnp.ndarray> arrays[k])
                if a < b + nb and b < a + na:
                    if self.inplace and a == b and na == nb and self.argument[k].role == IN:
                        continue
                    return True
        return False


cdef int spec_argument(ArgumentSpec *spec, argument, tuple letters) except -1:
    spec.role = {"in": IN, "out": OUT, "inout": INOUT}[argument.role]
    spec.type = {"real": REAL, "label": LABEL, "float64": FLOAT64}[argument.dtype]
    spec.optional = argument.optional
    spec.batched = argument.batched
    axes = argument.own_axes
    spec.axes = len(axes)
    for i, axis in enumerate(axes):
        parts = axis.split("+")
        spec.letter[i] = letters.index(parts[0]) if parts[0].isalpha() else -1
        spec.addend[i] = letters.index(parts[1]) if len(parts) == 2 else -1
        spec.length[i] = int(axis) if axis.isdigit() else 0
    spec.below = letters.index(argument.below) if argument.below else -1
    return 0


cdef int spec_option(OptionSpec *spec, option) except -1:
    spec.kind = {"float": NUMBER, "int": WHOLE, "bool": FLAG, "choice": CHOICE}[option.kind]
    targets = DYNAMIC_OPTIONS
    spec.target = targets.index(option.name) if option.name in targets else STATIC
    spec.low = float("-inf") if option.low is None else option.low
    spec.high = float("inf") if option.high is None else option.high
    spec.open_low = option.open_low
    spec.open_high = option.open_high
    return 0


cdef bint is_on(const Op *op, const OptionSpec *spec, int i) noexcept:
    """Whether an option is true, or a number other than 0."""
    return op.options[i].number != 0 if spec.kind == NUMBER else op.options[i].whole != 0


cdef int64_t wanted(const Op *op, const ArgumentSpec *spec, int axis) noexcept nogil:
    """The length that an axis has to have; -1 while its letter is unknown."""
    cdef int64_t length
    if spec.letter[axis] < 0:
        return spec.length[axis]
    length = op.sizes[spec.letter[axis]]
    if spec.addend[axis] >= 0:
        if length < 0 or op.sizes[spec.addend[axis]] < 0:
            return -1
        length += op.sizes[spec.addend[axis]]
    return length


cdef bint take(
    Op *op, const ArgumentSpec *spec, int index, cnp.ndarray array,
    int *type, int *lead, cnp.npy_intp **leading, int64_t *rows,
) noexcept:
    """Checks one array and notes its address; binds what it is the first to say."""
    cdef int ndim = cnp.PyArray_NDIM(array), own = cnp.PyArray_TYPE(array), axis, n
    cdef cnp.npy_intp *dims = cnp.PyArray_DIMS(array)
    cdef int64_t length
    if (cnp.PyArray_FLAGS(array) & (cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED)
            != cnp.NPY_ARRAY_C_CONTIGUOUS | cnp.NPY_ARRAY_ALIGNED):
        return False
    if not cnp.PyArray_ISNOTSWAPPED(array):
        return False
    if spec.role != IN and not cnp.PyArray_ISWRITEABLE(array):
        return False
    if spec.type == REAL:
        if own != cnp.NPY_FLOAT and own != cnp.NPY_DOUBLE:
            return False
        if type[0] == 0:
            type[0] = own
        elif type[0] != own:
            return False
    elif spec.type == FLOAT64:
        if own != cnp.NPY_DOUBLE:
            return False
    elif own != cnp.NPY_INT64:
        return False

    n = ndim - spec.axes
    if not spec.batched:
        if n != 0:
            return False
    elif n < (spec.axes > 0):
        return False
    elif lead[0] < 0:
        lead[0] = n
        leading[0] = dims
        for axis in range(n):
            rows[0] *= dims[axis]
    else:
        if n != lead[0]:
            return False
        for axis in range(n):
            if dims[axis] != leading[0][axis]:
                return False
    for axis in range(spec.axes):
        length = wanted(op, spec, axis)
        if length < 0 and spec.addend[axis] < 0:
            op.sizes[spec.letter[axis]] = dims[n + axis]
        elif length >= 0 and length != dims[n + axis]:
            return False
    op.arguments[index] = <char *> cnp.PyArray_DATA(array)
    return True


cdef bint labels_are_fine(Function function, const Op *op, int64_t rows) noexcept:
    cdef int i
    cdef int64_t row, below
    cdef const int64_t *labels
    for i in range(function.arguments):
        if function.argument[i].below < 0 or op.arguments[i] == NULL:
            continue
        below = op.sizes[function.argument[i].below]
        labels = <const int64_t *> op.arguments[i]
        for row in range(rows):
            if labels[row] < 0 or labels[row] >= below:
                return False
    return True


cdef void *allocate(size_t bytes) except NULL nogil:
    cdef void *memory = NULL
    if posix_memalign(&memory, 64, bytes):
        with gil:
            raise MemoryError(f"no {bytes} bytes of scratch memory")
    return memory


# Scratch memory of an earlier call, for the next: the system would give large memory anew, page by page.
cdef enum: MOST_KEPT = 1 << 25
cdef void *kept = NULL
cdef size_t kept_bytes = 0


cdef size_t give_workspace(Op *op) except? 0:
    """Gives the op the scratch memory that it wants for its rows; returns how many bytes it got. The
    caller gives them to `keep_workspace`."""
    global kept
    cdef size_t bytes = 0
    if op.kernel.workspace != NULL:
        bytes = op.kernel.workspace(op, op.fixed_rows)
    if bytes and kept != NULL and bytes <= kept_bytes:
        op.workspace, kept = kept, NULL
        return kept_bytes
    if bytes:
        op.workspace = allocate(bytes)
    return bytes


cdef void keep_workspace(Op *op, size_t bytes) noexcept:
    global kept, kept_bytes
    if op.workspace == NULL:
        return
    if bytes > MOST_KEPT or (kept != NULL and bytes <= kept_bytes):
        free(op.workspace)
        return
    free(kept)
    kept, kept_bytes = op.workspace, bytes
