// NumPy arrays as arguments and results of the kernels.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace vecstore {

namespace nb = nanobind;

template <class T, int D>
using In = nb::ndarray<const T, nb::numpy, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<T, nb::numpy>;

constexpr std::size_t LINE = 64;  // bytes of a line of the cache

// Starts vectors where a cache line does: no register that a kernel loads lies across two.
template <class T>
struct Aligned {
    using value_type = T;
    static constexpr std::align_val_t AT{LINE};
    T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), AT)); }
    void deallocate(T* p, size_t) { ::operator delete(p, AT); }
    bool operator==(const Aligned&) const = default;
};
template <class T>
using Lined = std::vector<T, Aligned<T>>;

// So few numbers are sooner prepared than another thread has let this one run again.
constexpr size_t HELD = 4096;

inline void check(bool ok, const char* expected) {
    if (!ok) throw std::invalid_argument(std::string("expected ") + expected);
}

// A numpy array that owns the vector it is given.
template <class T, class A>
Out<T> array(std::vector<T, A>&& values, std::initializer_list<size_t> shape) {
    using Values = std::vector<T, A>;
    auto* owned = new Values(std::move(values));
    nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<Values*>(p); });
    return Out<T>(owned->data(), shape, owner);
}

}  // namespace vecstore
