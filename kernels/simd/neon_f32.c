#define REAL_BITS 32
#define VECTOR_BYTES 16
#define BODIES fastdl_neon_f32
#include "bodies.inc"
