// The recurrent cells: what one step makes of the sums of its gates, and the gradients on the way back.
//
// `stack_kernel.h` explains who defines ISA and LANES, and why no header of the standard library is included.
#pragma once

#include "vector.h"

namespace ISA {

// One step of a layer: B sequences, `units` columns per gate. Arrays are [B, units], `gates` is [B, blocks * units].
// Passed by value: the compiler knows then that no store through the pointers changes the sizes.
struct Step {
    int batch, units;
    float* gates = nullptr;            // forward: sums in, gates out; backward: gates in, gradients of their sums out
    const float* state = nullptr;      // before the step
    float* next_state = nullptr;       // after the step
    const float* cell = nullptr;       // lstm: before the step
    float* next_cell = nullptr;        // lstm: after the step
    float* tanh_next_cell = nullptr;   // lstm
    const float* d_output = nullptr;   // backward: gradient of the state after the step, from the layer above
    float* d_state = nullptr;          // backward: gradient of the same, from the step after. A GRU leaves here what
                                       // reaches the state before the step past the gates
    float* d_cell = nullptr;           // backward, lstm: gradient of the cell after the step in, before the step out
};

// --- Forward ---------------------------------------------------------------------------------------------------------

// The second loop reads the results of the first. As two loops, the iterations of both overlap in the pipeline.
static void lstm_forward(const Step s) {
    for (int b = 0; b < s.batch; b++)
        for (int h = 0; h < s.units; h += LANES) {
            float* gate = s.gates + b * 4L * s.units + h;
            const long at = long(b) * s.units + h;
            const vec i = sigmoid(load(gate)), f = sigmoid(load(gate + s.units));
            const vec g = hyperbolic_tangent(load(gate + 2 * s.units)), o = sigmoid(load(gate + 3 * s.units));
            store(gate, i);
            store(gate + s.units, f);
            store(gate + 2 * s.units, g);
            store(gate + 3 * s.units, o);
            store(s.next_cell + at, f * load(s.cell + at) + i * g);
        }
    for (int b = 0; b < s.batch; b++)
        for (int h = 0; h < s.units; h += LANES) {
            const long at = long(b) * s.units + h;
            const vec tanh_cell = hyperbolic_tangent(load(s.next_cell + at));
            store(s.tanh_next_cell + at, tanh_cell);
            store(s.next_state + at, load(s.gates + b * 4L * s.units + 3 * s.units + h) * tanh_cell);
        }
}

static void gru_forward(const Step s) {
    for (int b = 0; b < s.batch; b++)
        for (int h = 0; h < s.units; h += LANES) {
            float* gate = s.gates + b * 4L * s.units + h;
            const long at = long(b) * s.units + h;
            const vec r = sigmoid(load(gate)), z = sigmoid(load(gate + s.units));
            const vec n = hyperbolic_tangent(load(gate + 2 * s.units) + r * load(gate + 3 * s.units));
            store(gate, r);
            store(gate + s.units, z);
            store(gate + 2 * s.units, n);
            store(s.next_state + at, (1.0f - z) * n + z * load(s.state + at));
        }
}

static void rnn_forward(const Step s) {
    for (int b = 0; b < s.batch; b++)
        for (int h = 0; h < s.units; h += LANES) {
            const long at = long(b) * s.units + h;
            store(s.next_state + at, hyperbolic_tangent(load(s.gates + at)));
        }
}

// --- Backward --------------------------------------------------------------------------------------------------------

static void lstm_backward(const Step s) {
    for (int b = 0; b < s.batch; b++)
        for (int h = 0; h < s.units; h += LANES) {
            float* gate = s.gates + b * 4L * s.units + h;
            const long at = long(b) * s.units + h;
            const vec i = load(gate), f = load(gate + s.units), g = load(gate + 2 * s.units);
            const vec o = load(gate + 3 * s.units), tanh_cell = load(s.tanh_next_cell + at);
            const vec d_state = load(s.d_output + at) + load(s.d_state + at);
            const vec d_cell = load(s.d_cell + at) + d_state * o * (1.0f - tanh_cell * tanh_cell);
            store(gate, d_cell * g * i * (1.0f - i));
            store(gate + s.units, d_cell * load(s.cell + at) * f * (1.0f - f));
            store(gate + 2 * s.units, d_cell * i * (1.0f - g * g));
            store(gate + 3 * s.units, d_state * tanh_cell * o * (1.0f - o));
            store(s.d_cell + at, d_cell * f);
        }
}

static void gru_backward(const Step s) {
    for (int b = 0; b < s.batch; b++)
        for (int h = 0; h < s.units; h += LANES) {
            float* gate = s.gates + b * 4L * s.units + h;
            const long at = long(b) * s.units + h;
            const vec r = load(gate), z = load(gate + s.units), n = load(gate + 2 * s.units);
            const vec m = load(gate + 3 * s.units);
            const vec d_state = load(s.d_output + at) + load(s.d_state + at);
            const vec d_n = d_state * (1.0f - z) * (1.0f - n * n);
            store(gate, d_n * m * r * (1.0f - r));
            store(gate + s.units, d_state * (load(s.state + at) - n) * z * (1.0f - z));
            store(gate + 2 * s.units, d_n);
            store(gate + 3 * s.units, d_n * r);
            store(s.d_state + at, d_state * z);
        }
}

static void rnn_backward(const Step s) {
    for (int b = 0; b < s.batch; b++)
        for (int h = 0; h < s.units; h += LANES) {
            const long at = long(b) * s.units + h;
            const vec state = load(s.next_state + at);
            store(s.gates + at, (load(s.d_output + at) + load(s.d_state + at)) * (1.0f - state * state));
        }
}

}  // namespace ISA
