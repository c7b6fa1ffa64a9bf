from fastdl.kernels.runner cimport Bodies


# The bodies of the instruction set in use, for float32 (0) or float64 (1).
cdef const Bodies *bodies_of(bint float64) noexcept
