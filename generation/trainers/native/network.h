// A network on one core: its buffers and its interface. `forward.h` and `backward.h` hold the passes over the steps.
//
// Buffers are row-major float32, with the steps first: [T, B, columns].
#pragma once

#include "cells.h"
#include "gates.h"
#include "loss.h"
#include "memory.h"
#include "optimizer.h"
#include "parameters.h"

namespace ISA {

// Whether `forward` keeps what `backward` needs of every step. Without it, steps share memory, which stays in cache.
enum Keep { ONE_STEP, ALL_STEPS };

class VectorNetwork final : public Network {
  public:
    explicit VectorNetwork(const Shape& shape);

    // --- Weights -----------------------------------------------------------------------------------------------------

    void set_weights(const float* flat) override {
        for (float* values : {state.weights, state.first_moment, state.second_moment})
            __builtin_memset(values, 0, 4 * p.size);  // padding as well
        p.for_each([&](long position) { state.weights[position] = *flat++; });
    }

    void copy_weights(float* flat) const override {
        p.for_each([&](long position) { *flat++ = state.weights[position]; });
    }

    void copy_gradients(float* flat) const override {
        p.for_each([&](long position) { *flat++ = state.gradient[position]; });
    }

    // --- Training and evaluation -------------------------------------------------------------------------------------

    double update(const Batch& batch, const AdamW& adamw) override {
        forward(batch, ALL_STEPS);
        const double loss = readout_backward(batch);
        for (int l = s.layers - 1; l >= 0; l--) layer_backward(l, batch);
        adamw_update(state, p.size, adamw);
        return loss;
    }

    void predict(const Batch& batch, float* outputs) override {
        forward(batch, ONE_STEP);
        for (int t = 0; t < s.steps; t++)
            for (int b = 0; b < s.batch; b++)
                __builtin_memcpy(outputs + (long(b) * s.steps + t) * s.outputs, logits_at(t, b), 4 * s.outputs);
    }

    void remember_prefix(const Batch& batch) override {
        forward(batch, ALL_STEPS);
        for (int t = 0; t <= s.steps; t++) {
            for (int l = 0; l < s.layers; l++) {
                __builtin_memcpy(prefix_at(prefix_states, l, t), layers[l].states + row(t) * p.Hp, 4 * p.Hp);
                if (s.cell == LSTM)
                    __builtin_memcpy(prefix_at(prefix_cells, l, t), layers[l].cells + row(t) * p.Hp, 4 * p.Hp);
            }
            if (t < s.steps) __builtin_memcpy(prefix_logits + long(t) * p.Op, logits_at(t, 0), 4 * p.Op);
        }
    }

    Evaluation evaluate(const Batch& batch, int count, int shared) override {
        forward(batch, ONE_STEP, shared);
        for (int t = 0; t < shared; t++)
            for (int b = 0; b < count; b++) __builtin_memcpy(logits_at(t, b), prefix_logits + long(t) * p.Op, 4 * p.Op);
        Evaluation sum = {0, 0};
        const int last = s.steps - 1;
        for (int b = 0; b < count; b++) sum.correct += argmax(logits_at(last, b), s.outputs) == target(batch, last, b);
        CrossEntropy entropy;
        for (int t = 0; t < s.steps; t++)
            for (int b = 0; b < count; b++)
                softmax_gradient(logits_at(t, b), s.outputs, target(batch, t, b), 1, entropy);
        sum.loss = entropy.sum();
        return sum;
    }

    long bytes() const override { return buffers.bytes(); }

  private:
    struct Layer {
        float* gates;       // [T, B, N]
        float* states;      // [T + 1, B, Hp]; the first are zero
        float* cells;       // lstm: [T + 1, B, Hp]
        float* tanh_cells;  // lstm: [T, B, Hp]
    };

    // --- Positions ---------------------------------------------------------------------------------------------------

    long row(int t, int b = 0) const { return long(t) * s.batch + b; }
    float* logits_at(int t, int b) const { return logits + row(t, b) * p.Op; }
    float* prefix_at(float* prefix, int l, int t) const { return prefix + (l * (s.steps + 1L) + t) * p.Hp; }
    const float* weights(int l, Source source) const { return state.weights + p.layers[l].weights[source]; }

    ConstMatrix layer_inputs(int l) const {  // [T * B, inputs]
        if (l == 0) return {inputs, s.inputs};
        return {layers[l - 1].states + long(s.batch) * p.Hp, p.Hp};
    }

    // --- Data --------------------------------------------------------------------------------------------------------

    int symbol(const Batch& batch, int t, int b) const {
        return batch.symbols[long(b) * (s.steps + batch.target_offset) + t];
    }

    int target(const Batch& batch, int t, int b) const {
        if (batch.symbols) return symbol(batch, t + batch.target_offset, b);
        return int(batch.images ? batch.labels[batch.chosen[b]] : batch.targets[long(b) * s.steps + t]);
    }

    void read(const Batch& batch);
    void read_image(const Batch& batch, int b);

    // --- Forward (forward.h) -----------------------------------------------------------------------------------------

    void forward(const Batch& batch, Keep keep, int first_step = 0);
    void restore_prefix(int l, int t);
    void prepare_layer(int l, const Batch& batch);
    void layer_forward(int l, const Batch& batch, Keep keep, int first_step);
    void sum_gates(int l, int t, const Batch& batch, float* gates);
    void readout_forward(int first_step);
    Step step(int l, int t, Keep keep) const;

    // --- Backward (backward.h) ---------------------------------------------------------------------------------------

    double readout_backward(const Batch& batch);
    void layer_backward(int l, const Batch& batch);
    void step_backward(int l, int t);
    void add_gradients(int l, const Batch& batch, int first, int last);
    void add_symbol_gradients(const Batch& batch, int first, int last);

    const Shape s;
    const Parameters p;
    const GateBlocks blocks;
    Layer layers[MAX_LAYERS];
    Buffers buffers;
    OptimizerState state;
    float *inputs;                       // [T, B, inputs]
    float *logits;                       // [T, B, Op]; after the readout's backward pass, their gradients
    float *bias, *embedding;             // of the layer in progress: both biases [N]; weights + bias per symbol [V, N]
    float *wh_transposed, *wi_transposed, *wo_transposed;  // for the backward pass: [N, Hp], [N, Hp], [Op, Hp]
    float *d_output;                     // [T, B, Hp]: gradient of the output of the layer in progress
    float *d_state, *d_cell;             // [B, Hp]: gradients carried from step to step
    float *prefix_states, *prefix_cells, *prefix_logits;  // [L, T + 1, Hp], the same, [T, Op]
};

inline VectorNetwork::VectorNetwork(const Shape& shape) : s(shape), p(shape), blocks{shape.cell, p.Hp} {
    const long rows = row(s.steps);
    for (float** values : {&state.weights, &state.gradient, &state.first_moment, &state.second_moment})
        *values = buffers.allocate(p.size);
    for (int l = 0; l < s.layers; l++) {
        layers[l].gates = buffers.allocate(rows * p.N);
        layers[l].states = buffers.allocate((rows + s.batch) * p.Hp);
        layers[l].cells = s.cell == LSTM ? buffers.allocate((rows + s.batch) * p.Hp) : nullptr;
        layers[l].tanh_cells = s.cell == LSTM ? buffers.allocate(rows * p.Hp) : nullptr;
    }
    logits = buffers.allocate(rows * p.Op);
    prefix_states = buffers.allocate(s.layers * (s.steps + 1L) * p.Hp);
    prefix_cells = s.cell == LSTM ? buffers.allocate(s.layers * (s.steps + 1L) * p.Hp) : nullptr;
    prefix_logits = buffers.allocate(long(s.steps) * p.Op);
    inputs = buffers.allocate(rows * s.inputs);
    bias = buffers.allocate(p.N);
    embedding = buffers.allocate(long(s.inputs) * p.N);
    wh_transposed = buffers.allocate(long(p.N) * p.Hp);
    wi_transposed = buffers.allocate(long(p.N) * p.Hp);
    wo_transposed = buffers.allocate(long(p.Op) * p.Hp);
    d_output = buffers.allocate(rows * p.Hp);
    d_state = buffers.allocate(long(s.batch) * p.Hp);
    d_cell = buffers.allocate(long(s.batch) * p.Hp);
}

}  // namespace ISA
