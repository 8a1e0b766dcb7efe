// The forward pass of a `VectorNetwork`: data, recurrent layers, readout. One layer after the other, through all steps.
#pragma once

#include "network.h"

namespace ISA {

// --- Data ------------------------------------------------------------------------------------------------------------

// Bring the inputs of a batch into [T, B, inputs]. Symbols stay as they are: `sum_gates` looks their weights up.
inline void VectorNetwork::read(const Batch& batch) {
    if (batch.dense) {
        for (int b = 0; b < s.batch; b++)
            for (int t = 0; t < s.steps; t++) {
                const float* from = batch.dense + (long(b) * s.steps + t) * s.inputs;
                __builtin_memcpy(inputs + row(t, b) * s.inputs, from, 4 * s.inputs);
            }
    } else if (batch.images) {
        for (int b = 0; b < s.batch; b++) read_image(batch, b);
        __builtin_memset(inputs, 0, 4L * s.batch * s.inputs);  // step 0 is BOS, zeros
    }
}

inline void VectorNetwork::read_image(const Batch& batch, int b) {
    const unsigned char* image = batch.images + batch.chosen[b] * batch.image_size;
    const long* pixel = batch.table;
    for (int t = 1; t < s.steps; t++) {
        float* tile = inputs + row(t, b) * s.inputs;
        for (int k = 0; k < s.inputs; k++) tile[k] = batch.brightness[image[*pixel++]];
    }
}

// --- All layers ------------------------------------------------------------------------------------------------------

// Compute the logits from step `first_step` on. Before it, all sequences have the inputs of the remembered prefix.
inline void VectorNetwork::forward(const Batch& batch, Keep keep, int first_step) {
    read(batch);
    for (int l = 0; l < s.layers; l++) {
        if (first_step) restore_prefix(l, first_step);
        layer_forward(l, batch, keep, first_step);
    }
    readout_forward(first_step);
}

// Put the remembered state before step t in its place, and the remembered cell where `ONE_STEP` keeps it.
inline void VectorNetwork::restore_prefix(int l, int t) {
    for (int b = 0; b < s.batch; b++) {
        __builtin_memcpy(layers[l].states + row(t, b) * p.Hp, prefix_at(prefix_states, l, t), 4 * p.Hp);
        if (s.cell == LSTM) __builtin_memcpy(layers[l].cells + long(b) * p.Hp, prefix_at(prefix_cells, l, t), 4 * p.Hp);
    }
}

inline void VectorNetwork::readout_forward(int first_step) {
    const float* states = layers[s.layers - 1].states + row(first_step + 1) * p.Hp;
    const ConstMatrix w = {state.weights + p.readout_weights, p.Op};
    multiply(Product(int(row(s.steps - first_step)), p.Op, {logits_at(first_step, 0), p.Op})
                 .plus_row(state.weights + p.readout_biases)
                 .plus({states, p.Hp}, w, s.hidden));
}

// --- One layer -------------------------------------------------------------------------------------------------------

inline void VectorNetwork::layer_forward(int l, const Batch& batch, Keep keep, int first_step) {
    prepare_layer(l, batch);
    if (s.cell == LSTM && !first_step) __builtin_memset(layers[l].cells, 0, 4L * s.batch * p.Hp);
    for (int t = first_step; t < s.steps; t++) {
        const Step one = step(l, t, keep);
        sum_gates(l, t, batch, one.gates);
        if (s.cell == LSTM) lstm_forward(one);
        else if (s.cell == GRU) gru_forward(one);
        else rnn_forward(one);
    }
}

// Add what does not depend on the step: the two biases, and for symbols the weights of the one input that is 1.
inline void VectorNetwork::prepare_layer(int l, const Batch& batch) {
    const float* biases = state.weights;
    const LayerParameters& layer = p.layers[l];
    for (int n = 0; n < p.N; n += LANES)
        store(bias + n, load(biases + layer.biases[INPUTS] + n) + load(biases + layer.biases[STATE] + n));
    if (l > 0 || !batch.symbols) return;
    const float* wi = weights(l, INPUTS);
    for (int v = 0; v < s.inputs; v++)
        for (int n = 0; n < p.N; n += LANES)
            store(embedding + long(v) * p.N + n, load(wi + long(v) * p.N + n) + load(bias + n));
}

inline void VectorNetwork::sum_gates(int l, int t, const Batch& batch, float* gates) {
    const ConstMatrix states = {layers[l].states + row(t) * p.Hp, p.Hp}, wh = {weights(l, STATE), p.N};
    Product product(s.batch, p.N, {gates, p.N});
    if (l == 0 && batch.symbols) {
        for (int b = 0; b < s.batch; b++)
            __builtin_memcpy(gates + long(b) * p.N, embedding + long(symbol(batch, t, b)) * p.N, 4 * p.N);
        blocks.sum(product.plus_old().plus(states, wh, s.hidden));
    } else {
        const ConstMatrix below = layer_inputs(l), wi = {weights(l, INPUTS), p.N};
        blocks.sum(product.plus_row(bias)
                       .plus(states, wh, s.hidden)
                       .plus(below.from(row(t), 0), wi, p.layers[l].inputs));
    }
}

// Where one step of a layer reads and writes, in both directions.
inline Step VectorNetwork::step(int l, int t, Keep keep) const {
    const Layer& layer = layers[l];
    const long kept = keep == ALL_STEPS ? row(t) : 0;
    Step one{s.batch, p.Hp};
    one.gates = layer.gates + kept * p.N;
    one.state = layer.states + row(t) * p.Hp;
    one.next_state = layer.states + row(t + 1) * p.Hp;
    if (s.cell == LSTM) {
        one.cell = layer.cells + kept * p.Hp;
        one.next_cell = layer.cells + (keep == ALL_STEPS ? row(t + 1) : 0) * p.Hp;
        one.tanh_next_cell = layer.tanh_cells + kept * p.Hp;
    }
    one.d_output = d_output + row(t) * p.Hp;
    one.d_state = d_state;
    one.d_cell = d_cell;
    return one;
}

}  // namespace ISA
