// Rows of one byte or one nibble a dimension against integer queries: exact inner products.
#include "lanes.h"

namespace vecstore::VARIANT {

constexpr int TILE = 4;     // rows at a time
constexpr i64 RADIX = 128;  // of the two digits of a query integer

// Inner products of N rows with one query; exact, so in any order. No sum of one plane reaches
// 2^31, as bytes <= 65,536.
#if defined(__AVX512VNNI__)

template <bool NIBBLES, int N>
static inline void dots(const u8* const* x, const i8* q, i64 bytes, i64* out) {
    __m512i sums[N][2];
    for (int r = 0; r < N; r++) sums[r][0] = sums[r][1] = _mm512_setzero_si512();
    for (i64 at = 0; at < bytes; at += 64) {
        __mmask64 some = bytes - at < 64 ? (u64(1) << (bytes - at)) - 1 : ~u64(0);
        __m512i first = _mm512_maskz_loadu_epi8(some, q + at);
        __m512i second = _mm512_maskz_loadu_epi8(some, q + bytes + at);
        for (int r = 0; r < N; r++) {
            __m512i low = _mm512_maskz_loadu_epi8(some, x[r] + at), high = low;
            if constexpr (NIBBLES) {
                high = _mm512_and_si512(_mm512_srli_epi16(low, 4), _mm512_set1_epi8(15));
                low = _mm512_and_si512(low, _mm512_set1_epi8(15));
            }
            sums[r][0] = _mm512_dpbusd_epi32(sums[r][0], low, first);
            sums[r][1] = _mm512_dpbusd_epi32(sums[r][1], high, second);
        }
    }
    for (int r = 0; r < N; r++) {
        if constexpr (NIBBLES)
            out[r] = _mm512_reduce_add_epi32(_mm512_add_epi32(sums[r][0], sums[r][1]));
        else
            out[r] = RADIX * _mm512_reduce_add_epi32(sums[r][0]) +
                     _mm512_reduce_add_epi32(sums[r][1]);
    }
}

#else

template <bool NIBBLES, int N>
static inline void dots(const u8* const* x, const i8* q, i64 bytes, i64* out) {
    for (int r = 0; r < N; r++) {
        const u8* row = x[r];
        i64 first = 0, second = 0;
        i64 at = 0;
#if defined(__AVX2__)
        typedef i32 Int8 __attribute__((vector_size(32)));
        __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        auto sixteen = [](const void* from) {
            return _mm_loadu_si128(static_cast<const __m128i*>(from));
        };
        for (; at + 16 <= bytes; at += 16) {
            __m256i low = _mm256_cvtepu8_epi16(sixteen(row + at)), high = low;
            if constexpr (NIBBLES) {
                high = _mm256_srli_epi16(low, 4);
                low = _mm256_and_si256(low, _mm256_set1_epi16(15));
            }
            __m256i qa = _mm256_cvtepi8_epi16(sixteen(q + at));
            __m256i qb = _mm256_cvtepi8_epi16(sixteen(q + bytes + at));
            sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(low, qa));
            sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(high, qb));
        }
        for (int lane = 0; lane < 8; lane++) {
            first += Int8(sums[0])[lane];
            second += Int8(sums[1])[lane];
        }
#endif
        i32 a = 0, b = 0;
        for (; at < bytes; at++) {
            a += (NIBBLES ? row[at] & 15 : row[at]) * q[at];
            b += (NIBBLES ? row[at] >> 4 : row[at]) * q[bytes + at];
        }
        out[r] = (NIBBLES ? 1 : RADIX) * (first + a) + second + b;
    }
}

#endif

static inline float finish(const DenseJob& job, const Query& query, i64 dot, i64 row) {
    float value = float(i64(2 * u64(dot) + u64(query.bias))) * query.step;
    if (job.rows.scale) value *= job.rows.scale[row];
    value += query.offset;
    if (job.rows.norm) value = (value + value) - (job.rows.norm[row] + query.norm);
    return value;
}

template <bool NIBBLES>
static void block(const DenseJob& job, i64 first, i64 last, i64 row, i64 count, float* out) {
    const u8* x[BLOCK];
    for (i64 i = 0; i < count; i++) x[i] = job.codes + (row + i) * job.bytes;
    for (i64 q = first; q < last; q++, out += BLOCK) {
        const i8* digits = job.digits + q * 2 * job.bytes;
        i64 found[BLOCK];
        i64 i = 0;
        for (; i + TILE <= count; i += TILE) {
            if (q == first) prefetch(x[i], AHEAD, TILE * job.bytes);
            dots<NIBBLES, TILE>(x + i, digits, job.bytes, found + i);
        }
        for (; i < count; i++) dots<NIBBLES, 1>(x + i, digits, job.bytes, found + i);
        for (i = 0; i < count; i++) out[i] = finish(job, job.queries[q], found[i], row + i);
    }
}

template <bool NIBBLES>
static void some_rows(const DenseJob& job, i64 q, const i64* rows, i64 count, float* out) {
    const i8* digits = job.digits + q * 2 * job.bytes;
    auto at = [&](i64 i) { return job.codes + rows[i] * job.bytes; };
    for (i64 i = -EARLY; i < count; i++) {
        if (i + EARLY < count) prefetch(at(i + EARLY), 0, job.bytes);
        if (i < 0) continue;
        const u8* x = at(i);
        i64 dot;
        dots<NIBBLES, 1>(&x, digits, job.bytes, &dot);
        out[i] = finish(job, job.queries[q], dot, rows[i]);
    }
}

void dense_block(const void* any, i64 first, i64 last, i64 row, i64 count, float* out) {
    const DenseJob& job = *static_cast<const DenseJob*>(any);
    (job.nibbles ? block<true> : block<false>)(job, first, last, row, count, out);
}

void dense_rows(const void* any, i64 query, const i64* rows, i64 count, float* out) {
    const DenseJob& job = *static_cast<const DenseJob*>(any);
    (job.nibbles ? some_rows<true> : some_rows<false>)(job, query, rows, count, out);
}

void dense_ahead(const void* any, i64 row, i64 count) {
    const DenseJob& job = *static_cast<const DenseJob*>(any);
    prefetch(job.codes, row * job.bytes, count * job.bytes);
}

}  // namespace vecstore::VARIANT
