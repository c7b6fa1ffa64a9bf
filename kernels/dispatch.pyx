"""Picks the instruction set: at import the best that this processor has.

``FASTDL_ISA`` in the environment asks for one by name.
"""

import os

from fastdl.kernels.runner cimport Bodies


cdef extern from "simd/dispatch.h" nogil:
    ctypedef struct InstructionSet:
        const char *name
        const Bodies **bodies
    const InstructionSet *instruction_sets
    enum: INSTRUCTION_SETS
    bint processor_has(int set)


cdef extern from *:
    """
    #ifdef __clang__
    #define COMPILER "clang " __clang_version__
    #else
    #define COMPILER "gcc " __VERSION__
    #endif
    """
    const char *COMPILER


cdef int chosen = 0


cdef const Bodies *bodies_of(bint float64) noexcept:
    return instruction_sets[chosen].bodies[float64]


def available() -> tuple[str, ...]:
    """The instruction sets that this build has and this processor can run, the best one last."""
    return tuple([
        instruction_sets[i].name.decode() for i in range(INSTRUCTION_SETS) if processor_has(i)])


def isa() -> str:
    """The instruction set in use."""
    return instruction_sets[chosen].name.decode()


def compiler() -> str:
    """The C compiler that built the kernels."""
    return COMPILER.decode()


def set_isa(str name not None) -> None:
    """Switches all later calls to another instruction set; for the tests.

    Raises
    ------
    ValueError
        If this build or this processor does not have it.
    """
    global chosen
    for i in range(INSTRUCTION_SETS):
        if instruction_sets[i].name.decode() == name and processor_has(i):
            chosen = i
            return
    raise ValueError(
        f"instruction set {name!r} is not available here; available: {', '.join(available())}")


set_isa(os.environ.get("FASTDL_ISA") or available()[-1])
