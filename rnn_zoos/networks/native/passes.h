// The passes of a `VectorStack` over layers and steps, forward and back in time.
#pragma once

#include "vector_stack.h"

namespace ISA {

// --- Both directions -------------------------------------------------------------------------------------------------

// Copy [B, T, wide] to [T, B, stride], or back.
static void to_steps_first(const float* from, int batch, int steps, int wide, Matrix to) {
    for (int b = 0; b < batch; b++)
        for (int t = 0; t < steps; t++)
            __builtin_memcpy(to.data + (long(t) * batch + b) * to.stride, from + (long(b) * steps + t) * wide, 4 * wide);
}

static void to_batch_first(ConstMatrix from, int batch, int steps, int wide, float* to) {
    for (int b = 0; b < batch; b++)
        for (int t = 0; t < steps; t++)
            __builtin_memcpy(to + (long(b) * steps + t) * wide, from.data + (long(t) * batch + b) * from.stride, 4 * wide);
}

// Where one step of a layer reads and writes, in both directions. `passes` set the gradients.
inline Step VectorStack::step_of(const Pass& pass, const LayerTape& tape, int t) const {
    const long at = long(t) * pass.batch;
    Step one{pass.batch, Hp};
    one.gates = tape.gates + at * N;
    one.state = tape.states + at * Hp;
    one.next_state = tape.states + (at + pass.batch) * Hp;
    if (s.cell == LSTM) {
        one.cell = tape.cells + at * Hp;
        one.next_cell = tape.cells + (at + pass.batch) * Hp;
        one.tanh_next_cell = tape.tanh_cells + at * Hp;
    }
    return one;
}

// --- Forward ---------------------------------------------------------------------------------------------------------

inline void VectorStack::forward(const Pass& pass, StatePointers initial, float* outputs, StatePointers last) {
    Buffers own;
    const long rows = long(pass.batch) * pass.steps;
    Scratch scratch{};
    if (!pass.tape) scratch.tape = own.allocate(network_tape(pass.batch, pass.steps));
    scratch.rows = own.allocate(rows * (s.inputs > Op ? s.inputs : Op));
    for (int m = 0; m < s.networks; m++) {
        for (int l = 0; l < s.layers; l++) {
            const LayerTape tape = tape_of(pass, scratch.tape, m, l);
            begin(pass, tape, initial, m, l);
            layer_forward(pass, scratch, m, l);
            end(pass, tape, last, m, l);
        }
        outputs_forward(pass, scratch, m, outputs);
    }
}

// Set the state before the first step.
inline void VectorStack::begin(const Pass& pass, const LayerTape& tape, StatePointers initial, int m, int l) const {
    const long first = (long(m) * s.layers + l) * pass.batch;
    const auto set = [&](const float* from, float* to) {
        __builtin_memset(to, 0, 4L * pass.batch * Hp);
        if (from)
            for (int b = 0; b < pass.batch; b++)
                __builtin_memcpy(to + long(b) * Hp, from + (first + b) * s.hidden, 4 * s.hidden);
    };
    set(initial.hidden, tape.states);
    if (s.cell == LSTM) set(initial.cell, tape.cells);
}

// Copy the state after the last step.
inline void VectorStack::end(const Pass& pass, const LayerTape& tape, StatePointers last, int m, int l) const {
    const long first = (long(m) * s.layers + l) * pass.batch, row = long(pass.steps) * pass.batch;
    for (int b = 0; b < pass.batch; b++) {
        if (last.hidden)
            __builtin_memcpy(last.hidden + (first + b) * s.hidden, tape.states + (row + b) * Hp, 4 * s.hidden);
        if (last.cell) __builtin_memcpy(last.cell + (first + b) * s.hidden, tape.cells + (row + b) * Hp, 4 * s.hidden);
    }
}

inline void VectorStack::layer_forward(const Pass& pass, const Scratch& scratch, int m, int l) {
    const Layer& layer = layers[l];
    const LayerTape tape = tape_of(pass, scratch.tape, m, l);
    const float* inputs = pass.inputs + long(m) * pass.batch * pass.steps * s.inputs;
    const float* below = l ? tape_of(pass, scratch.tape, m, l - 1).states + long(pass.batch) * Hp : nullptr;
    for (int t = 0; t < pass.steps; t++) {
        const Step one = step_of(pass, tape, t);
        const ConstMatrix read = l ? ConstMatrix{below + long(t) * pass.batch * Hp, Hp}
                                   : ConstMatrix{inputs + long(t) * s.inputs, long(pass.steps) * s.inputs};
        blocks.sum(Product(pass.batch, N, {one.gates, N})
                       .plus_row(layer.bias + long(m) * N)
                       .plus({one.state, Hp}, layer.weight(m, STATE), s.hidden)
                       .plus(read, layer.weight(m, INPUTS), layer.sizes.inputs));
        if (s.cell == LSTM) lstm_forward(one);
        else if (s.cell == GRU) gru_forward(one);
        else rnn_forward(one);
    }
}

inline void VectorStack::outputs_forward(const Pass& pass, const Scratch& scratch, int m, float* outputs) const {
    const long rows = long(pass.batch) * pass.steps;
    const ConstMatrix states = {tape_of(pass, scratch.tape, m, s.layers - 1).states + long(pass.batch) * Hp, Hp};
    if (!s.outputs) return to_batch_first(states, pass.batch, pass.steps, s.hidden, outputs + m * rows * s.hidden);
    multiply(Product(int(rows), Op, {scratch.rows, Op})
                 .plus_row(readout.bias + long(m) * Op)
                 .plus(states, {readout.weights + long(m) * s.hidden * Op, Op}, s.hidden));
    to_batch_first({scratch.rows, Op}, pass.batch, pass.steps, s.outputs, outputs + m * rows * s.outputs);
}

// --- Backward --------------------------------------------------------------------------------------------------------

inline void VectorStack::backward(
    const Pass& pass, const float* d_outputs, StatePointers d_last, float* d_inputs, StatePointers d_initial,
    bool parameters) {
    if (parameters) allocate_gradients();
    Buffers own;
    const long rows = long(pass.batch) * pass.steps, state = long(pass.batch) * Hp;
    const int widest = s.inputs > Op ? s.inputs : Op;
    const Scratch scratch = {nullptr,
                             own.allocate(rows * widest),
                             own.allocate(rows * Hp),
                             own.allocate(d_inputs ? rows * padded(s.inputs) : 0),
                             own.allocate(long(steps_together(pass)) * pass.batch * N),
                             own.allocate(state),
                             own.allocate(state)};
    for (int m = 0; m < s.networks; m++) {
        outputs_backward(pass, scratch, m, d_outputs, parameters);
        for (int l = s.layers - 1; l >= 0; l--) {
            const LayerTape gradients = {nullptr, scratch.d_state, scratch.d_cell, nullptr};
            begin(pass, gradients, d_last, m, l);
            layer_backward(pass, scratch, m, l, d_inputs, parameters);
            const Pass stepless = {pass.batch, 0, nullptr};
            end(stepless, gradients, d_initial, m, l);
        }
    }
}

// Leave in `d_rows` the gradient of the last layer's states: [T, B, Hp].
inline void VectorStack::outputs_backward(
    const Pass& pass, const Scratch& scratch, int m, const float* d_outputs, bool parameters) {
    const int batch = pass.batch, steps = pass.steps, wide = s.outputs ? s.outputs : s.hidden;
    const long rows = long(batch) * steps;
    const float* from = d_outputs + m * rows * wide;
    if (!s.outputs) {
        __builtin_memset(scratch.d_rows, 0, 4 * rows * Hp);  // padding
        return to_steps_first(from, batch, steps, wide, {scratch.d_rows, Hp});
    }
    __builtin_memset(scratch.rows, 0, 4 * rows * Op);
    to_steps_first(from, batch, steps, wide, {scratch.rows, Op});
    const ConstMatrix d_logits = {scratch.rows, Op};
    if (parameters) {
        const ConstMatrix states = {tape_of(pass, nullptr, m, s.layers - 1).states + long(batch) * Hp, Hp};
        add_weight_gradient(states, s.hidden, d_logits, Op, rows, {readout.d_weights + long(m) * s.hidden * Op, Op});
        add_column_sums(scratch.rows, Op, rows, readout.d_bias + long(m) * Op);
    }
    multiply(Product(int(rows), Hp, {scratch.d_rows, Hp})
                 .plus(d_logits, {readout.backward_weights + long(m) * Op * Hp, Hp}, s.outputs));
}

// A few steps at a time: the gradients of their gates are put to all uses while they are in cache. Turns the gradient
// of the layer's states in `d_rows` into that of the layer below.
inline void VectorStack::layer_backward(
    const Pass& pass, const Scratch& scratch, int m, int l, float* d_inputs, bool parameters) {
    const int batch = pass.batch, together = steps_together(pass), wide = l ? Hp : padded(s.inputs);
    const long rows = long(batch) * pass.steps;
    float* below = l ? scratch.d_rows : d_inputs ? scratch.d_inputs : nullptr;
    if (!l && parameters)
        to_steps_first(pass.inputs + m * rows * s.inputs, batch, pass.steps, s.inputs, {scratch.rows, s.inputs});
    for (int last = pass.steps; last > 0; last -= together) {
        const int first = last > together ? last - together : 0;
        for (int t = last - 1; t >= first; t--)
            step_backward(pass, scratch, m, l, t, scratch.gates + long(t - first) * batch * N);
        if (parameters) add_gradients(pass, scratch, m, l, first, last);
        if (below) {
            Product product((last - first) * batch, wide, {below + long(first) * batch * wide, wide});
            multiply(blocks.plus(product, INPUTS, {scratch.gates, N}, layers[l].backward_weight(m, INPUTS)));
        }
    }
    if (!l && d_inputs)
        to_batch_first({below, wide}, batch, pass.steps, s.inputs, d_inputs + m * rows * s.inputs);
}

// Compute the gradients of the gates' sums at step t, [B, N], and carry the gradient to the step before.
inline void VectorStack::step_backward(const Pass& pass, const Scratch& scratch, int m, int l, int t, float* gates) {
    Step one = step_of(pass, tape_of(pass, nullptr, m, l), t);
    __builtin_memcpy(gates, one.gates, 4L * pass.batch * N);
    one.gates = gates;
    one.d_output = scratch.d_rows + long(t) * pass.batch * Hp;
    one.d_state = scratch.d_state;
    one.d_cell = scratch.d_cell;
    Product product(pass.batch, Hp, {scratch.d_state, Hp});
    if (s.cell == LSTM) {
        lstm_backward(one);
    } else if (s.cell == GRU) {
        gru_backward(one);
        product.plus_old();
    } else {
        rnn_backward(one);
    }
    multiply(blocks.plus(product, STATE, {gates, N}, layers[l].backward_weight(m, STATE)));
}

// Add the gradients of the parameters of a layer from steps [first, last).
inline void VectorStack::add_gradients(const Pass& pass, const Scratch& scratch, int m, int l, int first, int last) {
    const Layer& layer = layers[l];
    const LayerTape tape = tape_of(pass, nullptr, m, l);
    const long at = long(first) * pass.batch, count = long(last - first) * pass.batch;
    const ConstMatrix gates = {scratch.gates, N}, states = {tape.states + at * Hp, Hp};
    const ConstMatrix read =
        l ? ConstMatrix{tape_of(pass, nullptr, m, l - 1).states + (at + pass.batch) * Hp, Hp}
          : ConstMatrix{scratch.rows + at * s.inputs, s.inputs};
    const auto add = [&](Source source, ConstMatrix A) {
        float* out = layer.d_weights[source] + m * layer.weight_size(source);
        blocks.add_weight_gradients(source, A, layer.sizes.width(source), gates, count, out);
    };
    add(STATE, states);
    add(INPUTS, read);
    add_column_sums(gates.data, N, count, layer.d_bias + long(m) * N);
}

}  // namespace ISA
