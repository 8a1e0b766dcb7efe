// Denormal numbers, floats below 1.2e-38, count as zero where `Computing` exists. For bindings, not for kernels.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <pybind11/pybind11.h>

// The register of this thread that says what becomes of denormal numbers.
#if defined(__x86_64__)
using FloatControl = unsigned;
constexpr FloatControl DENORMALS_ARE_ZERO = 0x8040;  // as inputs and as results
inline FloatControl float_control() { return _mm_getcsr(); }
inline void set_float_control(FloatControl control) { _mm_setcsr(control); }
#elif defined(__aarch64__)
using FloatControl = uint64_t;
constexpr FloatControl DENORMALS_ARE_ZERO = 1 << 24;
inline FloatControl float_control() {
    FloatControl control;
    asm volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}
inline void set_float_control(FloatControl control) { asm volatile("msr fpcr, %0" : : "r"(control)); }
#else
using FloatControl = unsigned;
constexpr FloatControl DENORMALS_ARE_ZERO = 0;
inline FloatControl float_control() { return 0; }
inline void set_float_control(FloatControl) {}
#endif

// Release Python's lock, and let denormal numbers be zero: one operation on them takes as long as a hundred others, and
// gradients of saturated or decayed networks are full of them.
class Computing {
  public:
    Computing() : before(float_control()) { set_float_control(before | DENORMALS_ARE_ZERO); }
    ~Computing() { set_float_control(before); }
    Computing(const Computing&) = delete;
    Computing& operator=(const Computing&) = delete;

  private:
    const pybind11::gil_scoped_release unlocked;
    const FloatControl before;
};
