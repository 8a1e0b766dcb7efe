// M networks with their own weights, each on B sequences: forward and backward through time, as vector code for one
// instruction set. `NetworkStack` in stack.py is the reference implementation; `torch.nn.LSTM` is that of one network.
//
// Included by `avx512.cpp`, `avx2.cpp` and `base.cpp`, each of which defines
//   ISA         the namespace of this copy
//   LANES       floats in a vector register
//   ROWS, COLS  the block of a matrix product that is held in registers: ROWS rows, COLS vectors
//
// No header of the standard library may be included from here or from the headers below, but through `stack.h`, which
// the three files include first: its inline functions would be compiled for this instruction set, and the linker could
// choose them for machines that lack it.
//
//   vector.h   vectors, exp, sigmoid, tanh        packed.h        parameters of a layer
//   product.h  matrix products                    vector_stack.h  the networks: buffers, interface
//   sums.h     sums over rows                     passes.h        their forward and backward passes
//   gates.h    products with gates                memory.h        allocation
//   cells.h    lstm, gru, rnn
#include "stack.h"
#include "vector_stack.h"

#include "passes.h"

namespace ISA {

static Stack* make(const StackShape& shape, const ParameterPointers& parameters) {
    return new VectorStack(shape, parameters);
}

extern const Kernel stack_kernel = {make};

}  // namespace ISA
