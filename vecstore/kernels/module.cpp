// The Python face of the kernels: every shape, type and bound is checked here, before a loop.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "join.h"
#include "module.h"
#include "query.h"

namespace vecstore {

namespace {

using Any = nb::ndarray<nb::ro, nb::numpy, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Factors = std::optional<In<float, 1>>;

// One representation's rows and some prepared queries, checked and ready to be scored.
class Scorer : public Scores {
  public:
    Scorer(Any values, In<float, 2> queries, bool l2, const std::optional<std::string>& name);
    Scorer(In<u8, 2> codes, In<i8, 3> digits, In<double, 2> factors, Factors scale, Factors norm,
           Factors shift, bool nibbles, const std::optional<std::string>& name);
    Scorer(In<u8, 3> codes, In<u8, 3> tables, In<double, 2> factors, Factors scale, Factors norm,
           bool octets, const std::optional<std::string>& name);
    Scorer(PackedQueries&& queries, const Variant& variant);
    Scorer(In<u8, 2> codes, In<u8, 2> signs, In<float, 1> lengths, In<float, 1> table,
           Factors scale, bool l2, const std::optional<std::string>& name);
    Scorer(const std::vector<Scorer*>& terms, const std::vector<Factors>& gains, Factors norm,
           Factors norms);

    nb::list scan(i64 start, i64 stop, std::optional<In<u64, 1>> allowed, i64 keep) const;
    nb::list scan_lists(In<u64, 1> offsets, In<u32, 1> order, In<i64, 2> probes,
                        std::optional<In<u64, 1>> allowed, i64 keep) const;
    Out<float> score(i64 query, In<i64, 1> rows) const;
    Scoring scoring() const override {
        return {&variant_, family_, at(), rows_, count_, norms_.empty() ? nullptr : norms_.data()};
    }
    const Job& job() const override { return job_; }
    const std::vector<const Scores*>& terms() const override { return summed_; }

  private:
    void finish(const In<double, 2>& factors, const Factors& scale, const Factors& norm,
                const Factors& shift = std::nullopt);
    void ask(const double* factors, i64 width);
    i64 run_of(const u8* tables, i64 bytes) const;
    const float* held(const Factors& values, i64 count, const char* expected);
    template <class T>
    const T* lined(const In<T, 3>& values);

    const Variant& variant_;
    Family family_;
    i64 rows_;
    i64 count_;
    Lined<float> padded_;
    Lined<u8> lined_;
    std::vector<Query> queries_;
    std::vector<double> norms_;
    Rows factors_{};
    std::vector<Term> terms_;
    std::vector<nb::object> held_;  // the arrays that the job points into
    std::vector<const Scores*> summed_;
    Job job_;

    const void* at() const { return job_of(job_); }
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
    family_.row_bytes = dim * (half ? 2 : 4);
    family_.query_bytes = padded * 4;
    job_ = FlatJob{values.data(), padded_.data(), dim, padded, half, l2};
}

// Optional values, one for each row or query, which the job may point to.
const float* Scorer::held(const Factors& values, i64 count, const char* expected) {
    if (!values) return nullptr;
    check(i64(values->shape(0)) == count, expected);
    held_.push_back(nb::cast(*values));
    return values->data();
}

// What is looked up of queries, from the beginning of a line of the cache: a register that lies
// across two takes twice as long to load.
template <class T>
const T* Scorer::lined(const In<T, 3>& values) {
    static_assert(sizeof(T) == 1);
    if (reinterpret_cast<std::uintptr_t>(values.data()) % LINE == 0) {
        held_.push_back(nb::cast(values));
        return values.data();
    }
    lined_.resize(values.size());
    std::memcpy(lined_.data(), values.data(), values.size());
    return reinterpret_cast<const T*>(lined_.data());
}

void Scorer::ask(const double* f, i64 width) {
    for (i64 q = 0; q < count_; q++, f += width) {
        check(std::fabs(f[0]) < 0x1p53, "an exact bias");
        const float weight = width > 4 ? float(f[4]) : 0.0f;
        queries_.push_back({i64(f[0]), float(f[1]), float(f[2]), float(f[3]), weight});
        norms_.push_back(f[3]);
    }
}

void Scorer::finish(const In<double, 2>& factors, const Factors& scale, const Factors& norm,
                    const Factors& shift) {
    const i64 width = shift ? 5 : 4;
    check(i64(factors.shape(0)) == count_ && i64(factors.shape(1)) == width,
          "factors of shape [Q, 4]: bias, step, offset, norm; with shift [Q, 5]: and its weight");
    ask(factors.data(), width);
    const char* expected = "one scale, shift and norm for each row";
    factors_ = {held(scale, rows_, expected), held(shift, rows_, expected),
                held(norm, rows_, expected)};
}

Scorer::Scorer(In<u8, 2> codes, In<i8, 3> digits, In<double, 2> factors, Factors scale,
               Factors norm, Factors shift, bool nibbles, const std::optional<std::string>& name)
    : variant_(variant_named(name)),
      family_(variant_.dense),
      rows_(i64(codes.shape(0))),
      count_(i64(digits.shape(0))) {
    const i64 bytes = i64(codes.shape(1));
    check(0 < bytes && bytes <= 65536, "codes of 1 to 65,536 bytes");
    check(digits.shape(1) == 2 && i64(digits.shape(2)) == bytes, "digits of shape [Q, 2, bytes]");
    finish(factors, scale, norm, shift);
    held_.push_back(nb::cast(codes));
    family_.row_bytes = bytes;
    family_.query_bytes = 2 * bytes;
    job_ = DenseJob{codes.data(), lined(digits), queries_.data(), factors_, bytes, nibbles};
}

Scorer::Scorer(In<u8, 3> codes, In<u8, 3> tables, In<double, 2> factors, Factors scale,
               Factors norm, bool octets, const std::optional<std::string>& name)
    : variant_(variant_named(name)),
      family_(octets ? variant_.table : variant_.packed),
      rows_(0),
      count_(i64(tables.shape(0))) {
    const i64 bytes = i64(codes.shape(1)), group = octets ? BLOCK : GROUP;
    rows_ = scale ? i64(scale->shape(0)) : norm ? i64(norm->shape(0)) : i64(codes.shape(0)) * group;
    check(i64(codes.shape(2)) == group && 0 < bytes && bytes <= 65536 &&
              bytes % (octets ? 1 : UNIT) == 0,
          octets ? "codes of shape [ceil(N / 64), bytes, 64]"
                 : "codes of shape [ceil(N / 16), bytes, 16], bytes a multiple of 4");
    check(i64(codes.shape(0)) == (rows_ + group - 1) / group, "a group for every 16 or 64 rows");
    check(i64(tables.shape(1)) == (octets ? bytes : 2 * bytes) &&
              tables.shape(2) == (octets ? 256 : 16),
          octets ? "tables of shape [Q, bytes, 256]" : "tables of shape [Q, 2 bytes, 16]");
    finish(factors, scale, norm);
    family_.row_bytes = bytes;
    family_.query_bytes = bytes * (octets ? 256 : 2 * 16);
    held_.push_back(nb::cast(codes));
    const u8* entries = lined(tables);
    if (octets) {
        job_ = TableJob{codes.data(), entries, queries_.data(), factors_, bytes};
        return;
    }
    job_ = PackedJob{codes.data(), entries, queries_.data(), factors_, bytes,
                     run_of(entries, bytes)};
}

Scorer::Scorer(PackedQueries&& queries, const Variant& variant)
    : variant_(variant),
      family_(variant.packed),
      rows_(0),
      count_(i64(queries.factors.size() / 4)),
      lined_(std::move(queries.tables)) {
    ask(queries.factors.data(), 4);
    job_ = PackedJob{nullptr, lined_.data(), queries_.data(), factors_, queries.bytes,
                     run_of(lined_.data(), queries.bytes)};
}

i64 Scorer::run_of(const u8* tables, i64 bytes) const {
    i64 run = RUN;
    for (i64 q = 0; q < count_; q++)
        run = std::min(run, packed_run(tables + q * 2 * bytes * 16, bytes));
    check(run > 0, "tables whose entries for a byte of codes add up to 255 at most");
    return run;
}

Scorer::Scorer(In<u8, 2> codes, In<u8, 2> signs, In<float, 1> lengths, In<float, 1> table,
               Factors scale, bool l2, const std::optional<std::string>& name)
    : variant_(variant_named(name)),
      family_(variant_.signs),
      rows_(i64(codes.shape(0))),
      count_(i64(signs.shape(0))) {
    const i64 bytes = i64(codes.shape(1));
    check(bytes > 0 && bytes % 8 == 0 && i64(signs.shape(1)) == bytes,
          "codes and signs of the same number of bytes, a multiple of 8");
    check(i64(lengths.shape(0)) == count_, "a length for each query");
    check(i64(table.shape(0)) == 8 * bytes + 1, "a table of shape [8 bytes + 1]");
    check(scale || !l2, "a scale for each row");
    const float* scales = held(scale, rows_, "a scale for each row");
    held_.insert(held_.end(), {nb::cast(codes), nb::cast(signs), nb::cast(lengths),
                               nb::cast(table)});
    family_.row_bytes = family_.query_bytes = bytes;
    job_ = SignsJob{codes.data(), signs.data(), lengths.data(), table.data(), scales, bytes, l2};
}

Scorer::Scorer(const std::vector<Scorer*>& terms, const std::vector<Factors>& gains, Factors norm,
               Factors norms)
    : variant_(terms.empty() || !terms[0] ? *variants().back() : terms[0]->variant_),
      family_(variant_.total),
      rows_(0),
      count_(0) {
    check(!terms.empty() && gains.size() == terms.size(), "a scorer or more, a gain for each");
    for (size_t t = 0; t < terms.size(); t++) {
        const Scorer* term = terms[t];
        check(term && !std::holds_alternative<TotalJob>(term->job_), "scorers that are no totals");
        if (!t) rows_ = term->rows_, count_ = term->count_;
        check(term->rows_ == rows_ && term->count_ == count_ && &term->variant_ == &variant_,
              "scorers of the same rows, queries and variant");
        family_.row_bytes += term->family_.row_bytes;
        family_.query_bytes += term->family_.query_bytes;
        held_.push_back(nb::find(term));
        summed_.push_back(term);
        terms_.push_back({term->family_, term->at(), held(gains[t], rows_, "a gain for each row")});
    }
    check(!gains[0], "no gain for the first scorer");
    check(norm.has_value() == norms.has_value(), "both squared lengths or none");
    job_ = TotalJob{terms_.data(), i64(terms_.size()), held(norm, rows_, "a norm for each row"),
                    held(norms, count_, "a norm for each query")};
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
    check(0 < keep && keep <= ROWS_MAX, "keep from 1 to 2^32 - 1");
    check(!allowed || i64(allowed->shape(0)) >= (stop + BLOCK - 1) / BLOCK,
          "a word of allowed for every 64 rows");
    std::vector<Best> best;
    {
        nb::gil_scoped_release release;
        best = vecstore::scan(variant_, family_, at(), count_,
                              {start, stop, allowed ? allowed->data() : nullptr}, keep);
        for (Best& each : best) each.sorted();
    }
    return found(best);
}

nb::list Scorer::scan_lists(In<u64, 1> offsets, In<u32, 1> order, In<i64, 2> probes,
                            std::optional<In<u64, 1>> allowed, i64 keep) const {
    check(rows_ <= ROWS_MAX, "less than 2^32 rows");
    check(offsets.shape(0) > 1, "the offsets of at least one list");
    const size_t count = offsets.shape(0) - 1;
    bool ascending = offsets.data()[count] <= u64(order.shape(0));
    for (size_t i = 0; i < count; i++) ascending &= offsets.data()[i] <= offsets.data()[i + 1];
    check(ascending, "offsets that ascend to N at most");
    check(i64(order.shape(0)) <= rows_, "the row at each of at most N positions");
    check(i64(probes.shape(0)) == count_, "probes of shape [Q, P]");
    u64 outside = 0;
    for (size_t i = 0; i < probes.size(); i++)
        outside |= u64(u64(probes.data()[i]) + 1 > u64(count));
    check(!outside, "probes from 0 to C - 1, and -1 for none");
    check(0 < keep && keep <= ROWS_MAX, "keep from 1 to 2^32 - 1");
    check(!allowed || i64(allowed->shape(0)) >= (i64(order.shape(0)) + BLOCK - 1) / BLOCK,
          "a word of allowed for every 64 rows");
    std::vector<Best> best;
    {
        nb::gil_scoped_release release;
        best = vecstore::scan_lists(variant_, family_, at(), count_,
                                    {offsets.data(), i64(count), order.data(), i64(order.shape(0))},
                                    probes.data(), i64(probes.shape(1)),
                                    allowed ? allowed->data() : nullptr, keep);
        for (Best& each : best) each.sorted();
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
        family_.rows(at(), query, rows.data(), i64(n), scores.data());
    }
    return array(std::move(scores), {n});
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
                         Factors norm, const Name& name, Factors shift) {
            return new Scorer(codes, digits, factors, scale, norm, shift, nibbles, name);
        };
    };

    const auto tables = [](bool octets) {
        return [octets](In<u8, 3> codes, In<u8, 3> tables, In<double, 2> factors, Factors scale,
                        Factors norm, const Name& name) {
            return new Scorer(codes, tables, factors, scale, norm, octets, name);
        };
    };

    nb::class_<Scores>(m, "Scores");
    nb::class_<Scorer, Scores>(m, "Scorer")
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
    const auto shift = nb::arg("shift").noconvert().none() = nb::none();
    m.def("octets", dense(false), in("codes"), in("digits"), in("factors"), in("scale").none(),
          in("norm").none(), variant, shift);
    m.def("nibbles", dense(true), in("codes"), in("digits"), in("factors"), in("scale").none(),
          in("norm").none(), variant, shift);
    m.def("packed", tables(false), in("codes"), in("tables"), in("factors"), in("scale").none(),
          in("norm").none(), variant);
    m.def("packed_asked", [](In<float, 2> queries, In<float, 2> signs, i64 bits, const Name& name) {
        const Variant& own = variant_named(name);
        return new Scorer(packed_tables(queries, signs, bits, own), own);
    }, in("queries"), in("signs"), nb::arg("bits"), variant);
    m.def("looked_up", tables(true), in("codes"), in("tables"), in("factors"), in("scale").none(),
          in("norm").none(), variant);
    m.def("signs", [](In<u8, 2> codes, In<u8, 2> signs, In<float, 1> lengths, In<float, 1> table,
                      Factors scale, bool l2, const Name& name) {
        return new Scorer(codes, signs, lengths, table, scale, l2, name);
    }, in("codes"), in("signs"), in("lengths"), in("table"), in("scale").none(), nb::arg("l2"),
          variant);
    m.def("total", [](const std::vector<Scorer*>& terms, const std::vector<Factors>& gains,
                      Factors norm, Factors norms) {
        return new Scorer(terms, gains, norm, norms);
    }, in("terms"), in("gains"), in("norm").none(), in("norms").none());
    add_books(m);
    add_encoding(m);
    add_ids(m);
    m.def("read_pages", &read_pages, in("data"));
    add_cascade(m);
    add_maxsim(m);
    add_postings(m);
    add_sets(m);
}
