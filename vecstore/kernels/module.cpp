// The Python face of the kernels: every shape, type and bound is checked here, before a loop.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "query.h"
#include "scan.h"

namespace nb = nanobind;

namespace vecstore {

namespace portable { extern const Variant variant; }
#ifdef HAS_v3
namespace v3 { extern const Variant variant; }
#endif
#ifdef HAS_v4
namespace v4 { extern const Variant variant; }
#endif

namespace {

template <class T, int D>
using In = nb::ndarray<const T, nb::numpy, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<T, nb::numpy>;
using Any = nb::ndarray<nb::ro, nb::numpy, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Factors = std::optional<In<float, 1>>;

void check(bool ok, const char* expected) {
    if (!ok) throw std::invalid_argument(std::string("expected ") + expected);
}

// The variants this machine can run, slowest first.
std::vector<const Variant*> supported() {
    std::vector<const Variant*> found{&portable::variant};
#ifdef HAS_v3
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
        __builtin_cpu_supports("f16c"))
        found.push_back(&v3::variant);
    if (found.size() == 2 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni"))
        found.push_back(&v4::variant);
#endif
    return found;
}

const std::vector<const Variant*>& variants() {
    static const std::vector<const Variant*> found = supported();
    return found;
}

const Variant& variant_named(const std::optional<std::string>& name) {
    if (!name) return *variants().back();
    for (const Variant* variant : variants())
        if (*name == variant->name) return *variant;
    throw std::invalid_argument("expected one of variants(), got '" + *name + "'");
}

// A numpy array that owns a copy of the vector it is given.
template <class T>
Out<T> array(std::vector<T>&& values, std::initializer_list<size_t> shape) {
    auto* owned = new std::vector<T>(std::move(values));
    nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return Out<T>(owned->data(), shape, owner);
}

// One representation's rows and some prepared queries, checked and ready to be scored.
class Scorer {
  public:
    Scorer(Any values, In<float, 2> queries, bool l2, const std::optional<std::string>& name);
    Scorer(In<u8, 2> codes, In<i8, 3> digits, In<double, 2> factors, Factors scale, Factors norm,
           bool nibbles, const std::optional<std::string>& name);
    Scorer(In<u8, 3> codes, In<u8, 3> tables, In<double, 2> factors, Factors scale, Factors norm,
           const std::optional<std::string>& name);

    nb::list scan(i64 start, i64 stop, std::optional<In<u64, 1>> allowed, i64 keep) const;
    nb::list scan_lists(In<u64, 1> offsets, In<u32, 1> order, In<i64, 2> probes,
                        std::optional<In<u64, 1>> allowed, i64 keep) const;
    Out<float> score(i64 query, In<i64, 1> rows) const;

  private:
    void finish(const In<double, 2>& factors, const Factors& scale, const Factors& norm);

    const Variant& variant_;
    Family family_;
    i64 rows_;
    i64 count_;
    std::vector<float> padded_;
    std::vector<Query> queries_;
    Rows factors_{};
    std::vector<nb::object> held_;  // the arrays that the job points into
    std::variant<FlatJob, DenseJob, PackedJob> job_;

    const void* job() const {
        return std::visit([](const auto& job) -> const void* { return &job; }, job_);
    }
};

Scorer::Scorer(Any values, In<float, 2> queries, bool l2, const std::optional<std::string>& name)
    : variant_(variant_named(name)),
      family_(variant_.flat),
      rows_(i64(values.shape(0))),
      count_(i64(queries.shape(0))) {
    const bool half = values.dtype() == nb::dlpack::dtype{2, 16, 1};
    check(half || values.dtype() == nb::dtype<float>(), "values of float32 or float16");
    check(values.shape(1) == queries.shape(1) && values.shape(1) > 0,
          "values and queries of the same dimension");
    const i64 dim = i64(values.shape(1));
    const i64 padded = (dim + LANES - 1) / LANES * LANES;
    padded_.resize(size_t(count_ * padded));
    for (i64 q = 0; q < count_; q++)
        std::memcpy(&padded_[size_t(q * padded)], queries.data() + q * dim,
                    size_t(dim) * sizeof(float));
    held_.push_back(nb::cast(values));
    job_ = FlatJob{values.data(), padded_.data(), dim, padded, half, l2};
}

void Scorer::finish(const In<double, 2>& factors, const Factors& scale, const Factors& norm) {
    check(i64(factors.shape(0)) == count_ && factors.shape(1) == 4,
          "factors of shape [Q, 4]: bias, step, offset, norm");
    const double* f = factors.data();
    for (i64 q = 0; q < count_; q++, f += 4) {
        check(std::fabs(f[0]) < 0x1p53, "an exact bias");
        queries_.push_back({i64(f[0]), float(f[1]), float(f[2]), float(f[3])});
    }
    for (const auto& [from, to] : {std::pair{&scale, &factors_.scale}, {&norm, &factors_.norm}})
        if (*from) {
            check(i64((*from)->shape(0)) == rows_, "one scale and norm for each row");
            *to = (*from)->data();
            held_.push_back(nb::cast(**from));
        }
}

Scorer::Scorer(In<u8, 2> codes, In<i8, 3> digits, In<double, 2> factors, Factors scale,
               Factors norm, bool nibbles, const std::optional<std::string>& name)
    : variant_(variant_named(name)),
      family_(variant_.dense),
      rows_(i64(codes.shape(0))),
      count_(i64(digits.shape(0))) {
    const i64 bytes = i64(codes.shape(1));
    check(0 < bytes && bytes <= 65536, "codes of 1 to 65,536 bytes");
    check(digits.shape(1) == 2 && i64(digits.shape(2)) == bytes, "digits of shape [Q, 2, bytes]");
    finish(factors, scale, norm);
    held_.push_back(nb::cast(codes));
    held_.push_back(nb::cast(digits));
    job_ = DenseJob{codes.data(), digits.data(), queries_.data(), factors_, bytes, nibbles};
}

Scorer::Scorer(In<u8, 3> codes, In<u8, 3> tables, In<double, 2> factors, Factors scale,
               Factors norm, const std::optional<std::string>& name)
    : variant_(variant_named(name)),
      family_(variant_.packed),
      rows_(0),
      count_(i64(tables.shape(0))) {
    const i64 bytes = i64(codes.shape(1));
    check(scale.has_value(), "a scale for each row");
    rows_ = i64(scale->shape(0));
    check(codes.shape(2) == size_t(GROUP) && bytes > 0 && bytes % 8 == 0,
          "codes of shape [ceil(N / 16), bytes, 16], bytes a multiple of 8");
    check(i64(codes.shape(0)) == (rows_ + GROUP - 1) / GROUP, "a group for every 16 rows");
    check(i64(tables.shape(1)) == 2 * bytes && tables.shape(2) == 16,
          "tables of shape [Q, 2 bytes, 16]");
    finish(factors, scale, norm);
    held_.push_back(nb::cast(codes));
    held_.push_back(nb::cast(tables));
    i64 run = RUN;
    for (i64 q = 0; q < count_; q++)
        run = std::min(run, packed_run(tables.data() + q * 2 * bytes * 16, bytes));
    check(run > 0, "tables whose entries for a byte of codes add up to 255 at most");
    job_ = PackedJob{codes.data(), tables.data(), queries_.data(), factors_, bytes, run};
}

// For each query the rows and their scores.
nb::list found(std::vector<Best>& best) {
    nb::list all;
    for (Best& each : best) {
        const std::vector<Hit>& hits = each.sorted();
        std::vector<i64> rows(hits.size());
        std::vector<float> scores(hits.size());
        for (size_t i = 0; i < hits.size(); i++) {
            rows[i] = hits[i].row;
            scores[i] = hits[i].score;
        }
        const size_t n = hits.size();
        all.append(nb::make_tuple(array(std::move(rows), {n}), array(std::move(scores), {n})));
    }
    return all;
}

nb::list Scorer::scan(i64 start, i64 stop, std::optional<In<u64, 1>> allowed, i64 keep) const {
    check(rows_ <= ROWS_MAX, "less than 2^32 rows");
    check(0 <= start && start <= stop && stop <= rows_ && start % BLOCK == 0,
          "0 <= start <= stop <= N, start a multiple of 64");
    check(keep > 0, "keep of at least 1");
    check(!allowed || i64(allowed->shape(0)) >= (stop + BLOCK - 1) / BLOCK,
          "a word of allowed for every 64 rows");
    std::vector<Best> best;
    {
        nb::gil_scoped_release release;
        best = vecstore::scan(variant_, family_, job(), count_,
                              {start, stop, allowed ? allowed->data() : nullptr}, keep);
    }
    return found(best);
}

nb::list Scorer::scan_lists(In<u64, 1> offsets, In<u32, 1> order, In<i64, 2> probes,
                            std::optional<In<u64, 1>> allowed, i64 keep) const {
    check(rows_ <= ROWS_MAX, "less than 2^32 rows");
    check(offsets.shape(0) > 1, "the offsets of at least one list");
    const size_t count = offsets.shape(0) - 1;
    bool ascending = offsets.data()[count] <= u64(rows_);
    for (size_t i = 0; i < count; i++) ascending &= offsets.data()[i] <= offsets.data()[i + 1];
    check(ascending, "offsets that ascend to N at most");
    check(i64(order.shape(0)) == rows_, "the row at each of N positions");
    check(i64(probes.shape(0)) == count_, "probes of shape [Q, P]");
    u64 outside = 0;
    for (size_t i = 0; i < probes.size(); i++)
        outside |= u64(u64(probes.data()[i]) >= u64(count));
    check(!outside, "probes from 0 to C - 1");
    check(keep > 0, "keep of at least 1");
    check(!allowed || i64(allowed->shape(0)) >= (rows_ + BLOCK - 1) / BLOCK,
          "a word of allowed for every 64 rows");
    std::vector<Best> best;
    {
        nb::gil_scoped_release release;
        best = vecstore::scan_lists(variant_, family_, job(), count_,
                                    {offsets.data(), i64(count), order.data(), rows_},
                                    probes.data(), i64(probes.shape(1)),
                                    allowed ? allowed->data() : nullptr, keep);
    }
    return found(best);
}

Out<float> Scorer::score(i64 query, In<i64, 1> rows) const {
    check(0 <= query && query < count_, "the position of a query");
    const size_t n = rows.shape(0);
    u64 outside = 0;
    for (size_t i = 0; i < n; i++) outside |= u64(u64(rows.data()[i]) >= u64(rows_));
    check(!outside, "rows from 0 to N - 1");
    std::vector<float> scores(n);
    {
        nb::gil_scoped_release release;
        family_.rows(job(), query, rows.data(), i64(n), scores.data());
    }
    return array(std::move(scores), {n});
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
    check_signs(signs);
    const size_t count = queries.shape(0), dim = queries.shape(1), padded = signs.shape(1);
    check(dim <= padded, "no more dimensions than signs");
    check(bits == 1 || bits == 2, "1 or 2 bits");
    const Variant& variant = variant_named(name);
    const size_t bytes = padded * size_t(bits) / 8;
    std::vector<float> rotated(count * padded);
    std::vector<u8> tables(count * 2 * bytes * 16);
    std::vector<double> factors(count * 4);
    {
        nb::gil_scoped_release release;
        variant.rotate(queries.data(), i64(count), i64(dim), signs.data(), i64(signs.shape(0)),
                       i64(padded), rotated.data());
        for (size_t q = 0; q < count; q++)
            packed_query(&rotated[q * padded], i64(padded), int(bits),
                         &tables[q * 2 * bytes * 16], &factors[4 * q]);
    }
    return nb::make_tuple(array(std::move(tables), {count, 2 * bytes, 16}),
                          array(std::move(factors), {count, 4}));
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

// Reads a byte of every page, so that whoever reads next waits for no disk.
void read_pages(In<u8, 1> data) {
    constexpr size_t PAGE = 4096;
    const volatile u8* bytes = data.data();
    const size_t size = data.shape(0);
    nb::gil_scoped_release release;
    for (size_t at = 0; at < size; at += PAGE) (void)bytes[at];
    if (size) (void)bytes[size - 1];
}

}  // namespace
}  // namespace vecstore

NB_MODULE(_kernels, m) {
    using namespace vecstore;
    using Name = std::optional<std::string>;
    const auto in = [](const char* name) { return nb::arg(name).noconvert(); };
    const auto variant = nb::arg("variant") = nb::none();
    const auto dense = [](bool nibbles) {
        return [nibbles](In<u8, 2> codes, In<i8, 3> digits, In<double, 2> factors, Factors scale,
                         Factors norm, const Name& name) {
            return new Scorer(codes, digits, factors, scale, norm, nibbles, name);
        };
    };

    nb::class_<Scorer>(m, "Scorer")
        .def("scan", &Scorer::scan, nb::arg("start"), nb::arg("stop"), in("allowed").none(),
             nb::arg("keep"))
        .def("scan_lists", &Scorer::scan_lists, in("offsets"), in("order"), in("probes"),
             in("allowed").none(), nb::arg("keep"))
        .def("score", &Scorer::score, nb::arg("query"), in("rows"));
    m.def("variants", [] {
        std::vector<std::string> names;
        for (const Variant* each : variants()) names.emplace_back(each->name);
        return names;
    });
    m.def("flat", [](Any values, In<float, 2> queries, bool l2, const Name& name) {
        return new Scorer(values, queries, l2, name);
    }, in("values"), in("queries"), nb::arg("l2"), variant);
    m.def("octets", dense(false), in("codes"), in("digits"), in("factors"), in("scale").none(),
          in("norm").none(), variant);
    m.def("nibbles", dense(true), in("codes"), in("digits"), in("factors"), in("scale").none(),
          in("norm").none(), variant);
    m.def("packed", [](In<u8, 3> codes, In<u8, 3> tables, In<double, 2> factors, Factors scale,
                       Factors norm, const Name& name) {
        return new Scorer(codes, tables, factors, scale, norm, name);
    }, in("codes"), in("tables"), in("factors"), in("scale"), in("norm").none(), variant);
    m.def("rotate", &rotate, in("vectors"), in("signs"), variant);
    m.def("unrotate", &unrotate, in("rotated"), in("signs"), nb::arg("dim"), variant);
    m.def("packed_queries", &packed_queries, in("queries"), in("signs"), nb::arg("bits"), variant);
    m.def("quantize", &quantize, in("rotated"), nb::arg("bits"), variant);
    m.def("read_pages", &read_pages, in("data"));
}
