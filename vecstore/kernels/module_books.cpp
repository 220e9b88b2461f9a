// The Python face of codebooks.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "arrays.h"
#include "variants.h"

namespace vecstore {

namespace {

Books books_of(const In<float, 2>& vectors, const In<float, 3>& books) {
    check(books.size() > 0 && vectors.shape(1) == books.shape(0) * books.shape(1),
          "books of shape [M, S, K] and vectors of shape [N, M * S]");
    return {books.data(), i64(books.shape(0)), i64(books.shape(1)), i64(books.shape(2))};
}

Out<float> products(In<float, 2> vectors, In<float, 3> books,
                    const std::optional<std::string>& name) {
    const Books checked = books_of(vectors, books);
    const Variant& variant = variant_named(name);
    const size_t count = vectors.shape(0);
    std::vector<float> out(count * books.shape(0) * books.shape(2));
    {
        nb::gil_scoped_release release;
        variant.products(vectors.data(), i64(count), checked, out.data());
    }
    return array(std::move(out), {count, books.shape(0), books.shape(2)});
}

Out<u8> nearest(In<float, 2> vectors, In<float, 3> books, In<float, 2> bias,
                const std::optional<std::string>& name) {
    const Books checked = books_of(vectors, books);
    check(checked.columns % LANES == 0 && checked.columns <= 256,
          "books of 16, 32 ... 256 columns");
    check(bias.shape(0) == books.shape(0) && bias.shape(1) == books.shape(2),
          "bias of shape [M, K]");
    const Variant& variant = variant_named(name);
    const size_t count = vectors.shape(0);
    std::vector<u8> out(count * books.shape(0));
    {
        nb::gil_scoped_release release;
        variant.nearest(vectors.data(), i64(count), checked, bias.data(), out.data());
    }
    return array(std::move(out), {count, books.shape(0)});
}

}  // namespace

void add_books(nb::module_& m) {
    const auto in = [](const char* name) { return nb::arg(name).noconvert(); };
    const auto variant = nb::arg("variant") = nb::none();
    m.def("products", &products, in("vectors"), in("books"), variant);
    m.def("nearest", &nearest, in("vectors"), in("books"), in("bias"), variant);
}

}  // namespace vecstore
