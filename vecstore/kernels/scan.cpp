#include "scan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

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

struct Visit {
    i64 list;
    i64 query;
};

struct Scanner {
    const Variant& variant;
    const Family& family;
    const void* job;
    std::vector<Best>& best;
    alignas(64) float scores[QUERIES * BLOCK];

    void offer(Best& to, const float* from, u64 allowed, i64 row) {
        u64 found = variant.above(from, to.threshold()) & allowed;
        for (; found; found &= found - 1) {
            int i = std::countr_zero(found);
            to.offer(from[i], row + i);
        }
    }

    void block(i64 row, i64 count, u64 allowed) {
        const i64 queries = i64(best.size());
        for (i64 first = 0; first < queries; first += QUERIES) {
            i64 last = std::min(first + QUERIES, queries);
            family.block(job, first, last, row, count, scores);
            for (i64 q = first; q < last; q++)
                offer(best[q], scores + (q - first) * BLOCK, allowed, row);
        }
    }

    // The positions of one list; meanwhile those from `next` on are fetched, as many.
    void list(Visit visit, i64 next, const Lists& lists, const u64* allowed) {
        Best& to = best[visit.query];
        const i64 start = i64(lists.offsets[visit.list]), stop = i64(lists.offsets[visit.list + 1]);
        for (i64 at = start / family.group * family.group; at < stop; at += BLOCK, next += BLOCK) {
            i64 count = std::min(BLOCK, stop - at);
            if (next < lists.rows) family.ahead(job, next, std::min(count, lists.rows - next));
            family.block(job, visit.query, visit.query + 1, at, count, scores);
            u64 inside = count == BLOCK ? ~u64(0) : (u64(1) << count) - 1;
            if (at < start) inside &= ~u64(0) << (start - at);
            u64 found = variant.above(scores, to.threshold()) & inside;
            for (; found; found &= found - 1) {
                int i = std::countr_zero(found);
                i64 row = lists.order[at + i];
                if (row < lists.rows && (!allowed || allowed[row / BLOCK] >> (row % BLOCK) & 1))
                    to.offer(scores[i], row);
            }
        }
    }

    void few(i64 row, u64 allowed) {
        i64 rows[FEW];
        i64 count = 0;
        for (; allowed; allowed &= allowed - 1) rows[count++] = row + std::countr_zero(allowed);
        for (size_t q = 0; q < best.size(); q++) {
            family.rows(job, i64(q), rows, count, scores);
            for (i64 i = 0; i < count; i++)
                if (scores[i] > best[q].threshold()) best[q].offer(scores[i], rows[i]);
        }
    }
};

}  // namespace

constexpr float INFINITE = std::numeric_limits<float>::infinity();

Best::Best(i64 keep, bool ascending)
    : keep_(size_t(keep)),
      capacity_(2 * size_t(keep) + BLOCK),
      threshold_(-INFINITE),
      ascending_(ascending) {}

void Best::offer(float score, i64 row) {
    keys_.push_back(key_of(score, row));
    if (keys_.size() == capacity_) shrink();
}

void Best::shrink() {
    auto last = keys_.begin() + std::ptrdiff_t(keep_) - 1;
    std::nth_element(keys_.begin(), last, keys_.end(), std::greater<u64>());
    keys_.resize(keep_);
    threshold_ = hit_of(keys_.back()).score;  // a later row with this score would lose the tie,
    if (!ascending_) threshold_ = std::nextafter(threshold_, -INFINITE);  // a lower one win it
}

const std::vector<Hit>& Best::sorted() {
    if (keys_.size() > keep_) shrink();
    std::sort(keys_.begin(), keys_.end(), std::greater<u64>());
    hits_.resize(keys_.size());
    std::transform(keys_.begin(), keys_.end(), hits_.begin(), hit_of);
    return hits_;
}

std::vector<Best> scan(const Variant& variant, const Family& family, const void* job, i64 count,
                       const Span& span, i64 keep) {
    std::vector<Best> best;
    best.assign(size_t(count), Best(keep, true));
    Scanner scanner{variant, family, job, best, {}};
    for (i64 row = span.start; row < span.stop; row += BLOCK) {
        i64 rows = std::min(BLOCK, span.stop - row);
        u64 allowed = rows == BLOCK ? ~u64(0) : (u64(1) << rows) - 1;
        if (span.allowed) allowed &= span.allowed[row / BLOCK];
        if (!allowed) continue;
        if (std::popcount(allowed) <= FEW && rows > FEW)
            scanner.few(row, allowed);
        else
            scanner.block(row, rows, allowed);
    }
    for (Best& found : best) found.sorted();
    return best;
}

std::vector<Best> scan_lists(const Variant& variant, const Family& family, const void* job,
                             i64 count, const Lists& lists, const i64* probes, i64 probed,
                             const u64* allowed, i64 keep) {
    std::vector<Best> best;
    best.assign(size_t(count), Best(keep, false));
    Scanner scanner{variant, family, job, best, {}};
    std::vector<Visit> visits(size_t(count * probed));
    for (i64 i = 0; i < count * probed; i++) visits[i] = {probes[i], i / probed};
    // Of one query the best lists come first, so that of the others few rows are offered. Of many
    // all visit a list together, while it is in the cache.
    auto earlier = [](const Visit& a, const Visit& b) { return a.list < b.list; };
    if (count > 1) std::sort(visits.begin(), visits.end(), earlier);
    for (size_t i = 0; i < visits.size(); i++) {
        bool moves = i + 1 < visits.size() && visits[i + 1].list != visits[i].list;
        scanner.list(visits[i], moves ? i64(lists.offsets[visits[i + 1].list]) : lists.rows, lists,
                     allowed);
    }
    for (Best& found : best) found.sorted();
    return best;
}

}  // namespace vecstore
