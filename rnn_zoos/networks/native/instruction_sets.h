// The instruction sets that kernels are compiled for, and which of them this machine has. For bindings, not for kernels.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

// Return the sets of this machine, the best first.
inline std::vector<std::string> instruction_sets() {
    std::vector<std::string> sets;
#if defined(EMULATED_AVX512)
    sets.push_back("avx512");
#elif defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma"))
        sets.push_back("avx512");
#endif
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back("avx2");
#endif
    sets.push_back("base");
    return sets;
}

inline void expect_instruction_set(const std::string& set) {
    for (const std::string& known : instruction_sets())
        if (known == set) return;
    throw std::invalid_argument("instruction_set: this machine does not have " + set);
}
