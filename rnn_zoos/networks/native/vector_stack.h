// The networks of a stack on one core: packed parameters, buffers, positions. `passes.h` has the passes over the steps.
//
// Networks are handled one after the other, each through all layers and steps, so that its weights stay in cache.
#pragma once

#include "cells.h"
#include "gates.h"
#include "memory.h"
#include "packed.h"

namespace ISA {

class VectorStack final : public Stack {
  public:
    VectorStack(const StackShape& shape, const ParameterPointers& parameters)
        : s(shape), Hp(padded(shape.hidden)), Op(padded(shape.outputs)), blocks{shape.cell, Hp}, N(blocks.columns()) {
        for (int l = 0; l < s.layers; l++) pack_layer(l, parameters.layers[l]);
        if (s.outputs) pack_readout(parameters);
    }

    long tape_size(int batch, int steps) const override { return s.networks * network_tape(batch, steps); }

    void forward(const Pass& pass, StatePointers initial, float* outputs, StatePointers last) override;
    void backward(
        const Pass& pass, const float* d_outputs, StatePointers d_last, float* d_inputs, StatePointers d_initial,
        bool parameters) override;

    void take_gradients(const ParameterPointers& to) override {
        allocate_gradients();
        for (int m = 0; m < s.networks; m++) {
            for (int l = 0; l < s.layers; l++) copy_layer_gradients(m, l, to.layers[l]);
            if (s.outputs) copy_readout_gradients(m, to);
        }
        clear_gradients();
    }

  private:
    // The packed parameters of a layer of all networks, and the sums of their gradients: [M, ...].
    struct Layer {
        LayerSizes sizes{LSTM, 0, 0};
        float *weights[2], *bias;        // by Source: [inputs, N] or [H, N]; [N]
        float *backward_weights[2];      // [N, Ip] or [N, Hp]
        float *d_weights[2], *d_bias;    // as the first two, in `sums`: not before gradients are asked for

        long weight_size(Source source) const { return long(sizes.width(source)) * sizes.N; }
        long backward_size(Source source) const { return long(sizes.N) * padded(sizes.width(source)); }
        ConstMatrix weight(int m, Source source) const { return {weights[source] + m * weight_size(source), sizes.N}; }
        ConstMatrix backward_weight(int m, Source source) const {
            return {backward_weights[source] + m * backward_size(source), padded(sizes.width(source))};
        }
    };

    struct Readout {
        float *weights, *bias, *backward_weights;  // [M, H, Op], [M, Op], [M, Op, Hp]
        float *d_weights, *d_bias;
    };

    // What the tape keeps of one layer of one network; see `Step`.
    struct LayerTape {
        float *gates, *states, *cells, *tanh_cells;  // [T, B, N], [T + 1, B, Hp] twice, [T, B, Hp]
    };

    void pack_layer(int l, const LayerPointers& from) {
        Layer& layer = layers[l];
        const LayerSizes& sizes = layer.sizes = LayerSizes(s.cell, l ? s.hidden : s.inputs, s.hidden);
        layer.bias = buffers.allocate(long(s.networks) * N);
        const long rows = long(num_gates(s.cell)) * s.hidden;
        for (Source source : {INPUTS, STATE}) {
            const long size = rows * sizes.width(source);
            const float* weight = source == INPUTS ? from.weight_ih : from.weight_hh;
            const float* bias = source == INPUTS ? from.bias_ih : from.bias_hh;
            layer.weights[source] = buffers.allocate(s.networks * layer.weight_size(source));
            layer.backward_weights[source] = buffers.allocate(s.networks * layer.backward_size(source));
            for (int m = 0; m < s.networks; m++) {
                sizes.transpose_weight(source, weight + m * size, layer.weights[source] + m * layer.weight_size(source));
                sizes.pad_weight(
                    source, weight + m * size, layer.backward_weights[source] + m * layer.backward_size(source));
                sizes.add_bias(source, bias + m * rows, layer.bias + long(m) * N);
            }
        }
    }

    void pack_readout(const ParameterPointers& from) {
        const long M = s.networks, size = long(s.outputs) * s.hidden;
        readout = {buffers.allocate(M * s.hidden * Op), buffers.allocate(M * Op), buffers.allocate(M * Op * Hp), {}, {}};
        for (long m = 0; m < M; m++) {
            const float* weight = from.readout_weight + m * size;
            transpose({weight, s.hidden}, s.outputs, s.hidden, {readout.weights + m * s.hidden * Op, Op});
            for (int o = 0; o < s.outputs; o++)
                __builtin_memcpy(
                    readout.backward_weights + (m * Op + o) * Hp, weight + long(o) * s.hidden, 4 * s.hidden);
            __builtin_memcpy(readout.bias + m * Op, from.readout_bias + m * s.outputs, 4 * s.outputs);
        }
    }

    // Start the sums of gradients, when they are asked for the first time: all of them, or none if memory is short.
    void allocate_gradients() {
        if (sums.bytes()) return;
        Buffers complete;
        for (int l = 0; l < s.layers; l++) {
            Layer& layer = layers[l];
            for (Source source : {INPUTS, STATE})
                layer.d_weights[source] = complete.allocate(s.networks * layer.weight_size(source));
            layer.d_bias = complete.allocate(long(s.networks) * N);
        }
        if (s.outputs) {
            readout.d_weights = complete.allocate(long(s.networks) * s.hidden * Op);
            readout.d_bias = complete.allocate(long(s.networks) * Op);
        }
        sums.swap(complete);
    }

    void clear_gradients() {
        for (int l = 0; l < s.layers; l++) {
            for (Source source : {INPUTS, STATE})
                __builtin_memset(layers[l].d_weights[source], 0, 4 * s.networks * layers[l].weight_size(source));
            __builtin_memset(layers[l].d_bias, 0, 4L * s.networks * N);
        }
        if (!s.outputs) return;
        __builtin_memset(readout.d_weights, 0, 4L * s.networks * s.hidden * Op);
        __builtin_memset(readout.d_bias, 0, 4L * s.networks * Op);
    }

    void copy_layer_gradients(int m, int l, const LayerPointers& to) const {
        const Layer& layer = layers[l];
        const long rows = long(num_gates(s.cell)) * s.hidden;
        for (Source source : {INPUTS, STATE}) {
            float* weight = (source == INPUTS ? to.weight_ih : to.weight_hh) + m * rows * layer.sizes.width(source);
            float* bias = (source == INPUTS ? to.bias_ih : to.bias_hh) + m * rows;
            layer.sizes.unpack_weight(source, layer.d_weights[source] + m * layer.weight_size(source), weight);
            layer.sizes.unpack_bias(source, layer.d_bias + long(m) * N, bias);
        }
    }

    void copy_readout_gradients(long m, const ParameterPointers& to) const {
        const Matrix weight = {to.readout_weight + m * s.outputs * s.hidden, s.hidden};
        transpose({readout.d_weights + m * s.hidden * Op, Op}, s.hidden, s.outputs, weight);
        __builtin_memcpy(to.readout_bias + m * s.outputs, readout.d_bias + m * Op, 4 * s.outputs);
    }

    // --- Tape --------------------------------------------------------------------------------------------------------

    long layer_tape(int batch, int steps) const {
        const long rows = long(batch) * steps, lstm = s.cell == LSTM;
        return rows * N + (1 + lstm) * (rows + batch) * Hp + lstm * rows * Hp;
    }
    long network_tape(int batch, int steps) const { return s.layers * layer_tape(batch, steps); }

    // Without a tape, all networks share the buffer of one.
    LayerTape tape_of(const Pass& pass, float* scratch, int m, int l) const {
        const long rows = long(pass.batch) * pass.steps;
        float* from = (pass.tape ? pass.tape + m * network_tape(pass.batch, pass.steps) : scratch) +
                      l * layer_tape(pass.batch, pass.steps);
        float *states = from + rows * N, *cells = states + (rows + pass.batch) * Hp;
        return {from, states, cells, cells + (rows + pass.batch) * Hp};
    }

    Step step_of(const Pass& pass, const LayerTape& tape, int t) const;

    // --- Passes (passes.h) -------------------------------------------------------------------------------------------

    struct Scratch {  // of one network
        float* tape;              // of one network, in a forward pass that keeps none
        float* rows;              // [T B, I or Op]: inputs, logits or their gradients
        float *d_rows, *d_inputs; // [T B, Hp], [T B, Ip]
        float* gates;             // gradients of a few steps: [steps_together B, N]
        float *d_state, *d_cell;  // [B, Hp]
    };

    void layer_forward(const Pass& pass, const Scratch& scratch, int m, int l);
    void begin(const Pass& pass, const LayerTape& tape, StatePointers initial, int m, int l) const;
    void end(const Pass& pass, const LayerTape& tape, StatePointers last, int m, int l) const;
    void outputs_forward(const Pass& pass, const Scratch& scratch, int m, float* outputs) const;
    void outputs_backward(const Pass& pass, const Scratch& scratch, int m, const float* d_outputs, bool parameters);
    void layer_backward(const Pass& pass, const Scratch& scratch, int m, int l, float* d_inputs, bool parameters);
    void step_backward(const Pass& pass, const Scratch& scratch, int m, int l, int t, float* gates);
    static int steps_together(const Pass& pass) { return pass.batch < CHUNK ? CHUNK / pass.batch : 1; }
    void add_gradients(const Pass& pass, const Scratch& scratch, int m, int l, int first, int last);

    const StackShape s;
    const int Hp, Op;
    const GateBlocks blocks;
    const int N;
    Layer layers[MAX_LAYERS];
    Readout readout{};
    Buffers buffers, sums;  // of packed parameters; of their gradients
};

}  // namespace ISA
