// One network on one core: forward, loss, backward through time and AdamW, as vector code for one instruction set.
//
// Included by `avx512.cpp`, `avx2.cpp` and `base.cpp`, each of which defines
//   ISA         the namespace of this copy
//   LANES       floats in a vector register
//   ROWS, COLS  the block of a matrix product that is held in registers: ROWS rows, COLS vectors
//
// No header of the standard library may be included from here or from the headers below, but through `native.h`, which
// the three files include first: its inline functions would be compiled for this instruction set, and the linker could
// choose them for machines that lack it.
//
//   vector.h      vectors, exp, sigmoid, tanh       parameters.h  positions of the parameters
//   product.h     matrix products                   network.h     the network: buffers, interface
//   sums.h        sums over rows                    forward.h     its forward pass
//   gates.h       products with gates               backward.h    its backward pass
//   cells.h       lstm, gru, rnn                    memory.h      allocation
//   loss.h        cross-entropy                     optimizer.h   AdamW
#include "native.h"
#include "network.h"

#include "backward.h"
#include "forward.h"

namespace ISA {

static Network* make(const Shape& shape) { return new VectorNetwork(shape); }

static void apply(Function function, float* values, long count) {
    for (long k = 0; k < count; k += LANES) {
        const vec x = load(values + k);
        if (function == EXPONENTIAL) store(values + k, exponential(x));
        else if (function == SIGMOID) store(values + k, sigmoid(x));
        else store(values + k, hyperbolic_tangent(x));
    }
}

extern const Kernel kernel = {make, apply};

}  // namespace ISA
