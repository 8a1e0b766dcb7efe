// How the parameters of a network are arranged in memory, and their order in PyTorch.
//
// Weights are stored transposed, [inputs, N], so that a row of gates is a sum of rows of weights. The N columns are
// blocks of Hp columns, mostly one per gate; Hp is H rounded up to whole vectors. Padded weights are zero, so padded
// states, gradients and moments of AdamW are zero as well, and stay so.
// `architecture.h` lists the blocks.
#pragma once

#include "native.h"
#include "vector.h"

namespace ISA {

struct LayerParameters {
    int inputs;
    long weights[2], biases[2];  // positions by Source: [inputs, N] or [H, N]; [N]
};

struct Parameters {
    Shape shape;
    int Hp, Op, N;
    LayerParameters layers[MAX_LAYERS];
    long readout_weights, readout_biases;  // positions: [H, Op], [Op]
    long size = 0;                         // floats of all parameters, a whole number of vectors

    explicit Parameters(const Shape& s) : shape(s) {
        Hp = padded(s.hidden);
        Op = padded(s.outputs);
        N = num_blocks(s.cell) * Hp;
        for (int l = 0; l < s.layers; l++) {
            LayerParameters& layer = layers[l];
            layer.inputs = l ? s.hidden : s.inputs;
            layer.weights[INPUTS] = reserve(long(layer.inputs) * N);
            layer.weights[STATE] = reserve(long(s.hidden) * N);
            layer.biases[INPUTS] = reserve(N);
            layer.biases[STATE] = reserve(N);
        }
        readout_weights = reserve(long(s.hidden) * Op);
        readout_biases = reserve(Op);
        size = (size + LANES - 1) / LANES * LANES;
    }

    // Call visit(position) for every parameter, in the order of PyTorch's flat weights.
    template <class Visit>
    void for_each(Visit visit) const {
        for (int l = 0; l < shape.layers; l++) {
            for (Source source : {INPUTS, STATE}) for_each_weight(layers[l], source, visit);
            for (Source source : {INPUTS, STATE})
                for (int gate = 0; gate < num_gates(shape.cell); gate++)
                    for (int h = 0; h < shape.hidden; h++) visit(layers[l].biases[source] + column(gate, source) + h);
        }
        for (int o = 0; o < shape.outputs; o++)
            for (int h = 0; h < shape.hidden; h++) visit(readout_weights + long(h) * Op + o);
        for (int o = 0; o < shape.outputs; o++) visit(readout_biases + o);
    }

  private:
    long reserve(long floats) {
        const long position = size;
        size += floats;
        return position;
    }

    template <class Visit>
    void for_each_weight(const LayerParameters& layer, Source source, Visit& visit) const {
        const int width = source == STATE ? shape.hidden : layer.inputs;
        for (int gate = 0; gate < num_gates(shape.cell); gate++)
            for (int h = 0; h < shape.hidden; h++)
                for (int k = 0; k < width; k++) visit(layer.weights[source] + long(k) * N + column(gate, source) + h);
    }

    // The first column of PyTorch's gate.
    int column(int gate, Source source) const { return block_of(shape.cell, gate, source) * Hp; }
};

}  // namespace ISA
