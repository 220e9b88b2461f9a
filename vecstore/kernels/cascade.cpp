#include "cascade.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

namespace vecstore {

namespace {

// Numbers before NaN, so that scores of damaged codes have an order, too.
bool higher(float a, float b) { return a > b || (a == a && b != b); }
bool lower(float a, float b) { return a < b || (a == a && b != b); }

bool better(const Candidate& a, const Candidate& b) {
    if (higher(a.score, b.score)) return true;
    if (higher(b.score, a.score)) return false;
    return a.target != b.target ? a.target < b.target : a.row < b.row;
}

float half_width(const Read& read, i64 query, i64 row) {
    if (!read.error) return 0;
    return std::bit_cast<float>(u32(read.error[read.at(row)]) << 16) * read.reach[query];
}

// Scores candidates [from, to) again, each with its new bound. Returns whether all are bounded.
bool score_again(const std::vector<CascadeTarget>& targets, i64 query, Candidate* from,
                 Candidate* to) {
    std::vector<i64> rows;
    std::vector<Candidate*> own;
    std::vector<float> scores;
    bool bounded = true;
    for (size_t t = 0; t < targets.size(); t++) {
        rows.clear();
        own.clear();
        for (Candidate* each = from; each < to; each++)
            if (each->target == i64(t)) {
                own.push_back(each);
                rows.push_back(targets[t].rescore.at(each->row));
            }
        if (rows.empty()) continue;
        if (targets[t].touch) targets[t].touch(rows);
        const Read& read = targets[t].rescore;
        scores.resize(rows.size());
        read.scoring.family.rows(read.scoring.job, query, rows.data(), i64(rows.size()),
                                 scores.data());
        bounded = bounded && read.bounded;
        for (size_t i = 0; i < own.size(); i++) {
            own[i]->score = scores[i];
            own[i]->bound = half_width(read, query, own[i]->row);
        }
    }
    return bounded;
}

void rescore(const std::vector<CascadeTarget>& targets, const CascadePlan& plan, i64 query,
             bool bounded, Candidates& found) {
    const size_t first = size_t(plan.first);
    if (!bounded || found.size() <= size_t(std::max(plan.first, plan.few))) {
        score_again(targets, query, found.data(), found.data() + found.size());
        in_order(found, plan.limit);
        return;
    }
    std::stable_sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) {
        return higher(a.score + a.bound, b.score + b.bound);
    });
    const bool known = score_again(targets, query, found.data(), found.data() + first);
    std::vector<float> least(first);
    for (size_t i = 0; i < first; i++) least[i] = found[i].score - (known ? found[i].bound : 0);
    auto worst = least.begin() + (plan.first - plan.limit);
    std::nth_element(least.begin(), worst, least.end(), lower);
    size_t last = first;  // upper bounds descend from here on
    while (last < found.size() && found[last].score + found[last].bound >= *worst) last++;
    found.resize(last);
    score_again(targets, query, found.data() + first, found.data() + last);
    in_order(found, plan.limit);
}

// The best lists of each query, as many for each: [count][probed].
std::vector<i64> best_lists(const Listed& listed, i64 count, i64 nprobe) {
    const Scoring& read = listed.centroids;
    std::vector<Best> ranked = scan(*read.variant, read.family, read.job, count,
                                    {0, listed.lists.count, nullptr}, nprobe);
    size_t probed = size_t(nprobe);
    for (const Best& each : ranked) probed = std::min(probed, each.size());
    // One query visits the best lists first; of many, the order is that of the lists.
    const bool ordered = count == 1 || probed < size_t(nprobe);
    std::vector<i64> probes;
    for (Best& each : ranked) {
        const std::vector<Hit>& lists = ordered ? each.sorted() : each.unsorted();
        for (size_t i = 0; i < probed; i++) probes.push_back(lists[i].row);
    }
    return probes;
}

// Of the lists that are visited one in so many are the first, from which depth is measured; and one
// in so many must have its share of the rows that a filter passes, else all lists are visited.
constexpr i64 PROBES_FIRST = 16, PROBES_NEAR = 4;

// How much each list holds of the rows that a search may find.
class Shares {
  public:
    Shares(const Lists& lists, const u64* allowed) : lists_(lists), allowed_(allowed) {
        for (i64 word = 0; word < (lists.rows + BLOCK - 1) / BLOCK; word++)
            passing_ += std::popcount(allowed[word]);
    }
    // Whether too few rows are missing for it to matter where these lie.
    bool even() const { return passing_ * 16 >= lists_.rows * 15; }

    // The best lists with allowed rows: as many as `nprobe` that have their share of these, and as
    // far below the first such lists as the last of `nprobe` is without a filter. A list of half
    // its share counts whole. Returns whether `ranked` has so many, and near enough.
    bool choose(const std::vector<Hit>& ranked, i64 nprobe, std::vector<i64>& chosen) {
        const i64 first = std::max(nprobe / PROBES_FIRST, i64(1));
        const bool known = i64(ranked.size()) >= nprobe;
        const float depth =
            known ? ranked[size_t(first - 1)].score - ranked[size_t(nprobe - 1)].score : 0;
        float least = -std::numeric_limits<float>::infinity();
        double weight = 0;
        bool begun = false, far = !known;
        chosen.clear();
        for (size_t i = 0; i < ranked.size(); i++) {
            const Hit& each = ranked[i];
            const double own = weight_of(each.row);
            if (own > 0) chosen.push_back(each.row);
            weight += own;
            far |= i64(i + 1) == nprobe && weight * PROBES_NEAR < double(nprobe);
            if (!begun && weight >= double(first)) {
                begun = true;
                least = each.score - depth;
            }
            if (!far && weight >= double(nprobe) && each.score <= least) return true;
        }
        return false;
    }

  private:
    double weight_of(i64 list) {
        if (weights_.empty()) weights_.assign(size_t(lists_.count), -1);
        double& found = weights_[size_t(list)];
        if (found >= 0) return found;
        const i64 start = i64(lists_.offsets[list]), stop = i64(lists_.offsets[list + 1]);
        i64 own = 0;
        for (i64 at = start; at < stop; at++) {
            const i64 row = lists_.order[at];
            if (row < lists_.rows) own += allowed_[row / BLOCK] >> (row % BLOCK) & 1;
        }
        if (!own) return found = 0;
        const double wanted = double(stop - start) * double(passing_);
        return found = std::min(1.0, 2.0 * double(own) * double(lists_.rows) / wanted);
    }

    const Lists& lists_;
    const u64* allowed_;
    i64 passing_ = 0;
    std::vector<double> weights_;
};

// Scores the allowed rows one by one, wherever their codes lie.
std::vector<Best> scan_rows(const CascadeTarget& target, i64 keep, i64 count) {
    const Scoring& read = target.scan.scoring;
    std::vector<i64> rows, positions;
    for (i64 row = 0; row < target.rows; row += BLOCK) {
        const i64 inside = std::min(BLOCK, target.rows - row);
        u64 allowed = inside == BLOCK ? ~u64(0) : (u64(1) << inside) - 1;
        if (target.allowed) allowed &= target.allowed[row / BLOCK];
        for (; allowed; allowed &= allowed - 1) rows.push_back(row + std::countr_zero(allowed));
    }
    for (i64 row : rows) positions.push_back(target.scan.at(row));
    std::vector<float> scores(rows.size());
    std::vector<Best> best(size_t(count), Best(*read.variant, keep, true));
    for (i64 q = 0; q < count; q++) {
        read.family.rows(read.job, q, positions.data(), i64(rows.size()), scores.data());
        for (size_t i = 0; i < rows.size(); i++)
            if (scores[i] > best[size_t(q)].threshold()) best[size_t(q)].offer(scores[i], rows[i]);
    }
    return best;
}

std::vector<Best> scan_target(const CascadeTarget& target, const CascadePlan& plan, i64 count) {
    const Scoring& read = target.scan.scoring;
    if (!target.listed && target.scan.positions) return scan_rows(target, plan.keep, count);
    if (!target.listed)
        return scan(*read.variant, read.family, read.job, count, {0, target.rows, target.allowed},
                    plan.keep);
    const u64 whole[2] = {0, u64(target.rows)};
    Lists lists = target.listed->lists;
    std::vector<i64> probes(size_t(count), 0);
    if (plan.nprobe)
        probes = probes_of(*target.listed, count, plan.nprobe, target.allowed);
    else
        lists = {whole, 1, lists.order, lists.rows};
    return scan_lists(*read.variant, read.family, read.job, count, lists, probes.data(),
                      i64(probes.size()) / count, target.allowed, plan.keep);
}

}  // namespace

std::vector<i64> probes_of(const Listed& listed, i64 count, i64 nprobe, const u64* allowed) {
    const Lists& lists = listed.lists;
    if (!allowed) return best_lists(listed, count, nprobe);
    Shares shares(lists, allowed);
    if (shares.even()) return best_lists(listed, count, nprobe);
    const Scoring& read = listed.centroids;
    std::vector<std::vector<i64>> chosen(static_cast<size_t>(count));
    std::vector<u32> lacking(static_cast<size_t>(count));
    std::iota(lacking.begin(), lacking.end(), u32(0));
    for (i64 ranks = std::min(lists.count, 4 * nprobe);; ranks = lists.count) {
        std::vector<Best> ranked = scan(*read.variant, read.family, read.job, count,
                                        {0, lists.count, nullptr}, ranks, lacking);
        std::erase_if(lacking, [&](u32 q) {
            return shares.choose(ranked[q].sorted(), nprobe, chosen[q]);
        });
        if (lacking.empty() || ranks == lists.count) break;
    }
    size_t probed = 0;
    for (const std::vector<i64>& each : chosen) probed = std::max(probed, each.size());
    std::vector<i64> probes;
    for (std::vector<i64>& each : chosen) {
        each.resize(probed, -1);
        probes.insert(probes.end(), each.begin(), each.end());
    }
    return probes;
}

void in_order(Candidates& candidates, i64 keep) {
    if (candidates.size() > size_t(keep)) {
        std::nth_element(candidates.begin(), candidates.begin() + keep, candidates.end(), better);
        candidates.resize(size_t(keep));
    }
    std::sort(candidates.begin(), candidates.end(), better);
}

std::vector<Candidates> scan_targets(const std::vector<CascadeTarget>& targets,
                                     const CascadePlan& plan, i64 count) {
    std::vector<Candidates> found(size_t(count), Candidates{});
    for (size_t t = 0; t < targets.size(); t++) {
        std::vector<Best> best = scan_target(targets[t], plan, count);
        for (size_t q = 0; q < best.size(); q++) {
            for (const Hit& hit : best[q].sorted())
                found[q].push_back({hit.score, 0, i64(t), hit.row});
            if (t) in_order(found[q], plan.keep);
        }
    }
    return found;
}

bool finish(const std::vector<CascadeTarget>& targets, const CascadePlan& plan, i64 query,
            Candidates& found) {
    if (!plan.limit) return false;
    const bool full = i64(found.size()) == plan.keep && !found.empty();
    const bool bounded =
        std::all_of(targets.begin(), targets.end(),
                    [](const CascadeTarget& target) { return target.scan.bounded; });
    const float last = found.empty() ? 0 : found.back().score;
    float largest = -std::numeric_limits<float>::infinity();  // NaN if a bound is
    if (bounded)
        for (Candidate& each : found) {
            each.bound = half_width(targets[size_t(each.target)].scan, query, each.row);
            if (!lower(each.bound, largest)) largest = each.bound;
        }
    rescore(targets, plan, query, bounded, found);
    return full && bounded && !found.empty() &&
           last + largest * plan.cut_share >= found.back().score;
}

}  // namespace vecstore
