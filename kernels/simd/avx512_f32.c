#define REAL_BITS 32
#define VECTOR_BYTES 64
#define BODIES fastdl_avx512_f32
#include "bodies.inc"
