// A whole query: a scan of every target, the best of all of them, and a rescore of these.
//
// search/cascade.py and search/stages say the same in Python, and are the definition; which lists
// are visited, `Listed.probes` in _cascade.pyi defines.
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "scan.h"

namespace vecstore {

// Queries against the codes of one representation, and how far the scores may be off.
struct Read {
    Scoring scoring;
    bool bounded;        // whether anybody knows
    const float* reach;  // [Q]; half a bound's width is error[row] * reach[query]
    const u16* error;    // [N] bfloat16, or null: scores are exact
    const u32* positions;  // [N] where the codes of each row are, or null: at the row

    // Never beyond N - 1, whatever the positions are.
    i64 at(i64 row) const {
        if (!positions) return row;
        const i64 found = positions[row];
        return found < scoring.rows ? found : scoring.rows - 1;
    }
};

// Codes in the order of inverted lists, and queries against the codes of their centroids.
struct Listed {
    Scoring centroids;  // of lists.count rows at least
    Lists lists;
};

// The lists that queries [0, count) visit, [count][P], filled up with -1: the best `nprobe`; under a
// filter as many, and as far from the query, as hold their share of the rows that it passes.
std::vector<i64> probes_of(const Listed& listed, i64 count, i64 nprobe, const u64* allowed);

struct CascadeTarget {
    i64 rows;  // N; codes may have room for more
    Read scan;
    Read rescore;
    const u64* allowed;  // as in Span
    // Of the codes that the scan reads; where these lie at positions without, they are scored one
    // by one, which pays where few are allowed.
    std::optional<Listed> listed;
    // Verifies rows before a rescore reads them; empty where nothing is left to verify.
    std::function<void(const std::vector<i64>&)> touch;
};

struct CascadePlan {
    i64 keep;         // candidates of the scan
    i64 nprobe;       // lists that it visits where there are lists; 0: all rows
    i64 limit;        // of the rescore; 0: there is none
    i64 first;        // rows of its first reading, at least `limit`
    i64 few;          // so few candidates are read at once
    float cut_share;  // of the largest bound, that could lift a row which the scan cut off
};

// A row of a target. Targets ascend with their seqs, and rows in each target.
struct Candidate {
    float score;
    float bound;
    i64 target;
    i64 row;
};
using Candidates = std::vector<Candidate>;

// The best `keep` in total order: score descending (NaN last), then target and row ascending.
void in_order(Candidates& candidates, i64 keep);

// For each query [0, count) the best rows of all targets, in total order.
std::vector<Candidates> scan_targets(const std::vector<CascadeTarget>& targets,
                                     const CascadePlan& plan, i64 count);

// Turns what a scan found for one query, in total order, into the answer; whether the scan may
// have cut off a row that belongs there.
bool finish(const std::vector<CascadeTarget>& targets, const CascadePlan& plan, i64 query,
            Candidates& candidates);

}  // namespace vecstore
