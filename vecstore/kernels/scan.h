// The loop around every kernel: blocks of rows, the allowed bitmap, and the best rows so far.
#pragma once
#include <algorithm>
#include <vector>

#include "kernels.h"

namespace vecstore {

constexpr i64 ROWS_MAX = (i64(1) << 32) - 1;

struct Hit {
    float score;
    i64 row;
};

// The best `keep` rows, in total order: score descending, then row ascending. Scores of -infinity
// and NaN are never kept. Rows are below ROWS_MAX.
class Best {
  public:
    // Ascending: rows are offered in that order, so that one with the worst score kept comes late.
    Best(const Variant& variant, i64 keep, bool ascending);
    // A row is worth offering only if its score is above this.
    float threshold() const { return threshold_; }
    void offer(float score, i64 row);
    // How many rows are found.
    size_t size() const { return std::min(keys_.size(), keep_); }
    // The rows found, best first; no more are offered from then on.
    const std::vector<Hit>& sorted();
    // The same, in any order.
    const std::vector<Hit>& unsorted();

  private:
    void shrink();
    const Variant* variant_;
    std::vector<u64> keys_;  // the upper half orders the scores, the lower one the rows
    std::vector<Hit> hits_;
    size_t keep_;
    size_t capacity_;
    float threshold_;
    bool ascending_;
};

// What scores rows: the functions of a variant, and a job of N rows and Q queries for them.
struct Scoring {
    const Variant* variant;
    Family family;
    const void* job;
    i64 rows;             // N
    i64 count;            // Q
    const double* norms;  // [Q] squared lengths of the queries, or null
};

struct Span {
    i64 start;  // a multiple of BLOCK
    i64 stop;
    const u64* allowed;  // bit i of word w: row 64 w + i; null: every row
};

// Scores the span's allowed rows against queries [0, count); one Best for each, not sorted yet.
std::vector<Best> scan(const Variant& variant, const Family& family, const void* job, i64 count,
                       const Span& span, i64 keep);

// The same for some of the queries; nothing is found for the others.
std::vector<Best> scan(const Variant& variant, const Family& family, const void* job, i64 count,
                       const Span& span, i64 keep, const std::vector<u32>& queries);

// Rows in the order of inverted lists.
struct Lists {
    const u64* offsets;  // [C + 1]: list l holds the positions [offsets[l], offsets[l + 1])
    i64 count;           // C
    const u32* order;    // [N]: the row at each position; one beyond N - 1 is never found
    i64 rows;            // N
};

// Scores the allowed rows of each query's lists, probes [count][probed], no list twice, those that
// have fewer filled up with -1; one Best for each query, not sorted yet. Bit i of word w of allowed
// is row 64 w + i; null: every row.
std::vector<Best> scan_lists(const Variant& variant, const Family& family, const void* job,
                             i64 count, const Lists& lists, const i64* probes, i64 probed,
                             const u64* allowed, i64 keep);

}  // namespace vecstore
