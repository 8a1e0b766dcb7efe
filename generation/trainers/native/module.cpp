// The Python module `_native`: networks that train on one core, without holding the GIL. `trainer.py` uses it;
// `_native.pyi` declares it.
#include "native.h"

#include "binding.h"
#include "denormals.h"
#include "instruction_sets.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;
using Rates = std::vector<double>;

// --- Instruction sets ------------------------------------------------------------------------------------------------

const Kernel& kernel_for(const std::string& set) {
    expect_instruction_set(set);
#if defined(__x86_64__)
    if (set == "avx512") return avx512::kernel;
    if (set == "avx2") return avx2::kernel;
#endif
    return base::kernel;
}

Array<float> apply(const std::string& name, const std::string& set, const Array<float>& values) {
    expect(name == "exp" || name == "sigmoid" || name == "tanh", "function: exp, sigmoid or tanh");
    expect(values.size() % 16 == 0, "values: a multiple of 16");
    const Function function = name == "exp" ? EXPONENTIAL : name == "sigmoid" ? SIGMOID : TANGENT;
    Array<float> out(values.size(), values.data());
    kernel_for(set).apply(function, out.mutable_data(), out.size());
    return out;
}

// --- Sizes and data --------------------------------------------------------------------------------------------------

Shape make_shape(const std::string& cell, int layers, int inputs, int hidden, int outputs, int batch, int steps) {
    expect_sizes(layers, {inputs, hidden, outputs});
    expect_rows(batch, steps);
    return {cell_of(cell), layers, inputs, hidden, outputs, batch, steps};
}

long num_parameters(const Shape& shape) {
    const long hidden = shape.hidden;
    long count = shape.outputs * (hidden + 1);
    for (int l = 0; l < shape.layers; l++)
        count += num_gates(shape.cell) * hidden * ((l ? hidden : shape.inputs) + hidden + 2);
    return count;
}

// All images of a family, and how a network reads one. `Batch` describes the four arrays.
struct Images {
    Array<unsigned char> images;
    Array<long> labels, table;
    Array<float> brightness;

    // Return a batch of these images in which `chosen` is not set; check all arrays, and the indices [*] in use.
    Batch batch(const Shape& shape, const Array<long>& indices) const {
        expect(images.ndim() == 2 && labels.size() == images.shape(0), "images: [N, pixels], labels: [N]");
        expect(table.size() == long(shape.steps - 1) * shape.inputs && brightness.size() == 256,
               "table: [(steps - 1) * inputs], brightness: [256]");
        for (long k = 0; k < table.size(); k++)
            expect(table.data()[k] >= 0 && table.data()[k] < images.shape(1), "table: pixels of an image");
        for (long k = 0; k < indices.size(); k++) {
            const long image = indices.data()[k];
            expect(image >= 0 && image < images.shape(0), "chosen: indices of images");
            expect(labels.data()[image] >= 0 && labels.data()[image] < shape.outputs, "labels: below outputs");
        }
        Batch batch;
        batch.images = images.data();
        batch.image_size = images.shape(1);
        batch.labels = labels.data();
        batch.table = table.data();
        batch.brightness = brightness.data();
        return batch;
    }
};

// --- Training and evaluation -----------------------------------------------------------------------------------------

// A network, its optimizer, and the number of updates done.
class TrainableNetwork {
  public:
    TrainableNetwork(const Shape& shape, const std::string& set)
        : shape(shape), parameters(num_parameters(shape)), network(kernel_for(set).make(shape)) {}

    void set_weights(const Array<float>& flat) {
        expect(flat.size() == parameters, "weights: as many as the network has");
        network->set_weights(flat.data());
        updates = 0;
    }

    Array<float> weights() const {
        Array<float> flat(parameters);
        network->copy_weights(flat.mutable_data());
        return flat;
    }

    Array<float> gradients() const {
        Array<float> flat(parameters);
        network->copy_gradients(flat.mutable_data());
        return flat;
    }

    long bytes() const { return network->bytes(); }

    py::list train_symbols(const Array<unsigned char>& symbols, const Rates& rates, const AdamW& adamw) {
        expect(symbols.ndim() == 3 && symbols.shape(0) == long(rates.size()) && symbols.shape(1) == shape.batch &&
                   symbols.shape(2) > shape.steps,
               "symbols: [updates, batch, steps + offset of the targets]");
        const unsigned char* data = symbols.data();
        const long length = symbols.shape(2), size = shape.batch * length;
        Batch batch;
        batch.target_offset = int(length - shape.steps);
        for (long k = 0; k < symbols.size(); k++) {
            expect(k % length >= shape.steps || data[k] < shape.inputs, "symbols: below inputs");
            expect(k % length < batch.target_offset || data[k] < shape.outputs, "targets: below outputs");
        }
        return train(rates, adamw, [&](long update) {
            batch.symbols = data + update * size;
            return batch;
        });
    }

    py::list train_images(const Array<long>& chosen, const Images& images, const Rates& rates, const AdamW& adamw) {
        expect(chosen.ndim() == 2 && chosen.shape(0) == long(rates.size()) && chosen.shape(1) == shape.batch,
               "chosen: [updates, batch]");
        Batch batch = images.batch(shape, chosen);
        return train(rates, adamw, [&](long update) {
            batch.chosen = chosen.data() + update * shape.batch;
            return batch;
        });
    }

    py::list train_dense(const Array<float>& inputs, const Array<long>& targets, const Rates& rates,
                         const AdamW& adamw) {
        check_dense(inputs, long(rates.size()));
        expect(targets.ndim() == 3 && targets.shape(0) == inputs.shape(0) && targets.shape(1) == shape.batch &&
                   targets.shape(2) == shape.steps,
               "targets: [updates, batch, steps]");
        for (long k = 0; k < targets.size(); k++)
            expect(targets.data()[k] >= 0 && targets.data()[k] < shape.outputs, "targets: below outputs");
        const long size = long(shape.batch) * shape.steps;
        Batch batch;
        return train(rates, adamw, [&](long update) {
            batch.dense = inputs.data() + update * size * shape.inputs;
            batch.targets = targets.data() + update * size;
            return batch;
        });
    }

    Array<float> predict(const Array<float>& inputs) {
        check_dense(inputs, 1);
        Array<float> outputs({shape.batch, shape.steps, shape.outputs});
        Batch batch;
        batch.dense = inputs.data();
        float* to = outputs.mutable_data();
        const Computing computing;
        network->predict(batch, to);
        return outputs;
    }

    // Evaluate any number of images. Returns the sum of the cross-entropies of all steps, and how many images are
    // classified correctly at the last step. Digits begin with black tiles (about 9 of 49), for which all of them have
    // the same states; those are computed once. Images are sorted by the length of that beginning.
    std::pair<double, long> evaluate_images(const Array<long>& chosen, const Images& images) {
        expect(chosen.ndim() == 1, "chosen: [N]");
        Batch batch = images.batch(shape, chosen);
        const Computing computing;
        std::vector<std::pair<int, long>> order;
        for (long k = 0; k < chosen.size(); k++)
            order.emplace_back(black_steps(batch, chosen.data()[k]), chosen.data()[k]);
        std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
        remember_black_image(batch);
        Evaluation sum = {0, 0};
        std::vector<long> together(shape.batch);
        batch.chosen = together.data();
        for (size_t first = 0; first < order.size(); first += shape.batch) {
            const int count = int(std::min(order.size() - first, size_t(shape.batch)));
            for (int b = 0; b < shape.batch; b++) together[b] = order[first + std::min(b, count - 1)].second;
            const Evaluation part = network->evaluate(batch, count, order[first].first);
            sum.loss += part.loss;
            sum.correct += part.correct;
        }
        return {sum.loss, sum.correct};
    }

  private:
    void check_dense(const Array<float>& inputs, long updates) const {
        expect(inputs.ndim() == 4 && inputs.shape(0) == updates && inputs.shape(1) == shape.batch &&
                   inputs.shape(2) == shape.steps && inputs.shape(3) == shape.inputs,
               "inputs: [updates, batch, steps, inputs]");
    }

    // Steps of an image before its first tile that is not black; the first step is BOS.
    int black_steps(const Batch& batch, long image) const {
        const long pixels = long(shape.steps - 1) * shape.inputs;
        long black = 0;
        while (black < pixels && !batch.images[image * batch.image_size + batch.table[black]]) black++;
        return 1 + int(black / shape.inputs);
    }

    void remember_black_image(Batch batch) {
        const std::vector<unsigned char> image(batch.image_size, 0);
        const std::vector<long> chosen(shape.batch, 0);
        batch.images = image.data();
        batch.chosen = chosen.data();
        network->remember_prefix(batch);
    }

    // Do one update per rate, on batch_of(number of the update). Returns the losses, up to and including the first that
    // is not finite: there the run has diverged, and training stops.
    template <class BatchOf>
    py::list train(const Rates& rates, AdamW adamw, BatchOf batch_of) {
        std::vector<double> losses;
        {
            const Computing computing;
            for (size_t k = 0; k < rates.size(); k++) {
                updates++;
                adamw.rate = rates[k];
                adamw.correction1 = 1 - std::pow(adamw.beta1, double(updates));
                adamw.correction2 = 1 - std::pow(adamw.beta2, double(updates));
                losses.push_back(network->update(batch_of(long(k)), adamw));
                if (!std::isfinite(losses.back())) break;
            }
        }
        return py::cast(losses);
    }

    Shape shape;
    long parameters, updates = 0;
    std::unique_ptr<Network> network;
};

}  // namespace

PYBIND11_MODULE(_native, m) {
    m.def("instruction_sets", &instruction_sets, "Return the instruction sets that this machine has, the best first.");
    m.def("apply", &apply, "Apply a vector function of the kernel, for tests.");
    py::class_<Shape>(m, "Shape")
        .def(py::init(&make_shape), py::arg("cell"), py::arg("layers"), py::arg("inputs"), py::arg("hidden"),
             py::arg("outputs"), py::arg("batch"), py::arg("steps"));
    py::class_<AdamW>(m, "AdamW").def(py::init([](double weight_decay, double beta1, double beta2, double epsilon) {
        AdamW adamw{};
        adamw.weight_decay = weight_decay;
        adamw.beta1 = beta1;
        adamw.beta2 = beta2;
        adamw.epsilon = epsilon;
        return adamw;
    }));
    py::class_<Images>(m, "Images")
        .def(py::init([](const Array<unsigned char>& images, const Array<long>& labels, const Array<long>& table,
                         const Array<float>& brightness) { return Images{images, labels, table, brightness}; }),
             py::arg("images"), py::arg("labels"), py::arg("table"), py::arg("brightness"));
    py::class_<TrainableNetwork>(m, "TrainableNetwork")
        .def(py::init<const Shape&, const std::string&>(), py::arg("shape"), py::arg("instruction_set"))
        .def("set_weights", &TrainableNetwork::set_weights)
        .def("weights", &TrainableNetwork::weights)
        .def("gradients", &TrainableNetwork::gradients)
        .def("train_symbols", &TrainableNetwork::train_symbols)
        .def("train_images", &TrainableNetwork::train_images)
        .def("train_dense", &TrainableNetwork::train_dense)
        .def("predict", &TrainableNetwork::predict)
        .def("evaluate_images", &TrainableNetwork::evaluate_images)
        .def_property_readonly("bytes", &TrainableNetwork::bytes);
}
