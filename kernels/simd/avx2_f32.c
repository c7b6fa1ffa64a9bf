#define REAL_BITS 32
#define VECTOR_BYTES 32
#define BODIES fastdl_avx2_f32
#include "bodies.inc"
