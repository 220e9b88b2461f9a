// The Python face of the cascade: every shape and bound is checked here, before a loop.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "arrays.h"
#include "cascade.h"

namespace vecstore {

namespace {

// A Scorer, and how far its scores may be off.
class Reading {
  public:
    Reading(nb::handle_t<Scores> scorer, std::optional<double> sigmas,
            std::optional<In<u16, 1>> error)
        : scorer_(nb::borrow(scorer)), bounded_(sigmas), error_(std::move(error)) {
        const Scoring scoring = nb::cast<const Scores&>(scorer_).scoring();
        check(!error_ || (sigmas && scoring.norms && i64(error_->shape(0)) == scoring.rows),
              "an error for each row, sigmas, and lengths of queries");
        if (error_)
            for (i64 q = 0; q < scoring.count; q++)
                reach_.push_back(float(*sigmas * std::sqrt(scoring.norms[q])));
    }
    Read read() const {
        return {nb::cast<const Scores&>(scorer_).scoring(), bounded_, reach_.data(),
                error_ ? error_->data() : nullptr, positions_ ? positions_->data() : nullptr};
    }
    // How many rows can be asked for.
    i64 rows() const {
        return positions_ ? i64(positions_->shape(0)) : read().scoring.rows;
    }
    // The same scores, of which nobody knows how far they may be off.
    Reading unbounded() const { return Reading(nb::handle_t<Scores>(scorer_), {}, {}); }
    // The same, of codes that lie at other positions than their rows.
    Reading at(In<u32, 1> positions) const {
        check(i64(positions.shape(0)) <= read().scoring.rows, "the positions of at most N rows");
        Reading found = *this;
        found.positions_ = std::move(positions);
        return found;
    }

  private:
    nb::object scorer_;
    bool bounded_;
    std::optional<In<u16, 1>> error_;
    std::optional<In<u32, 1>> positions_;
    std::vector<float> reach_;
};

// Codes in the order of inverted lists.
class ListedCodes {
  public:
    ListedCodes(const Reading& centroids, In<u64, 1> offsets, In<u32, 1> order)
        : centroids_(centroids), offsets_(std::move(offsets)), order_(std::move(order)) {
        check(offsets_.shape(0) > 1, "the offsets of at least one list");
        const size_t count = offsets_.shape(0) - 1;
        bool ascending = offsets_.data()[count] <= u64(order_.shape(0));
        for (size_t i = 0; i < count; i++)
            ascending &= offsets_.data()[i] <= offsets_.data()[i + 1];
        check(ascending, "offsets that ascend to N at most");
        check(i64(count) <= centroids_.rows(), "a centroid for each list");
    }
    i64 rows() const { return i64(order_.shape(0)); }
    Listed read() const {
        return {centroids_.read().scoring,
                {offsets_.data(), i64(offsets_.shape(0)) - 1, order_.data(), rows()}};
    }

  private:
    Reading centroids_;
    In<u64, 1> offsets_;
    In<u32, 1> order_;
};

// What one cascade reads of one source.
class Target {
  public:
    Target(const Reading& scan, const Reading* rescore, i64 rows,
           std::optional<In<u64, 1>> allowed, nb::object touch, const ListedCodes* lists)
        : scan_(scan), rescore_(rescore ? *rescore : scan), allowed_(std::move(allowed)),
          touch_(std::move(touch)), rescored_(rescore), rows_(rows),
          lists_(lists ? std::optional(*lists) : std::nullopt),
          count_(scan_.read().scoring.count) {
        check(0 <= rows && rows <= scan_.rows() && rows <= rescore_.rows(),
              "as many rows in both readings");
        check(rescore_.read().scoring.count == count_, "the same queries in both readings");
        check(!lists_ || (lists_->rows() == rows && lists_->read().centroids.count == count_),
              "lists of the same rows, and the same queries for their centroids");
        check(!allowed_ || i64(allowed_->shape(0)) >= (rows_ + BLOCK - 1) / BLOCK,
              "a word of allowed for every 64 rows");
    }
    i64 rows() const { return rows_; }
    i64 count() const { return count_; }
    bool rescored() const { return rescored_; }

    CascadeTarget read() const {
        CascadeTarget found{rows_, scan_.read(), rescore_.read(),
                            allowed_ ? allowed_->data() : nullptr, {}, {}};
        if (lists_) found.listed = lists_->read();
        if (!touch_.is_none())
            found.touch = [this](const std::vector<i64>& rows) {
                nb::gil_scoped_acquire acquire;
                touch_(array(std::vector<i64>(rows), {rows.size()}));
            };
        return found;
    }

  private:
    Reading scan_, rescore_;
    std::optional<In<u64, 1>> allowed_;
    nb::object touch_;
    bool rescored_;
    i64 rows_;
    std::optional<ListedCodes> lists_;
    i64 count_;
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

nb::tuple cascade(const nb::list& given, const CascadePlan& plan,
                  const std::optional<std::vector<std::pair<i64, Found>>>& scanned) {
    std::vector<nb::object> held;  // whatever becomes of the list meanwhile
    std::vector<const Target*> targets;
    for (nb::handle each : given) {
        const Target* target = nullptr;
        check(nb::try_cast(each, target) && target, "a list of targets");
        held.push_back(nb::borrow(each));
        targets.push_back(target);
    }
    check(!targets.empty(), "a target");
    const i64 count = targets[0]->count();
    check(count > 0, "a query");
    std::vector<CascadeTarget> read;
    for (const Target* target : targets) {
        check(target->count() == count, "the same queries for all targets");
        check(target->rescored() == (plan.limit > 0), "a second reading if there is a rescore");
        read.push_back(target->read());
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
        nb::gil_scoped_release release;
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
             in("order"));
    nb::class_<Target>(m, "Target")
        .def(nb::init<const Reading&, const Reading*, i64, std::optional<In<u64, 1>>, nb::object,
                      const ListedCodes*>(),
             nb::arg("scan"), nb::arg("rescore").none(), nb::arg("rows"), in("allowed").none(),
             nb::arg("touch").none(), nb::arg("lists").none() = nb::none());
    nb::class_<CascadePlan>(m, "Plan").def(
        "__init__",
        [](CascadePlan* self, i64 keep, i64 limit, i64 first, i64 few, float cut_share,
           i64 nprobe) {
            new (self) CascadePlan(plan_of(keep, nprobe, limit, first, few, cut_share));
        },
        nb::arg("keep"), nb::arg("limit"), nb::arg("first"), nb::arg("few"), nb::arg("cut_share"),
        nb::arg("nprobe") = 0);
    m.def("cascade", &cascade, nb::arg("targets"), nb::arg("plan"), nb::arg("scanned").none());
}

}  // namespace vecstore
