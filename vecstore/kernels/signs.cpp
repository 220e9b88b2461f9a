// Rows of one bit a dimension against the signs of queries: how many bits differ, and what a table
// says of that.
#include "lanes.h"

namespace vecstore::VARIANT {

static inline u64 differing(const u8* x, const u8* q, i64 at) {
    u64 a, b;
    __builtin_memcpy(&a, x + at, 8);
    __builtin_memcpy(&b, q + at, 8);
    return u64(__builtin_popcountll(a ^ b));
}

// In which bits a row and a query differ. Two words at a time: this is one popcount a word, and
// compilers would rather make vectors of it, which without their own popcount are slower.
static inline i64 distance(const u8* x, const u8* q, i64 bytes) {
    u64 even = 0, odd = 0;
    i64 at = 0;
    for (; at + 16 <= bytes; at += 16) {
        even += differing(x, q, at);
        odd += differing(x, q, at + 8);
        __asm__("" : "+r"(even), "+r"(odd));
    }
    if (at < bytes) even += differing(x, q, at);
    return i64(even + odd);
}

static inline float finish(const SignsJob& job, i64 q, i64 count, i64 row) {
    float value = job.table[count] * job.lengths[q];
    if (!job.scale) return value;
    const float scale = job.scale[row];
    value *= scale;
    if (job.l2) value = (value + value) - (scale * scale + job.lengths[q] * job.lengths[q]);
    return value;
}

void signs_block(const void* any, const u32* queries, i64 many, i64 row, i64 count, i64 ahead,
                 float* out) {
    const SignsJob& job = *static_cast<const SignsJob*>(any);
    const u8* codes = job.codes + row * job.bytes;
    if (ahead) prefetch(codes, ahead * job.bytes, count * job.bytes);
    for (i64 k = 0; k < many; k++, out += BLOCK) {
        const i64 q = queries[k];
        const u8* signs = job.signs + q * job.bytes;
        for (i64 i = 0; i < count; i++)
            out[i] = finish(job, q, distance(codes + i * job.bytes, signs, job.bytes), row + i);
    }
}

void signs_rows(const void* any, i64 q, const i64* rows, i64 count, float* out) {
    const SignsJob& job = *static_cast<const SignsJob*>(any);
    const u8* signs = job.signs + q * job.bytes;
    auto at = [&](i64 i) { return job.codes + rows[i] * job.bytes; };
    for (i64 i = -EARLY; i < count; i++) {
        if (i + EARLY < count) prefetch(at(i + EARLY), 0, job.bytes);
        if (i >= 0) out[i] = finish(job, q, distance(at(i), signs, job.bytes), rows[i]);
    }
}

void signs_ahead(const void* any, i64 row, i64 count) {
    const SignsJob& job = *static_cast<const SignsJob*>(any);
    if (job.scale) prefetch(job.scale, row * 4, count * 4);
}

}  // namespace vecstore::VARIANT
