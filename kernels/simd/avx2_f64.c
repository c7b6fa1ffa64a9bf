#define REAL_BITS 64
#define VECTOR_BYTES 32
#define BODIES fastdl_avx2_f64
#include "bodies.inc"
