#include "scan.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace vecstore {

namespace {

bool better(const Hit& a, const Hit& b) {
    return a.score > b.score || (a.score == b.score && a.row < b.row);
}

constexpr int FEW = 6;  // allowed rows of a block that are scored one by one

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

Best::Best(i64 keep)
    : keep_(size_t(keep)),
      capacity_(2 * size_t(keep) + BLOCK),
      threshold_(-std::numeric_limits<float>::infinity()) {}

void Best::offer(float score, i64 row) {
    hits_.push_back({score, row});
    if (hits_.size() == capacity_) shrink();
}

void Best::shrink() {
    auto middle = hits_.begin() + std::ptrdiff_t(keep_);
    std::nth_element(hits_.begin(), middle - 1, hits_.end(), better);
    hits_.resize(keep_);
    threshold_ = hits_.back().score;  // a later row with this score would lose the tie
}

const std::vector<Hit>& Best::sorted() {
    if (hits_.size() > keep_) shrink();
    std::sort(hits_.begin(), hits_.end(), better);
    return hits_;
}

std::vector<Best> scan(const Variant& variant, const Family& family, const void* job, i64 count,
                       const Span& span, i64 keep) {
    std::vector<Best> best;
    best.assign(size_t(count), Best(keep));
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

}  // namespace vecstore
