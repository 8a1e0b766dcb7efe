// The kernel for x86-64 with AVX-512: 32 registers of 16 floats.
#if defined(__x86_64__)
#include "native.h"
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,prefer-vector-width=512")
#endif
#define ISA avx512
#define LANES 16
#define ROWS 6
#define COLS 4
#include "kernel.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
