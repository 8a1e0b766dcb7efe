// The interface between `module.cpp` (the Python binding) and the copies of `stack_kernel.h`, one per instruction set.
#pragma once

#include <initializer_list>

#include "architecture.h"

struct StackShape {
    Cell cell;
    int networks, layers, inputs, hidden, outputs;  // no readout if outputs is 0: the last layer's states are returned
};

// The stacked parameters of a layer in PyTorch's layout: [M, G H, inputs], [M, G H, H], and two biases [M, G H].
struct LayerPointers {
    float *weight_ih, *weight_hh, *bias_ih, *bias_hh;
};

// All parameters, or their gradients. The readout has [M, O, H] and [M, O].
struct ParameterPointers {
    LayerPointers layers[MAX_LAYERS];
    float *readout_weight = nullptr, *readout_bias = nullptr;
};

// States of all layers, or their gradients: [M, L, B, H]; null for zeros (in) or for not needed (out).
struct StatePointers {
    float *hidden = nullptr, *cell = nullptr;
};

// M networks that run on B sequences of T steps.
struct Pass {
    int batch, steps;
    const float* inputs;          // [M, B, T, I]
    float* tape = nullptr;        // what `backward` needs of `forward`: `tape_size` floats; null if there is none
};

// The networks of a stack, in the layout of the kernel. Only calls that change the sums of gradients must not overlap.
class Stack {
  public:
    virtual ~Stack() = default;
    virtual long tape_size(int batch, int steps) const = 0;
    // outputs: [M, B, T, O], or [M, B, T, H] without a readout.
    virtual void forward(const Pass& pass, StatePointers initial, float* outputs, StatePointers last) = 0;
    // Compute the gradients of inputs (if not null) and of the initial state; add those of the parameters to sums, if
    // they were asked for.
    virtual void backward(
        const Pass& pass, const float* d_outputs, StatePointers d_last, float* d_inputs, StatePointers d_initial,
        bool parameters) = 0;
    virtual void take_gradients(const ParameterPointers& gradients) = 0;  // the sums; they become zero
};

// What one copy of `stack_kernel.h` offers.
struct Kernel {
    Stack* (*make)(const StackShape&, const ParameterPointers&);
};
namespace avx512 { extern const Kernel stack_kernel; }
namespace avx2 { extern const Kernel stack_kernel; }
namespace base { extern const Kernel stack_kernel; }
