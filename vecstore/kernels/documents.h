// The loops around late interaction: documents, the allowed bitmap, the best so far.
#pragma once
#include <vector>

#include "maxsim.h"
#include "scan.h"

namespace vecstore {

float rows_document(const void* job, i64 query, i64 start, i64 stop);

struct Documents {
    const u64* offsets;  // [N + 1]; tokens [offsets[d], offsets[d + 1]) of those below `tokens`
    i64 count;           // N
    i64 tokens;          // T
    i64 budget;          // only the first so many tokens of each document are read
    const void* codes;   // [T][bytes]: what is fetched of a document before it is scored
    i64 bytes;
};

// The best `keep` allowed documents of [start, stop), for each of `count` queries; bit i of word w
// is document 64 w + i. A document without tokens is not found.
std::vector<Best> scan_documents(const Variant& variant, DocumentFn score, const void* job,
                                 i64 count, const Documents& documents, i64 start, i64 stop,
                                 const u64* allowed, i64 keep);

// The scores of given documents; without tokens: -infinity.
void score_documents(DocumentFn score, const void* job, i64 query, const Documents& documents,
                     const i64* given, i64 count, float* out);

}  // namespace vecstore
