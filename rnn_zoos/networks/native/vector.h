// Vectors of LANES floats, and exp, sigmoid and tanh of them.
//
// `stack_kernel.h` explains who defines ISA and LANES, and why this file includes no header.
#pragma once

// A file of an instruction set may define them.
#ifndef LESSER
#define LESSER(a, b) ((a) < (b) ? (a) : (b))
#define GREATER(a, b) ((a) > (b) ? (a) : (b))
#endif

namespace ISA {

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int ivec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

static inline vec load(const float* from) { return *reinterpret_cast<const vec*>(from); }
static inline void store(float* to, vec value) { *reinterpret_cast<vec*>(to) = value; }
static inline vec broadcast(float value) { return value - vec{}; }

// Round up to whole vectors.
static inline int padded(int count) { return (count + LANES - 1) / LANES * LANES; }

// e^x = scale (1 + growth), where x = n ln 2 + r, scale = 2^n (set through its exponent bits) and growth = e^r - 1.
// The polynomial for growth has a relative error below 3e-8 on |r| < 0.35 (minimax, by reweighted least squares).
// Saturates beyond |x| = 87. NaN stays NaN: a diverging run must not be hidden.
struct Power {
    vec scale, growth;
};

static inline Power power(vec x) {
    x = LESSER(broadcast(87.0f), x);
    x = GREATER(broadcast(-87.0f), x);
    const vec shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the sum has n in its low bits
    const vec n = shifted - 12582912.0f;
    const vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vec p = broadcast(0.0013888873f) * r + 0.0083692120f;
    p = p * r + 0.041667141f;
    p = p * r + 0.16666505f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    return {(vec)(((ivec)shifted << 23) + (127 << 23)), p * r};
}

// Relative error below 3e-7 for |x| < 87.
static inline vec exponential(vec x) {
    const Power e = power(x);
    return e.scale * e.growth + e.scale;
}

static inline vec sigmoid(vec x) { return 1.0f / (1.0f + exponential(-x)); }

// tanh x = (e^2x - 1) / (e^2x + 1). Computing e^2x - 1 from its two parts avoids cancellation where x is small.
static inline vec hyperbolic_tangent(vec x) {
    const Power e = power(x + x);
    const vec minus_one = e.scale * e.growth + (e.scale - 1.0f);
    return minus_one / (minus_one + 2.0f);
}

}  // namespace ISA
