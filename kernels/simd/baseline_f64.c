#define REAL_BITS 64
#define VECTOR_BYTES 16
#define BODIES fastdl_baseline_f64
#include "bodies.inc"
