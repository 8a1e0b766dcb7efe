// Products with the gates of a cell. Two of a GRU's four blocks are reached by one source only (`architecture.h`): they
// take no part in products with the other.
//
// `stack_kernel.h` explains who defines ISA and LANES, and why no header of the standard library is included.
#pragma once

#include "architecture.h"
#include "sums.h"

namespace ISA {

struct GateBlocks {
    Cell cell;
    int units;  // columns of a block

    int columns() const { return num_blocks(cell) * units; }
    int input_columns() const { return num_gates(cell) * units; }  // those that the inputs reach, the first ones

    // Compute `p`, the sums of all gates: an initial value, the product with the state, and, if there is a second, the
    // product with the inputs.
    void sum(const Product& p) const {
        if (cell != GRU) return multiply(p);
        Product n = p.columns(2 * units, units), m = p.columns(3 * units, units);
        n.first = n.second;
        n.second = m.second = {};
        multiply(p.columns(0, 2 * units));
        multiply(n);
        multiply(m);
    }

    // Add to `p` the product of gradients of the gates and the transposed weights [columns, *] of a source.
    Product& plus(Product& p, Source source, ConstMatrix gates, ConstMatrix weights) const {
        if (source == INPUTS) return p.plus(gates, weights, input_columns());
        if (cell != GRU) return p.plus(gates, weights, columns());
        return p.plus(gates, weights, 2 * units).plus(gates.from(0, 3 * units), weights.from(3 * units, 0), units);
    }

    // out[width, columns] += A^T gates over `count` rows: the gradients of a source's weights, from the values A that it
    // had and the gradients of the gates.
    void add_weight_gradients(Source source, ConstMatrix A, int width, ConstMatrix gates, long count, float* out) const {
        const auto add = [&](int first, int many) {
            add_weight_gradient(A, width, gates.from(0, first), many, count, {out + first, columns()});
        };
        if (source == INPUTS) return add(0, input_columns());
        if (cell != GRU) return add(0, columns());
        add(0, 2 * units);
        add(3 * units, units);
    }
};

}  // namespace ISA
