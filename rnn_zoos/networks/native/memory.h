// The buffers of one network, aligned for vectors and freed together.
//
// `stack_kernel.h` explains who defines ISA, and why no header of the standard library but <stdlib.h> is included.
#pragma once

#include <stdlib.h>

#include "architecture.h"

namespace ISA {

class Buffers {
  public:
    Buffers() = default;
    Buffers(const Buffers&) = delete;
    Buffers& operator=(const Buffers&) = delete;

    ~Buffers() {
        while (last) {
            Header* before = last->before;
            __builtin_free(last);
            last = before;
        }
    }

    // Return `floats` zeros, aligned to 64 bytes. Throws std::bad_alloc.
    float* allocate(long floats) {
        void* memory = nullptr;
        if (floats > MOST_FLOATS) out_of_memory(floats);
        const long size = long(sizeof(Header)) + 4 * floats;
        if (posix_memalign(&memory, alignof(Header), size)) out_of_memory(floats);
        __builtin_memset(memory, 0, size);
        Header* header = static_cast<Header*>(memory);
        header->before = last;
        last = header;
        allocated += size;
        return reinterpret_cast<float*>(header + 1);
    }

    // Exchange all buffers with those of another.
    void swap(Buffers& other) {
        Header* const its_last = other.last;
        const long its_size = other.allocated;
        other.last = last;
        other.allocated = allocated;
        last = its_last;
        allocated = its_size;
    }

    long bytes() const { return allocated; }

  private:
    // Every buffer leads to the one before it, so that nothing limits their number. Fills a cache line.
    struct alignas(64) Header {
        Header* before;
    };

    static constexpr long MOST_FLOATS = 1L << 60;  // the size in bytes must be a `long`

    Header* last = nullptr;
    long allocated = 0;
};

}  // namespace ISA
