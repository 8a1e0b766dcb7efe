// rnn_zoos.generation.trainers.native._native: networks that train on one core without the GIL. Used by native.py, which says more.
#include "native.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

std::vector<std::string> instruction_sets() {
    std::vector<std::string> sets;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma"))
        sets.push_back("avx512");
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back("avx2");
#endif
    sets.push_back("base");
    return sets;
}

const Kernel& kernel_of(const std::string& set) {
    for (const std::string& known : instruction_sets())
        if (known == set) {
#if defined(__x86_64__)
            if (set == "avx512") return avx512::kernel;
            if (set == "avx2") return avx2::kernel;
#endif
            return base::kernel;
        }
    throw std::invalid_argument("this machine has no instruction set " + set);
}

void expect(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

// A network, its optimizer, and the number of updates that it has done.
class Trainee {
  public:
    Trainee(const std::string& cell, int layers, int inputs, int hidden, int outputs, int batch, int steps,
            const std::string& set)
        : shape{cell == "lstm" ? LSTM : cell == "gru" ? GRU : RNN, layers, inputs, hidden, outputs, batch, steps} {
        expect(cell == "lstm" || cell == "gru" || cell == "rnn", "cell: lstm, gru or rnn");
        expect(layers >= 1 && layers <= MAX_LAYERS, "layers: 1 to 16");
        expect(inputs > 0 && hidden > 0 && outputs > 0 && batch > 0 && steps > 0, "sizes: at least 1");
        const int gates = shape.cell == LSTM ? 4 : shape.cell == GRU ? 3 : 1;
        for (int l = 0; l < layers; l++) parameters += gates * hidden * ((l ? hidden : inputs) + hidden + 2);
        parameters += outputs * (hidden + 1);
        network.reset(kernel_of(set).make(shape));
    }

    void set_weights(Array<float> flat) {
        expect(flat.size() == parameters, "weights: as many as the network has");
        network->start(flat.data());
        updates = 0;
    }

    Array<float> flat(bool gradients) {
        Array<float> out(parameters);
        network->copy(out.mutable_data(), gradients);
        return out;
    }

    py::list train_symbols(Array<unsigned char> symbols, const std::vector<double>& rates, const AdamW& adamw) {
        expect(symbols.ndim() == 3 && symbols.shape(0) == long(rates.size()) && symbols.shape(1) == shape.batch &&
                   symbols.shape(2) == shape.steps + 1, "symbols: [updates, batch, steps + 1]");
        const unsigned char* data = symbols.data();
        for (long k = 0; k < symbols.size(); k++) expect(data[k] < shape.inputs && data[k] < shape.outputs, "symbols: below inputs and outputs");
        Batch batch;
        const long size = long(shape.batch) * (shape.steps + 1);
        return train(rates, adamw, [&](long k) { batch.symbols = data + k * size; return batch; });
    }

    py::list train_images(Array<long> chosen, Array<unsigned char> images, Array<long> labels, Array<long> table,
                          Array<float> brightness, const std::vector<double>& rates, const AdamW& adamw) {
        expect(chosen.ndim() == 2 && chosen.shape(0) == long(rates.size()) && chosen.shape(1) == shape.batch, "chosen: [updates, batch]");
        Batch batch = pictures(chosen, images, labels, table, brightness);
        return train(rates, adamw, [&](long k) { batch.chosen = chosen.data() + k * shape.batch; return batch; });
    }

    // Any number of images. Returns the sum of the cross-entropies of all steps, and how many are right at the last.
    // Digits begin with black tiles (about 9 of 49): up to the first that is not, they share their steps.
    std::pair<double, long> measure_images(Array<long> chosen, Array<unsigned char> images, Array<long> labels,
                                           Array<long> table, Array<float> brightness) {
        expect(chosen.ndim() == 1, "chosen: [N]");
        Batch batch = pictures(chosen, images, labels, table, brightness);
        py::gil_scoped_release release;
        std::vector<std::pair<int, long>> order;
        for (long k = 0; k < chosen.size(); k++) order.emplace_back(shared_steps(batch, chosen.data()[k]), chosen.data()[k]);
        std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
        remember_black(batch);
        Measured sum = {0, 0};
        std::vector<long> together(shape.batch);
        batch.chosen = together.data();
        for (size_t first = 0; first < order.size(); first += shape.batch) {
            const int count = int(std::min(order.size() - first, size_t(shape.batch)));
            for (int b = 0; b < shape.batch; b++) together[b] = order[first + std::min(b, count - 1)].second;
            const Measured part = network->measure(batch, count, order[first].first);
            sum.loss += part.loss;
            sum.right += part.right;
        }
        return {sum.loss, sum.right};
    }

    py::list train_dense(Array<float> inputs, Array<long> targets, const std::vector<double>& rates, const AdamW& adamw) {
        check_dense(inputs, long(rates.size()));
        expect(targets.ndim() == 3 && targets.shape(0) == inputs.shape(0) && targets.shape(1) == shape.batch && targets.shape(2) == shape.steps, "targets: [updates, batch, steps]");
        for (long k = 0; k < targets.size(); k++) expect(targets.data()[k] >= 0 && targets.data()[k] < shape.outputs, "targets: below outputs");
        Batch batch;
        const long size = long(shape.batch) * shape.steps;
        return train(rates, adamw, [&](long k) {
            batch.dense = inputs.data() + k * size * shape.inputs;
            batch.targets = targets.data() + k * size;
            return batch;
        });
    }

    Array<float> predict(Array<float> inputs) {
        check_dense(inputs, 1);
        Array<float> out({shape.batch, shape.steps, shape.outputs});
        Batch batch;
        batch.dense = inputs.data();
        float* to = out.mutable_data();
        py::gil_scoped_release release;
        network->predict(batch, to);
        return out;
    }

    long bytes() const { return network->bytes(); }

  private:
    // The pictures that `chosen` may choose from; which of them is left open.
    Batch pictures(const Array<long>& chosen, const Array<unsigned char>& images, const Array<long>& labels,
                   const Array<long>& table, const Array<float>& brightness) const {
        expect(images.ndim() == 2 && labels.size() == images.shape(0), "images: [N, pixels], labels: [N]");
        expect(table.size() == long(shape.steps - 1) * shape.inputs && brightness.size() == 256, "table: [(steps - 1) * inputs], brightness: [256]");
        for (long k = 0; k < table.size(); k++) expect(table.data()[k] >= 0 && table.data()[k] < images.shape(1), "table: pixels of an image");
        for (long k = 0; k < chosen.size(); k++) {
            const long image = chosen.data()[k];
            expect(image >= 0 && image < images.shape(0), "chosen: rows of images");
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

    // Steps of an image up to its first tile that is not black; the first step is BOS.
    int shared_steps(const Batch& batch, long image) const {
        const long pixels = long(shape.steps - 1) * shape.inputs;
        long black = 0;
        while (black < pixels && !batch.images[image * batch.image_size + batch.table[black]]) black++;
        return 1 + int(black / shape.inputs);
    }

    void remember_black(Batch batch) {
        const std::vector<unsigned char> image(batch.image_size, 0);
        const std::vector<long> chosen(shape.batch, 0);
        batch.images = image.data();
        batch.chosen = chosen.data();
        network->remember(batch);
    }

    void check_dense(const Array<float>& inputs, long updates) const {
        expect(inputs.ndim() == 4 && inputs.shape(0) == updates && inputs.shape(1) == shape.batch &&
                   inputs.shape(2) == shape.steps && inputs.shape(3) == shape.inputs, "inputs: [updates, batch, steps, inputs]");
    }

    // Returns the losses, up to and with the first that is not finite: there the run has diverged and stops.
    template <class Get>
    py::list train(const std::vector<double>& rates, AdamW adamw, Get get) {
        std::vector<double> losses;
        {
            py::gil_scoped_release release;
            for (size_t k = 0; k < rates.size(); k++) {
                updates++;
                adamw.rate = rates[k];
                adamw.correction1 = 1 - std::pow(adamw.beta1, double(updates));
                adamw.correction2 = 1 - std::pow(adamw.beta2, double(updates));
                losses.push_back(network->update(get(long(k)), adamw));
                if (!std::isfinite(losses.back())) break;
            }
        }
        return py::cast(losses);
    }

    Shape shape;
    long parameters = 0, updates = 0;
    std::unique_ptr<NativeNetwork> network;
};

}  // namespace

PYBIND11_MODULE(_native, m) {
    m.def("instruction_sets", &instruction_sets, "Those that this machine has, the best first.");
    m.def("apply", [](const std::string& function, const std::string& set, Array<float> values) {
        expect(function == "exp" || function == "sigmoid" || function == "tanh", "function: exp, sigmoid or tanh");
        expect(values.size() % 16 == 0, "values: a multiple of 16");
        Array<float> out(values.size(), values.data());
        kernel_of(set).apply(function == "exp" ? EXPONENTIAL : function == "sigmoid" ? SIGMOID : TANGENT, out.mutable_data(), out.size());
        return out;
    }, "The vector functions of the kernel, for tests.");
    py::class_<AdamW>(m, "AdamW").def(py::init([](double weight_decay, double beta1, double beta2, double epsilon) {
        return AdamW{0, weight_decay, beta1, beta2, epsilon, 1, 1};
    }));
    py::class_<Trainee>(m, "Trainee")
        .def(py::init<const std::string&, int, int, int, int, int, int, const std::string&>(), py::arg("cell"), py::arg("layers"),
             py::arg("inputs"), py::arg("hidden"), py::arg("outputs"), py::arg("batch"), py::arg("steps"), py::arg("instruction_set"))
        .def("set_weights", &Trainee::set_weights)
        .def("weights", [](Trainee& t) { return t.flat(false); })
        .def("gradients", [](Trainee& t) { return t.flat(true); })
        .def("train_symbols", &Trainee::train_symbols)
        .def("train_images", &Trainee::train_images)
        .def("measure_images", &Trainee::measure_images)
        .def("train_dense", &Trainee::train_dense)
        .def("predict", &Trainee::predict)
        .def_property_readonly("bytes", &Trainee::bytes);
}
