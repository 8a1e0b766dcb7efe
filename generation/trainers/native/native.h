// What native.cpp (Python) and the copies of native_kernel.h (one per instruction set) know of each other.
#pragma once

#include <stdlib.h>

#include <initializer_list>

enum Cell { LSTM, GRU, RNN };
constexpr int MAX_LAYERS = 16;

struct Shape {
    Cell cell;
    int layers, inputs, hidden, outputs, batch, steps;
};

// One update's data, in one of three forms; the pointers of the other two are null.
struct Batch {
    const unsigned char* symbols = nullptr;  // [batch, steps + 1]: one-hot inputs, and the next symbol as target
    const long* chosen = nullptr;            // [batch]: rows of `images`
    const unsigned char* images = nullptr;   // [*, image_size] pixels
    long image_size = 0;
    const long* labels = nullptr;       // [*]: the target at every step
    const long* table = nullptr;        // [(steps - 1) * inputs]: which pixel is which input, from step 1 on
    const float* brightness = nullptr;  // [256]: input for each value of a pixel
    const float* dense = nullptr;       // [batch, steps, inputs]
    const long* targets = nullptr;      // [batch, steps]
};

struct AdamW {
    double rate, weight_decay, beta1, beta2, epsilon, correction1, correction2;  // corrections: 1 - beta ** updates
};

struct Measured {
    double loss;  // sum of the cross-entropies of all steps
    long right;   // sequences whose target has the largest output at the last step
};

class NativeNetwork {
  public:
    virtual ~NativeNetwork() = default;
    virtual void start(const float* flat) = 0;  // weights, in PyTorch's order; AdamW's moments become zero
    virtual void copy(float* flat, bool gradients) = 0;
    virtual double update(const Batch& batch, const AdamW& adamw) = 0;  // returns the loss before the update
    virtual void predict(const Batch& batch, float* out) = 0;
    // Keep what the first sequence does to the network, for sequences that begin as it does.
    virtual void remember(const Batch& batch) = 0;
    // Of the first `count` sequences, whose first `shared` steps are those of the sequence remembered.
    virtual Measured measure(const Batch& batch, int count, int shared) = 0;
    virtual long bytes() const = 0;
};

// What a copy of native_kernel.h offers. `apply` replaces values, a multiple of 16 many, by a function of them.
enum Function { EXPONENTIAL, SIGMOID, TANGENT };
struct Kernel {
    NativeNetwork* (*make)(const Shape&);
    void (*apply)(Function, float* values, long count);
};
namespace avx512 { extern const Kernel kernel; }
namespace avx2 { extern const Kernel kernel; }
namespace base { extern const Kernel kernel; }
