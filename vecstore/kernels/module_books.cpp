// The Python face of codebooks.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <optional>

#include "arrays.h"
#include "query.h"
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

// Products [N][M][K] of vectors [N][dim] with books [M][S][K], of their parts or of all of them.
std::vector<float> products_of(const Variant& variant, const float* vectors, i64 count, i64 dim,
                               const Books& books) {
    const i64 width = books.count * books.columns;
    std::vector<float> out(size_t(count * width));
    if (books.depth < dim || books.count == 1) {
        variant.products(vectors, count, books, out.data());
        return out;
    }
    std::vector<float> own(size_t(count * books.columns));
    for (i64 m = 0; m < books.count; m++) {
        const float* values = books.values + m * books.depth * books.columns;
        variant.products(vectors, count, {values, 1, books.depth, books.columns}, own.data());
        for (i64 n = 0; n < count; n++)
            std::copy_n(own.data() + n * books.columns, books.columns,
                        out.data() + n * width + m * books.columns);
    }
    return out;
}

nb::tuple table_queries(In<float, 2> queries, std::optional<In<float, 2>> rotation,
                        In<float, 3> books, const std::optional<std::string>& name) {
    const i64 count = i64(queries.shape(0)), dim = i64(queries.shape(1));
    check(!rotation || i64(rotation->shape(0)) == dim, "a rotation of shape [D, P]");
    const i64 turned = rotation ? i64(rotation->shape(1)) : dim;
    const Books given{books.data(), i64(books.shape(0)), i64(books.shape(1)), i64(books.shape(2))};
    check(books.size() > 0 && (given.depth == turned || given.count * given.depth == turned),
          "books of shape [M, S, K], S or M * S as wide as what they are multiplied with");
    const bool octets = given.columns == 256;
    check(octets || (given.columns == 16 && given.count % 2 == 0),
          "books of 256 columns, or an even number of 16");
    const Variant& variant = variant_named(name);
    const i64 rows = octets ? given.count : 2 * ((given.count / 2 + UNIT - 1) / UNIT * UNIT);
    Lined<u8> tables(size_t(count * rows * given.columns));
    std::vector<double> factors(size_t(count * 4));
    {
        std::optional<nb::gil_scoped_release> release;
        if (tables.size() > HELD) release.emplace();
        std::vector<float> rotated;
        if (rotation)
            rotated = products_of(variant, queries.data(), count, dim,
                                  {rotation->data(), 1, dim, turned});
        const float* vectors = rotation ? rotated.data() : queries.data();
        const std::vector<float> found = products_of(variant, vectors, count, turned, given);
        for (i64 q = 0; q < count; q++) {
            double* own = &factors[size_t(4 * q)];
            variant.look_ups(found.data() + q * given.count * given.columns, given.count,
                             given.columns, tables.data() + q * rows * given.columns, own);
            own[3] = squared_length(queries.data() + q * dim, dim);
        }
    }
    return nb::make_tuple(array(std::move(tables), {size_t(count), size_t(rows),
                                                    size_t(given.columns)}),
                          array(std::move(factors), {size_t(count), 4}));
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

// Sums of so many products of octets stay below 2^30.
constexpr i64 NEAREST_DIM_MAX = 32768;
constexpr i32 BIAS_MAX = 1 << 30;
constexpr i64 SUMMED_MAX = 1 << 24;

Out<u16> nearest_octets(In<i8, 2> vectors, In<u8, 2> centroids, In<i32, 1> bias,
                        const std::optional<std::string>& name) {
    const size_t count = vectors.shape(0), dim = vectors.shape(1), size = centroids.shape(0);
    check(0 < size && size <= 65536, "1 to 65,536 centroids");
    check(0 < dim && i64(dim) <= NEAREST_DIM_MAX && centroids.shape(1) == dim,
          "vectors and centroids of the same dimension, 1 to 32,768");
    check(bias.shape(0) == size && std::all_of(bias.data(), bias.data() + size, [](i32 each) {
              return -BIAS_MAX <= each && each <= BIAS_MAX;
          }), "a bias for each centroid, of at most 2^30");
    const Variant& variant = variant_named(name);
    std::vector<u16> out(count);
    {
        nb::gil_scoped_release release;
        Lined<i32> scratch((dim + 3) / 4 * 4 * size_t(ASSIGNED));
        variant.nearest_octets(vectors.data(), i64(count), i64(dim),
                               {centroids.data(), bias.data(), i64(size)}, scratch.data(),
                               out.data());
    }
    return array(std::move(out), {count});
}

Out<u32> sum_octets(In<u8, 2> octets, In<u16, 1> ids, size_t size,
                    const std::optional<std::string>& name) {
    const size_t count = octets.shape(0), dim = octets.shape(1);
    check(i64(count) <= SUMMED_MAX, "2^24 rows at most");
    check(ids.shape(0) == count && size <= 65536 &&
              std::all_of(ids.data(), ids.data() + count, [size](u16 id) { return id < size; }),
          "an id for each row, below size, which is 65,536 at most");
    const Variant& variant = variant_named(name);
    std::vector<u32> out(size * dim);
    {
        nb::gil_scoped_release release;
        variant.sum_octets(octets.data(), ids.data(), i64(count), i64(dim), out.data());
    }
    return array(std::move(out), {size, dim});
}

}  // namespace

void add_books(nb::module_& m) {
    const auto in = [](const char* name) { return nb::arg(name).noconvert(); };
    const auto variant = nb::arg("variant") = nb::none();
    m.def("products", &products, in("vectors"), in("books"), variant);
    m.def("table_queries", &table_queries, in("queries"), in("rotation").none(), in("books"),
          variant);
    m.def("nearest", &nearest, in("vectors"), in("books"), in("bias"), variant);
    m.def("nearest_octets", &nearest_octets, in("vectors"), in("centroids"), in("bias"), variant);
    m.def("sum_octets", &sum_octets, in("octets"), in("ids"), nb::arg("size"), variant);
}

}  // namespace vecstore
