// The Python module `_native` of the loaders: copies rows out of mapped files, without holding the GIL.
// `gathering.py` uses it, and checks all bounds; `_native.pyi` declares it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace py = pybind11;

namespace {

template <class Number>
using Numbers = py::array_t<Number, py::array::c_style>;

// Start loading the memory pages of [bytes, bytes + size): processors foresee the next bytes, but not the next page.
void prefetch(const std::uint8_t* bytes, std::int64_t size) {
    constexpr std::uintptr_t PAGE = 4096;
    const auto end = std::uintptr_t(bytes) + std::uintptr_t(size);
    for (auto at = std::uintptr_t(bytes); at < end; at = (at | (PAGE - 1)) + 1)
        __builtin_prefetch(reinterpret_cast<const void*>(at));
}

// For every row i and tensor t, copy sizes[t] bytes from row rows[i] of tensor t of source numbers[i] to
// block + starts[t] + i * strides[t]. The tensors of source n begin at addresses[n, t]; their rows are
// source_strides[t] bytes apart.
void copy_rows(
    const Numbers<std::uint64_t>& addresses, const Numbers<std::int64_t>& source_strides,
    const Numbers<std::int64_t>& numbers, const Numbers<std::int64_t>& rows, const Numbers<std::int64_t>& sizes,
    Numbers<std::uint8_t>& block, const Numbers<std::int64_t>& starts, const Numbers<std::int64_t>& strides) {
    const py::ssize_t count = rows.size(), tensors = sizes.size();
    if (numbers.size() != count || starts.size() != tensors || strides.size() != tensors ||
        source_strides.size() != tensors || addresses.ndim() != 2 || addresses.shape(1) != tensors)
        throw std::invalid_argument("copy_rows: lengths of the arguments do not match");
    const std::uint64_t* from = addresses.data();
    const std::int64_t *from_stride = source_strides.data(), *number = numbers.data(), *row = rows.data();
    const std::int64_t *size = sizes.data(), *start = starts.data(), *stride = strides.data();
    std::uint8_t* to = block.mutable_data();
    const auto stored = [&](py::ssize_t i, py::ssize_t t) {
        const std::uint64_t begin = from[number[i] * tensors + t];
        return reinterpret_cast<const std::uint8_t*>(std::uintptr_t(begin)) + row[i] * from_stride[t];
    };
    const py::gil_scoped_release unlocked;
    for (py::ssize_t i = 0; i < count; i++) {
        for (py::ssize_t t = 0; t < tensors; t++) {
            if (i + 1 < count) prefetch(stored(i + 1, t), size[t]);
            std::memcpy(to + start[t] + i * stride[t], stored(i, t), std::size_t(size[t]));
        }
    }
}

}  // namespace

PYBIND11_MODULE(_native, module) {
    // noconvert: a converted copy of the block would be lost, and a conversion of the others would be slow.
    module.def(
        "copy_rows", &copy_rows, py::arg("addresses").noconvert(), py::arg("source_strides").noconvert(),
        py::arg("numbers").noconvert(), py::arg("rows").noconvert(), py::arg("sizes").noconvert(),
        py::arg("block").noconvert(), py::arg("starts").noconvert(), py::arg("strides").noconvert());
}
