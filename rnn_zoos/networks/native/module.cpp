// The Python module `_native`: stacks of networks that run on one core, without holding the GIL. `recurrence.py` uses
// it; `_native.pyi` declares it.
#include "stack.h"

#include "binding.h"
#include "denormals.h"
#include "instruction_sets.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace {

using Floats = py::array_t<float, py::array::c_style>;
using Optional = std::optional<Floats>;
using Lengths = std::vector<long>;

float* checked(Floats& array, const Lengths& shape, const char* what) {
    expect(array.ndim() == long(shape.size()) && std::equal(shape.begin(), shape.end(), array.shape()), what);
    return array.mutable_data();
}

float* checked(Optional& array, const Lengths& shape, const char* what) {
    return array ? checked(*array, shape, what) : nullptr;
}

const Kernel& kernel_for(const std::string& set) {
    expect_instruction_set(set);
#if defined(__x86_64__)
    if (set == "avx512") return avx512::stack_kernel;
    if (set == "avx2") return avx2::stack_kernel;
#endif
    return base::stack_kernel;
}

class PyStack {
  public:
    // parameters: per layer weight_ih, weight_hh, bias_ih, bias_hh, then weight and bias of the readout if there is one.
    PyStack(const std::string& cell, int layers, std::vector<Floats> parameters, const std::string& set) {
        const size_t given = parameters.size(), recurrent = 4 * size_t(layers);
        expect_sizes(layers, {});
        expect(given == recurrent || given == recurrent + 2, "parameters: 4 per layer, and 2 of the readout");
        expect(parameters[0].ndim() == 3 && parameters[1].ndim() == 3, "parameters: stacked matrices [M, rows, columns]");
        expect_sizes(layers, {parameters[0].shape(0), parameters[0].shape(2), parameters[1].shape(2)});
        shape = {cell_of(cell), int(parameters[0].shape(0)), layers, int(parameters[0].shape(2)),
                 int(parameters[1].shape(2)), 0};
        if (given > recurrent) {
            expect(parameters[recurrent].ndim() == 3, "parameters: the readout's weight is [M, O, H]");
            expect_sizes(layers, {parameters[recurrent].shape(1)});
            shape.outputs = int(parameters[recurrent].shape(1));
        }
        stack.reset(kernel_for(set).make(shape, pointers(parameters)));
    }

    long tape_size(long batch, long steps) const {
        expect_rows(batch, steps);
        const double networks = double(shape.networks) * shape.layers, columns = 8 * (shape.hidden + 16.0);
        expect(networks * double(batch * (steps + 1)) * columns < 1e18, "tape: networks, layers, batch or steps too large");
        return stack->tape_size(int(batch), int(steps));
    }

    void forward(
        Floats inputs, Optional hidden, Optional cell, Floats outputs, Floats last_hidden, Optional last_cell,
        Optional tape) {
        const Pass pass = checked_pass(inputs, tape);
        float* to = checked(outputs, outputs_shape(pass), "outputs: [M, B, T, O or H]");
        const StatePointers initial = state(hidden, cell, pass), last = {
            checked(last_hidden, state_shape(pass), "last hidden state: [M, L, B, H]"),
            checked(last_cell, state_shape(pass), "last cell: [M, L, B, H]")};
        const Computing computing;
        stack->forward(pass, initial, to, last);
    }

    void backward(
        Floats inputs, Floats tape, Floats d_outputs, Optional d_hidden, Optional d_cell, Optional d_inputs,
        Optional d_initial_hidden, Optional d_initial_cell, bool parameters) {
        Optional given = tape;
        const Pass pass = checked_pass(inputs, given);
        const float* from = checked(d_outputs, outputs_shape(pass), "gradient of outputs: [M, B, T, O or H]");
        float* to = checked(
            d_inputs, {shape.networks, pass.batch, pass.steps, shape.inputs}, "gradient of inputs: [M, B, T, I]");
        const StatePointers last = state(d_hidden, d_cell, pass), first = state(d_initial_hidden, d_initial_cell, pass);
        const Computing computing;
        std::unique_lock<std::mutex> alone(summing, std::defer_lock);
        if (parameters) alone.lock();
        stack->backward(pass, from, last, to, first, parameters);
    }

    // Write the sums of the gradients into arrays of the parameters' shapes; the sums become zero.
    void take_gradients(std::vector<Floats> gradients) {
        expect(gradients.size() == 4 * size_t(shape.layers) + (shape.outputs ? 2 : 0), "gradients: as parameters");
        const ParameterPointers to = pointers(gradients);
        const Computing computing;
        const std::lock_guard<std::mutex> alone(summing);
        stack->take_gradients(to);
    }

  private:
    ParameterPointers pointers(std::vector<Floats>& arrays) const {
        const long M = shape.networks, H = shape.hidden, rows = num_gates(shape.cell) * H;
        ParameterPointers found;
        for (int l = 0; l < shape.layers; l++) {
            Floats* four = &arrays[4 * l];
            found.layers[l] = {
                checked(four[0], {M, rows, l ? H : shape.inputs}, "weight_ih: [M, G H, inputs]"),
                checked(four[1], {M, rows, H}, "weight_hh: [M, G H, H]"),
                checked(four[2], {M, rows}, "bias_ih: [M, G H]"), checked(four[3], {M, rows}, "bias_hh: [M, G H]")};
        }
        if (shape.outputs) {
            Floats* two = &arrays[4 * shape.layers];
            found.readout_weight = checked(two[0], {M, shape.outputs, H}, "readout's weight: [M, O, H]");
            found.readout_bias = checked(two[1], {M, shape.outputs}, "readout's bias: [M, O]");
        }
        return found;
    }

    Pass checked_pass(Floats& inputs, Optional& tape) const {
        expect(inputs.ndim() == 4 && inputs.shape(0) == shape.networks && inputs.shape(3) == shape.inputs &&
                   inputs.shape(1) > 0 && inputs.shape(2) > 0,
               "inputs: [M, B, T, I]");
        expect_rows(inputs.shape(1), inputs.shape(2));
        Pass pass = {int(inputs.shape(1)), int(inputs.shape(2)), inputs.data()};
        if (tape) pass.tape = checked(*tape, {tape_size(pass.batch, pass.steps)}, "tape: [tape_size]");
        return pass;
    }

    Lengths outputs_shape(const Pass& pass) const {
        return {shape.networks, pass.batch, pass.steps, shape.outputs ? shape.outputs : shape.hidden};
    }

    Lengths state_shape(const Pass& pass) const { return {shape.networks, shape.layers, pass.batch, shape.hidden}; }

    StatePointers state(Optional& hidden, Optional& cell, const Pass& pass) const {
        return {checked(hidden, state_shape(pass), "hidden state: [M, L, B, H]"),
                checked(cell, state_shape(pass), "cell: [M, L, B, H]")};
    }

    StackShape shape{};
    std::unique_ptr<Stack> stack;
    std::mutex summing;  // of gradients of parameters
};

}  // namespace

PYBIND11_MODULE(_native, module) {
    module.def("instruction_sets", &instruction_sets);
    py::class_<PyStack>(module, "Stack")
        .def(py::init<const std::string&, int, std::vector<Floats>, const std::string&>(), py::arg("cell"),
             py::arg("layers"), py::arg("parameters"), py::arg("instruction_set"))
        .def("tape_size", &PyStack::tape_size)
        // noconvert: a converted copy of an array that is written to would be lost.
        .def("forward", &PyStack::forward, py::arg("inputs").noconvert(), py::arg("hidden").noconvert().none(true),
             py::arg("cell").noconvert().none(true), py::arg("outputs").noconvert(),
             py::arg("last_hidden").noconvert(), py::arg("last_cell").noconvert().none(true),
             py::arg("tape").noconvert().none(true))
        .def("backward", &PyStack::backward, py::arg("inputs").noconvert(), py::arg("tape").noconvert(),
             py::arg("d_outputs").noconvert(), py::arg("d_hidden").noconvert().none(true),
             py::arg("d_cell").noconvert().none(true), py::arg("d_inputs").noconvert().none(true),
             py::arg("d_initial_hidden").noconvert().none(true), py::arg("d_initial_cell").noconvert().none(true),
             py::arg("parameters"))
        .def("take_gradients", &PyStack::take_gradients, py::arg("gradients").noconvert());
}
