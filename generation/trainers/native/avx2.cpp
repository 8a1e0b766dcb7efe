// The kernel for x86-64 with AVX2: 16 registers of 8 floats.
#if defined(__x86_64__)
#include "native.h"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define ISA avx2
#define LANES 8
#define ROWS 6
#define COLS 2
#include "kernel.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
