// NumPy arrays as arguments and results of the kernels.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

namespace vecstore {

namespace nb = nanobind;

template <class T, int D>
using In = nb::ndarray<const T, nb::numpy, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<T, nb::numpy>;

inline void check(bool ok, const char* expected) {
    if (!ok) throw std::invalid_argument(std::string("expected ") + expected);
}

// A numpy array that owns a copy of the vector it is given.
template <class T>
Out<T> array(std::vector<T>&& values, std::initializer_list<size_t> shape) {
    auto* owned = new std::vector<T>(std::move(values));
    nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return Out<T>(owned->data(), shape, owner);
}

}  // namespace vecstore
