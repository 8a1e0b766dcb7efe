// The interface between `module.cpp` (the Python binding) and the copies of `kernel.h`, one per instruction set.
#pragma once

#include <stdlib.h>

#include <initializer_list>

#include "architecture.h"

struct Shape {
    Cell cell;
    int layers, inputs, hidden, outputs, batch, steps;
};

// The data of one update, in one of three forms; the pointers of the other two are null.
struct Batch {
    // Symbols
    const unsigned char* symbols = nullptr;  // [batch, steps + target_offset]: one-hot inputs from the first steps
    int target_offset = 1;                   // the target of step t is symbol t + target_offset
    // Images
    const long* chosen = nullptr;            // [batch]: indices into `images`
    const unsigned char* images = nullptr;   // [*, image_size] pixels
    long image_size = 0;
    const long* labels = nullptr;            // [*]: the target at every step
    const long* table = nullptr;             // [(steps - 1) * inputs]: the pixel that each input reads, from step 1 on
    const float* brightness = nullptr;       // [256]: the input for each value of a pixel
    // Dense
    const float* dense = nullptr;            // [batch, steps, inputs]
    const long* targets = nullptr;           // [batch, steps]
};

// Hyperparameters of AdamW, and what changes with the update; the corrections are 1 - beta ** (number of the update).
struct AdamW {
    double rate, weight_decay, beta1, beta2, epsilon, correction1, correction2;
};

struct Evaluation {
    double loss;   // sum of the cross-entropies of all steps
    long correct;  // sequences whose target has the largest output at the last step
};

// A network with its optimizer. Flat weights and gradients are in PyTorch's order.
class Network {
  public:
    virtual ~Network() = default;
    virtual void set_weights(const float* flat) = 0;  // the moments of AdamW become zero
    virtual void copy_weights(float* flat) const = 0;
    virtual void copy_gradients(float* flat) const = 0;  // those of the last update
    virtual double update(const Batch& batch, const AdamW& adamw) = 0;  // returns the loss before the update
    virtual void predict(const Batch& batch, float* outputs) = 0;  // [batch, steps, outputs]
    // Keep all states and outputs of the first sequence, for `evaluate` of sequences that begin with the same inputs.
    virtual void remember_prefix(const Batch& batch) = 0;
    // Evaluate the first `count` sequences. Their first `shared` steps have the inputs of the remembered sequence.
    virtual Evaluation evaluate(const Batch& batch, int count, int shared) = 0;
    virtual long bytes() const = 0;  // of all buffers
};

// What one copy of `kernel.h` offers. `apply` replaces `count` values, a multiple of 16, by a function of them.
enum Function { EXPONENTIAL, SIGMOID, TANGENT };
struct Kernel {
    Network* (*make)(const Shape&);
    void (*apply)(Function, float* values, long count);
};
namespace avx512 { extern const Kernel kernel; }
namespace avx2 { extern const Kernel kernel; }
namespace base { extern const Kernel kernel; }
