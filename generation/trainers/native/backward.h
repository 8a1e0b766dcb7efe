// The backward pass of a `VectorNetwork`: the readout with the loss, then one layer after the other, back in time.
#pragma once

#include "network.h"

namespace ISA {

// --- Readout ---------------------------------------------------------------------------------------------------------

// Return the mean cross-entropy; compute its gradient on the readout and on the states of the top layer.
inline double VectorNetwork::readout_backward(const Batch& batch) {
    const long rows = row(s.steps);
    CrossEntropy entropy;
    const float scale = 1.0f / float(rows);
    for (int t = 0; t < s.steps; t++)
        for (int b = 0; b < s.batch; b++)
            softmax_gradient(logits_at(t, b), s.outputs, target(batch, t, b), scale, entropy);
    __builtin_memset(state.gradient + p.readout_weights, 0, 4 * (p.size - p.readout_weights));
    const ConstMatrix states = {layers[s.layers - 1].states + long(s.batch) * p.Hp, p.Hp}, d_logits = {logits, p.Op};
    add_weight_gradient(states, s.hidden, d_logits, p.Op, rows, {state.gradient + p.readout_weights, p.Op});
    add_column_sums(logits, p.Op, rows, state.gradient + p.readout_biases);
    transpose({state.weights + p.readout_weights, p.Op}, s.hidden, s.outputs, {wo_transposed, p.Hp});
    multiply(Product(int(rows), p.Hp, {d_output, p.Hp}).plus(d_logits, {wo_transposed, p.Hp}, s.outputs));
    return entropy.sum() / double(rows);
}

// --- One layer -------------------------------------------------------------------------------------------------------

// A few steps at a time: the gradients of their gates are put to all uses while they are in cache.
inline void VectorNetwork::layer_backward(int l, const Batch& batch) {
    const LayerParameters& layer = p.layers[l];
    transpose({weights(l, STATE), p.N}, s.hidden, p.N, {wh_transposed, p.Hp});
    if (l) transpose({weights(l, INPUTS), p.N}, layer.inputs, p.N, {wi_transposed, p.Hp});
    __builtin_memset(d_state, 0, 4L * s.batch * p.Hp);
    __builtin_memset(d_cell, 0, 4L * s.batch * p.Hp);
    // Weights and the first bias; the second bias has the same gradient and is copied below.
    float* gradient = state.gradient;
    const long first_position = layer.weights[INPUTS];
    __builtin_memset(gradient + first_position, 0, 4 * (layer.biases[STATE] - first_position));
    const int together = s.batch < CHUNK ? CHUNK / s.batch : 1;
    for (int last = s.steps; last > 0; last -= together) {
        const int first = last > together ? last - together : 0;
        for (int t = last - 1; t >= first; t--) step_backward(l, t);
        add_gradients(l, batch, first, last);
    }
    __builtin_memcpy(gradient + layer.biases[STATE], gradient + layer.biases[INPUTS], 4 * p.N);
    if (s.cell == GRU) {  // the first bias is not that of block m, the second not that of block n
        __builtin_memset(gradient + layer.biases[INPUTS] + 3 * p.Hp, 0, 4 * p.Hp);
        __builtin_memset(gradient + layer.biases[STATE] + 2 * p.Hp, 0, 4 * p.Hp);
    }
}

// Turn the gates of step t into the gradients of their sums, and carry the gradient to the step before.
inline void VectorNetwork::step_backward(int l, int t) {
    const Step one = step(l, t, ALL_STEPS);
    Product product(s.batch, p.Hp, {d_state, p.Hp});
    if (s.cell == LSTM) {
        lstm_backward(one);
    } else if (s.cell == GRU) {
        gru_backward(one);
        product.plus_old();
    } else {
        rnn_backward(one);
    }
    multiply(blocks.plus(product, STATE, {one.gates, p.N}, {wh_transposed, p.Hp}));
}

// Add the gradients from steps [first, last) of a layer; leave in `d_output` those of the output of the layer below.
inline void VectorNetwork::add_gradients(int l, const Batch& batch, int first, int last) {
    const LayerParameters& layer = p.layers[l];
    const int count = int(row(last - first));
    const ConstMatrix gates = {layers[l].gates + row(first) * p.N, p.N}, below = layer_inputs(l);
    const ConstMatrix states = {layers[l].states + row(first) * p.Hp, p.Hp};
    const ConstMatrix read = {below.data + row(first) * below.stride, below.stride};
    float* gradient = state.gradient;
    blocks.add_weight_gradients(STATE, states, s.hidden, gates, count, gradient + layer.weights[STATE]);
    if (l == 0 && batch.symbols) add_symbol_gradients(batch, first, last);
    else blocks.add_weight_gradients(INPUTS, read, layer.inputs, gates, count, gradient + layer.weights[INPUTS]);
    add_column_sums(gates.data, p.N, count, gradient + layer.biases[INPUTS]);
    if (l) {
        Product product(count, p.Hp, {d_output + row(first) * p.Hp, p.Hp});
        multiply(blocks.plus(product, INPUTS, gates, {wi_transposed, p.Hp}));
    }
}

// With one-hot inputs, the gradient of a symbol's weights is the sum of the gates' gradients at its occurrences.
inline void VectorNetwork::add_symbol_gradients(const Batch& batch, int first, int last) {
    for (int t = first; t < last; t++)
        for (int b = 0; b < s.batch; b++) {
            float* out = state.gradient + p.layers[0].weights[INPUTS] + long(symbol(batch, t, b)) * p.N;
            const float* gates = layers[0].gates + row(t, b) * p.N;
            for (int n = 0; n < blocks.input_columns(); n += LANES) store(out + n, load(out + n) + load(gates + n));
        }
}

}  // namespace ISA
