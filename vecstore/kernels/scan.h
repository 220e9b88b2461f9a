// The loop around every kernel: blocks of rows, the allowed bitmap, and the best rows so far.
#pragma once
#include <vector>

#include "kernels.h"

namespace vecstore {

struct Hit {
    float score;
    i64 row;
};

// The best `keep` rows, in total order: score descending, then row ascending. Rows must be
// offered in ascending order. Scores of -infinity and NaN are never kept.
class Best {
  public:
    explicit Best(i64 keep);
    // A row is worth offering only if its score is above this.
    float threshold() const { return threshold_; }
    void offer(float score, i64 row);
    // The rows found, best first.
    const std::vector<Hit>& sorted();

  private:
    void shrink();
    std::vector<Hit> hits_;
    size_t keep_;
    size_t capacity_;
    float threshold_;
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

class Scores {
  public:
    virtual ~Scores() = default;
    virtual Scoring scoring() const = 0;
};

struct Span {
    i64 start;  // a multiple of BLOCK
    i64 stop;
    const u64* allowed;  // bit i of word w: row 64 w + i; null: every row
};

// Scores the span's allowed rows against queries [0, count); one Best for each.
std::vector<Best> scan(const Variant& variant, const Family& family, const void* job, i64 count,
                       const Span& span, i64 keep);

}  // namespace vecstore
