// The buffers of one network, aligned for vectors and freed together.
//
// `stack_kernel.h` explains who defines ISA, and why no header of the standard library but <stdlib.h> is included.
#pragma once

#include <stdlib.h>

#include "architecture.h"

namespace ISA {

class Buffers {
  public:
    ~Buffers() {
        for (int b = 0; b < count; b++) __builtin_free(buffers[b]);
    }

    // Return `floats` zeros, aligned to 64 bytes and followed by 64 unused bytes.
    float* allocate(long floats) {
        void* buffer = nullptr;
        const long size = (floats * 4 + 63) / 64 * 64 + 64;
        if (posix_memalign(&buffer, 64, size)) __builtin_trap();  // a few MB: without them nothing here works
        __builtin_memset(buffer, 0, size);
        buffers[count++] = buffer;
        allocated += size;
        return static_cast<float*>(buffer);
    }

    long bytes() const { return allocated; }

  private:
    long allocated = 0;
    void* buffers[4 * MAX_LAYERS + 16];
    int count = 0;
};

}  // namespace ISA
