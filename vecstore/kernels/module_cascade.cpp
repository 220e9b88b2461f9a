// The Python face of the cascade: every shape and bound is checked here, before a loop.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "arrays.h"
#include "cascade.h"
#include "join.h"

namespace vecstore {

namespace {

// The queries of one cascade, and what joins rows with them: lives as long as it runs.
struct Asked {
    std::vector<const Scores*> queries;  // of each codec
    i64 count = 0;
    std::vector<std::unique_ptr<const Joined>> joined;
    std::vector<std::vector<float>> reaches;

    const Scores& at(i64 place) const {
        check(place < i64(queries.size()), "the queries of each codec");
        return *queries[size_t(place)];
    }
};

// The rows of a Scorer, whatever its queries, and how far scores may be off.
class Reading {
  public:
    Reading(nb::handle_t<Scores> scorer, std::optional<double> sigmas,
            std::optional<In<u16, 1>> error)
        : scorer_(nb::borrow(scorer)), scores_(&nb::cast<const Scores&>(scorer_)),
          sigmas_(sigmas), error_(std::move(error)) {
        check(!error_ || (sigmas && i64(error_->shape(0)) == scores_->scoring().rows),
              "an error for each row, and sigmas");
    }
    Read read(Asked& asked, i64 place) const {
        asked.joined.push_back(join(*scores_, asked.at(place)));
        const Scoring& scoring = asked.joined.back()->scoring;
        check(scoring.count == asked.count, "as many queries of each codec");
        check(!error_ || scoring.norms, "lengths of queries");
        std::vector<float> reach;
        for (i64 q = 0; error_ && q < scoring.count; q++)
            reach.push_back(float(*sigmas_ * std::sqrt(scoring.norms[q])));
        asked.reaches.push_back(std::move(reach));
        return {scoring, sigmas_.has_value(), asked.reaches.back().data(),
                error_ ? error_->data() : nullptr, positions_ ? positions_->data() : nullptr};
    }
    // How many rows can be asked for.
    i64 rows() const {
        return positions_ ? i64(positions_->shape(0)) : scores_->scoring().rows;
    }
    // The same scores, of which nobody knows how far they may be off.
    Reading unbounded() const { return Reading(nb::handle_t<Scores>(scorer_), {}, {}); }
    // The same, of codes that lie at other positions than their rows.
    Reading at(In<u32, 1> positions) const {
        check(i64(positions.shape(0)) <= scores_->scoring().rows, "the positions of at most N rows");
        Reading found = *this;
        found.positions_ = std::move(positions);
        return found;
    }

  private:
    nb::object scorer_;
    const Scores* scores_;
    std::optional<double> sigmas_;
    std::optional<In<u16, 1>> error_;
    std::optional<In<u32, 1>> positions_;
};

// Codes in the order of inverted lists.
class ListedCodes {
  public:
    ListedCodes(const Reading& centroids, In<u64, 1> offsets, In<u32, 1> order)
        : centroids_(centroids), offsets_(offsets.data(), offsets.data() + offsets.shape(0)),
          order_(std::move(order)) {
        check(offsets_.size() > 1, "the offsets of at least one list");
        check(std::is_sorted(offsets_.begin(), offsets_.end()) &&
                  offsets_.back() <= u64(order_.shape(0)),
              "offsets that ascend to N at most");
        check(i64(offsets_.size()) - 1 <= centroids_.rows(), "a centroid for each list");
    }
    i64 rows() const { return i64(order_.shape(0)); }
    Out<i64> probes(nb::handle_t<Scores> queries, i64 nprobe,
                    const std::optional<In<u64, 1>>& allowed) const {
        Asked asked;
        asked.queries = {&nb::cast<const Scores&>(queries)};
        const i64 count = asked.count = asked.queries[0]->scoring().count;
        check(count > 0, "a query");
        check(0 < nprobe && nprobe <= ROWS_MAX, "nprobe from 1 to 2^32 - 1");
        check(!allowed || i64(allowed->shape(0)) >= (rows() + BLOCK - 1) / BLOCK,
              "a word of allowed for every 64 rows");
        const Listed listed = read(asked, 0);
        std::vector<i64> found;
        {
            nb::gil_scoped_release release;
            found = probes_of(listed, count, nprobe, allowed ? allowed->data() : nullptr);
        }
        const size_t each = found.size() / size_t(count);
        return array(std::move(found), {size_t(count), each});
    }
    Listed read(Asked& asked, i64 place) const {
        return {centroids_.read(asked, place).scoring,
                {offsets_.data(), i64(offsets_.size()) - 1, order_.data(), rows()}};
    }

  private:
    Reading centroids_;
    std::vector<u64> offsets_;  // which whoever writes to a mapped file cannot change any more
    In<u32, 1> order_;
};

// What one cascade reads of one source, whatever the queries.
class Target {
  public:
    Target(const Reading& scan, const Reading* rescore, i64 rows,
           std::optional<In<u64, 1>> allowed, const ListedCodes* lists, std::pair<i64, i64> asked)
        : scan_(scan), rescore_(rescore ? std::optional(*rescore) : std::nullopt),
          allowed_(std::move(allowed)), rows_(rows),
          lists_(lists ? std::optional(*lists) : std::nullopt), asked_(asked) {
        check(0 <= rows && rows <= scan_.rows() && (!rescore || rows <= rescore->rows()),
              "as many rows in both readings");
        check(!lists_ || lists_->rows() == rows, "lists of the same rows");
        check(!allowed_ || i64(allowed_->shape(0)) >= (rows_ + BLOCK - 1) / BLOCK,
              "a word of allowed for every 64 rows");
        check(asked.first >= 0 && asked.second >= 0, "the places of queries");
    }
    i64 rows() const { return rows_; }
    bool rescored() const { return rescore_.has_value(); }

    CascadeTarget read(Asked& asked, nb::handle touch) const {
        const Read scan = scan_.read(asked, asked_.first);
        CascadeTarget found{rows_, scan, rescore_ ? rescore_->read(asked, asked_.second) : scan,
                            allowed_ ? allowed_->data() : nullptr, {}, {}};
        if (lists_) found.listed = lists_->read(asked, asked_.first);
        if (!touch.is_none())
            found.touch = [touch](const std::vector<i64>& rows) {
                nb::gil_scoped_acquire acquire;
                touch(array(std::vector<i64>(rows), {rows.size()}));
            };
        return found;
    }

  private:
    Reading scan_;
    std::optional<Reading> rescore_;
    std::optional<In<u64, 1>> allowed_;
    i64 rows_;
    std::optional<ListedCodes> lists_;
    std::pair<i64, i64> asked_;
};

// When a search came back into the interpreter, where it still is as far as is known; else 0.
std::atomic<i64> entered{0};
// For about so long a search is there; a thread that sleeps takes longer to be woken up.
constexpr i64 INSIDE_NS = 40'000;

i64 now_ns() {
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

void breathe() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Without the GIL, which is awaited awake while another search is likely to give it up soon.
class Outside {
  public:
    Outside() {
        entered.store(0, std::memory_order_relaxed);
        thread_ = PyEval_SaveThread();
    }
    ~Outside() {
        const i64 begun = now_ns();
        while (const i64 since = entered.load(std::memory_order_relaxed)) {
            const i64 now = now_ns();
            if (now - since >= INSIDE_NS || now - begun >= INSIDE_NS) break;
            breathe();
        }
        PyEval_RestoreThread(thread_);
        entered.store(now_ns(), std::memory_order_relaxed);
    }
    Outside(const Outside&) = delete;
    Outside& operator=(const Outside&) = delete;

  private:
    PyThreadState* thread_;
};

// What scans of spans found: for each query rows and their scores.
using Found = std::vector<std::pair<In<i64, 1>, In<float, 1>>>;

std::vector<Candidates> merge(const std::vector<std::pair<i64, Found>>& parts,
                              const std::vector<const Target*>& targets, i64 count, i64 keep) {
    std::vector<Candidates> merged(size_t(count), Candidates{});
    for (const auto& [target, found] : parts) {
        check(0 <= target && target < i64(targets.size()), "the position of a target");
        check(i64(found.size()) == count, "rows and scores for each query");
        for (size_t q = 0; q < found.size(); q++) {
            const auto& [rows, scores] = found[q];
            check(rows.shape(0) == scores.shape(0), "a score for each row");
            for (size_t i = 0; i < rows.shape(0); i++) {
                const i64 row = rows.data()[i];
                check(0 <= row && row < targets[size_t(target)]->rows(), "rows from 0 to N - 1");
                merged[q].push_back({scores.data()[i], 0, target, row});
            }
        }
    }
    for (Candidates& found : merged) in_order(found, keep);
    return merged;
}

// The items of a list, whatever becomes of it meanwhile.
template <class T>
std::vector<const T*> items(const nb::list& given, std::vector<nb::object>& held,
                            const char* expected) {
    std::vector<const T*> found;
    for (nb::handle each : given) {
        const T* item = nullptr;
        check(nb::try_cast(each, item) && item, expected);
        held.push_back(nb::borrow(each));
        found.push_back(item);
    }
    check(!found.empty(), expected);
    return found;
}

nb::tuple cascade(const nb::list& given, const CascadePlan& plan, const nb::list& queries,
                  const nb::list& touches,
                  const std::optional<std::vector<std::pair<i64, Found>>>& scanned) {
    std::vector<nb::object> held;
    Asked asked;
    asked.queries = items<Scores>(queries, held, "a list of scorers");
    const auto targets = items<Target>(given, held, "a list of targets");
    check(touches.size() == targets.size(), "a touch or None for each target");
    const i64 count = asked.count = asked.queries[0]->scoring().count;
    check(count > 0, "a query");
    std::vector<CascadeTarget> read;
    for (size_t t = 0; t < targets.size(); t++) {
        check(targets[t]->rescored() == (plan.limit > 0),
              "a second reading if there is a rescore");
        held.push_back(nb::object(touches[t]));
        read.push_back(targets[t]->read(asked, held.back()));
    }
    std::vector<Candidates> found;
    if (scanned) found = merge(*scanned, targets, count, plan.keep);
    nb::list stops, cuts, counts;
    std::vector<i64> places, rows;
    std::vector<float> scores;
    struct End {
        size_t stop;
        bool cut;
        size_t kept;
    };
    std::vector<End> ends;
    {
        const Outside outside;
        if (!scanned) found = scan_targets(read, plan, count);
        for (size_t q = 0; q < found.size(); q++) {
            const size_t kept = found[q].size();
            const bool cut = finish(read, plan, i64(q), found[q]);
            for (const Candidate& each : found[q]) {
                places.push_back(each.target);
                rows.push_back(each.row);
                scores.push_back(each.score);
            }
            ends.push_back({rows.size(), cut, kept});
            found[q] = {};
        }
    }
    for (const End& end : ends) {
        stops.append(end.stop);
        cuts.append(end.cut);
        counts.append(end.kept);
    }
    const size_t n = rows.size();
    return nb::make_tuple(array(std::move(places), {n}), array(std::move(rows), {n}),
                          array(std::move(scores), {n}), stops, cuts, counts);
}

CascadePlan plan_of(i64 keep, i64 nprobe, i64 limit, i64 first, i64 few, float cut_share) {
    check(0 <= nprobe && nprobe <= ROWS_MAX, "nprobe from 0 to 2^32 - 1");
    check(0 < keep && keep <= ROWS_MAX, "keep from 1 to 2^32 - 1");
    check(0 <= limit && limit <= keep && limit <= first, "limit of at most keep, and of first");
    return {keep, nprobe, limit, first, few, cut_share};
}

}  // namespace

void add_cascade(nb::module_& m) {
    const auto in = [](const char* name) { return nb::arg(name).noconvert(); };
    nb::class_<Reading>(m, "Reading")
        .def(nb::init<nb::handle_t<Scores>, std::optional<double>, std::optional<In<u16, 1>>>(),
             nb::arg("scorer"), nb::arg("sigmas").none(), in("error").none())
        .def("unbounded", &Reading::unbounded)
        .def("at", &Reading::at, in("positions"));
    nb::class_<ListedCodes>(m, "Listed")
        .def(nb::init<const Reading&, In<u64, 1>, In<u32, 1>>(), nb::arg("centroids"), in("offsets"),
             in("order"))
        .def("probes", &ListedCodes::probes, nb::arg("queries"), nb::arg("nprobe"),
             in("allowed").none());
    nb::class_<Target>(m, "Target")
        .def(nb::init<const Reading&, const Reading*, i64, std::optional<In<u64, 1>>,
                      const ListedCodes*, std::pair<i64, i64>>(),
             nb::arg("scan"), nb::arg("rescore").none(), nb::arg("rows"), in("allowed").none(),
             nb::arg("lists").none() = nb::none(), nb::arg("queries") = std::pair<i64, i64>(0, 0));
    nb::class_<CascadePlan>(m, "Plan").def(
        "__init__",
        [](CascadePlan* self, i64 keep, i64 limit, i64 first, i64 few, float cut_share,
           i64 nprobe) {
            new (self) CascadePlan(plan_of(keep, nprobe, limit, first, few, cut_share));
        },
        nb::arg("keep"), nb::arg("limit"), nb::arg("first"), nb::arg("few"), nb::arg("cut_share"),
        nb::arg("nprobe") = 0);
    m.def("cascade", &cascade, nb::arg("targets"), nb::arg("plan"), nb::arg("queries"),
          nb::arg("touches"), nb::arg("scanned").none());
}

}  // namespace vecstore
