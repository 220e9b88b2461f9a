// The Python face of late interaction: every shape and bound is checked here, before a loop.
// Offsets and ids, of which there are too many, are brought into range where they are read.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <limits>
#include <variant>

#include "arrays.h"
#include "documents.h"
#include "join.h"
#include "module.h"
#include "variants.h"

namespace vecstore {

namespace {

using Name = std::optional<std::string>;
using Words = std::optional<In<u64, 1>>;
// Ids of one or two bytes.
using Ids = nb::ndarray<nb::ro, nb::numpy, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
// Floats of two or four bytes.
using Values = nb::ndarray<nb::ro, nb::numpy, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// Tables and the like, which are not cleared first.
template <class T>
struct Lines : Aligned<T> {
    template <class U>
    void construct(U* p) { ::new (static_cast<void*>(p)) U; }
};

// Integer queries [Q][n][D], padded and in the order that sums of products want.
class Tiled {
  public:
    explicit Tiled(const In<i8, 3>& queries) {
        const i64 count = i64(queries.shape(0)), vectors = i64(queries.shape(1)),
                  dim = i64(queries.shape(2));
        check(vectors > 0 && 0 < dim && dim <= OCTETS_MAX,
              "queries of shape [Q, n, D], n at least 1, D from 1 to 4,096");
        rows_ = (vectors + STRIP - 1) / STRIP * STRIP;
        groups_ = (dim + 3) / 4;
        values_.assign(size_t(count * groups_ * rows_ * 4), 0);
        from_.resize(size_t(count * rows_));
        const i8* from = queries.data();
        for (i64 q = 0; q < count; q++)
            for (i64 r = 0; r < vectors; r++) {
                i8* to = values_.data() + (q * groups_ * rows_ + r) * 4;
                i32 sum = 0;
                for (i64 d = 0; d < dim; d++, from++) {
                    to[d / 4 * rows_ * 4 + d % 4] = *from;
                    sum += *from;
                }
                from_[size_t(q * rows_ + r)] = -128 * sum;
            }
    }
    Tiles of(i64 query) const {
        return {values_.data() + query * groups_ * rows_ * 4, from_.data() + query * rows_, rows_,
                groups_};
    }

  private:
    Lined<i8> values_;
    std::vector<i32> from_;
    i64 rows_;
    i64 groups_;
};

nb::tuple id_tables(In<u8, 2> centroids, In<i8, 3> queries, const Name& name) {
    const i64 count = i64(centroids.shape(0)), asked = i64(queries.shape(0));
    check(0 < count && count <= 65536, "1 to 65,536 centroids");
    check(centroids.shape(1) == queries.shape(2), "centroids and queries of the same dimension");
    const Variant& variant = variant_named(name);
    const Tiled tiled(queries);
    const i64 rows = tiled.of(0).rows;
    std::vector<u8, Lines<u8>> out(size_t(asked * count * rows));
    std::vector<double> factors(size_t(2 * asked));
    {
        nb::gil_scoped_release release;
        std::vector<i32, Lines<i32>> scratch(size_t((count + 2) * rows));
        for (i64 q = 0; q < asked; q++)
            variant.id_table(centroids.data(), count, i64(centroids.shape(1)), tiled.of(q),
                             scratch.data(), out.data() + q * count * rows, &factors[2 * q]);
    }
    return nb::make_tuple(
        array(std::move(out), {size_t(asked), size_t(count), size_t(rows)}),
        array(std::move(factors), {size_t(asked), 2}));
}

// Documents of one representation and some prepared queries, checked and ready to be scored.
class MaxSim {
  public:
    MaxSim(In<u64, 1> offsets, std::optional<i64> budget, Ids ids, In<u8, 3> tables,
           In<double, 2> factors, const Name& name);
    MaxSim(In<u64, 1> offsets, std::optional<i64> budget, In<u8, 2> codes, i64 radix,
           In<u8, 1> levels, std::optional<Ids> ids, std::optional<In<u8, 2>> centroids,
           std::optional<In<u8, 1>> inverse, std::optional<In<float, 1>> inverses,
           In<i8, 3> queries, In<double, 1> steps, const Name& name);
    MaxSim(In<u64, 1> offsets, std::optional<i64> budget, Values values, In<float, 3> queries,
           const Name& name);
    MaxSim(In<u64, 1> offsets, std::optional<i64> budget, nb::handle_t<Scores> rows);

    nb::list scan(i64 start, i64 stop, Words allowed, i64 keep) const;
    Out<float> score(i64 query, In<i64, 1> documents) const;

  private:
    MaxSim(const Variant& variant, In<u64, 1> offsets, std::optional<i64> budget, const void* codes,
           i64 bytes, i64 tokens, i64 count, DocumentFn score);
    const void* job() const {
        return std::visit([](const auto& job) -> const void* { return &job; }, job_);
    }
    bool wide(const Ids& ids, i64 centroids);

    const Variant* variant_;
    Documents documents_;
    i64 count_;  // Q
    DocumentFn score_;
    std::optional<Tiled> tiled_;
    Lined<float> factors_;  // of queries, or what their vectors are in order
    std::vector<nb::object> held_;  // the arrays that the job points into
    std::variant<IdsJob, OctetsJob, FloatsJob, RowsJob> job_;
};

MaxSim::MaxSim(const Variant& variant, In<u64, 1> offsets, std::optional<i64> budget,
               const void* codes, i64 bytes, i64 tokens, i64 count, DocumentFn score)
    : variant_(&variant),
      documents_{offsets.data(), i64(offsets.shape(0)) - 1, tokens,
                 budget.value_or(std::numeric_limits<i64>::max()), codes, bytes},
      count_(count),
      score_(score) {
    check(documents_.count >= 0 && documents_.count <= ROWS_MAX,
          "offsets of shape [N + 1], N below 2^32");
    check(documents_.budget > 0, "a token budget of at least 1");
    held_.push_back(nb::cast(offsets));
}

// Whether the ids, which are kept, are of two bytes.
bool MaxSim::wide(const Ids& ids, i64 centroids) {
    const bool wide = ids.dtype() == nb::dtype<u16>();
    check(wide || ids.dtype() == nb::dtype<u8>(), "ids of uint8 or uint16");
    check(0 < centroids && centroids <= (wide ? 65536 : 256),
          "1 to 65,536 centroids, or 256 where an id is one byte");
    held_.push_back(nb::cast(ids));
    return wide;
}

MaxSim::MaxSim(In<u64, 1> offsets, std::optional<i64> budget, Ids ids, In<u8, 3> tables,
               In<double, 2> factors, const Name& name)
    : MaxSim(variant_named(name), offsets, budget, ids.data(), ids.dtype().bits / 8,
             i64(ids.shape(0)), i64(tables.shape(0)), variant_named(name).ids_document) {
    const i64 centroids = i64(tables.shape(1)), columns = i64(tables.shape(2));
    check(0 < columns && columns % STRIP == 0, "tables of shape [Q, K, n], n a multiple of 32");
    check(i64(factors.shape(0)) == count_ && factors.shape(1) == 2,
          "factors of shape [Q, 2]: step, offset");
    for (size_t i = 0; i < factors.size(); i++) factors_.push_back(float(factors.data()[i]));
    held_.push_back(nb::cast(tables));
    job_ = IdsJob{ids.data(), tables.data(), factors_.data(), columns, centroids - 1,
                  wide(ids, centroids)};
}

i64 digits_of(i64 radix) {
    return radix == 2 ? 8 : radix == 3 ? 5 : radix == 4 ? 4 : radix == 16 ? 2 : 1;
}

MaxSim::MaxSim(In<u64, 1> offsets, std::optional<i64> budget, In<u8, 2> codes, i64 radix,
               In<u8, 1> levels, std::optional<Ids> ids, std::optional<In<u8, 2>> centroids,
               std::optional<In<u8, 1>> inverse, std::optional<In<float, 1>> inverses,
               In<i8, 3> queries, In<double, 1> steps, const Name& name)
    : MaxSim(variant_named(name), offsets, budget, codes.data(), i64(codes.shape(1)),
             i64(codes.shape(0)), i64(queries.shape(0)), variant_named(name).octets_document) {
    tiled_.emplace(queries);
    const i64 dim = i64(queries.shape(2)), bytes = i64(codes.shape(1)), digits = digits_of(radix);
    check(radix == 256 || digits > 1, "a radix of 2, 3, 4, 16 or 256");
    check(bytes == (dim + digits - 1) / digits, "codes of as many bytes as D dimensions take");
    check(levels.shape(0) == 16, "16 levels");
    check(i64(steps.shape(0)) == count_, "a step for each query");
    check(ids.has_value() == centroids.has_value() && !(ids && radix == 256),
          "ids and centroids, or neither; no radix of 256 with them");
    check(!ids || i64(ids->shape(0)) == documents_.tokens, "an id for each token");
    check(!centroids || i64(centroids->shape(1)) == dim, "centroids of shape [K, D]");
    check(inverse.has_value() == inverses.has_value(), "inverse and inverses, or neither");
    check(!inverse || i64(inverse->shape(0)) == documents_.tokens, "an inverse for each token");
    check(!inverses || inverses->shape(0) == 256, "256 inverses");
    for (size_t q = 0; q < steps.size(); q++) factors_.push_back(float(steps.data()[q]));
    OctetsJob job{codes.data(), bytes, radix, dim, {}, nullptr, nullptr, 0, false, nullptr, nullptr,
                  factors_.data(), tiled_->of(0)};
    for (i64 i = 0; i < 64; i++)
        job.levels[i] = levels.data()[radix == 3 ? (i + 1) % 16 : radix < 16 ? i % radix : i % 16];
    held_.push_back(nb::cast(codes));
    if (ids) {
        job.ids = ids->data();
        job.centroids = centroids->data();
        job.last = i64(centroids->shape(0)) - 1;
        job.wide = wide(*ids, job.last + 1);
        held_.push_back(nb::cast(*centroids));
    }
    if (inverse) {
        job.inverse = inverse->data();
        job.inverses = inverses->data();
        held_.push_back(nb::cast(*inverse));
        held_.push_back(nb::cast(*inverses));
    }
    job_ = job;
}

MaxSim::MaxSim(In<u64, 1> offsets, std::optional<i64> budget, Values values, In<float, 3> queries,
               const Name& name)
    : MaxSim(variant_named(name), offsets, budget, values.data(),
             i64(values.shape(1)) * values.dtype().bits / 8, i64(values.shape(0)),
             i64(queries.shape(0)), variant_named(name).floats_document) {
    const bool half = values.dtype() == nb::dlpack::dtype{2, 16, 1};
    check(half || values.dtype() == nb::dtype<float>(), "values of float32 or float16");
    const i64 vectors = i64(queries.shape(1)), dim = i64(queries.shape(2));
    check(vectors > 0 && 0 < dim && dim <= FLOATS_MAX,
          "queries of shape [Q, n, D], n at least 1, D from 1 to 65,536");
    check(i64(values.shape(1)) == dim, "values and queries of the same dimension");
    const i64 rows = (vectors + LANES - 1) / LANES * LANES;
    factors_.assign(size_t(count_ * dim * rows), 0.0f);
    const float* from = queries.data();
    for (i64 q = 0; q < count_; q++)
        for (i64 r = 0; r < vectors; r++)
            for (i64 d = 0; d < dim; d++) factors_[size_t((q * dim + d) * rows + r)] = *from++;
    held_.push_back(nb::cast(values));
    job_ = FloatsJob{values.data(), factors_.data(), dim, rows, half};
}

MaxSim::MaxSim(In<u64, 1> offsets, std::optional<i64> budget, nb::handle_t<Scores> rows)
    : MaxSim(*nb::cast<const Scores&>(rows).scoring().variant, offsets, budget, nullptr, 0,
             nb::cast<const Scores&>(rows).scoring().rows, 1, rows_document) {
    const Scoring scoring = nb::cast<const Scores&>(rows).scoring();
    check(scoring.family.group == 1, "a scorer of rows that are not interleaved");
    check(scoring.count > 0, "a scorer of at least one query vector");
    held_.push_back(nb::borrow(rows));
    job_ = RowsJob{scoring.family, scoring.job, scoring.count};
}

nb::list MaxSim::scan(i64 start, i64 stop, Words allowed, i64 keep) const {
    check(0 <= start && start <= stop && stop <= documents_.count, "0 <= start <= stop <= N");
    check(keep > 0, "keep of at least 1");
    check(!allowed || i64(allowed->shape(0)) >= (stop + BLOCK - 1) / BLOCK,
          "a word of allowed for every 64 documents");
    std::vector<Best> best;
    {
        nb::gil_scoped_release release;
        best = scan_documents(*variant_, score_, job(), count_, documents_, start, stop,
                              allowed ? allowed->data() : nullptr, keep);
    }
    nb::list all;
    for (Best& each : best) {
        const std::vector<Hit>& hits = each.sorted();
        std::vector<i64> found(hits.size());
        std::vector<float> scores(hits.size());
        for (size_t i = 0; i < hits.size(); i++) found[i] = hits[i].row, scores[i] = hits[i].score;
        const size_t n = hits.size();
        all.append(nb::make_tuple(array(std::move(found), {n}), array(std::move(scores), {n})));
    }
    return all;
}

Out<float> MaxSim::score(i64 query, In<i64, 1> documents) const {
    check(0 <= query && query < count_, "the position of a query");
    const size_t n = documents.shape(0);
    u64 outside = 0;
    for (size_t i = 0; i < n; i++)
        outside |= u64(u64(documents.data()[i]) >= u64(documents_.count));
    check(!outside, "documents from 0 to N - 1");
    std::vector<float> scores(n);
    {
        nb::gil_scoped_release release;
        score_documents(score_, job(), query, documents_, documents.data(), i64(n), scores.data());
    }
    return array(std::move(scores), {n});
}

}  // namespace

void add_maxsim(nb::module_& m) {
    const auto in = [](const char* name) { return nb::arg(name).noconvert(); };
    const auto variant = nb::arg("variant") = nb::none();
    const auto budget = nb::arg("budget").none();
    nb::class_<MaxSim>(m, "MaxSim")
        .def("scan", &MaxSim::scan, nb::arg("start"), nb::arg("stop"), in("allowed").none(),
             nb::arg("keep"))
        .def("score", &MaxSim::score, nb::arg("query"), in("documents"));
    m.def("id_tables", &id_tables, in("centroids"), in("queries"), variant);
    m.def("maxsim_ids", [](In<u64, 1> offsets, std::optional<i64> most, Ids ids, In<u8, 3> tables,
                           In<double, 2> factors, const Name& name) {
        return new MaxSim(offsets, most, ids, tables, factors, name);
    }, in("offsets"), budget, in("ids"), in("tables"), in("factors"), variant);
    m.def("maxsim_octets", [](In<u64, 1> offsets, std::optional<i64> most, In<u8, 2> codes,
                              i64 radix, In<u8, 1> levels, std::optional<Ids> ids,
                              std::optional<In<u8, 2>> centroids,
                              std::optional<In<u8, 1>> inverse,
                              std::optional<In<float, 1>> inverses, In<i8, 3> queries,
                              In<double, 1> steps, const Name& name) {
        return new MaxSim(offsets, most, codes, radix, levels, ids, centroids, inverse, inverses,
                          queries, steps, name);
    }, in("offsets"), budget, in("codes"), nb::arg("radix"), in("levels"), in("ids").none(),
          in("centroids").none(), in("inverse").none(), in("inverses").none(), in("queries"),
          in("steps"), variant);
    m.def("maxsim_floats", [](In<u64, 1> offsets, std::optional<i64> most, Values values,
                              In<float, 3> queries, const Name& name) {
        return new MaxSim(offsets, most, values, queries, name);
    }, in("offsets"), budget, in("values"), in("queries"), variant);
    m.def("maxsim_rows", [](In<u64, 1> offsets, std::optional<i64> most,
                            nb::handle_t<Scores> rows) { return new MaxSim(offsets, most, rows); },
          in("offsets"), budget, nb::arg("rows"));
}

}  // namespace vecstore
