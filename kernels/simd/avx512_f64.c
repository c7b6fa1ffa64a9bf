#define REAL_BITS 64
#define VECTOR_BYTES 64
#define BODIES fastdl_avx512_f64
#include "bodies.inc"
