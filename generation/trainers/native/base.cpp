// The kernel for every other machine: vectors of 4 floats (SSE2 on x86-64, NEON on arm64).
#include "native.h"
#define ISA base
#define LANES 4
#if defined(__aarch64__)
#define ROWS 6
#define COLS 4
#else
#define ROWS 4
#define COLS 2
#endif
#include "kernel.h"
