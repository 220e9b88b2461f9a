#include "scan.h"

#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <span>

namespace vecstore {

namespace {

constexpr u32 SIGN = u32(1) << 31;

// The greater key is better. Keys are compared sooner than a score and then a row.
u64 key_of(float score, i64 row) {
    u32 bits = std::bit_cast<u32>(score + 0.0f);  // no two zeros
    bits ^= bits & SIGN ? ~u32(0) : SIGN;
    return u64(bits) << 32 | u32(~u32(row));
}

Hit hit_of(u64 key) {
    u32 bits = u32(key >> 32);
    bits ^= bits & SIGN ? SIGN : ~u32(0);
    return {std::bit_cast<float>(bits), i64(~u32(key))};
}

constexpr int FEW = 6;  // allowed rows of a block that are scored one by one

// What a scan passes over again and again: what is looked up of some queries, in the cache nearest
// to a core, and the codes of some rows, in the next one. Bytes that leave room for the rest.
constexpr i64 NEAREST = 16 << 10, NEXT = 64 << 10;

// As many of `bytes` as a cache holds, a multiple of `unit`, at least one.
i64 fitting(i64 cache, i64 bytes, i64 unit) { return std::max(cache / bytes / unit, i64(1)) * unit; }

constexpr i64 LINE = 64 / sizeof(u32);  // numbers of rows in a line of a cache

using Some = std::span<const u32>;  // queries

// Scores rows against queries, and offers them to the best of each. Blocks of rows are read once for
// some queries, and then again for others while they are in a cache.
class Scanner {
  public:
    Scanner(const Variant& variant, const Family& family, const void* job, std::vector<Best>& best)
        : variant_(variant), family_(family), job_(job), best_(best),
          rows_(fitting(NEXT, family.row_bytes, BLOCK)),
          far_(fitting(family.far, family.row_bytes, 1)),
          queries_(std::min(fitting(NEAREST, family.query_bytes, 1), QUERIES)) {
        if (BLOCK * family.row_bytes > NEAREST) queries_ = QUERIES;  // as rows push them out anyway
        if (queries_ > TILE) queries_ -= queries_ % TILE;
    }

    void span(const Span& span, Some queries) {
        blocks(span.start, span.stop, queries, [&](i64 row, i64 count, Some some) {
            u64 allowed = first_bits(count);
            if (span.allowed) allowed &= span.allowed[row / BLOCK];
            if (!allowed) return;
            if (std::popcount(allowed) <= FEW && count > FEW) return few(row, allowed, some);
            family_.block(job_, some.data(), i64(some.size()), row, count,
                          some.data() == queries.data() ? far_ : 0, scores_);
            offer(some, allowed, [&](Best& to, int i, float score) { to.offer(score, row + i); });
        });
    }

    // The positions of one list; meanwhile those from `next` on are fetched, as many.
    void list(const Lists& lists, i64 list, const u64* allowed, i64 next, Some queries) {
        const i64 start = i64(lists.offsets[list]), stop = i64(lists.offsets[list + 1]);
        const i64 first = start / family_.group * family_.group;
        const i64 further = next / family_.group * family_.group - first;
        blocks(first, stop, queries, [&](i64 at, i64 count, Some some) {
            i64 ahead = 0;
            if (some.data() == queries.data()) {
                const i64 left = lists.rows - (at + further);
                if (left > 0) {
                    family_.ahead(job_, at + further, std::min(count, left));
                    for (i64 i = 0; i < count; i += LINE)
                        __builtin_prefetch(lists.order + at + further + i);
                }
                ahead = left > 0 ? further : far_;
            }
            family_.block(job_, some.data(), i64(some.size()), at, count, ahead, scores_);
            u64 inside = first_bits(count);
            if (at < start) inside &= ~u64(0) << (start - at);
            offer(some, inside, [&](Best& to, int i, float score) {
                const i64 row = lists.order[at + i];
                if (row < lists.rows && (!allowed || allowed[row / BLOCK] >> (row % BLOCK) & 1))
                    to.offer(score, row);
            });
        });
    }

  private:
    static constexpr i64 TILE = 4;  // queries that kernels take at a time, at most

    static u64 first_bits(i64 count) { return count == BLOCK ? ~u64(0) : (u64(1) << count) - 1; }

    // Calls each(row, count, queries) for all blocks of [start, stop) and all queries.
    template <class Each>
    void blocks(i64 start, i64 stop, Some queries, Each each) {
        for (i64 from = start; from < stop; from += rows_)
            for (size_t first = 0; first < queries.size(); first += size_t(queries_)) {
                Some some = queries.subspan(first);
                if (some.size() > size_t(queries_)) some = some.first(size_t(queries_));
                for (i64 at = from; at < std::min(from + rows_, stop); at += BLOCK)
                    each(at, std::min(BLOCK, stop - at), some);
            }
    }

    // Of each query's scores those of `rows` that are worth it, in their order.
    template <class Each>
    void offer(Some some, u64 rows, Each each) {
        const float* scores = scores_;
        for (u32 q : some) {
            Best& to = best_[q];
            u64 found = variant_.above(scores, to.threshold()) & rows;
            for (; found; found &= found - 1) {
                const int i = std::countr_zero(found);
                each(to, i, scores[i]);
            }
            scores += BLOCK;
        }
    }

    void few(i64 row, u64 allowed, Some some) {
        i64 rows[FEW];
        i64 count = 0;
        for (; allowed; allowed &= allowed - 1) rows[count++] = row + std::countr_zero(allowed);
        for (u32 q : some) {
            family_.rows(job_, q, rows, count, scores_);
            for (i64 i = 0; i < count; i++)
                if (scores_[i] > best_[q].threshold()) best_[q].offer(scores_[i], rows[i]);
        }
    }

    const Variant& variant_;
    const Family& family_;
    const void* job_;
    std::vector<Best>& best_;
    i64 rows_;     // that stay in a cache
    i64 far_;      // rows from those that are read to those that are asked for
    i64 queries_;  // that do
    alignas(64) float scores_[QUERIES * BLOCK];
};

// The queries that visit each list, so that they share what they read of it.
class Visits {
  public:
    Visits(i64 lists, i64 count, const i64* probes, i64 probed)
        : lists_(lists), ends_(size_t(lists) + 2), queries_(size_t(count * probed)) {
        auto each = [&](auto&& visit) {
            for (i64 q = 0; q < count; q++)
                for (i64 i = q * probed; i < (q + 1) * probed && probes[i] >= 0; i++)
                    visit(size_t(probes[i]), u32(q));
        };
        each([&](size_t list, u32) { ends_[list + 2]++; });
        std::partial_sum(ends_.begin(), ends_.end(), ends_.begin());
        each([&](size_t list, u32 query) { queries_[ends_[list + 1]++] = query; });
    }
    Some of(i64 list) const {
        const size_t start = ends_[size_t(list)], stop = ends_[size_t(list) + 1];
        return Some(queries_).subspan(start, stop - start);
    }
    // The first list from `list` on that is visited, else their number.
    i64 from(i64 list) const {
        while (list < lists_ && of(list).empty()) list++;
        return list;
    }

  private:
    i64 lists_;
    std::vector<size_t> ends_;  // list l has the queries [ends_[l], ends_[l + 1])
    std::vector<u32> queries_;
};

}  // namespace

constexpr float INFINITE = std::numeric_limits<float>::infinity();

Best::Best(const Variant& variant, i64 keep, bool ascending)
    : variant_(&variant),
      keep_(size_t(keep)),
      capacity_(2 * size_t(keep) + BLOCK),
      threshold_(-INFINITE),
      ascending_(ascending) {}

void Best::offer(float score, i64 row) {
    keys_.push_back(key_of(score, row));
    if (keys_.size() == capacity_) shrink();
}

void Best::shrink() {
    const u64 bound = variant_->bound(keys_.data(), i64(keys_.size()), i64(keep_));
    u64 worst = ~u64(0);
    size_t kept = 0;
    for (u64 key : keys_) {  // without a branch that nobody can foresee
        const bool keeps = key >= bound;
        keys_[kept] = key;
        kept += keeps;
        worst = std::min(worst, keeps ? key : worst);
    }
    keys_.resize(std::min(kept, keep_));  // the last ones may be equal, where damaged lists are
    threshold_ = hit_of(worst).score;  // a later row with this score would lose the tie,
    if (!ascending_) threshold_ = std::nextafter(threshold_, -INFINITE);  // a lower one win it
}

const std::vector<Hit>& Best::unsorted() {
    if (hits_.empty()) {
        if (keys_.size() > keep_) shrink();
        hits_.resize(keys_.size());
        std::transform(keys_.begin(), keys_.end(), hits_.begin(), hit_of);
    }
    return hits_;
}

const std::vector<Hit>& Best::sorted() {
    if (hits_.empty()) {
        if (keys_.size() > keep_) shrink();
        std::sort(keys_.begin(), keys_.end(), std::greater<u64>());
    }
    return unsorted();
}

std::vector<Best> scan(const Variant& variant, const Family& family, const void* job, i64 count,
                       const Span& span, i64 keep, const std::vector<u32>& queries) {
    std::vector<Best> best(size_t(count), Best(variant, keep, true));
    Scanner(variant, family, job, best).span(span, queries);
    return best;
}

std::vector<Best> scan(const Variant& variant, const Family& family, const void* job, i64 count,
                       const Span& span, i64 keep) {
    std::vector<u32> all(static_cast<size_t>(count));
    std::iota(all.begin(), all.end(), u32(0));
    return scan(variant, family, job, count, span, keep, all);
}

std::vector<Best> scan_lists(const Variant& variant, const Family& family, const void* job,
                             i64 count, const Lists& lists, const i64* probes, i64 probed,
                             const u64* allowed, i64 keep) {
    std::vector<Best> best(size_t(count), Best(variant, keep, false));
    Scanner scanner(variant, family, job, best);
    auto start = [&](i64 list) { return list < lists.count ? i64(lists.offsets[list]) : lists.rows; };
    if (count == 1) {
        // The best lists come first, so that of the others few rows are offered.
        const u32 only = 0;
        for (i64 i = 0; i < probed && probes[i] >= 0; i++) {
            const i64 next = i + 1 < probed && probes[i + 1] >= 0 ? probes[i + 1] : lists.count;
            scanner.list(lists, probes[i], allowed, start(next), {&only, 1});
        }
    } else {
        const Visits visits(lists.count, count, probes, probed);
        for (i64 list = visits.from(0); list < lists.count;) {
            const i64 next = visits.from(list + 1);
            scanner.list(lists, list, allowed, start(next), visits.of(list));
            list = next;
        }
    }
    return best;
}

}  // namespace vecstore
