#define REAL_BITS 64
#define VECTOR_BYTES 16
#define BODIES fastdl_neon_f64
#include "bodies.inc"
