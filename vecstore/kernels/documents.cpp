// The loops over documents, and tokens that a family of rows scores.
#include "documents.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

namespace vecstore {

namespace {

constexpr float INFINITE = std::numeric_limits<float>::infinity();

// Tokens of one document that are read; clamped, so that no offset leads out of the codes.
struct Run {
    i64 start;
    i64 stop;
};

Run run_of(const Documents& documents, i64 document) {
    const u64 tokens = u64(documents.tokens);
    const i64 start = i64(std::min(documents.offsets[document], tokens));
    const i64 stop = i64(std::min(documents.offsets[document + 1], tokens));
    return {start, stop - start > documents.budget ? start + documents.budget : stop};
}

constexpr i64 SOON = 8;  // documents

// Asks for the first codes of a document: it may not follow the one before, if only because of a
// budget; the rest the hardware sees come.
INLINE void ahead(const Documents& documents, i64 document) {
    constexpr i64 FEW = 256;
    const Run run = run_of(documents, document);
    if (run.start >= run.stop) return;
    const char* at = static_cast<const char*>(documents.codes) + run.start * documents.bytes;
    const i64 bytes = std::min((run.stop - run.start) * documents.bytes, FEW);
    for (i64 i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, 0, 2);
}

}  // namespace

std::vector<Best> scan_documents(const Variant& variant, DocumentFn score, const void* job,
                                 i64 count, const Documents& documents, i64 start, i64 stop,
                                 const u64* allowed, i64 keep) {
    std::vector<Best> best;
    best.assign(size_t(count), Best(variant, keep, true));
    for (i64 q = 0; q < count; q++) {  // a query's table fills the cache: one after the other
        Best& to = best[size_t(q)];
        for (i64 first = start / BLOCK * BLOCK; first < stop; first += BLOCK) {
            u64 word = allowed ? allowed[first / BLOCK] : ~u64(0);
            if (first < start) word &= ~u64(0) << (start - first);
            if (stop - first < BLOCK) word &= (u64(1) << (stop - first)) - 1;
            for (; word; word &= word - 1) {
                const i64 document = first + std::countr_zero(word);
                const Run run = run_of(documents, document);
                if (document + SOON < stop) ahead(documents, document + SOON);
                if (run.start >= run.stop) continue;
                const float value = score(job, q, run.start, run.stop);
                if (value > to.threshold()) to.offer(value, document);
            }
        }
        to.sorted();
    }
    return best;
}

void score_documents(DocumentFn score, const void* job, i64 query, const Documents& documents,
                     const i64* given, i64 count, float* out) {
    for (i64 i = 0; i < count; i++) {
        const Run run = run_of(documents, given[i]);
        if (i + SOON < count) ahead(documents, given[i + SOON]);
        out[i] = run.start < run.stop ? score(job, query, run.start, run.stop) : -INFINITE;
    }
}

float rows_document(const void* any, i64, i64 start, i64 stop) {
    const RowsJob& job = *static_cast<const RowsJob*>(any);
    alignas(64) float scores[QUERIES * BLOCK];
    float total = 0;
    for (i64 first = 0; first < job.count; first += QUERIES) {
        const i64 last = std::min(first + QUERIES, job.count);
        u32 vectors[QUERIES];
        std::iota(vectors, vectors + (last - first), u32(first));
        float best[QUERIES];
        std::fill(best, best + QUERIES, -INFINITE);
        for (i64 row = start; row < stop; row += BLOCK) {
            const i64 count = std::min(BLOCK, stop - row);
            job.family.block(job.job, vectors, last - first, row, count, 0, scores);
            for (i64 q = 0; q < last - first; q++)
                for (i64 i = 0; i < count; i++)
                    best[q] = std::max(best[q], scores[q * BLOCK + i]);
        }
        for (i64 q = 0; q < last - first; q++) total += best[q];
    }
    return total;
}

}  // namespace vecstore
