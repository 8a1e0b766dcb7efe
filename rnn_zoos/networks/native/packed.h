// The parameters of one layer, arranged for matrix products, and back.
//
// For the forward pass, weights are stored transposed, [inputs, N]: a row of gates is a sum of rows of weights. For the
// backward pass they are stored as [N, inputs]. N is the number of blocks of gates (`architecture.h`) times Hp, which is
// H rounded up to whole vectors. Padding is zero, so padded states and gradients are zero as well.
#pragma once

#include "architecture.h"
#include "vector.h"

namespace ISA {

struct LayerSizes {
    Cell cell;
    int inputs, hidden, Hp, N, Ip;

    LayerSizes(Cell cell, int inputs, int hidden)
        : cell(cell), inputs(inputs), hidden(hidden), Hp(padded(hidden)), N(num_blocks(cell) * padded(hidden)),
          Ip(padded(inputs)) {}

    int column(int gate, Source source) const { return block_of(cell, gate, source) * Hp; }
    int width(Source source) const { return source == INPUTS ? inputs : hidden; }

    // Call visit(row of PyTorch's tensor, column of ours) for all G H rows.
    template <class Visit>
    void for_each_row(Source source, Visit visit) const {
        for (int gate = 0; gate < num_gates(cell); gate++)
            for (int h = 0; h < hidden; h++) visit(gate * hidden + h, column(gate, source) + h);
    }

    // to[width, N] = from[G H, width], transposed.
    void transpose_weight(Source source, const float* from, float* to) const {
        const int wide = width(source);
        for (int gate = 0; gate < num_gates(cell); gate++)
            for (int first = 0; first < hidden; first += 16)  // a cache line of `to` is filled at once
                for (int k = 0; k < wide; k++)
                    for (int h = first; h < hidden && h < first + 16; h++)
                        to[long(k) * N + column(gate, source) + h] = from[long(gate * hidden + h) * wide + k];
    }

    // to[N, width rounded up] = from[G H, width].
    void pad_weight(Source source, const float* from, float* to) const {
        const int wide = width(source), stride = padded(wide);
        for_each_row(source, [&](int row, int column) {
            __builtin_memcpy(to + long(column) * stride, from + long(row) * wide, 4 * wide);
        });
    }

    // to[G H, width] = from[width, N], transposed back.
    void unpack_weight(Source source, const float* from, float* to) const {
        const int wide = width(source);
        for_each_row(source, [&](int row, int column) {
            for (int k = 0; k < wide; k++) to[long(row) * wide + k] = from[long(k) * N + column];
        });
    }

    void add_bias(Source source, const float* from, float* to) const {
        for_each_row(source, [&](int row, int column) { to[column] += from[row]; });
    }

    void unpack_bias(Source source, const float* from, float* to) const {
        for_each_row(source, [&](int row, int column) { to[row] = from[column]; });
    }
};

}  // namespace ISA
