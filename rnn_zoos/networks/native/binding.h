// What both bindings share: checks of arguments, and the exception of a failed allocation. Included by `module.cpp` only:
// an extension needs one definition of `out_of_memory`.
#pragma once

#include <cstdio>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>

#include "architecture.h"

// A MemoryError in Python. The message has a place of its own: there may be no memory for it.
class OutOfMemory : public std::bad_alloc {
  public:
    explicit OutOfMemory(long floats) {
        std::snprintf(message, sizeof message, "%.1f MB for a network could not be allocated.", 4e-6 * double(floats));
    }

    const char* what() const noexcept override { return message; }

  private:
    char message[80];
};

void out_of_memory(long floats) { throw OutOfMemory(floats); }

inline void expect(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

inline Cell cell_of(const std::string& name) {
    expect(name == "lstm" || name == "gru" || name == "rnn", "cell: lstm, gru or rnn");
    return name == "lstm" ? LSTM : name == "gru" ? GRU : RNN;
}

// Check the numbers of a network's layers and of its inputs, hidden units and outputs.
inline void expect_sizes(int layers, std::initializer_list<long> sizes) {
    expect(layers >= 1 && layers <= MAX_LAYERS, "layers: 1 to 16");
    for (long size : sizes) expect(size >= 1 && size <= MAX_SIZE, "sizes: 1 to 16777216");
}

// Check the sizes of a batch. Neither exceeds an int if their product does not.
inline void expect_rows(long batch, long steps) {
    expect(batch >= 1 && steps >= 1 && steps < MAX_ROWS && batch <= MAX_ROWS / (steps + 1),
           "batch and steps: at least 1, and batch * (steps + 1) below 2147483648");
}
