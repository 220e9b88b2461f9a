// The Python face of rotations, and of vectors and queries on their way to codes.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cmath>
#include <optional>

#include "module.h"
#include "query.h"

namespace vecstore {

namespace {

nb::tuple unit_lengths(In<float, 2> vectors) {
    const size_t count = vectors.shape(0), dim = vectors.shape(1);
    std::vector<float> out(count * dim);
    std::vector<double> squares(count);
    {
        std::optional<nb::gil_scoped_release> release;
        if (out.size() > HELD) release.emplace();
        for (size_t n = 0; n < count; n++)
            squares[n] = unit_length(vectors.data() + n * dim, i64(dim), out.data() + n * dim);
    }
    return nb::make_tuple(array(std::move(out), {count, dim}), array(std::move(squares), {count}));
}

// A query at unit length, and its squared length; None for what is no float32 [dim] of finite
// numbers.
nb::object unit_query(nb::handle given, i64 dim) {
    In<float, 1> query;
    if (!nb::try_cast(given, query, false) || i64(query.shape(0)) != dim) return nb::none();
    std::vector<float> out(size_t(dim), 0);
    const double square = unit_length(query.data(), dim, out.data());
    if (!std::isfinite(square)) return nb::none();
    return nb::make_tuple(array(std::move(out), {1, size_t(dim)}), square);
}

void check_signs(const In<float, 2>& signs) {
    check(signs.shape(1) > 0 && signs.shape(1) % 64 == 0, "signs of a multiple of 64 dimensions");
}

Out<float> rotate(In<float, 2> vectors, In<float, 2> signs,
                  const std::optional<std::string>& name) {
    check_signs(signs);
    check(vectors.shape(1) <= signs.shape(1), "no more dimensions than signs");
    const Variant& variant = variant_named(name);
    const size_t count = vectors.shape(0), padded = signs.shape(1);
    std::vector<float> out(count * padded);
    {
        nb::gil_scoped_release release;
        variant.rotate(vectors.data(), i64(count), i64(vectors.shape(1)), signs.data(),
                       i64(signs.shape(0)), i64(padded), out.data());
    }
    return array(std::move(out), {count, padded});
}

Out<float> unrotate(In<float, 2> rotated, In<float, 2> signs, i64 dim,
                    const std::optional<std::string>& name) {
    check_signs(signs);
    check(rotated.shape(1) == signs.shape(1) && 0 < dim && dim <= i64(signs.shape(1)),
          "rotated vectors as wide as the signs, and dim no wider");
    const Variant& variant = variant_named(name);
    const size_t count = rotated.shape(0);
    std::vector<float> work(rotated.data(), rotated.data() + rotated.size());
    std::vector<float> out(count * size_t(dim));
    {
        nb::gil_scoped_release release;
        variant.unrotate(work.data(), i64(count), dim, signs.data(), i64(signs.shape(0)),
                         i64(signs.shape(1)), out.data());
    }
    return array(std::move(out), {count, size_t(dim)});
}

nb::tuple packed_queries(In<float, 2> queries, In<float, 2> signs, i64 bits,
                         const std::optional<std::string>& name) {
    PackedQueries made = packed_tables(queries, signs, bits, variant_named(name));
    const size_t count = queries.shape(0);
    return nb::make_tuple(array(std::move(made.tables), {count, size_t(2 * made.bytes), 16}),
                          array(std::move(made.factors), {count, 4}));
}

nb::tuple quantize(In<float, 2> rotated, i64 bits, const std::optional<std::string>& name) {
    const size_t count = rotated.shape(0), padded = rotated.shape(1);
    check(padded > 0 && padded % 64 == 0, "a multiple of 64 dimensions");
    check(bits == 1 || bits == 2 || bits == 4 || bits == 8, "1, 2, 4 or 8 bits");
    const Variant& variant = variant_named(name);
    std::vector<u8> codes(count * padded);
    std::vector<float> factors(count * 3);
    {
        nb::gil_scoped_release release;
        variant.quantize(rotated.data(), i64(count), i64(padded), bits, codes.data(),
                         factors.data());
    }
    return nb::make_tuple(array(std::move(codes), {count, padded}),
                          array(std::move(factors), {count, 3}));
}

}  // namespace

PackedQueries packed_tables(const In<float, 2>& queries, const In<float, 2>& signs, i64 bits,
                            const Variant& variant) {
    check_signs(signs);
    const size_t count = queries.shape(0), dim = queries.shape(1), padded = signs.shape(1);
    check(dim <= padded, "no more dimensions than signs");
    check(bits == 1 || bits == 2, "1 or 2 bits");
    const size_t bytes = padded * size_t(bits) / 8;
    std::vector<float> rotated(count * padded);
    PackedQueries made{Lined<u8>(count * 2 * bytes * 16), std::vector<double>(count * 4),
                       i64(bytes)};
    {
        std::optional<nb::gil_scoped_release> release;
        if (count * padded > HELD) release.emplace();
        variant.rotate(queries.data(), i64(count), i64(dim), signs.data(), i64(signs.shape(0)),
                       i64(padded), rotated.data());
        for (size_t q = 0; q < count; q++)
            packed_query(&rotated[q * padded], i64(padded), int(bits),
                         &made.tables[q * 2 * bytes * 16], &made.factors[4 * q]);
    }
    return made;
}

void add_encoding(nb::module_& m) {
    const auto in = [](const char* name) { return nb::arg(name).noconvert(); };
    const auto variant = nb::arg("variant") = nb::none();
    m.def("unit_lengths", &unit_lengths, in("vectors"));
    m.def("unit_query", &unit_query, nb::arg("query").none(), nb::arg("dim"));
    m.def("rotate", &rotate, in("vectors"), in("signs"), variant);
    m.def("unrotate", &unrotate, in("rotated"), in("signs"), nb::arg("dim"), variant);
    m.def("packed_queries", &packed_queries, in("queries"), in("signs"), nb::arg("bits"), variant);
    m.def("quantize", &quantize, in("rotated"), nb::arg("bits"), variant);
}

}  // namespace vecstore
