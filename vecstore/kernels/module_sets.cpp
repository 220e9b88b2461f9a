// The Python face of clusters and coverage of the vectors of one record.
#include <algorithm>

#include "arrays.h"
#include "sets.h"

namespace vecstore {

namespace {

constexpr size_t SET_MAX = 65536;  // vectors

Out<u32> ward_clusters(In<float, 2> products, In<float, 1> sizes, i64 clusters) {
    const size_t count = products.shape(0);
    check(count == products.shape(1) && count <= SET_MAX, "products of shape [t, t]");
    check(sizes.shape(0) == count, "sizes of shape [t]");
    for (size_t i = 0; i < count; i++)
        check(sizes.data()[i] >= 1 && sizes.data()[i] <= SET_MAX, "sizes of 1 to 65,536 vectors");
    check(clusters <= i64(count) && (clusters > 0 || count == 0), "1 to t clusters");
    std::vector<u32> out(count);
    {
        nb::gil_scoped_release release;
        if (count) ward(products.data(), sizes.data(), i64(count), clusters, out.data());
    }
    return array(std::move(out), {count});
}

Out<u32> coverage_order(In<float, 2> scores) {
    const size_t count = scores.shape(0);
    check(count <= SET_MAX, "scores of shape [t, n]");
    std::vector<u32> out(count);
    {
        nb::gil_scoped_release release;
        if (count) cover(scores.data(), i64(count), i64(scores.shape(1)), out.data());
    }
    return array(std::move(out), {count});
}

}  // namespace

void add_sets(nb::module_& m) {
    const auto in = [](const char* name) { return nb::arg(name).noconvert(); };
    m.def("ward_clusters", &ward_clusters, in("products"), in("sizes"), nb::arg("clusters"));
    m.def("coverage_order", &coverage_order, in("scores"));
}

}  // namespace vecstore
