// Codes of several parts: the scores of each part, added up row by row.
#include "lanes.h"

namespace vecstore::VARIANT {

static inline float negated_distance(const TotalJob& job, float value, i64 q, i64 row) {
    return (value + value) - (job.norm[row] + job.norms[q]);
}

void total_block(const void* any, const u32* queries, i64 many, i64 row, i64 count, i64 ahead,
                 float* out) {
    const TotalJob& job = *static_cast<const TotalJob*>(any);
    job.terms[0].family.block(job.terms[0].job, queries, many, row, count, ahead, out);
    float more[QUERIES * BLOCK];
    for (i64 t = 1; t < job.count; t++) {
        const Term& term = job.terms[t];
        term.family.block(term.job, queries, many, row, count, ahead, more);
        for (i64 q = 0; q < many; q++) {
            float* sums = out + q * BLOCK;
            for (i64 i = 0; i < count; i++) sums[i] += more[q * BLOCK + i];
            if (term.gain)
                for (i64 i = 0; i < count; i++) sums[i] *= term.gain[row + i];
        }
    }
    if (!job.norm) return;
    for (i64 q = 0; q < many; q++, out += BLOCK)
        for (i64 i = 0; i < count; i++) out[i] = negated_distance(job, out[i], queries[q], row + i);
}

void total_rows(const void* any, i64 q, const i64* rows, i64 count, float* out) {
    const TotalJob& job = *static_cast<const TotalJob*>(any);
    for (; count > 0; count -= BLOCK, rows += BLOCK, out += BLOCK) {
        const i64 some = count < BLOCK ? count : BLOCK;
        job.terms[0].family.rows(job.terms[0].job, q, rows, some, out);
        float more[BLOCK];
        for (i64 t = 1; t < job.count; t++) {
            const Term& term = job.terms[t];
            term.family.rows(term.job, q, rows, some, more);
            for (i64 i = 0; i < some; i++) out[i] += more[i];
            if (term.gain)
                for (i64 i = 0; i < some; i++) out[i] *= term.gain[rows[i]];
        }
        if (job.norm)
            for (i64 i = 0; i < some; i++) out[i] = negated_distance(job, out[i], q, rows[i]);
    }
}

void total_ahead(const void* any, i64 row, i64 count) {
    const TotalJob& job = *static_cast<const TotalJob*>(any);
    for (i64 t = 0; t < job.count; t++) job.terms[t].family.ahead(job.terms[t].job, row, count);
}

}  // namespace vecstore::VARIANT
